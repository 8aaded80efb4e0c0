"""Places that are wrong by a known amount, and the chips that are then cut: pure functions.

lonlat: [n, 2] in degrees, WGS 84; azimuths and headings in degrees clockwise from north; distances
in metres along geodesics of the ellipsoid. Inside a scene positions are (column, row) in pixels,
and a box is (column, row, width, height) of its upper-left corner and extent.
"""

from collections.abc import Callable

import numpy as np
from pyproj import Geod

from gairlib.data.scene import corner

GEOD = Geod(ellps="WGS84")
TRIES = 200
ROOM = 0.9  # a chip that has to move keeps a place within this share of its half side


def moved(lonlat, azimuth, metres) -> np.ndarray:
    """Places `metres` away in the direction `azimuth` (negative: the opposite one): [n, 2]."""
    lon, lat = np.asarray(lonlat, np.float64).T
    azimuth, metres = (
        np.broadcast_to(np.asarray(v, np.float64), lon.shape) for v in (azimuth, metres)
    )
    return np.stack(GEOD.fwd(lon, lat, azimuth, metres)[:2], 1)


def directions(
    lonlat, metres: float, inside: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """An azimuth for each place, at random among those that keep it inside: ([n], found [n]).

    inside: tells of places [n, 2] whether they can be read. A place without a direction in TRIES
    draws is not found. One direction serves all distances up to `metres`: the scene is convex.
    """
    rng, n = np.random.default_rng(seed), len(lonlat)
    azimuth, found = np.zeros(n), np.zeros(n, bool)
    for _ in range(TRIES):
        drawn = rng.uniform(0, 360, n)  # for all, so that one photo's luck moves no other
        new = ~found & inside(moved(lonlat, drawn, metres))
        azimuth[new], found = drawn[new], found | new
        if found.all():
            break
    return azimuth, found


def place_box(target, xy, extent, size) -> np.ndarray:
    """Boxes in which targets [n, 2] lie at xy [n, 2] in [-1, 1]: [n, 4].

    extent: boxes' width and height [n, 2]; size: the scene's. A box that would reach out of the
    scene is shifted into it; one of whole pixels begins at a whole pixel.
    """
    start = np.asarray(target) - np.asarray(extent) * (np.asarray(xy) + 1) / 2
    return _boxes(start, extent, size)


def least_moved(box, target, size) -> np.ndarray:
    """Boxes [n, 4] shifted only as far as it takes to have targets [n, 2] within ROOM: [n, 4]."""
    box = np.asarray(box, np.float64)
    start, extent = box[:, :2], box[:, 2:]
    xy = box_xy(target, box)
    return _boxes(start + (xy - np.clip(xy, -ROOM, ROOM)) * extent / 2, extent, size)


def _boxes(start, extent, size) -> np.ndarray:
    extent = np.broadcast_to(np.asarray(extent, np.float64), np.shape(start))
    first = [
        [corner(float(s), float(e), available) for s, e, available in zip(row, wide, size)]
        for row, wide in zip(start, extent)
    ]
    return np.concatenate([np.array(first).reshape(-1, 2), extent], 1)


def box_xy(target, box) -> np.ndarray:
    """Positions xy [n, 2] (x east, y south, edges at -1 and 1) of targets in boxes [n, 4]."""
    box = np.asarray(box)
    return 2 * (np.asarray(target) - box[:, :2]) / box[:, 2:] - 1


def ring(target, extent, size, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where on a chip's edge each photo is to stand, and whether all the way there is possible.

    xy [n, 2] with the larger of |x|, |y| equal to 1, at random, mirrored where a chip that has the
    photo there would reach out of the scene; times 0..1 it leads from the centre to the edge.
    """
    rng = np.random.default_rng(seed)
    target, extent = np.asarray(target), np.asarray(extent)
    angle = rng.uniform(0, 2 * np.pi, len(target))
    xy = np.stack([np.cos(angle), np.sin(angle)], 1)
    xy /= np.abs(xy).max(1, keepdims=True)

    def fits(at):  # per axis: a box without shifting
        start = target - extent * (at + 1) / 2
        return (start >= 0) & (start + extent <= np.asarray(size))

    xy = np.where(fits(xy), xy, -xy)
    return xy, (fits(xy) & fits(np.zeros_like(xy))).all(1)
