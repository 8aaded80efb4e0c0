"""Coordinates: (lon, lat) in degrees on WGS 84, positions `xy` in a chip, distances on the sphere.

Everything is float64. A position in a chip is `xy` in [-1, 1] x [-1, 1], x to the east, y to the
south, corners at the chip's outer edges. The published code interpolates linearly in a lon/lat
box, in float32; a Sentinel-2 chip is a UTM raster, so `chip_xy` goes through the chip's own CRS
and affine transform (a UTM northing in float32 has steps of 0.25-0.5 m), and a point outside is
an error instead of an extrapolation.

NumPy arrays give NumPy arrays; tensors and lists give tensors. Values are checked where that costs
nothing, that is on the CPU: a CUDA tensor is never waited for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from pyproj import CRS, Transformer
from torch import Tensor

from gairlib.errors import BadInput

EARTH_RADIUS = 6_371_008.8  # metres, mean radius R1 of the IUGG
EDGE = 1e-9  # how far outside the chip still counts as its edge

Box = Sequence[float]  # (west, south, east, north)


def as_float64(values: Any) -> Tensor:
    """Lists, arrays and tensors as a float64 tensor, on the tensor's own device."""
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.array(values, dtype=np.float64))  # a copy: may be read-only
    return values.to(torch.float64)


def _like(result: Tensor, given: Any) -> Any:
    return result.numpy() if isinstance(given, np.ndarray) else result


def checkable(values: Tensor) -> bool:
    """Whether values can be looked at without waiting for a device or breaking a graph."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def check_lonlat(lonlat: Any, name: str = "lonlat") -> Any:
    """(lon, lat) [..., 2] in degrees as float64; any finite longitude, latitude in [-90, 90].

    Raises BadInput with the first bad row; says so when lon and lat look swapped.
    """
    points = as_float64(lonlat)
    if points.ndim == 0 or points.shape[-1] != 2:
        raise BadInput(f"{name}: shape {list(points.shape)}, but [..., 2] as (lon, lat) is needed.")
    if checkable(points) and points.numel():
        good = points.isfinite().all(-1) & (points[..., 1].abs() <= 90)
        if not good.all():
            row = int((~good).flatten().nonzero()[0, 0])
            lon, lat = points.reshape(-1, 2)[row].tolist()
            hint = " (are lon and lat swapped?)" if abs(lat) > 90 >= abs(lon) else ""
            raise BadInput(
                f"{name}: row {row} is (lon {lon:g}, lat {lat:g}); finite numbers with lat in "
                f"[-90, 90] are needed{hint}."
            )
    return _like(points, lonlat)


def wrap_lon(lon: Any) -> Any:
    """Longitude(s) modulo 360, in [-180, 180)."""
    return (lon + 180.0) % 360.0 - 180.0


def relative_xy(lonlat: Any, bbox: Any) -> Any:
    """Positions of (lon, lat) [..., 2] in the box (west, south, east, north), linearly in degrees.

    `bbox` is one box [4], or one for each entry of lonlat's leading axis ([B, 4] with [B, ..., 2]).
    A box with west > east crosses the antimeridian. Right for boxes in degrees; a projected chip
    needs `chip_xy`. Returns xy [..., 2] in [-1, 1], float64; outside raises BadInput.
    """
    points, box = as_float64(check_lonlat(lonlat)), as_float64(bbox).to(device_of(lonlat))
    if box.shape != (4,) and (box.ndim != 2 or box.shape != (*points.shape[:1], 4)):
        raise BadInput(
            f"bbox: shape {list(box.shape)} with lonlat {list(points.shape)}; (west, south, east, "
            "north) or one such row for each entry of the first axis is needed."
        )
    if checkable(box):
        flat = box.reshape(-1, 4)
        good = flat.isfinite().all(-1) & (flat[:, [1, 3]].abs() <= 90).all(-1)
        bad = ~(good & (flat[:, 1] < flat[:, 3]) & (flat[:, 0] != flat[:, 2]))
        if bad.any():
            raise BadInput(
                f"bbox: {flat[int(bad.int().argmax())].tolist()} is no (west, south, east, north): "
                "south must lie below north, both in [-90, 90], and west must differ from east."
            )
    if box.ndim == 2:
        box = box.reshape(box.shape[0], *[1] * (points.ndim - 2), 4)
    west, south, east, north = box.unbind(-1)
    width = east - west
    width = torch.where(width < 0, width + 360.0, width)
    # Degrees east of the box's middle, in [-180, 180): modulo 360, and symmetric at both edges.
    middle = west + width / 2
    x = 2.0 * ((points[..., 0] - middle + 180.0) % 360.0 - 180.0) / width
    y = 2.0 * (north - points[..., 1]) / (north - south) - 1.0
    # A box round the whole Earth: its two edges are one meridian, which the modulo puts at -1.
    xy = torch.stack(torch.broadcast_tensors(x, y), -1)
    return _like(_inside(xy, points, "the box"), lonlat)


def device_of(values: Any) -> torch.device:
    """Where a tensor lives; lists and arrays are on the CPU."""
    return values.device if isinstance(values, Tensor) else torch.device("cpu")


def check_xy(xy: Tensor) -> None:
    """Raise BadInput unless every position [..., 2] lies in the chip (CPU tensors only)."""
    if checkable(xy) and xy.numel() and not bool((xy.detach().abs() <= 1 + EDGE).all()):
        row = int((~(xy.detach().abs() <= 1 + EDGE).all(-1)).flatten().nonzero()[0, 0])
        raise BadInput(
            f"xy: row {row} is {xy.detach().reshape(-1, 2)[row].tolist()}, outside the chip "
            "([-1, 1] in x to the east and y to the south)."
        )


def _inside(xy: Tensor, points: Tensor, where: str) -> Tensor:
    if checkable(xy):
        good = (xy.abs() <= 1 + EDGE).all(-1)  # NaN and inf are not good either
        if not good.all():
            row = int((~good).flatten().nonzero()[0, 0])
            lon, lat = points.reshape(-1, 2)[row].tolist()
            x, y = xy.reshape(-1, 2)[row].tolist()
            raise BadInput(
                f"lonlat: row {row} (lon {lon:.8g}, lat {lat:.8g}) lies outside {where}: "
                f"xy = ({x:.6g}, {y:.6g}) should be in [-1, 1]."
            )
    return xy.clamp(-1.0, 1.0)


@lru_cache(maxsize=256)
def _to_crs(crs: str | int) -> Transformer:
    return Transformer.from_crs("EPSG:4326", crs, always_xy=True)


@lru_cache(maxsize=256)
def _geographic(crs: str | int) -> bool:
    return CRS.from_user_input(crs).is_geographic


def _key(crs: Any) -> str | int:
    """A hashable name of a CRS given as text, EPSG number, pyproj or rasterio object."""
    if crs is None:
        raise BadInput("crs: None; the raster's coordinate reference system is needed.")
    key = crs if isinstance(crs, (str, int)) else crs.to_wkt()
    try:
        _to_crs(key)
    except Exception as error:  # pyproj raises CRSError and ProjError
        raise BadInput(f"crs: {str(key)[:60]!r} is not a known reference system.") from error
    return key


def _affine(transform: Any, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int, int]:
    """(2x2 matrix, origin, height, width) of a rasterio Affine or its six numbers."""
    a, b, c, d, e, f = [float(v) for v in tuple(transform)[:6]]
    matrix, (height, width) = np.array([[a, b], [d, e]]), shape
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) == 0 or min(height, width) < 1:
        raise BadInput(f"transform {(a, b, c, d, e, f)}, shape {tuple(shape)}: not a raster grid.")
    return matrix, np.array([c, f]), int(height), int(width)


def chip_xy(lonlat: Any, crs: Any, transform: Any, shape: Sequence[int]) -> Any:
    """Exact positions of (lon, lat) [..., 2] in a raster, through its own CRS, in float64.

    `crs`: text, EPSG number, pyproj or rasterio CRS. `transform`: rasterio's Affine or its six
    numbers (a, b, c, d, e, f), pixel to CRS. `shape`: (height, width) in pixels. Returns xy
    [..., 2]; outside raises BadInput.
    """
    points = as_float64(check_lonlat(lonlat)).cpu()
    matrix, origin, height, width = _affine(transform, shape)
    key = _key(crs)
    lon, lat = points.numpy()[..., 0], points.numpy()[..., 1]
    east, north = (np.asarray(v) for v in _to_crs(key).transform(lon, lat))
    if _geographic(key):  # a raster in degrees: take the turn of the Earth nearest to its middle
        middle = float((matrix @ [width / 2, height / 2] + origin)[0])
        east = middle + (east - middle + 180.0) % 360.0 - 180.0
    pixel = (np.stack([east, north], -1) - origin) @ np.linalg.inv(matrix).T  # (col, row)
    xy = torch.from_numpy(2.0 * pixel / np.array([width, height], dtype=np.float64) - 1.0)
    xy = _inside(xy, points, "the chip")
    return _like(xy.to(device_of(lonlat)), lonlat)


def chip_lonlat(xy: Any, crs: Any, transform: Any, shape: Sequence[int]) -> Any:
    """Inverse of chip_xy: (lon, lat) [..., 2] of positions xy [..., 2], lon in [-180, 180)."""
    position = as_float64(xy).cpu().numpy()
    matrix, origin, height, width = _affine(transform, shape)
    pixel = (position + 1.0) / 2.0 * np.array([width, height], dtype=np.float64)
    east, north = np.moveaxis(pixel @ matrix.T + origin, -1, 0)
    lon, lat = _to_crs(_key(crs)).transform(east, north, direction="INVERSE")
    lonlat = torch.from_numpy(np.stack([wrap_lon(np.asarray(lon)), np.asarray(lat)], -1))
    return _like(lonlat.to(device_of(xy)), xy)


def box_of(crs: Any, transform: Any, shape: Sequence[int]) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a raster, its edges densified; west > east at the antimeridian.

    A rotated raster gives the box of its upright bounding rectangle.
    """
    matrix, origin, height, width = _affine(transform, shape)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float) @ matrix.T
    (left, bottom), (right, top) = (corners + origin).min(0), (corners + origin).max(0)
    box = _to_crs(_key(crs)).transform_bounds(
        left, bottom, right, top, densify_pts=21, direction="INVERSE"
    )
    return tuple(float(v) for v in box)


def haversine(a: Any, b: Any) -> Any:
    """Great-circle metres between (lon, lat) [..., 2] and [..., 2]; leading axes broadcast.

    All pairs: `haversine(a[:, None], b[None])`. Sphere of radius EARTH_RADIUS, so up to 0.5% off
    the ellipsoid.
    """
    p, q = torch.deg2rad(as_float64(a)), torch.deg2rad(as_float64(b))
    half = (q - p) / 2
    h = half[..., 1].sin() ** 2 + p[..., 1].cos() * q[..., 1].cos() * half[..., 0].sin() ** 2
    metres = 2 * EARTH_RADIUS * torch.asin(h.clamp(0, 1).sqrt())
    return metres.numpy() if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else metres


def unit_sphere(lonlat: Tensor) -> Tensor:
    """(lon, lat) [..., 2] in degrees -> xyz [..., 3] on the unit sphere; one value per pole."""
    lon, lat = torch.deg2rad(lonlat).unbind(-1)
    # cos(90 deg) is 6e-17 in floating point, not 0: set it, so that a pole is a point.
    ring = torch.where(lonlat[..., 1].abs() == 90, 0.0, lat.cos())
    return torch.stack([ring * lon.cos(), ring * lon.sin(), lat.sin()], -1)


def blocks(lonlat: Any, degrees: float) -> np.ndarray:
    """Names [n] ("column_row") of the degrees x degrees cells that hold (lon, lat) [n, 2].

    degrees must divide 360, so that no cell is cut at the antimeridian. BadInput otherwise, and for
    places that are none. Where 180 is no multiple, as of 40, the northernmost row is lower.
    """
    columns = 360 / degrees if degrees > 0 else 0.0
    if not np.isfinite(columns) or round(columns) < 2 or abs(columns - round(columns)) > 1e-6:
        raise BadInput(f"blocks of {degrees!r} degrees: a size that divides 360 is needed")
    columns = round(columns)
    rows = -(-columns // 2)
    lon, lat = np.asarray(check_lonlat(lonlat), dtype=np.float64).reshape(-1, 2).T
    # The last one of each is for a sum that rounds up to 360, and for the north pole.
    column = np.minimum(np.floor(np.mod(lon + 180, 360) / degrees).astype(int), columns - 1)
    row = np.minimum(np.floor((lat + 90) / degrees).astype(int), rows - 1)
    column[np.abs(lat) == 90] = 0
    return np.char.add(np.char.add(column.astype(str), "_"), row.astype(str))


def fold_numbers(groups: Any, folds: int, seed: int) -> np.ndarray:
    """Fold number [n] of every row, whole groups together, about equal in rows.

    Groups are shuffled and dealt out largest first to the smallest fold so far. With fewer groups
    than folds, there are as many folds as groups.
    """
    names, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    folds = min(folds, len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    if (counts == counts[0]).all():  # such as single rows: dealing out is counting off
        fold = np.zeros(len(names), int)
        fold[order] = np.arange(len(names)) % folds
        return fold[codes.reshape(-1)]
    order = order[np.argsort(-counts[order], kind="stable")]
    load, fold = np.zeros(folds), np.zeros(len(names), int)
    for group in order:
        fold[group] = load.argmin()
        load[fold[group]] += counts[group]
    return fold[codes.reshape(-1)]


def utm_epsg(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone, with the exceptions of Norway and Svalbard; lat in [-80, 84]."""
    lon, lat = (float(v) for v in check_lonlat([lon, lat]))
    if not -80 <= lat <= 84:
        raise BadInput(f"lat {lat:g}: UTM is defined from -80 to 84 degrees.")
    lon = wrap_lon(lon)
    zone = int(math.floor((lon + 180) / 6)) + 1
    if 56 <= lat < 64 and 3 <= lon < 12:
        zone = 32
    elif lat >= 72 and 0 <= lon < 42:
        zone = 31 + 2 * int((lon + 3) // 12)
    return (32600 if lat >= 0 else 32700) + zone
