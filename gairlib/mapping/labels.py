"""A user's labels on the pixels of a scene: points, polygons or a raster; classes or numbers.

Points label the pixel that they lie in, polygons the pixels whose centre lies in them, a raster
every pixel whose centre it has a value for, in whatever CRS it is. What comes from one polygon is
one object: a split over space never tears it apart. A pixel that got two classes has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.features import geometry_mask
from rasterio.windows import Window
from rasterio.windows import transform as placed

from gairlib.data.boundary import reading
from gairlib.data.raster import open_raster
from gairlib.data.scene import Scene, crs_name, transformer
from gairlib.errors import BadInput, Missing

KINDS = ("classes", "numbers")
RASTERS = (".tif", ".tiff", ".jp2")
DRAWN = 50  # places of a scene that are looked up in a raster, for each label that is wanted


@dataclass(frozen=True)
class Labels:
    """Labels of a scene: pixels (column, row) [n, 2], values [n] as they are in the source, and
    the number of the object [n] that each comes from."""

    pixels: np.ndarray
    values: np.ndarray
    objects: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def of(self, rows: np.ndarray) -> Labels:
        """Some of them."""
        return Labels(self.pixels[rows], self.values[rows], self.objects[rows])


def read_polygons(path: str | Path, column: str) -> gpd.GeoDataFrame:
    """Shapes of a file, with their labels in a column; those without either are left out."""
    if not Path(path).is_file():
        raise Missing(f"{path}: there is no such file of labels")
    with reading(path, "not readable as polygons"):
        found = gpd.read_file(path)
    return _labelled(found, column, path)


def _labelled(found: gpd.GeoDataFrame, column: str | None, what) -> gpd.GeoDataFrame:
    if column not in found or found.crs is None:
        raise BadInput(f"{what}: needs a column `{column}` and a reference system")
    return found[found[column].notna() & found.geometry.notna()].reset_index(drop=True)


def pixels_in(scene: Scene, shape) -> np.ndarray:
    """Pixels (column, row) [p, 2] of the scene whose centre lies in a shape of its CRS, row by
    row."""
    if shape.is_empty:
        return np.zeros((0, 2), int)
    west, south, east, north = shape.bounds
    corners = [~scene.transform @ corner for corner in ((west, north), (east, south))]
    (c0, r0), (c1, r1) = np.floor(corners).astype(int) + ((0, 0), (1, 1))
    c0, r0, c1, r1 = max(c0, 0), max(r0, 0), min(c1, scene.width), min(r1, scene.height)
    if c0 >= c1 or r0 >= r1:
        return np.zeros((0, 2), int)
    window = placed(Window(c0, r0, c1 - c0, r1 - r0), scene.transform)
    inside = geometry_mask([shape], (r1 - r0, c1 - c0), window, invert=True)
    return np.argwhere(inside)[:, ::-1] + (c0, r0)


def some(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]


def on_scene(
    scene: Scene,
    source: str | Path | gpd.GeoDataFrame,
    column: str | None,
    *,
    each: int,
    most: int,
    seed: int = 0,
) -> Labels:
    """The labels of a scene. each: pixels of a polygon, evenly spaced; most: of all, drawn by the
    seed. column: of a table; a raster's labels are in its first band."""
    if isinstance(source, gpd.GeoDataFrame):
        found = _of_shapes(scene, _labelled(source, column, "labels"), column, each)
    elif Path(source).suffix.lower() in RASTERS:
        found = _of_raster(scene, Path(source), DRAWN * most, seed)
    else:
        found = _of_shapes(scene, read_polygons(source, column), column, each)
    found = _agreed(found, scene.width)
    rows = np.random.default_rng(seed).permutation(len(found))[:most]
    rows.sort()
    return found.of(rows)


def kind_of(values: np.ndarray, kind: str | None = None) -> str:
    """ "classes" of text, whole numbers and truth values, "numbers" of all else, unless said."""
    if kind not in (None, *KINDS):
        raise BadInput(f"kind {kind!r}: choose {' or '.join(KINDS)}")
    return kind or ("numbers" if pd.api.types.is_float_dtype(values) else "classes")


def _of_shapes(scene: Scene, given: gpd.GeoDataFrame, column: str, each: int) -> Labels:
    given = given.to_crs(scene.crs)
    odd = ~given.geom_type.isin(["Point", "MultiPoint", "Polygon", "MultiPolygon"])
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise BadInput(
            f"labels, row {row}: a {given.geom_type[row]}; points or polygons are needed"
        )
    pixels, rows = [np.zeros((0, 2), int)], [np.zeros(0, int)]
    for i, shape in enumerate(given.geometry):
        if "Point" in shape.geom_type:
            xy = [~scene.transform @ (p.x, p.y) for p in getattr(shape, "geoms", [shape])]
            inside = np.floor(np.array(xy)).astype(int)
            there = (inside >= 0) & (inside < (scene.width, scene.height))
            inside = inside[there.all(1)]
        else:
            inside = some(pixels_in(scene, shape), each)
        pixels.append(inside)
        rows.append(np.full(len(inside), i))
    objects = np.concatenate(rows)
    return Labels(np.concatenate(pixels), given[column].to_numpy()[objects], objects)


def _of_raster(scene: Scene, path: Path, most: int, seed: int) -> Labels:
    """Labels at random pixels of the scene, read where a raster has them; its own objects."""
    if not path.is_file():
        raise Missing(f"{path}: there is no such file of labels")
    total = scene.width * scene.height
    flat = np.random.default_rng(seed).choice(total, min(most, total), replace=False)
    pixels = np.column_stack([flat % scene.width, flat // scene.width])
    with reading(path, "not readable as a raster of labels"), open_raster(path) as file:
        x, y = scene.transform @ (pixels.T + 0.5)
        x, y = transformer(scene.crs, crs_name(file.crs, str(path))).transform(x, y)
        column, row = np.floor(~file.transform @ np.stack([x, y]))
        there = (column >= 0) & (column < file.width) & (row >= 0) & (row < file.height)
        values, mask = file.read(1), file.read_masks(1) > 0
        row, column = row[there].astype(int), column[there].astype(int)
        good = mask[row, column] & np.isfinite(values[row, column])
        values = values[row, column][good]
    pixels = pixels[there][good]
    return Labels(pixels, values, np.arange(len(pixels)))


def _agreed(found: Labels, width: int) -> Labels:
    """Each pixel once; those with two values are left out."""
    if not len(found):
        return found
    codes = pd.factorize(found.values)[0]
    table = pd.DataFrame({"at": found.pixels[:, 1] * width + found.pixels[:, 0], "code": codes})
    rows = ~table["at"].duplicated() & (table.groupby("at")["code"].transform("nunique") == 1)
    return found.of(rows.to_numpy())


def palette_of(path: str | Path) -> dict[int, str]:
    """Colours "#rrggbb" by value of a raster's own colour table; empty without one."""
    with open_raster(path) as file:
        if file.colorinterp[0] != rasterio.enums.ColorInterp.palette:
            return {}
        return {value: f"#{bytes(rgba[:3]).hex()}" for value, rgba in file.colormap(1).items()}
