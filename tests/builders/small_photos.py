"""Photo tables on the grid of small 10-m UTM scenes, the scenes, and settings to pair with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
from affine import Affine
from builders.small_files import ORIGIN, UTM, ramp, write_scene
from shapely.geometry import Polygon

from gairlib.data import scenes
from gairlib.data.scene import Scene

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


def write_three_scenes(folder: Path) -> list[Scene]:
    """Two scenes that overlap by half, and one apart."""
    made = []
    for name, shift in (("a", 0), ("b", 640), ("c", 40_000)):
        path = folder / f"{name}.tif"
        write_scene(path, ramp(10, 128, 128), origin=(ORIGIN[0] + shift, ORIGIN[1]))
        made.append(scenes.open_scene(path, row={"processing_baseline": "3.0"}))
    return made
