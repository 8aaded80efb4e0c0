"""Which photo points lie in which scene footprints: exact on true polygons, at ten million points.

Asking an R-tree for each point costs seconds per million points. Photos come in clusters, so most
questions can be answered for many points at once:

1. A block of points is sorted along a Z-order curve (Morton, "A computer oriented geodetic data
   base", IBM 1966) over square cells of 360 / 2^16 degrees (0.0055). Each cell of each coarser
   level is then one run of the sorted points.
2. Only the occupied cells of level FIRST are looked up in an R-tree of the footprints' boxes.
3. A (cell, footprint) pair is settled as a whole where the cell lies properly inside the footprint
   (all its points are in) or apart from it (none is); otherwise it is split into the four cells of
   the next level. The quadtree adapts to footprints of any size, so no cell size has to be chosen.
4. What holds few points, or is as small as cells get, is tested point by point with GEOS. Points
   near a border always end here, so the answer is that of shapely's `intersects`, to the last bit.

Cells are grown by HAIR before they are compared with a footprint: a coordinate that rounding puts
into the cell next door (an error of 1e-13 degrees) still lies in the cell's box.

Decisions
- Plane geometry in lon/lat, as in GeoJSON: edges are straight in degrees, and a point at a pole
  stands at the longitude that it is given with.
- Longitudes are modulo 360. A footprint whose ring runs beyond +-180, or that is cut there into a
  MultiPolygon (RFC 7946, 3.1.9), is found from both sides. Vertices that a turn of 360 degrees has
  to round move by less than 1e-13 degrees (10 nm).
- The border belongs to the footprint; a hole's inside does not. Overlapping parts of a MultiPolygon
  are united. A ring that crosses itself counts by the even-odd rule, as it does in shapely.
- Working memory is that of one block (60 MB, and some 40 bytes for each pair that it holds),
  whatever the number of points; the result takes 12 bytes a pair, twice while it is put together.
- GEOS builds its index of a prepared polygon at the first use, without a lock of its own: one query
  at a time runs in a process.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from gairlib.errors import BadInput

DEEPEST = 16  # level of the smallest cells; a Z-order code then has 31 bits, latitude being half
FIRST = 7  # level of the cells that the R-tree is asked for: 2.8 degrees
FEW = 64  # so many points or fewer cost less one by one than another split
HAIR = 1e-9  # degrees (0.1 mm), far above rounding (1e-13), far below the smallest cell
BLOCK = 2**20  # points a block: its arrays take some 50 bytes a point
SLAB = 2**20  # (point, footprint) pairs tested exactly at a time

Found = tuple[np.ndarray, np.ndarray]
_one_at_a_time = threading.Lock()  # of the module, not of the object: an object can be pickled


class Footprints:
    """An index of footprints, polygons in (lon, lat) degrees WGS 84, to be asked for points.

    Takes shapely Polygons and MultiPolygons of finite coordinates, at most 360 degrees wide, with
    latitudes in [-90, 90]; anything else is BadInput that names the footprint. An empty polygon
    holds no point.
    """

    def __init__(self, polygons: Sequence[Polygon | MultiPolygon]):
        polygons = list(polygons)
        for i, polygon in enumerate(polygons):
            if not isinstance(polygon, Polygon | MultiPolygon):
                kind = getattr(polygon, "geom_type", type(polygon).__name__)
                raise BadInput(f"footprint {i}: {kind}, but a Polygon or MultiPolygon is needed")
        self.count = len(polygons)
        given = np.array(polygons, dtype=object)
        _check(given)
        parts, owner = shapely.get_parts(given, return_index=True)
        full = ~shapely.is_empty(parts)
        self._parts, self._owner = _around(parts[full], owner[full].astype(np.int32))
        self._bounds = shapely.bounds(self._parts)
        self._tree = shapely.STRtree(self._parts)

    def query(self, lon: Any, lat: Any) -> Found:
        """Points lon [n], lat [n] -> point int64 [m], footprint int32 [m], every pair that meets.

        Sorted by (point, footprint), each pair once. Longitudes are any finite degrees, latitudes
        in [-90, 90]; BadInput names the first point that is not so.
        """
        lon, lat = (np.asarray(values, dtype=np.float64) for values in (lon, lat))
        if lon.ndim != 1 or lon.shape != lat.shape:
            raise BadInput(
                f"points: lon {list(lon.shape)} and lat {list(lat.shape)} must be two lists of "
                "one length"
            )
        blocks = [(np.empty(0, np.int64), np.empty(0, np.int32))]
        with _one_at_a_time:
            shapely.prepare(self._parts)  # here, since pickling loses it; nothing where it is done
            for start in range(0, len(lon), BLOCK):
                x = _wrapped(lon[start : start + BLOCK], lat[start : start + BLOCK], start)
                point, footprint = self._block(x, lat[start : start + BLOCK])
                blocks.append((point + start, footprint))
        return tuple(np.concatenate(column) for column in zip(*blocks))

    def _block(self, x: np.ndarray, y: np.ndarray) -> Found:
        """`query` for points with longitudes in [-180, 180]; memory grows with their number."""
        code, order = _z_order(x, y)
        x, y = x[order], y[order]
        part, start, stop = self._first(code, x, y)
        keys = []  # point * number of footprints + footprint
        for level in range(FIRST, DEEPEST + 1):
            box = _boxes(x[start], y[start], level)
            inside, apart = self._compare(box, part)
            rows = _rows(start[inside], stop[inside])
            owner = np.repeat(self._owner[part[inside]], (stop - start)[inside])
            keys.append(order[rows] * self.count + owner)
            open_ = ~(inside | apart)
            last = open_ & ((stop - start <= FEW) | (level == DEEPEST))
            keys += self._exact(order, x, y, part[last], start[last], stop[last])
            split = open_ & ~last
            if not split.any():
                break
            part, start, stop = _split(code, part[split], start[split], stop[split], level)
        keys = np.concatenate(keys)
        keys.sort()
        if len(keys):  # a point on the seam of two parts, or at +-180, is met twice
            keys = keys[np.append(True, keys[1:] != keys[:-1])]
        return keys // max(self.count, 1), (keys % max(self.count, 1)).astype(np.int32)

    def _first(self, code: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """The occupied cells of level FIRST with each part whose box they meet.

        Returns part, start, stop [k]: the cell's points are start..stop of the sorted ones.
        """
        cell = code >> _shift(FIRST)
        start = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
        stop = np.append(start[1:], len(code))
        box = _boxes(x[start], y[start], FIRST)
        which, part = self._tree.query(shapely.box(*box.T))
        return part, start[which], stop[which]

    def _compare(self, box: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell boxes [k, 4] against parts [k] -> properly inside [k], apart [k], both bool."""
        bounds = self._bounds[part]
        apart = (box[:, :2] > bounds[:, 2:]).any(1) | (box[:, 2:] < bounds[:, :2]).any(1)
        inside = (box[:, :2] > bounds[:, :2]).all(1) & (box[:, 2:] < bounds[:, 2:]).all(1)
        maybe = np.flatnonzero(inside)
        polygon, square = self._parts[part[maybe]], shapely.box(*box[maybe].T)
        inside[maybe] = shapely.contains_properly(polygon, square)
        apart[maybe] = ~inside[maybe] & ~shapely.intersects(polygon, square)
        return inside, apart

    def _exact(
        self,
        order: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        part: np.ndarray,
        start: np.ndarray,
        stop: np.ndarray,
    ) -> list[np.ndarray]:
        """Keys of the pairs that hold, each point of start..stop against its part."""
        total = np.cumsum(stop - start)
        cuts = np.searchsorted(total, np.arange(SLAB, total[-1] if len(total) else 0, SLAB))
        keys = []
        for a, b in zip([0, *cuts], [*cuts, len(part)]):
            rows = _rows(start[a:b], stop[a:b])
            of = np.repeat(part[a:b], stop[a:b] - start[a:b])
            west, south, east, north = self._bounds[of].T
            px, py = x[rows], y[rows]
            near = (px >= west) & (px <= east) & (py >= south) & (py <= north)
            rows, of = rows[near], of[near]
            hit = shapely.intersects_xy(self._parts[of], px[near], py[near])
            keys.append(order[rows[hit]] * self.count + self._owner[of[hit]])
        return keys


def _check(polygons: np.ndarray) -> None:
    """BadInput that names the first footprint with a coordinate that cannot be used."""
    xy, of = shapely.get_coordinates(polygons, return_index=True)
    bad = ~(np.isfinite(xy).all(1) & (np.abs(xy[:, 1]) <= 90))
    if bad.any():
        lon, lat = xy[bad.argmax()]
        raise BadInput(
            f"footprint {of[bad.argmax()]}: a corner at (lon {lon:g}, lat {lat:g}); finite numbers "
            "with lat in [-90, 90] are needed"
        )
    west, _, east, _ = shapely.bounds(polygons).T
    if (east - west > 360).any():
        i = int((east - west > 360).argmax())
        raise BadInput(f"footprint {i}: {east[i] - west[i]:g} degrees wide; at most 360 can be")


def _around(parts: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each part once for every turn of 360 degrees at which it meets [-180, 180]."""
    west, _, east, _ = shapely.bounds(parts).T
    least = np.ceil((-180 - east) / 360).astype(int)
    times = np.floor((180 - west) / 360).astype(int) - least + 1
    which = np.repeat(np.arange(len(parts)), times)
    turn = 360.0 * _rows(least, least + times)
    parts, moved = parts[which], turn != 0
    corners = shapely.get_num_coordinates(parts[moved])
    shift = np.column_stack([np.repeat(turn[moved], corners), np.zeros(corners.sum())])
    parts[moved] = shapely.transform(parts[moved], lambda xy: xy + shift)
    return parts, owner[which]


def _wrapped(lon: np.ndarray, lat: np.ndarray, first: int) -> np.ndarray:
    """Longitudes in [-180, 180], those that are there already to the bit; checks both."""
    bad = ~(np.isfinite(lon) & (np.abs(lat) <= 90))  # a NaN latitude fails the comparison
    if bad.any():
        i = int(bad.argmax())
        swapped = " (are lon and lat swapped?)" if abs(lat[i]) > 90 >= abs(lon[i]) else ""
        raise BadInput(
            f"points: row {first + i} is (lon {lon[i]:g}, lat {lat[i]:g}); finite numbers with lat "
            f"in [-90, 90] are needed{swapped}"
        )
    out = np.abs(lon) > 180
    if not out.any():
        return lon
    turned = np.remainder(lon, 360.0)  # exact up to 540 degrees, unlike lon + 180 - 180
    return np.where(out, turned - 360.0 * (turned > 180), lon)


def _shift(level: int) -> np.uint32:
    """How many bits of a Z-order code tell apart the points in one cell of this level."""
    return np.uint32(2 * (DEEPEST - level))


def _cells(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row [n] of the smallest cells, from (-180, -90); the far edges belong to them."""
    side = 360 / 2**DEEPEST
    column = np.minimum((x + 180) / side, 2**DEEPEST - 1)
    row = np.minimum((y + 90) / side, 2 ** (DEEPEST - 1) - 1)
    return column.astype(np.uint32), row.astype(np.uint32)


def _z_order(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Z-order codes of the points, sorted, uint32 [n], and the points' order int64 [n]."""
    column, row = _cells(x, y)
    for bits, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        column = (column | column << np.uint32(bits)) & np.uint32(mask)
        row = (row | row << np.uint32(bits)) & np.uint32(mask)
    # Code and position in one word: sorting words is faster than argsort, and ties keep their order
    word = (column | row << np.uint32(1)).astype(np.int64) << 32 | np.arange(len(x))
    word.sort()
    return (word >> 32).astype(np.uint32), word & 0xFFFFFFFF


def _boxes(x: np.ndarray, y: np.ndarray, level: int) -> np.ndarray:
    """The cells of this level that hold the points, (west, south, east, north) [n, 4], grown."""
    side = 360 / 2**level
    column, row = (index >> np.uint32(DEEPEST - level) for index in _cells(x, y))
    west, south = column * side - 180, row * side - 90
    return np.column_stack([west - HAIR, south - HAIR, west + side + HAIR, south + side + HAIR])


def _split(
    code: np.ndarray, part: np.ndarray, start: np.ndarray, stop: np.ndarray, level: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cell, part) pairs of this level -> those of the next one that hold points."""
    first = code[start] >> _shift(level) << np.uint32(2)  # code of the first of the four
    inner = (first[:, None] + np.arange(1, 4, dtype=np.uint32)) << _shift(level + 1)
    edge = np.column_stack([start, np.searchsorted(code, inner), stop])  # [k, 5]
    held = edge[:, 1:] > edge[:, :-1]
    return np.repeat(part, 4)[held.ravel()], edge[:, :-1][held], edge[:, 1:][held]


def _rows(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """start[0], start[0] + 1, ..., stop[0] - 1, start[1], ...: the runs one after the other."""
    length = stop - start
    return np.arange(length.sum()) + np.repeat(stop - np.cumsum(length), length)
