"""What a spectrum says against the order of bands and the scale that were taken for it."""

import numpy as np

from gairlib.bands import BANDS, LAYOUTS
from gairlib.errors import BadInput


def check_order(sample: np.ndarray, what: str = "file") -> None:
    """BadInput where the spectrum contradicts an order of bands that was told by count alone.

    sample: raw numbers [10, n], nodata 0. Over land the reflectance rises through the red edge
    (B05 <= B06 <= B07), and B07, B08 and B8A, 783 to 865 nm, are nearly the same; B11 and B12 do
    not look like them. Blue is less than three times red. Pixels darker than 800 in the near
    infrared (water) are not asked.
    """
    b02, _, b04, b05, b06, b07, b08, b8a = sample[:8].astype(float)
    land = (np.maximum(np.maximum(b07, b08), b8a) >= 800) & (sample > 0).all(axis=0)
    if land.sum() < 50:
        return
    ratios = {
        "B02/B04": (b02 / np.maximum(b04, 1), 0.0, 3.0),
        "B06/B05": (b06 / b05, 0.85, 9.0),
        "B07/B06": (b07 / b06, 0.85, 3.0),
        "B08/B07": (b08 / b07, 0.8, 1.3),
        "B8A/B08": (b8a / b08, 0.85, 1.18),
    }
    for name, (ratio, low, high) in ratios.items():
        middle = float(np.median(ratio[land]))
        if not low <= middle <= high:
            raise BadInput(
                f"{what}: its bands have no names, and in the order that their count suggests "
                f"{name} would be {middle:.2f} over land, which no ground shows; name the bands in "
                f"the file, or declare the layout ({', '.join(LAYOUTS)})"
            )


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


def too_dark(sample: np.ndarray) -> str | None:
    """Words for a scene whose usual pixel is a plant by its colours and ten times too dark, None
    for every other. sample: as in `scale_of`."""
    middle = [float(np.median(v[v > 0])) if (v > 0).any() else 0.0 for v in sample]
    nir, top = middle[BANDS.index("B08")], _percentile(sample[BANDS.index("B08")])
    if top >= 1000 or nir < 2 * max(middle[:3]) or not nir:
        return None
    return f"up to {top:.3g} in the near infrared over plants look like reflectance x 1000"


def _percentile(values: np.ndarray) -> float:
    """The 99th percentile of the values above 0; 0 where there are none."""
    values = values[values > 0]
    return float(np.percentile(values, 99.0)) if values.size else 0.0
