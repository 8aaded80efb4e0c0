"""What a spectrum says against the order of bands and the scale that were taken for it."""

import numpy as np

from gairlib.bands import BANDS
from gairlib.errors import BadInput


def misordered(sample: np.ndarray) -> str | None:
    """Words for the first ratio of bands that no ground shows, None where the order may be right.

    sample: raw numbers [10, n], nodata 0. Over land the reflectance rises through the red edge
    (B05 <= B06 <= B07), and B07, B08 and B8A, 783 to 865 nm, are nearly the same; B11 and B12 do
    not look like them. Blue is less than three times red. Plants hold water, which darkens B12
    more than B11. Pixels darker than 800 in the near or the short-wave infrared (water, snow) are
    not asked, but snow for B07, B08 and B8A. The limits leave room around what 200 real scenes of
    levels 1C and 2A show, with the offset of 1000 and without.
    """
    b02, _, b04, b05, b06, b07, b08, b8a, b11, b12 = sample.astype(float)
    bright = np.minimum(np.maximum(np.maximum(b07, b08), b8a), np.maximum(b11, b12))
    there = (sample > 0).all(axis=0)
    land, lit = (bright >= 800) & there, (np.maximum(np.maximum(b07, b08), b8a) >= 1500) & there
    plants = land & (b08 - b04 >= 1000)
    for name, above, below, where, low, high in (
        ("B02/B04", b02, b04, land, 0.0, 3.0),
        ("B06/B05", b06, b05, land, 0.93, 9.0),
        ("B07/B06", b07, b06, land, 0.93, 3.0),
        ("B08/B07", b08, b07, land, 0.8, 1.3),
        ("B8A/B08", b8a, b08, land, 0.85, 1.25),
        ("B08/B07", b08, b07, lit, 0.7, 1.4),
        ("B8A/B08", b8a, b08, lit, 0.7, 1.4),
        ("B12/B11", b12, b11, land, 0.1, 10.0),  # B10, the cirrus band, is dark as night
        ("B12/B11", b12, b11, plants, 0.1, 1.05),
    ):
        if where.sum() < 50:
            continue
        middle = float(np.median(above[where] / below[where]))
        if not low <= middle <= high:
            ground = "plants" if where is plants else "land" if where is land else "bright ground"
            return f"{name} would be {middle:.2f} over {ground}, which no ground shows"
    return None


def exchanged(sample: np.ndarray, what: str) -> None:
    """BadInput where B07, B08 and B8A, which are neighbours, differ grossly over bright ground,
    though bands have names. sample: as in `misordered`."""
    b07, b08, b8a = (sample[BANDS.index(b)].astype(float) for b in ("B07", "B08", "B8A"))
    lit = (np.maximum(np.maximum(b07, b08), b8a) >= 1500) & (sample > 0).all(axis=0)
    for name, above, below in (("B08/B07", b08, b07), ("B8A/B08", b8a, b08)):
        middle = float(np.median(above[lit] / below[lit])) if lit.sum() >= 50 else 1.0
        if not 1 / 1.6 <= middle <= 1.6:
            raise BadInput(
                f"{what}: by the names of its bands {name} would be {middle:.2f} over bright "
                "ground, which no ground shows; are names or files of bands exchanged, or is one "
                "of them on another scale?"
            )


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
    middle = [float(np.median(v[v > 0])) if (v > 0).any() else 0.0 for v in sample]
    nir, top = middle[BANDS.index("B08")], _percentile(sample[BANDS.index("B08")])
    if top >= 1000 or nir < 2 * max(middle[:3]) or not nir:
        return None
    return f"up to {top:.3g} in the near infrared over plants look like reflectance x 1000"


def too_bright(sample: np.ndarray) -> str | None:
    """Words for a scene that would mostly reflect more than snow and clouds do in the near
    infrared, None for every other. sample: as in `scale_of`."""
    nir = sample[BANDS.index("B08")]
    middle = float(np.median(nir[nir > 0])) if (nir > 0).any() else 0.0
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
