"""A generated scene whose ground is of known kinds, with labels in several forms."""

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from builders.field_scenes import UTM, write_scene

SIDE = 16  # pixels of a plot of one kind
KINDS = ("lake", "field", "town")
SIZE = (144, 160)  # rows, columns


class Mapped:
    """scene; kinds [H, W] of its pixels, 0 to 2; plots: polygons with a column `use`."""

    def __init__(self, folder, seed=0):
        rng = np.random.default_rng(seed)
        plots = rng.integers(0, 3, (SIZE[0] // SIDE, SIZE[1] // SIDE))
        self.kinds = np.kron(plots, np.ones((SIDE, SIDE), int))
        values = rng.normal(1500, 150, (10, *SIZE)) + 500 * self.kinds
        self.scene = write_scene(folder / f"scene{seed}.tif", values.clip(1))
        t = self.transform = UTM[1]
        rows = []
        for (i, j), kind in np.ndenumerate(plots):
            (west, north), (east, south) = (
                t @ (SIDE * j + 2, SIDE * i + 2),
                t @ (SIDE * j + SIDE - 2, SIDE * i + SIDE - 2),
            )
            rows.append((KINDS[kind], float(kind), shapely.box(west, south, east, north)))
        frame = pd.DataFrame(rows, columns=["use", "height", "geometry"])
        self.plots = gpd.GeoDataFrame(frame, crs=UTM[0])

    def raster(self, path, crs=UTM[0]):
        """The kinds from 1 on as a raster with colours; 0 is no data in its first ten rows."""
        values = (self.kinds + 1).astype(np.uint8)
        values[:10] = 0
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=SIZE[0],
            width=SIZE[1],
            count=1,
            dtype="uint8",
            crs=crs,
            transform=self.transform,
            nodata=0,
        ) as file:
            file.write(values, 1)
            file.write_colormap(1, {1: (0, 0, 200), 2: (200, 200, 0), 3: (200, 0, 0)})
        return path
