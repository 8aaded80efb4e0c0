"""The ten Sentinel-2 bands the RS encoder takes, and where a file keeps them.

Order, everywhere in gairlib: B02 B03 B04 B05 B06 B07 B08 B8A B11 B12; values are digital numbers
(DN), reflectance x 10000 with the baseline offset removed (see `scenes`).

A file's own band names win; without them a layout that the user declares (by name, for one or many
scenes); by band count alone only 10 and 12 are taken, because 13 bands mean two different orders
(L1C, and EuroSAT with B8A last) and a wrong guess shows nowhere but in the results.

A sensor that lacks bands goes through one adapter, `place`: it puts the bands that are there into
their places, fills the others with the training mean and reports which were there.
"""

import re
from collections.abc import Sequence

import numpy as np

from gairlib.errors import BadInput

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

# Mean and standard deviation of each band in the published pretraining data, in DN: float64 [10]
MEAN, STD = np.transpose(
    [
        (1172.9397, 706.6250),  # B02
        (1378.0846, 720.1862),  # B03
        (1509.3327, 783.1424),  # B04
        (1750.0275, 707.1962),  # B05
        (2073.2758, 714.2782),  # B06
        (2207.3283, 748.1827),  # B07
        (2245.1629, 852.3585),  # B08
        (2284.6384, 762.0849),  # B8A
        (2231.7283, 690.0165),  # B11
        (1899.1932, 669.9036),  # B12
    ]
)

# Layout -> the 1-based positions of BANDS in the file, and the file's band count.
LAYOUTS = {
    "s2-10": ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 10),
    "l2a-12": ((2, 3, 4, 5, 6, 7, 8, 9, 11, 12), 12),  # B01..B12 with B8A, without B10
    "l1c": ((2, 3, 4, 5, 6, 7, 8, 9, 12, 13), 13),  # B01..B12 with B8A and B10
    "eurosat-ms": ((2, 3, 4, 5, 6, 7, 8, 13, 11, 12), 13),  # L1C with B8A moved to the end
}
BY_COUNT = {10: "s2-10", 12: "l2a-12"}

# What catalogues call the bands besides their number (STAC eo:common_name, Earth Search keys).
ALIASES = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
    "scl": "SCL",
}

EUROSAT_SCALE = 2750.0  # DN at 255 in EuroSAT's RGB JPEGs


def canonical(name: str | None) -> str | None:
    """A band's name as in BANDS: "b2", "B2", "B02", "blue" -> "B02"; None if it is none."""
    text = (name or "").strip()
    if text.lower() in ALIASES:
        return ALIASES[text.lower()]
    match = re.fullmatch(r"[Bb]0*(\d{1,2})([Aa]?)", text)
    if not match:
        return None
    number, a = int(match[1]), match[2].upper()
    if a:
        return "B8A" if number == 8 else None
    return f"B{number:02d}" if 1 <= number <= 12 else None


def find(
    names: Sequence[str | None], declared: str | None = None, what: str = "file"
) -> tuple[str, tuple[int, ...], int | None]:
    """Where the ten bands are in a file.

    names: one entry a band, None where the file says nothing. declared: a key of LAYOUTS.
    Returns (layout, ten 1-based band positions, 1-based position of the SCL band or None).
    Raises BadInput, with `what` as the subject, where the bands cannot be told for certain.
    """
    count = len(names)
    known = [canonical(n) for n in names]
    scl = known.index("SCL") + 1 if "SCL" in known else None
    named = [k for k in known if k in BANDS]
    double = sorted({k for k in named if named.count(k) > 1})
    if double:
        raise BadInput(f"{what}: band name {double[0]} stands at more than one band")
    by_name = tuple(known.index(b) + 1 for b in BANDS) if set(named) == set(BANDS) else None
    if declared is not None:
        if declared not in LAYOUTS:
            raise BadInput(
                f"{what}: unknown band layout {declared!r}; known are {', '.join(LAYOUTS)}"
            )
        positions, expected = LAYOUTS[declared]
        if count != expected:
            raise BadInput(
                f"{what}: layout {declared!r} has {expected} bands, but the file has {count}"
            )
        if by_name is not None and by_name != positions:
            raise BadInput(
                f"{what}: layout {declared!r} contradicts the file's own band names "
                f"({' '.join(str(n) for n in names)})"
            )
        return declared, positions, scl
    if by_name is not None:
        return "named", by_name, scl
    if named:
        missing = [b for b in BANDS if b not in named]
        raise BadInput(
            f"{what}: lacks band{'s' if len(missing) > 1 else ''} {' '.join(missing)}; "
            f"the ten bands {' '.join(BANDS)} are needed"
        )
    if count in BY_COUNT:
        layout = BY_COUNT[count]
        return layout, LAYOUTS[layout][0], None
    raise BadInput(
        f"{what}: {count} bands without band names; only 10 and 12 are taken by count. Name the "
        f"bands in the file, or declare the layout ({', '.join(LAYOUTS)}) in the column `layout` "
        "of scenes.csv or the parameter `layouts`"
    )


def place(
    values: np.ndarray, present: Sequence[str], fill: str = "mean"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Put the bands that a sensor has where the encoder expects them.

    values: [B, k, H, W] in DN, in the order of `present` (k names of BANDS, any spelling that
    `canonical` knows). fill: "mean" (the training mean of the band) or "zero".
    Returns (float32 [B, 10, H, W], the bands that were there in the order of BANDS).
    """
    values = np.asarray(values)
    known = [canonical(p) for p in present]
    wrong = [p for p, k in zip(present, known) if k not in BANDS]
    if wrong or len(set(known)) != len(known):
        raise BadInput(f"bands {list(present)}: each must be one of {' '.join(BANDS)}, once")
    if values.ndim != 4 or values.shape[1] != len(known):
        raise BadInput(f"values must be [B, {len(known)}, H, W], not {list(values.shape)}")
    if fill not in ("mean", "zero"):
        raise BadInput(f"fill must be 'mean' or 'zero', not {fill!r}")
    b, _, h, w = values.shape
    chips = np.zeros((b, len(BANDS), h, w), np.float32)
    if fill == "mean":
        chips += MEAN.astype(np.float32)[None, :, None, None]
    for i, name in enumerate(known):
        chips[:, BANDS.index(name)] = values[:, i]
    return chips, tuple(band for band in BANDS if band in known)


def from_rgb(
    rgb: np.ndarray, scale: float = EUROSAT_SCALE, fill: str = "mean"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """8-bit true-colour images as chips: uint8 [B, H, W, 3] -> (float32 [B, 10, H, W] DN, bands).

    EuroSAT's RGB JPEGs are a linear stretch of the L1C bands B04, B03, B02: about
    DN = value / 255 x 2750. Two tiles that exist in both forms give slopes of 2755 and 2764, the
    rest is JPEG loss and clipping above 2750. They are top-of-atmosphere values, so blue is too
    bright for an encoder that saw surface reflectance. The seven bands that are not there hold the
    training mean (or zero).
    """
    rgb = np.asarray(rgb)
    if rgb.ndim != 4 or rgb.shape[-1] != 3 or rgb.dtype != np.uint8:
        raise BadInput(f"rgb must be uint8 [B, H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
    dn = rgb.astype(np.float32).transpose(0, 3, 1, 2) * (scale / 255.0)  # [B, 3, H, W]
    return place(dn, ("B04", "B03", "B02"), fill)
