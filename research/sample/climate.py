"""What a climate and a continent steer: plants, soils, crops, building styles, seasons."""

import math
from dataclasses import dataclass

from research.sample.sites import Site


@dataclass(frozen=True)
class Climate:
    """forest, crop, bare: how much wild or farmed land there is (weights); grass, dry: ground
    covers; season: how far greenness falls (0: evergreen); snow: months with snow (northern)."""

    forest: float
    crop: float
    bare: float
    grass: str
    dry: str
    soil: str
    trees: tuple[str, ...]
    crops: tuple[str, ...]
    dirt: str
    season: float
    snow: tuple[int, ...] = ()
    rain: float = 0.12
    fog: float = 0.07


CLIMATES = {
    "tropical": Climate(
        1.2,
        0.7,
        0.3,
        "lush grass",
        "grass",
        "laterite",
        ("broadleaf", "palm", "light broadleaf"),
        ("rice", "maize", "lush grass", "red tilled soil"),
        "laterite",
        0.05,
        rain=0.2,
    ),
    "savanna": Climate(
        0.6,
        0.8,
        0.8,
        "grass",
        "dry grass",
        "laterite",
        ("light broadleaf", "palm", "red blossom", "broadleaf"),
        ("maize", "rice", "red tilled soil", "stubble"),
        "laterite",
        0.45,
    ),
    "arid": Climate(
        0.1,
        0.7,
        2.0,
        "steppe",
        "sand",
        "sand",
        ("palm", "olive", "broadleaf"),
        ("wheat", "ripe wheat", "tilled soil", "vineyard"),
        "sand",
        0.3,
        rain=0.03,
        fog=0.05,
    ),
    "mediterranean": Climate(
        0.5,
        0.9,
        0.6,
        "dry grass",
        "steppe",
        "brown soil",
        ("olive", "conifer", "broadleaf"),
        ("vineyard", "ripe wheat", "sunflower", "tilled soil", "wheat"),
        "gravel",
        0.3,
    ),
    "oceanic": Climate(
        0.7,
        1.0,
        0.3,
        "lush grass",
        "grass",
        "brown soil",
        ("broadleaf", "light broadleaf", "conifer"),
        ("wheat", "rapeseed", "maize", "tilled soil", "lush grass"),
        "gravel",
        0.55,
        rain=0.2,
        fog=0.1,
    ),
    "subtropical": Climate(
        1.0,
        0.8,
        0.3,
        "grass",
        "lush grass",
        "brown soil",
        ("broadleaf", "conifer", "red blossom", "light broadleaf"),
        ("rice", "maize", "wheat", "red tilled soil"),
        "gravel",
        0.35,
        rain=0.15,
    ),
    "continental": Climate(
        0.8,
        1.0,
        0.3,
        "grass",
        "dry grass",
        "black soil",
        ("broadleaf", "conifer", "autumn tree", "light broadleaf"),
        ("wheat", "maize", "sunflower", "rapeseed", "tilled soil", "ripe wheat"),
        "brown soil",
        0.8,
        (12, 1, 2),
    ),
    "boreal": Climate(
        1.4,
        0.4,
        0.5,
        "grass",
        "steppe",
        "rock",
        ("conifer", "autumn tree", "light broadleaf"),
        ("wheat", "stubble", "tilled soil"),
        "gravel",
        0.9,
        (11, 12, 1, 2, 3),
    ),
    "highland": Climate(
        0.7,
        0.9,
        0.5,
        "grass",
        "dry grass",
        "laterite",
        ("broadleaf", "conifer", "red blossom"),
        ("maize", "wheat", "red tilled soil", "vineyard"),
        "laterite",
        0.25,
        rain=0.15,
        fog=0.1,
    ),
    # of further test sites alone: the same plants and soils, put together anew
    "tundra": Climate(
        0.1,
        0.1,
        1.8,
        "steppe",
        "rock",
        "gravel",
        ("light broadleaf", "conifer"),
        ("stubble", "tilled soil", "lush grass"),
        "gravel",
        0.95,
        (10, 11, 12, 1, 2, 3, 4),
        rain=0.15,
        fog=0.15,
    ),
    "steppe": Climate(
        0.15,
        1.3,
        0.9,
        "steppe",
        "dry grass",
        "black soil",
        ("light broadleaf", "autumn tree", "olive"),
        ("ripe wheat", "stubble", "sunflower", "wheat"),
        "brown soil",
        0.65,
        (12, 1, 2),
        rain=0.05,
        fog=0.04,
    ),
    "monsoon": Climate(
        1.1,
        1.3,
        0.1,
        "lush grass",
        "dry grass",
        "laterite",
        ("palm", "palm", "broadleaf", "red blossom"),
        ("rice", "rice", "lush grass", "red tilled soil"),
        "laterite",
        0.5,
        rain=0.4,
        fog=0.1,
    ),
    "puna": Climate(
        0.05,
        0.5,
        1.8,
        "dry grass",
        "rock",
        "brown soil",
        ("olive", "light broadleaf"),
        ("stubble", "tilled soil", "red tilled soil", "ripe wheat"),
        "gravel",
        0.6,
        (12, 1, 2),
        rain=0.06,
        fog=0.05,
    ),
}

_STYLES = {
    "Europe": ("terracotta", "red", "shingle", "gravel", "brick"),
    "Asia": ("blue", "gravel", "shingle", "tin", "terracotta", "green"),
    "Africa": ("rusty", "tin", "terracotta", "gravel", "blue", "white"),
    "North America": ("shingle", "brick", "gravel", "red", "white"),
    "South America": ("terracotta", "gravel", "rusty", "brick", "white"),
    "Oceania": ("tin", "red", "shingle", "green", "white"),
}
_BY_CLIMATE = {
    "arid": ("adobe", "white"),
    "mediterranean": ("terracotta", "white"),
    "tropical": ("rusty", "tin"),
    "savanna": ("rusty", "white"),
    "oceanic": ("brick", "shingle"),
    "boreal": ("red", "green"),
    "continental": ("red", "green"),
    "highland": ("terracotta", "tin"),
    "subtropical": ("blue", "shingle"),
    "tundra": ("green", "tin"),
    "steppe": ("tin", "gravel"),
    "monsoon": ("terracotta", "rusty"),
    "puna": ("adobe", "tin"),
}


def styles_of(site: Site) -> list[str]:
    """Residential styles that may be met at a site, likelier ones repeated."""
    local = _BY_CLIMATE[site.climate]
    if site.climate == "arid":
        return [*local, *local, *_STYLES[site.continent]]
    return [*local, *_STYLES[site.continent]]


def greenness(site: Site, day: int) -> float:
    """0 (dormant) to 1 (full leaf) on a day of the year; peaks in each hemisphere's summer."""
    fall = CLIMATES[site.climate].season
    phase = math.cos(2 * math.pi * (day - (200 if site.lat >= 0 else 17)) / 365.0)
    return 1.0 - fall * min(1.0, max(0.0, 0.45 - 0.75 * phase))


def may_snow(site: Site, month: int) -> bool:
    northern = month if site.lat >= 0 else (month + 5) % 12 + 1
    return northern in CLIMATES[site.climate].snow


def urban_base(site: Site) -> float:
    """Urbanity of a site's middle, 0 (open country) to 1 (towers), from its population."""
    return min(0.85, max(0.35, 0.42 + 0.13 * (math.log10(site.population) - 4.7)))
