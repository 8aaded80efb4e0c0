"""What a spectrum says against the order of bands and the scale that were taken for it."""

import numpy as np

from gairlib.bands import BANDS
from gairlib.errors import BadInput

BRIGHT = "bright ground"


def misordered(sample: np.ndarray) -> str | None:
    """Words for the first ratio of bands that no ground shows, None where the order may be right.

    sample: raw numbers [10, n], nodata 0. Over land the reflectance rises through the red edge
    (B05 <= B06 <= B07), and B07, B08 and B8A, 783 to 865 nm, are nearly the same; B11 and B12 do
    not look like them. Blue is less than three times red. Plants hold water, which darkens B12
    more than B11. Pixels darker than 800 in the near or the short-wave infrared (water, snow) are
    not asked, but snow for B07, B08 and B8A. The limits leave room around what 200 real scenes of
    levels 1C and 2A show, with the offset of 1000 and without.
    """
    there = (sample > 0).all(axis=0)
    short_wave = sample[[BANDS.index("B11"), BANDS.index("B12")]].max(axis=0)
    land = (np.minimum(_near_infrared(sample), short_wave) >= 800) & there
    red, nir = (sample[BANDS.index(band)].astype(float) for band in ("B04", "B08"))
    plants = land & (nir - red >= 1000)
    return _first_odd(
        sample,
        ("B02/B04", land, "land", 0.0, 3.0),
        ("B06/B05", land, "land", 0.93, 9.0),
        ("B07/B06", land, "land", 0.93, 3.0),
        ("B08/B07", land, "land", 0.8, 1.3),
        ("B8A/B08", land, "land", 0.85, 1.25),
        ("B08/B07", _lit(sample), BRIGHT, 0.7, 1.4),
        ("B8A/B08", _lit(sample), BRIGHT, 0.7, 1.4),
        ("B12/B11", land, "land", 0.1, 10.0),  # B10, the cirrus band, is dark as night
        ("B12/B11", plants, "plants", 0.1, 1.05),
    )


def exchanged(sample: np.ndarray, what: str) -> None:
    """BadInput where B07, B08 and B8A, which are neighbours, differ grossly over bright ground,
    though bands have names. sample: as in `misordered`."""
    lit = _lit(sample)
    limits = ((ratio, lit, BRIGHT, 1 / 1.6, 1.6) for ratio in ("B08/B07", "B8A/B08"))
    if odd := _first_odd(sample, *limits):
        raise BadInput(
            f"{what}: by the names of its bands {odd}; are names or files of bands exchanged, or "
            "is one of them on another scale?"
        )


def _near_infrared(sample: np.ndarray) -> np.ndarray:
    """The brightest of B07, B08 and B8A, [n]."""
    return sample[[BANDS.index(band) for band in ("B07", "B08", "B8A")]].max(axis=0)


def _lit(sample: np.ndarray) -> np.ndarray:
    """Which pixels are bright in the near infrared, as snow is too, and have data: [n]."""
    return (_near_infrared(sample) >= 1500) & (sample > 0).all(axis=0)


def _first_odd(sample: np.ndarray, *limits: tuple) -> str | None:
    """Words for the first ratio whose median is out of its limits; None where all are within.
    limits: ("B08/B07", pixels that are asked [n], what they show, least, most)."""
    for ratio, where, ground, low, high in limits:
        above, below = (sample[BANDS.index(b)][where].astype(float) for b in ratio.split("/"))
        if len(below) < 50:
            continue
        middle = float(np.median(above / below))
        if not low <= middle <= high:
            return f"{ratio} would be {middle:.2f} over {ground}, which no ground shows"
    return None


def lacks_b8a(b09: np.ndarray, b08: np.ndarray) -> bool:
    """Whether 12 bands without names are B01 to B12 without B8A: then B10, which is dark as night,
    is in the place of B09. b09, b08: raw numbers [n], nodata 0."""
    lit = b08 >= 800
    return lit.sum() >= 50 and float(np.median(b09[lit] / b08[lit])) < 0.05


def scale_of(sample: np.ndarray) -> str | None:
    """Words for a scale that is not reflectance x 10000, None where nothing speaks against it.

    sample: values [10, n] >= 0 in the order of BANDS, 0 no data. The 99th percentile of the
    brightest band decides, so that single odd values do not. Clear water is as dark as that, but
    dark in the near infrared alone.
    """
    usual = max(_median(v) for v in sample)
    if sample.dtype.kind == "f" and 0 < usual <= 2 and np.mean(sample % 1 > 0) > 0.5:
        return f"of mostly up to {usual:.3g} look like reflectance"  # whatever stands for its gaps
    if _percentile(sample[BANDS.index("B08")]) >= 400:
        return None
    bright = [_percentile(v) for v in sample]
    top = max(bright)
    if not 0 < top < 400:
        return None
    if top > 10 and bright[BANDS.index("B08")] < 0.7 * max(bright[:3]):
        return None
    likely = "reflectance" if top <= 2 else "percent, or reflectance x 255 or x 1000"
    return f"up to {top:.3g} look like {likely if top > 10 or top <= 2 else 'reflectance'}"


def is_reflectance(values: np.ndarray) -> bool:
    """Whether the numbers of one band, 0 no data, are reflectance of 0 to 1: small, and not whole
    as the digital numbers 1 and 2 of dark water are."""
    small = values.dtype.kind == "f" and 0 < _percentile(values) <= 2
    return small and bool((values % 1 > 0).any())


def too_dark(sample: np.ndarray) -> str | None:
    """Words for a scene whose usual pixel is a plant by its colours and ten times too dark, None
    for every other. sample: as in `scale_of`."""
    middle = [_median(v) for v in sample]
    nir, top = middle[BANDS.index("B08")], _percentile(sample[BANDS.index("B08")])
    if top >= 1000 or nir < 2 * max(middle[:3]) or not nir:
        return None
    return f"up to {top:.3g} in the near infrared over plants look like reflectance x 1000"


def too_bright(sample: np.ndarray) -> str | None:
    """Words for a scene that would mostly reflect more than snow and clouds do in the near
    infrared, None for every other. sample: as in `scale_of`."""
    middle = _median(sample[BANDS.index("B08")])
    if middle <= 16_000:
        return None
    return f"of mostly {middle:.3g} in the near infrared look like reflectance x 65535 or x 100000"


def negative(sample: np.ndarray) -> str | None:
    """Words for numbers that are below 0 in most pixels of every band, None for all others. Below
    -1000 stand marks of gaps; dark water falls below 0 in the infrared alone."""
    below = (sample < 0) & (sample > -1000)
    if not (below.sum(axis=1) > (sample > 0).sum(axis=1)).all():
        return None
    return f"from {sample[below].min():.3g} to {sample[below].max():.3g} look like decibels"


def _percentile(values: np.ndarray) -> float:
    """The 99th percentile of the values above 0; 0 where there are none."""
    values = values[values > 0]
    return float(np.percentile(values, 99.0)) if values.size else 0.0


def _median(values: np.ndarray) -> float:
    """The median of the values above 0; 0 where there are none."""
    values = values[values > 0]
    return float(np.median(values)) if values.size else 0.0
