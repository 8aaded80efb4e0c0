"""Which photo points lie in which scene footprints: exact on true polygons, at ten million points.

Points are sorted by longitude, so those that may lie in a footprint are a slice of them; of these
the ones at its latitudes are tested by GEOS against the prepared polygon. The answer is that of
shapely's `intersects`, to the last bit.

Decisions
- Plane geometry in lon/lat, as in GeoJSON: edges are straight in degrees, and a point at a pole
  stands at the longitude that it is given with.
- Longitudes are modulo 360. A footprint whose ring runs beyond +-180, or that is cut there into a
  MultiPolygon (RFC 7946, 3.1.9), is found from both sides. Vertices that a turn of 360 degrees has
  to round move by less than 1e-13 degrees (10 nm).
- The border belongs to the footprint; a hole's inside does not. Overlapping parts of a MultiPolygon
  are united. A ring that crosses itself counts by the even-odd rule, as it does in shapely.
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

    def query(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
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
        x = _wrapped(lon, lat)
        order = np.argsort(x, kind="stable")
        x, y = x[order], lat[order]
        west, south, east, north = self._bounds.T
        first, end = np.searchsorted(x, west, "left"), np.searchsorted(x, east, "right")
        keys = [np.empty(0, np.int64)]  # point * number of footprints + footprint
        with _one_at_a_time:
            shapely.prepare(self._parts)  # here, since pickling loses it; nothing where it is done
            for i in np.flatnonzero(first < end):
                there = y[first[i] : end[i]]
                rows = first[i] + np.flatnonzero((there >= south[i]) & (there <= north[i]))
                hit = rows[shapely.intersects_xy(self._parts[i], x[rows], y[rows])]
                keys.append(order[hit] * self.count + self._owner[i])
        keys = np.sort(np.concatenate(keys))
        keys = keys[np.diff(keys, prepend=-1) > 0]  # on a seam of parts, or at +-180, one is twice
        point, footprint = np.divmod(keys, max(self.count, 1))
        return point, footprint.astype(np.int32)


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
    turn = 360.0 * np.concatenate([np.arange(0), *map(np.arange, least, least + times)])
    parts, moved = parts[which], turn != 0
    corners = shapely.get_num_coordinates(parts[moved])
    shift = np.column_stack([np.repeat(turn[moved], corners), np.zeros(corners.sum())])
    parts[moved] = shapely.transform(parts[moved], lambda xy: xy + shift)
    return parts, owner[which]


def _wrapped(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Longitudes in [-180, 180], those that are there already to the bit; checks both."""
    bad = ~(np.isfinite(lon) & (np.abs(lat) <= 90))  # a NaN latitude fails the comparison
    if bad.any():
        i = int(bad.argmax())
        swapped = " (are lon and lat swapped?)" if abs(lat[i]) > 90 >= abs(lon[i]) else ""
        raise BadInput(
            f"points: row {i} is (lon {lon[i]:g}, lat {lat[i]:g}); finite numbers with lat "
            f"in [-90, 90] are needed{swapped}"
        )
    out = np.abs(lon) > 180
    if not out.any():
        return lon
    turned = np.remainder(lon, 360.0)  # exact up to 540 degrees, unlike lon + 180 - 180
    return np.where(out, turned - 360.0 * (turned > 180), lon)
