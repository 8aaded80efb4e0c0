"""What things are made of: reflectance in ten Sentinel-2 bands, and the colours a photo sees.

Reflectances are rounded, plausible values in the manner of public spectral libraries, one row a
material: B02 B03 B04 B05 B06 B07 B08 B8A B11 B12. A photo's colour comes from the same row
(B04, B03, B02), so both views agree. Walls, which a satellite does not see, have colours alone;
each building style ties a roof material to a palette of walls.
"""

from dataclasses import dataclass

import numpy as np

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")

# Land cover of the finished map (a 10 m pixel gets the class with the largest share).
CLASSES = {
    1: "water",
    2: "trees",
    3: "grass",
    4: "cropland",
    5: "bare ground",
    6: "paved",
    7: "low buildings",
    8: "high buildings",
    9: "industrial buildings",
}
WATER, TREES, GRASS, CROP, BARE, PAVED, LOW, HIGH, INDUSTRIAL = range(1, 10)

# name: (land cover class, reflectance x 1000 in ten bands, does it turn dormant out of season)
_TABLE: dict[str, tuple[int, str, bool]] = {
    "asphalt": (PAVED, "75 86 96 102 108 114 120 124 170 158", False),
    "worn asphalt": (PAVED, "110 128 142 150 158 164 172 176 225 212", False),
    "concrete": (PAVED, "150 172 192 200 208 216 226 232 285 268", False),
    "cobbles": (PAVED, "110 125 145 155 165 172 180 185 230 220", False),
    "gravel": (BARE, "125 150 178 190 202 212 222 228 285 265", False),
    "laterite": (BARE, "55 85 185 215 235 250 265 280 390 330", False),
    "brown soil": (BARE, "70 95 130 150 170 185 205 215 310 260", False),
    "black soil": (BARE, "45 55 68 78 90 100 112 120 190 170", False),
    "sand": (BARE, "190 260 335 365 385 395 405 415 490 450", False),
    "rock": (BARE, "130 150 175 185 190 195 205 210 260 250", False),
    "grass": (GRASS, "35 75 45 115 290 350 390 405 220 115", True),
    "lush grass": (GRASS, "25 75 30 105 350 440 490 500 210 95", True),
    "dry grass": (GRASS, "85 125 165 195 235 260 285 305 370 255", False),
    "steppe": (GRASS, "80 110 130 160 205 230 250 265 330 240", False),
    "wheat": (CROP, "30 65 35 95 320 400 430 440 190 90", True),
    "ripe wheat": (CROP, "95 150 215 245 280 305 330 350 400 270", False),
    "rapeseed": (CROP, "50 165 150 200 350 400 430 440 220 110", True),
    "maize": (CROP, "25 70 40 110 340 430 470 485 230 105", True),
    "rice": (CROP, "35 60 40 75 150 180 195 200 60 25", True),
    "stubble": (CROP, "110 145 190 215 245 265 285 300 420 330", False),
    "tilled soil": (CROP, "60 80 110 125 145 160 178 185 280 235", False),
    "red tilled soil": (CROP, "50 75 160 190 210 225 240 255 370 310", False),
    "vineyard": (CROP, "60 95 95 140 230 265 285 300 290 205", True),
    "sunflower": (CROP, "40 135 125 180 330 380 410 420 230 115", True),
    "broadleaf": (TREES, "20 45 26 90 280 350 385 400 175 80", True),
    "light broadleaf": (TREES, "28 70 38 120 320 390 430 445 215 105", True),
    "conifer": (TREES, "14 26 17 45 140 175 195 205 95 42", False),
    "olive": (TREES, "50 72 62 105 190 220 245 260 210 135", False),
    "autumn tree": (TREES, "30 85 120 170 270 310 335 350 230 125", True),
    "palm": (TREES, "32 62 42 100 230 275 300 315 200 105", False),
    "red blossom": (TREES, "60 60 110 150 290 345 380 395 210 110", True),
    "clear water": (WATER, "55 52 28 20 14 13 11 10 6 4", False),
    "green water": (WATER, "45 75 48 50 30 28 25 23 10 6", False),
    "muddy water": (WATER, "75 115 125 105 68 65 55 52 14 9", False),
    "terracotta roof": (LOW, "75 115 225 260 285 300 320 335 400 350", False),
    "slate roof": (LOW, "66 68 70 72 75 78 80 80 72 66", False),
    "white roof": (LOW, "400 420 430 430 430 428 425 420 370 330", False),
    "clay roof": (LOW, "135 195 265 290 310 320 335 345 420 375", False),
    "rusty roof": (LOW, "60 85 150 190 215 230 260 275 370 350", False),
    "tin roof": (LOW, "250 258 265 268 272 276 284 288 320 305", False),
    "blue roof": (LOW, "260 205 120 115 150 215 290 300 270 255", False),
    "green roof": (LOW, "85 145 90 90 110 140 185 195 230 220", False),
    "shingle roof": (LOW, "88 92 98 102 106 110 114 114 104 96", False),
    "red roof": (LOW, "55 60 260 300 320 330 340 345 330 290", False),
    "bitumen roof": (LOW, "46 49 52 54 56 58 60 60 52 48", False),
    "gravel roof": (LOW, "185 205 222 228 234 238 242 240 205 180", False),
    "snow": (BARE, "820 830 820 810 790 770 750 730 90 60", False),
    # of the shifted test sites alone (look.py)
    "red asphalt": (PAVED, "62 70 150 168 176 182 190 195 240 215", False),
    "pale paving": (PAVED, "210 245 270 278 284 290 296 300 330 310", False),
    "brick paving": (PAVED, "72 92 165 188 200 210 220 226 300 275", False),
    "chalk": (BARE, "380 420 450 462 470 476 482 486 500 440", False),
    "crushed basalt": (BARE, "52 58 64 68 72 76 80 82 105 98", False),
    "thatch roof": (LOW, "62 88 112 135 165 185 205 220 330 250", False),
    "copper roof": (LOW, "150 210 175 165 170 178 186 190 175 140", False),
    "solar roof": (LOW, "58 44 38 36 38 40 44 46 60 70", False),
    "timber roof": (LOW, "95 120 145 165 190 205 220 232 290 230", False),
}
MATERIALS = tuple(_TABLE)
INDEX = {name: i for i, name in enumerate(MATERIALS)}
CLASS_OF = np.array([v[0] for v in _TABLE.values()], np.uint8)
SPECTRA = np.array([[float(b) for b in v[1].split()] for v in _TABLE.values()]) / 1000.0
SEASONAL = np.array([v[2] for v in _TABLE.values()])
VEGETATION = np.isin(CLASS_OF, (TREES, GRASS, CROP))
for _name in ("stubble", "tilled soil", "red tilled soil"):  # cropland, but nothing green on it
    VEGETATION[INDEX[_name]] = False
_DORMANT = {GRASS: "dry grass", CROP: "stubble"}
_BARE_TREE = np.array([70, 85, 110, 130, 160, 180, 195, 205, 260, 190]) / 1000.0

# Height above ground (m) of what grows in fields: a photo's view may be blocked by it.
FIELD_HEIGHT = {
    "wheat": 0.7,
    "ripe wheat": 0.8,
    "rapeseed": 1.2,
    "maize": 2.3,
    "rice": 0.5,
    "vineyard": 1.5,
    "sunflower": 1.7,
    "stubble": 0.1,
}


def materials(names: tuple[str, ...] | list[str]) -> np.ndarray:
    """Material names -> uint8 indices."""
    return np.array([INDEX[n] for n in names], np.uint8)


def seasonal(greenness: float, snow: bool) -> np.ndarray:
    """Reflectances [materials, 10] on a day. greenness 0 (dormant) to 1 (full leaf); snow covers
    ground, fields and grass for the most part, roofs less, trees and roads a little."""
    table = SPECTRA.copy()
    for i in np.flatnonzero(SEASONAL):
        rest = SPECTRA[INDEX[_DORMANT[CLASS_OF[i]]]] if CLASS_OF[i] in _DORMANT else _BARE_TREE
        table[i] = greenness * SPECTRA[i] + (1 - greenness) * rest
    if snow:
        white = SPECTRA[INDEX["snow"]]
        share = np.select(
            [CLASS_OF == WATER, CLASS_OF == PAVED, CLASS_OF == TREES, CLASS_OF == LOW],
            [0.0, 0.25, 0.2, 0.4],
            0.6,
        )[:, None]
        table = (1 - share) * table + share * white
    return table


def colours(table: np.ndarray) -> np.ndarray:
    """Linear RGB [materials, 3] of reflectances [materials, 10]: B04, B03, B02."""
    return table[:, [2, 1, 0]]


@dataclass(frozen=True)
class Style:
    """A manner of building. walls: linear RGB albedos; pitch: rise per metre (0: flat roof);
    window: width, height of windows over their bay (0-1); glass: a curtain wall."""

    roof: str
    walls: tuple[tuple[float, float, float], ...]
    pitch: float = 0.0
    window: tuple[float, float] = (0.45, 0.5)
    glass: bool = False
    bay: float = 3.0


STYLES: dict[str, Style] = {
    "terracotta": Style(
        "terracotta roof", ((0.62, 0.42, 0.20), (0.68, 0.55, 0.34), (0.60, 0.36, 0.28)), 0.45
    ),
    "brick": Style("slate roof", ((0.30, 0.10, 0.06), (0.36, 0.15, 0.09), (0.25, 0.09, 0.07)), 0.7),
    "white": Style(
        "white roof", ((0.78, 0.77, 0.74), (0.70, 0.70, 0.68), (0.74, 0.72, 0.64)), 0, (0.3, 0.4)
    ),
    "adobe": Style(
        "clay roof", ((0.50, 0.34, 0.20), (0.56, 0.40, 0.25), (0.44, 0.30, 0.18)), 0, (0.25, 0.3)
    ),
    "rusty": Style(
        "rusty roof", ((0.34, 0.32, 0.30), (0.20, 0.42, 0.42), (0.42, 0.34, 0.22)), 0.25, (0.3, 0.3)
    ),
    "tin": Style(
        "tin roof", ((0.55, 0.50, 0.20), (0.28, 0.44, 0.24), (0.50, 0.48, 0.45)), 0.3, (0.35, 0.4)
    ),
    "blue": Style("blue roof", ((0.48, 0.56, 0.64), (0.60, 0.62, 0.64), (0.38, 0.46, 0.58)), 0.35),
    "green": Style("green roof", ((0.66, 0.62, 0.40), (0.58, 0.60, 0.42), (0.62, 0.56, 0.30)), 0.4),
    "shingle": Style(
        "shingle roof", ((0.62, 0.62, 0.60), (0.32, 0.36, 0.40), (0.46, 0.42, 0.36)), 0.6
    ),
    "red": Style("red roof", ((0.48, 0.10, 0.07), (0.70, 0.68, 0.60), (0.55, 0.42, 0.12)), 0.7),
    "gravel": Style(
        "gravel roof", ((0.38, 0.37, 0.35), (0.44, 0.40, 0.34), (0.32, 0.33, 0.34)), 0, (0.6, 0.5)
    ),
    "glass": Style(
        "bitumen roof",
        ((0.10, 0.16, 0.22), (0.08, 0.18, 0.19), (0.16, 0.19, 0.22)),
        0,
        (0.85, 0.8),
        True,
        2.4,
    ),
    "shed": Style(
        "tin roof",
        ((0.50, 0.52, 0.53), (0.36, 0.40, 0.44), (0.55, 0.52, 0.44)),
        0.08,
        (0.3, 0.12),
        False,
        6.0,
    ),
    "blue shed": Style(
        "blue roof",
        ((0.16, 0.26, 0.44), (0.22, 0.34, 0.52), (0.50, 0.52, 0.54)),
        0.08,
        (0.3, 0.12),
        False,
        6.0,
    ),
    "works": Style(
        "rusty roof",
        ((0.26, 0.13, 0.09), (0.32, 0.24, 0.18), (0.30, 0.28, 0.26)),
        0.12,
        (0.4, 0.25),
        False,
        5.0,
    ),
    # of the shifted test sites alone (look.py)
    "thatch": Style(
        "thatch roof", ((0.82, 0.78, 0.70), (0.30, 0.22, 0.14), (0.64, 0.60, 0.46)), 0.9, (0.3, 0.3)
    ),
    "copper": Style(
        "copper roof",
        ((0.72, 0.66, 0.50), (0.56, 0.52, 0.50), (0.24, 0.34, 0.30)),
        0.3,
        (0.35, 0.7),
    ),
    "solar": Style(
        "solar roof", ((0.20, 0.22, 0.26), (0.66, 0.30, 0.10), (0.80, 0.80, 0.82)), 0.15, (0.7, 0.3)
    ),
    "timber": Style(
        "timber roof", ((0.36, 0.22, 0.12), (0.46, 0.32, 0.18), (0.22, 0.13, 0.08)), 0.5, (0.5, 0.6)
    ),
    "bronze": Style(
        "solar roof",
        ((0.30, 0.20, 0.10), (0.26, 0.16, 0.10), (0.36, 0.26, 0.14)),
        0,
        (0.7, 0.9),
        True,
        4.0,
    ),
}
STYLE_NAMES = tuple(STYLES)
