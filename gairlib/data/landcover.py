"""The land-cover map of a scene: a raster of class values on the scene's own grid."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from gairlib.data import band_file, boundary
from gairlib.data.raster import open_raster
from gairlib.data.scene import Scene, upright
from gairlib.errors import BadInput


def read(path: Path, scene: Scene, names: Collection[int]) -> np.ndarray:
    """Class values [H, W]; BadInput where they lie elsewhere than the scene, or one that is not
    nodata is not in `names`. Of a map without a reference system the size alone is compared."""
    with boundary.reading(path, "not readable as a raster"), open_raster(path) as source:
        values, nodata = upright(source.read(1), source), source.nodata
        grid = source.crs and band_file.grid_of(source, str(path))
    if values.shape != (scene.height, scene.width):
        raise BadInput(
            f"{path}: {values.shape[1]} x {values.shape[0]} px, but its scene has "
            f"{scene.width} x {scene.height}; both must be on the same grid"
        )
    own = band_file.Grid(scene.crs, scene.transform, scene.width, scene.height)
    if grid is not None and not band_file.same(grid, own):
        raise BadInput(
            f"{path}: {grid.describe()}, but its scene has {own.describe()}; both must be on the "
            "same grid"
        )
    unknown = [
        v
        for v in np.unique(values).tolist()
        if v not in names and v != nodata and not (v != v and nodata != nodata)
    ]
    if unknown:
        raise BadInput(
            f"{path}: the value {unknown[0]} has no name; landcover/classes.csv lists "
            f"{', '.join(map(str, names))}. Name it there, or declare it as the raster's nodata"
        )
    return values
