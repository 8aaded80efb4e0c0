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
from collections.abc import Iterable, Sequence

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

# The same of the images that Galileo was trained on (nasaharvest/galileo, normalization.json)
GALILEO_MEAN, GALILEO_STD = np.transpose(
    [
        (1395.341, 917.704),  # B02
        (1338.403, 913.299),  # B03
        (1343.099, 1092.679),  # B04
        (1543.861, 1047.221),  # B05
        (2186.202, 1048.010),  # B06
        (2525.093, 1143.690),  # B07
        (2410.338, 1098.979),  # B08
        (2750.285, 1204.473),  # B8A
        (2234.911, 1145.977),  # B11
        (1474.531, 980.243),  # B12
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
    "broadnir": "B08",
    "nirbroad": "B08",
    "narrownir": "B8A",
    "nirnarrow": "B8A",
    "nir1": "B08",
    "nir2": "B8A",
    "swir1": "B11",
    "swir2": "B12",
    "nearinfrared": "B08",
    "narrownearinfrared": "B8A",
    "rededge4": "B8A",
    "re1": "B05",
    "re2": "B06",
    "re3": "B07",
    "re4": "B8A",
    "vre1": "B05",
    "vre2": "B06",
    "vre3": "B07",
    "vre4": "B8A",
    "rededge071": "B05",
    "rededge075": "B06",
    "rededge078": "B07",
    "rededge": None,  # one of four
    "shortwaveinfrared1": "B11",
    "shortwaveinfrared2": "B12",
    "ultrablue": "B01",
    "aerosol": "B01",
    "watervapour": "B09",
    "watervapor": "B09",
}

EUROSAT_SCALE = 2750.0  # DN at 255 in EuroSAT's RGB JPEGs


# Central wavelengths in nm as products and tools state them (S2A, S2B, S2C, nominal)
WAVELENGTHS = {
    443: "B01",
    491: "B02",
    560: "B03",
    665: "B04",
    704: "B05",
    740: "B06",
    782: "B07",
    834: "B08",
    842: "B08",
    865: "B8A",
    944: "B09",
    1374: "B10",
    1612: "B11",
    2190: "B12",
    2202: "B12",
}
# Parts of a name that say that the values are no reflectance, though a band stands in it
NO_VALUES = frozenset(
    "std stddev stdev sd var variance count n sum rmse cv slope intercept mask msk qa qual quality "
    "cloud clp clear angle azimuth zenith index ratio diff ndvi ndwi evi nbr savi ndbi ndmi mndwi "
    "bsi gndvi tci pvi aot wvp difference change trend anomaly zscore amplitude phase rank iqr "
    "range skew kurtosis entropy contrast uncertainty error log log10 db".split()
)
GENERIC = re.compile(r"(?:band|layer|lyr|channel|ch|b|bande|banda)?[ ._-]*0*(\d+)", re.I)
_NUMBERED = re.compile(
    r"(?<![a-z])(?:band|channel|ch|b)[ ._-]?0*(\d{1,2})(a?)(?![a-z0-9])|^0*(\d{1,2})(a?)$"
)
_BARE = re.compile(r"(?<![\d.])(\d{3,4}(?:\.\d+)?|[0-2]\.\d+)(?![\d.])")
_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:nm|um|[\u00b5\u03bc]m|micro|nanom)")


def _parts(name: str | None) -> tuple[str, list[str]]:
    """A name in lower case, and its words; nothing where it is no reflectance."""
    text = (name if isinstance(name, str) else "").strip().lower()
    words = [w for w in re.split(r"[^a-z0-9.]+|\.(?!\d)|(?<!\d)\.", text) if w]
    return ("", []) if NO_VALUES & set(words) else (text, words)


def canonical(name: str | None) -> str | None:
    """A band's name as in BANDS, out of what tools write; None if it is none.

    "b2", "B2", "B02", "blue", "B02_10m", "B2_median", "x_B2", "nbart_blue", "B2, central wavelength
    490 nm", "665 nm", "Red Edge 4" ... A name with two bands in it, or of a statistic that is no
    reflectance (B2_stdDev), is none.
    """
    text, words = _parts(name)
    found = {_number(*m.groups()) for w in words if (m := re.fullmatch(r"b0*(\d{1,2})(a?)", w))}
    if not found:  # "Band 8A": a number alone is a place in the file, not a name
        found = {
            _number(*m.groups())
            for m in re.finditer(r"(?<![a-z])band[ ._-]?0*(8)(a)(?![a-z0-9])", text)
        }
    found = found or {_at(float(m[1])) for m in _WITH_UNIT.finditer(text)} - {None}
    return _agreed(_only(found), words) if found else _only(_colours(words))


def _agreed(band: str | None, words: list[str]) -> str | None:
    """The band, unless a name calls it blue, green or red and it is another one ("B2 (red)")."""
    if {"infra", "edge", "far"} & set(words):  # "near infra red"
        return band
    said = _colours(words) & {"B02", "B03", "B04"}
    return None if said and said != {band} and band in BANDS else band


def _only(found: Iterable[str | None]) -> str | None:
    """The one band that is found; None where there are none or several."""
    found = set(found)
    return found.pop() if len(found) == 1 else None


def _number(number: str, a: str) -> str | None:
    if a:
        return "B8A" if int(number) == 8 else None
    return f"B{int(number):02d}" if 1 <= int(number) <= 12 else None


def _at(wave: float) -> str | None:
    """The band of a wavelength in nm or, below 100, in um."""
    nm = wave if wave >= 100 else wave * 1000.0
    near = min(WAVELENGTHS, key=lambda w: abs(w - nm))
    return WAVELENGTHS[near] if abs(near - nm) <= (7 if nm < 1000 else 20) else None


def _colours(words: list[str]) -> set[str | None]:
    """The bands of the names of colours in a text, from the left, the longest first: so "red edge
    1" is not red."""
    found, k = set(), 0
    while k < len(words):
        longest = (n for n in (4, 3, 2, 1) if "".join(words[k : k + n]) in ALIASES)
        n = next(longest, 0)
        if n:
            found.add(ALIASES["".join(words[k : k + n])])
        k += n or 1
    return found


def understood(names: Sequence[str | None]) -> list[str | None]:
    """`canonical` of each name, where some need their company to be understood.

    FORCE calls B08 "broad NIR" and B8A "NIR"; Digital Earth names B08 and B8A nir_1 and nir_2, and
    B11 and B12 swir_2 and swir_3, where others call them swir1 and swir2. Numbers ("Band 2" to
    "Band 12" with 8A among them) and wavelengths without a unit (490, 0.490, rhos_492) count where
    they give all ten bands.
    """
    plain = [re.sub(r"[^a-z0-9]", "", n.lower()) if isinstance(n, str) else "" for n in names]
    known = [canonical(n) for n in names]
    broad = any(p.endswith(("broadnir", "nirbroad")) for p in plain)
    third = any(p.endswith("swir3") for p in plain)
    for k, p in enumerate(plain):
        if broad and p.endswith("nir"):
            known[k] = "B08" if "broad" in p else "B8A"
        elif third and p.endswith(("swir2", "swir3")):
            known[k] = "B11" if p.endswith("2") else "B12"
    texts, words = zip(*map(_parts, names)) if names else ((), ())
    numbered = [
        _only(_number(*(m.group(1, 2) if m[1] else m.group(3, 4))) for m in _NUMBERED.finditer(t))
        for t in texts
    ]
    numbered = [_agreed(band, parts) for band, parts in zip(numbered, words)]
    waves = [_only(_at(float(m[1])) for m in _BARE.finditer(t)) for t in texts]
    return next((r for r in (known, numbered, waves) if set(BANDS) <= set(r)), known)


def nameless(names: Sequence[str | None]) -> bool:
    """Whether names say nothing of the bands: none, one text for all (xarray gives each band the
    name of the array), or their places counted."""
    given = [n.strip() for n in names if isinstance(n, str) and n.strip()]
    if len(set(given)) <= 1:
        return all(_parts(n)[0] for n in given)
    counted = [GENERIC.fullmatch(n) for n in given]
    if len(given) < len(names) or not all(counted):
        return False
    numbers = [int(m[1]) for m in counted]
    return numbers in (list(range(1, len(names) + 1)), list(range(len(names))))


def find(
    names: Sequence[str | None], declared: str | None = None, what: str = "file"
) -> tuple[str, tuple[int, ...], int | None]:
    """Where the ten bands are in a file.

    names: one entry a band, None where the file says nothing. declared: a key of LAYOUTS.
    Returns (layout, ten 1-based band positions, 1-based position of the SCL band or None).
    Raises BadInput, with `what` as the subject, where the bands cannot be told for certain.
    """
    count = len(names)
    known = understood(names)
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
    if not nameless(names):
        shown = ", ".join(str(n)[:40] for n in names[:4])
        raise BadInput(
            f"{what}: its band names are not understood ({shown}{', ...' if count > 4 else ''}); "
            f"name the ten bands {' '.join(BANDS)}, or declare the layout ({', '.join(LAYOUTS)}) "
            "in the column `layout` of scenes.csv or the parameter `layouts`"
        )
    if count in BY_COUNT:
        layout = BY_COUNT[count]
        return layout, LAYOUTS[layout][0], None
    if count == 1:
        raise BadInput(
            f"{what}: one band without a name is no scene; the ten bands {' '.join(BANDS)} are "
            "needed. A map of a scene's land cover goes into landcover/, named as the scene"
        )
    raise BadInput(
        f"{what}: {count} bands without band names; only 10 and 12 are taken by "
        f"count. Name the bands in the file, or declare the layout ({', '.join(LAYOUTS)}) in the "
        "column `layout` of scenes.csv or the parameter `layouts`"
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


def from_rgb(rgb: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """8-bit true-colour images as chips: uint8 [B, H, W, 3] -> (float32 [B, 10, H, W] DN, bands).

    EuroSAT's RGB JPEGs are a linear stretch of the L1C bands B04, B03, B02: about
    DN = value / 255 x 2750. Two tiles that exist in both forms give slopes of 2755 and 2764, the
    rest is JPEG loss and clipping above 2750. They are top-of-atmosphere values, so blue is too
    bright for an encoder that saw surface reflectance. The seven bands that are not there hold the
    training mean.
    """
    rgb = np.asarray(rgb)
    if rgb.ndim != 4 or rgb.shape[-1] != 3 or rgb.dtype != np.uint8:
        raise BadInput(f"rgb must be uint8 [B, H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
    dn = rgb.astype(np.float32).transpose(0, 3, 1, 2) * (EUROSAT_SCALE / 255.0)  # [B, 3, H, W]
    return place(dn, ("B04", "B03", "B02"))
