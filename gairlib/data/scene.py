"""What a Sentinel-2 scene is: ten bands on one grid, where it lies, and how its bands are stored.

`scenes.open_scene` and `scene_assets.open_folder` make a Scene out of files, `stac` out of a
catalogue's items; `scene_reader` reads its pixels. Nothing here opens a file.

A scene is one file with all bands, or one file a band; then its own grid is that of the finest
band (10 m). Positions inside a scene are (column, row) in pixels as floats, (0, 0) the outer corner
of the first pixel; `Scene.transform` takes them to the scene's CRS.
"""

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj
from affine import Affine
from shapely.geometry import Polygon

from gairlib.data.boundary import reading
from gairlib.errors import BadInput
from gairlib.files import stamp

CLOUD_CLASSES = (8, 9, 10)  # SCL: cloud of medium and high probability, thin cirrus
REMOTE = {  # of GDAL, for http(s) and object stores: retries with growing pauses, no listing
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}
SNAP = 0.005  # a chip whose size in pixels is this close to a whole number is cut, not resampled
SMALLEST, LARGEST = 0.01, 10_000.0  # metres that a pixel may be wide: no scene lies outside
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
    factor: float = 1.0  # takes the file's numbers to DN: 1 but for what is stored as reflectance

    @property
    def remote(self) -> bool:
        """Whether reading it takes a network."""
        return any(is_remote(asset.href) for asset in self.assets)

    def stamps(self) -> list:
        """Each file that its pixels come from, what stands beside it for GDAL included, with its
        state: other files, or one that was replaced, give another list."""
        hrefs = [str(self.path)] if not self.assets else [a.href for a in self.assets]
        if self.scl_asset:
            hrefs.append(self.scl_asset.href)
        beside = ("", ".aux.xml", ".msk", ".ovr")
        found = [[h, *(stamp(h + end) for end in beside)] for h in hrefs if not is_remote(h)]
        return [*found, *map(repr, (*self.assets, self.scl_asset))]

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


def outline(
    transform: Affine, crs: str, width: float, height: float, what: str = "raster", steps: int = 16
) -> Polygon:
    """The true outline of a raster in lon/lat: each edge in `steps` pieces.

    Longitudes run on across the antimeridian (a ring may reach 181 degrees), centre in
    [-180, 180). BadInput where the outline goes around a pole, or no part of it comes back from
    longitude and latitude to where it was.
    """
    t = np.linspace(0.0, 1.0, steps, endpoint=False)
    column = np.concatenate([t, np.ones(steps), 1 - t, np.zeros(steps)]) * width
    row = np.concatenate([np.zeros(steps), t, np.ones(steps), 1 - t]) * height
    x = transform.a * column + transform.b * row + transform.c
    y = transform.d * column + transform.e * row + transform.f
    with reading(what, "its CRS cannot be used: there is no way to longitude and latitude"):
        lon, lat = transformer(crs, "EPSG:4326").transform(x, y)
        back = transformer("EPSG:4326", crs).transform(lon, lat)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and (np.abs(lat) <= 90).all()):
        raise BadInput(f"{what}: its outline has no place on the globe; is the CRS right?")
    ring = np.unwrap(np.append(lon, lon[0]), period=360.0)
    if abs(ring[-1] - ring[0]) > 180.0:
        raise BadInput(f"{what}: goes around a pole, which is not supported")
    turn = 360.0 * np.round((x - back[0]) / 360.0) if _geographic(crs) else 0.0
    off = np.maximum(np.abs(back[0] + turn - x), np.abs(back[1] - y))
    there = (off <= abs(transform.a)) & (np.abs(lat) < 85.1)  # Sentinel-2 sees no further
    if not there.any():  # a part of it may lie past the antimeridian
        raise BadInput(f"{what}: lies outside of the world of its CRS; is the geotransform right?")
    metres = _GEOD.line_length(lon[: steps + 1], lat[: steps + 1]) / width
    if not SMALLEST <= metres <= LARGEST:
        raise BadInput(
            f"{what}: its pixels would be {metres:.2g} m wide; is its geotransform in the unit of "
            "its CRS (metres, degrees)?"
        )
    turn = 360.0 * math.floor((ring.mean() + 180.0) / 360.0)
    return Polygon(np.column_stack([ring[:-1] - turn, lat]))


def corner(start: float, extent: float, available: int) -> float:
    """A chip's first column (or row), shifted into the scene; whole where its extent is whole."""
    start = min(max(0.0, start), available - extent)
    return float(round(start)) if extent == round(extent) else start


def flips(transform: Affine) -> tuple[bool, bool]:
    """Whether a raster's rows run northwards, and whether its columns run westwards."""
    return transform.e > 0, transform.a < 0


def upright(values: np.ndarray, source) -> np.ndarray:
    """Values [..., h, w] of an open raster with north above and west on the left."""
    south_up, mirrored = flips(source.transform)
    values = values[..., ::-1, :] if south_up else values
    return values[..., ::-1] if mirrored else values


def north_up(transform: Affine, width: int, height: int, what: str) -> Affine:
    """The transform of the same raster, turned by `upright`; BadInput where no flip does it."""
    if not np.isfinite(tuple(transform)[:6]).all() or transform.determinant == 0:
        raise BadInput(f"{what}: its geotransform {tuple(transform)[:6]} gives no grid")
    if abs(transform.b) > 1e-6 * abs(transform.a) or abs(transform.d) > 1e-6 * abs(transform.e):
        raise BadInput(
            f"{what}: its grid is rotated; warp it north-up first (gdalwarp rotated.tif "
            "north_up.tif)"
        )
    south_up, mirrored = flips(transform)
    if south_up:
        transform = transform @ Affine.translation(0, height) @ Affine.scale(1, -1)
    if mirrored:
        transform = transform @ Affine.translation(width, 0) @ Affine.scale(-1, 1)
    return transform


def check_georeferenced(source, what: str) -> None:
    """BadInput where an open raster has no CRS, or complex numbers (of a radar)."""
    if source.dtypes[0].startswith("complex"):
        raise BadInput(f"{what}: holds complex numbers, as radar images do, and no reflectance")
    if source.crs is None:
        points = source.gcps[0] or source.rpcs
        raise BadInput(
            f"{what}: has no CRS; "
            + (
                "only control points or coefficients (RPC) say where it lies; warp it first "
                "(gdalwarp raw.tif north_up.tif)"
                if points
                else "write the coordinate reference system into the file"
            )
        )


def crs_name(crs, what: str) -> str:
    """A raster's reference system as "EPSG:32654", or WKT where there is no code; BadInput where it
    leads to no longitude and latitude on the Earth."""
    if crs is None:
        raise BadInput(f"{what}: has no CRS; write the coordinate reference system into the file")
    with reading(what, "its CRS cannot be used: there is no way to longitude and latitude"):
        epsg = crs.to_epsg()
        name = f"EPSG:{epsg}" if epsg else crs.to_wkt()
        check_crs(name, what)
    return name


@lru_cache(maxsize=256)
def check_crs(name: str, what: str = "raster") -> None:
    """BadInput unless it is a map projection or longitude and latitude on the Earth."""
    with reading(what, "its CRS cannot be used: there is no way to longitude and latitude"):
        known = pyproj.CRS.from_user_input(name)
        if not (known.is_projected or known.is_geographic) or known.is_geocentric:
            raise BadInput(f"{what}: its CRS ({known.name}) is neither projected nor geographic")
        transformer(name, "EPSG:4326")


def is_remote(href: str) -> bool:
    """Whether GDAL reaches it through a network file system."""
    return "://" in href or href.startswith("/vsi")


def name_of(href: str) -> str:
    """The last part of a path or URL, without the signature that a URL may carry."""
    return str(href).split("?")[0].rsplit("/", 1)[-1]


def sentinel_notice(acquired: str | None = None) -> str:
    """The notice that the Copernicus licence asks of derived products, with the year if known."""
    year = re.match(r"\d{4}", acquired or "")
    return f"contains modified Copernicus Sentinel data{f' {year[0]}' if year else ''}"
