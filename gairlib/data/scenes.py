"""A Sentinel-2 scene on disk: what it is, where it lies, and its pixels as harmonised DN.

A scene is one file with all bands, or one file a band; then its own grid is that of the finest
band (10 m). Here are single files; folders of band files are opened by `gairlib.data.scene_assets`, the
items of a catalogue by `gairlib.data.stac`, and pixels are read by `gairlib.data.scene_reader`.

`open_scene` reads only headers (and a thumbnail where the baseline offset must be guessed) and
refuses, with one sentence, what cannot be used. A chip whose ground size is a whole number of the
scene's pixels (give or take half a percent, which covers UTM's scale factor) is an exact window of
the scene. Pixels are never warped into another CRS.

Positions inside a scene are (column, row) in pixels as floats, (0, 0) the outer corner of the
first pixel; `Scene.transform` takes them to the scene's CRS.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.windows import Window
from shapely.geometry import Polygon

from gairlib import bands
from gairlib.data import scene_metadata
from gairlib.data.scene_reader import CLOUD_CLASSES, Chip, Reader, is_remote, nodata_to_zero
from gairlib.errors import BadInput, Missing

__all__ = [
    "CLOUD_CLASSES",
    "Asset",
    "Chip",
    "Reader",
    "Scene",
    "corner",
    "open_scene",
    "outline",
    "read",
    "read_chip",
    "tiles",
    "transformer",
]

SNAP = 0.005  # a chip whose size in pixels is this close to a whole number is cut, not resampled
_GEOD = pyproj.Geod(ellps="WGS84")


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """Cached pyproj transformer between CRS strings, always (x, y) = (lon, lat) order."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=256)
def _geographic(crs: str) -> bool:
    return pyproj.CRS.from_user_input(crs).is_geographic


@dataclass(frozen=True)
class Asset:
    """Where one band of a scene lies, when it has files of its own."""

    href: str  # local path or URL
    index: int = 1  # of the band in that file, from 1
    ratio: int = 1  # how many of the scene's pixels one of its own is wide: 1 at 10 m, 2 at 20 m
    nodata: float | None = None  # None: what the file says, else 0


@dataclass(frozen=True)
class Scene:
    """The ten bands of one product on one grid; see the module's docstring."""

    id: str
    path: Path  # of the single file; else of the folder or catalogue that names the assets
    crs: str  # "EPSG:32654", or WKT where there is no code
    transform: Affine  # (column, row) in pixels -> CRS, float64
    width: int
    height: int
    band_indexes: tuple[int, ...]  # 1-based positions of bands.BANDS
    layout: str  # "named" or a key of bands.LAYOUTS
    offset: int  # DN to subtract, 0 or 1000
    offset_source: str  # "stac", "tags", "scenes.csv", "layout", "guessed from pixels"
    nodata: float = 0.0
    datetime: str | None = None
    cloud_cover: float = math.nan  # percent, of the whole product
    scl_index: int | None = None
    footprint: Polygon = field(default=None, repr=False)  # lon/lat; may run past +-180 degrees
    assets: tuple[Asset, ...] = field(default=(), repr=False)  # ten, as bands.BANDS; () one file
    scl_asset: Asset | None = field(default=None, repr=False)

    @property
    def remote(self) -> bool:
        """Whether reading it takes a network."""
        return any(is_remote(asset.href) for asset in self.assets)

    def to_pixels(self, lon, lat) -> tuple[np.ndarray, np.ndarray]:
        """lon/lat in degrees -> (column, row) in pixels, float64; not finite if there is none."""
        x, y = transformer("EPSG:4326", self.crs).transform(np.asarray(lon), np.asarray(lat))
        if _geographic(self.crs):
            centre = self.transform @ (self.width / 2, self.height / 2)
            x = x - 360.0 * np.round((x - centre[0]) / 360.0)  # the turn that the scene is drawn in
        t = ~self.transform
        with np.errstate(invalid="ignore"):  # inf, for places that the projection has no value for
            return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f

    def to_lonlat(self, column, row) -> tuple[np.ndarray, np.ndarray]:
        """(column, row) in pixels -> lon, lat in degrees; lon as the CRS gives it."""
        t, column, row = self.transform, np.asarray(column, float), np.asarray(row, float)
        x, y = t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f
        return transformer(self.crs, "EPSG:4326").transform(x, y)

    def pixel_metres(self, column: float, row: float) -> tuple[float, float]:
        """Ground width and height of a pixel there, in metres on the ellipsoid."""
        lon, lat = self.to_lonlat(
            [column - 5, column + 5, column, column], [row, row, row - 5, row + 5]
        )
        across = _GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2] / 10.0
        return across, _GEOD.inv(lon[2], lat[2], lon[3], lat[3])[2] / 10.0

    def chip_pixels(self, chip_m: float, column: float, row: float) -> tuple[float, float]:
        """Width and height, in the scene's pixels, of a chip of chip_m metres around there."""
        return tuple(_snapped(chip_m / m) for m in self.pixel_metres(column, row))


def _snapped(pixels: float) -> float:
    whole = max(1.0, round(pixels))
    return whole if abs(pixels - whole) <= SNAP * whole else pixels


def open_scene(
    path: str | Path, *, id: str | None = None, layout: str | None = None, row: dict | None = None
) -> Scene:
    """Look at a file's header and its metadata; BadInput or Missing says why it cannot be used.

    layout: declared band layout; row: its row of scenes.csv (layout, processing_baseline,
    datetime, cloud_cover are read, all optional). What is declared in `layout` comes first.
    """
    path, row = Path(path), row or {}
    id = id or path.stem
    what = f"scene {id} ({path.name})"
    if not path.is_file():
        raise Missing(f"{what}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # said below
            with rasterio.open(path) as source:
                return _scene(source, path, id, what, layout or row.get("layout"), row)
    except rasterio.errors.RasterioError as problem:
        raise BadInput(f"{what}: not readable as a raster, or cut short") from problem


def _scene(source, path: Path, id: str, what: str, layout: str | None, row: dict) -> Scene:
    if source.crs is None:
        raise BadInput(f"{what}: has no CRS; write the coordinate reference system into the file")
    if source.transform == Affine.identity():
        raise BadInput(f"{what}: has no geotransform; the file does not say where its pixels lie")
    item = scene_metadata.sidecar(path)
    names = list(source.descriptions)
    if not any(bands.canonical(n) in bands.BANDS for n in names):
        names = scene_metadata.band_names(item, path.name) or names
    if len(names) != source.count:
        raise BadInput(
            f"{what}: its STAC item names {len(names)} bands, but the file has {source.count}"
        )
    layout, indexes, scl = bands.find(names, layout, what)
    nodata = 0.0 if source.nodata is None else float(source.nodata)
    scale = max(1.0, max(source.shape) / 256)
    small = tuple(max(1, round(n / scale)) for n in source.shape)
    sample = source.read(indexes, out_shape=(10, *small)).reshape(10, -1)
    sample = check_digital_numbers(nodata_to_zero(sample, nodata), what)
    tags = source.tags()
    offset, known = scene_metadata.offset(
        item, tags, row.get("processing_baseline"), layout, sample, what
    )
    when, cloud = scene_metadata.date_and_cloud(item, tags, row)
    epsg = source.crs.to_epsg()
    crs = f"EPSG:{epsg}" if epsg else source.crs.to_wkt()
    return Scene(
        id,
        path,
        crs,
        source.transform,
        source.width,
        source.height,
        indexes,
        layout,
        offset,
        known,
        nodata,
        when,
        cloud,
        scl,
        outline(source.transform, crs, source.width, source.height, what),
    )


def check_digital_numbers(sample: np.ndarray, what: str) -> np.ndarray:
    """A sample [10, n] of raw numbers with negative ones as 0; BadInput if it is reflectance."""
    sample = np.maximum(sample, 0)
    if sample.dtype.kind == "f" and 0 < sample.max() <= 10:
        raise BadInput(
            f"{what}: values up to {sample.max():.3g} look like reflectance; store DN "
            "(reflectance x 10000)"
        )
    return sample


def outline(
    transform: Affine, crs: str, width: float, height: float, what: str = "raster", steps: int = 16
) -> Polygon:
    """The true outline of a raster in lon/lat: each edge in `steps` pieces.

    Longitudes run on across the antimeridian (a ring may reach 181 degrees), centre in
    [-180, 180). BadInput where the outline goes around a pole.
    """
    t = np.linspace(0.0, 1.0, steps, endpoint=False)
    column = np.concatenate([t, np.ones(steps), 1 - t, np.zeros(steps)]) * width
    row = np.concatenate([np.zeros(steps), t, np.ones(steps), 1 - t]) * height
    x = transform.a * column + transform.b * row + transform.c
    y = transform.d * column + transform.e * row + transform.f
    lon, lat = transformer(crs, "EPSG:4326").transform(x, y)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and (np.abs(lat) <= 90).all()):
        raise BadInput(f"{what}: its outline has no place on the globe; is the CRS right?")
    ring = np.unwrap(np.append(lon, lon[0]), period=360.0)
    if abs(ring[-1] - ring[0]) > 180.0:
        raise BadInput(f"{what}: goes around a pole, which is not supported")
    turn = 360.0 * math.floor((ring.mean() + 180.0) / 360.0)
    return Polygon(np.column_stack([ring[:-1] - turn, lat]))


def read(scene: Scene, window: Window | None = None) -> np.ndarray:
    """The ten bands as uint16 [10, h, w], harmonised DN, nodata 0. The window must lie inside."""
    with Reader(scene) as reader:
        if window is None:
            return reader.window(0, 0, scene.width, scene.height)[0]
        return reader.window(*(int(v) for v in window.flatten()))[0]


def read_chip(
    scene: Scene, column: float, row: float, *, size_px: int, size_m: float
) -> tuple[np.ndarray, Affine]:
    """A chip of size_m metres around (column, row), shifted into the scene where it would reach
    out. Returns uint16 [10, size_px, size_px] and its transform."""
    width, height = scene.chip_pixels(size_m, column, row)
    if width > scene.width or height > scene.height:
        raise BadInput(f"scene {scene.id}: smaller than a chip of {size_m:g} m")
    c = corner(column - width / 2, width, scene.width)
    r = corner(row - height / 2, height, scene.height)
    with Reader(scene) as reader:
        chip = reader.chip(c, r, width, height, size_px)
    return chip.values, chip.transform


def corner(start: float, extent: float, available: int) -> float:
    """A chip's first column (or row), shifted into the scene; whole where its extent is whole."""
    start = min(max(0.0, start), available - extent)
    return float(round(start)) if extent == round(extent) else start


def tiles(
    scene: Scene, chip_px: int, chip_m: float, stride_px: int | None = None
) -> Iterator[tuple[np.ndarray, Affine]]:
    """Chips that cover the scene, row by row: (uint16 [10, px, px], transform).

    stride_px: in chip pixels, default chip_px (side by side). The last of a row and of a column is
    shifted into the scene. A scene smaller than a chip gives one chip of the whole scene, stretched
    to chip_px x chip_px; its transform tells the ground size that it really has.
    """
    width, height = scene.chip_pixels(chip_m, scene.width / 2, scene.height / 2)
    with Reader(scene) as reader:
        if width > scene.width or height > scene.height:
            chip = reader.chip(0.0, 0.0, scene.width, scene.height, chip_px)
            yield chip.values, chip.transform
            return
        share = (stride_px or chip_px) / chip_px
        for r in _starts(height, share, scene.height):
            for c in _starts(width, share, scene.width):
                chip = reader.chip(c, r, width, height, chip_px)
                yield chip.values, chip.transform


def _starts(extent: float, share: float, available: int) -> list[float]:
    count = math.ceil((available - extent) / (extent * share) - 1e-9) + 1
    return [corner(i * extent * share, extent, available) for i in range(count)]
