"""What a raster file says of itself: its grid, kind of number, scale, and whether it is whole."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyproj
import rasterio
from affine import Affine

from gairlib.data import scene_metadata
from gairlib.data.boundary import reading
from gairlib.data.raster import open_raster
from gairlib.data.scene import REMOTE, check_georeferenced, crs_name, is_remote, north_up
from gairlib.data.scene_values import mask_band
from gairlib.errors import BadInput, Missing


@dataclass(frozen=True)
class Grid:
    """Where the pixels of one band lie."""

    crs: str  # as in Scene
    transform: Affine
    width: int
    height: int

    def describe(self) -> str:
        t = self.transform
        return (
            f"{self.width} x {self.height} px of {t.a:g} from {t.c:g}, {t.f:g} in {self.crs[:20]}"
        )


@dataclass(frozen=True)
class Header:
    """What a band's file says before its pixels are read; scale None: it declares none."""

    grid: Grid
    dtype: str
    tags: dict
    scale: tuple[float, float] | None
    unit: str | None
    count: int  # bands that the file has beside a mask


def header(href: str, what: str, index: int = 1) -> Header:
    """What a raster file says of itself and of one band; BadInput or Missing says why not."""
    if not is_remote(href) and not Path(href).is_file():
        raise Missing(f"{what}: there is no such file")
    with (
        reading(what, "not readable as a raster, or cut short, or gone"),
        rasterio.Env(**(REMOTE if is_remote(href) else {})),
        open_raster(href, what) as source,
    ):
        check_georeferenced(source, what)
        if source.transform == Affine.identity():
            raise BadInput(f"{what}: has no geotransform; where its pixels lie is not known")
        grid = grid_of(source, what)
        scale = scene_metadata.declared_scale(source, [index], what)
        plain = scale is None and source.dtypes[0].startswith("float")
        unit = scene_metadata.unit(source, index) if plain else None
        if not is_remote(href):
            check_whole(source, what)
        count = source.count - (mask_band(source) is not None)
        return Header(grid, source.dtypes[0], source.tags(), scale, unit, count)


def grid_of(source, what: str) -> Grid:
    """Where the pixels of an open raster lie, north-up."""
    transform = north_up(source.transform, source.width, source.height, what)
    return Grid(crs_name(source.crs, what), transform, source.width, source.height)


def check_whole(source, what: str) -> None:
    """BadInput where a local TIFF with overviews ends before its last tile (of one without, the
    thumbnail reads every tile). Looks at the first and last band."""
    if source.driver != "GTiff" or not source.overviews(1):
        return
    size = os.path.getsize(source.name)
    for band in {1, source.count}:
        for (row, column), _ in source.block_windows(band):
            start, length = (
                source.get_tag_item(f"BLOCK_{part}_{column}_{row}", "TIFF", bidx=band)
                for part in ("OFFSET", "SIZE")
            )
            if start is not None and int(start) + int(length or 0) > size:
                raise BadInput(f"{what}: the file is cut short; fetch it again")


def same(a: Grid, b: Grid) -> bool:
    """Whether two grids are one: size, CRS, and corners within a tenth of a pixel."""
    if (a.width, a.height) != (b.width, b.height):
        return False
    if a.crs != b.crs and not pyproj.CRS(a.crs).equals(pyproj.CRS(b.crs), ignore_axis_order=True):
        return False
    first = north_up(a.transform, a.width, a.height, "item")
    corners = ((0, 0), (a.width, a.height))
    return max(abs(x - y) for c in corners for x, y in zip(~first @ (b.transform @ c), c)) < 0.1
