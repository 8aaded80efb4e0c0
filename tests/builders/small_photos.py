"""Photo tables on the grid of a small 10-m UTM scene, and settings to pair them with."""

import numpy as np
import pandas as pd
import pyproj
from affine import Affine
from builders.small_files import ORIGIN, UTM
from shapely.geometry import Polygon

TO_LONLAT = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
SMALL = {"chip_px": 32, "chip_m": 320.0, "progress": False}


def table(column, row, origin=ORIGIN, **more) -> pd.DataFrame:
    """Photos at (column, row) of a 10-m UTM scene."""
    x, y = origin[0] + 10 * np.asarray(column), origin[1] - 10 * np.asarray(row)
    lon, lat = TO_LONLAT.transform(x, y)
    ids = [f"p{i:03d}" for i in range(len(lon))]
    return pd.DataFrame({"photo_id": ids, "path": "a.jpg", "lon": lon, "lat": lat, **more})


def random_table(n=60, size=(128, 128), seed=0, **more) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return table(rng.uniform(0, size[0], n), rng.uniform(0, size[1], n), **more)


def chip_outline(chips, i) -> Polygon:
    """A chip's ground, in the metres of the UTM zone."""
    t, px = Affine(*chips["transform"].values[i]), chips.sizes["x"]
    return Polygon([t @ c for c in ((0, 0), (px, 0), (px, px), (0, px))])
