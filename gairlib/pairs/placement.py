"""Where chips are put so that photos lie inside them: geometry and chance, no pixels.

A photo must lie in its chip and need not be at its centre: chips are drawn at random around a
photo, so that positions spread over the chip and the model cannot learn "the photo is in the
middle". Of several draws the one that holds most photos without a chip is preferred: photos that
share a chip are encoded once and are each other's hard negatives.

Street-level collections hold bursts (a car at a traffic light) and the same drive twice; such
photos show the same and, in one batch, are each other's false negatives. `near_duplicates` finds
them, so that they can be counted or dropped.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gairlib.data.scene import Scene, corner
from gairlib.errors import BadInput

SPLITS = ("train", "val", "test")
# Splits that a table may name: "shifted" is a second test set, of places unlike all others
NAMED = (*SPLITS, "shifted")
SHARES = (0.8, 0.1, 0.1)  # of spatial blocks, in the order of SPLITS
PLACE_M = 2.0  # photos this close, and
HEADING_DEG = 10.0  # turned by no more than this, show the same
METRES_PER_DEGREE = 110_500.0  # of latitude, at least; a degree is taken for a little too short


def split_by_block(lon: np.ndarray, lat: np.ndarray, block_deg: float, seed: int) -> np.ndarray:
    """A split for each position, the same for all of a lon/lat block of block_deg degrees.

    A block's split is a hash of its place and the seed: adding photos elsewhere changes nothing.
    """
    blocks = np.floor(np.column_stack([lon, lat]) / block_deg).astype(np.int64)
    unique, inverse = np.unique(blocks, axis=0, return_inverse=True)
    digests = [hashlib.blake2b(f"{seed}:{i}:{j}".encode(), digest_size=8) for i, j in unique]
    u = np.array([int.from_bytes(d.digest(), "big") / 2**64 for d in digests])
    names = np.array(SPLITS, dtype=object)
    return names[np.searchsorted(np.cumsum(SHARES)[:-1], u, side="right")][inverse.ravel()]


@dataclass(frozen=True)
class Placed:
    """A chip's corner and extent in the scene's pixels, and who is inside (indexes, seed first)."""

    column: float
    row: float
    width: float
    height: float
    members: np.ndarray


def candidates(
    scene: Scene,
    seed_photo: int,
    column: np.ndarray,
    row: np.ndarray,
    weight: np.ndarray,
    waiting: np.ndarray,
    *,
    chip_m: float,
    max_photos: int,
    margin: float,
    tries: int,
    rng: np.random.Generator,
) -> Iterator[Placed]:
    """Chips at random offsets around one photo, those with most waiting photos first.

    column, row, weight [n]: photos of this scene and how many slots each takes; waiting: bool [n].
    The margin, in units of the chip, holds on all sides but those where the chip touches the
    scene's edge: there it would exclude photos that no chip of this scene could hold better.
    """
    width, height = scene.chip_pixels(chip_m, column[seed_photo], row[seed_photo])
    if width > scene.width or height > scene.height:
        return
    found = []
    for _ in range(tries):
        c = _start(column[seed_photo], width, scene.width, margin, rng)
        r = _start(row[seed_photo], height, scene.height, margin, rng)
        inside = waiting & _within(column, c, width, scene.width, margin)
        inside &= _within(row, r, height, scene.height, margin)
        inside[seed_photo] = False
        others = rng.permutation(np.flatnonzero(inside))
        fits = np.cumsum(weight[others]) + weight[seed_photo] <= max_photos
        found.append(Placed(c, r, width, height, np.append(seed_photo, others[fits])))
    yield from sorted(found, key=lambda p: -len(p.members))  # stable: ties keep the order of draws


def _start(
    at: float, extent: float, available: int, margin: float, rng: np.random.Generator
) -> float:
    """A random first column (or row) of a chip that holds `at`; whole where the extent is."""
    low, high = at - (1.0 - margin) * extent, at - margin * extent
    if extent == round(extent):
        whole = math.ceil(low), math.floor(high)
        start = rng.integers(whole[0], max(whole) + 1) if whole[0] <= whole[1] else round(low)
    else:
        start = rng.uniform(low, high)
    return corner(float(start), extent, available)


def _within(at: np.ndarray, start: float, extent: float, available: int, margin: float):
    low = start + margin * extent if start > 0 else start
    high = start + extent - (margin * extent if start + extent < available else 0.0)
    return (at >= low) & (at <= high)


# Boxes of chips: (lon of the middle, half width, south, north) in degrees. They hold the chips'
# outlines, so what passes does not overlap; next to a border between splits a little more than
# necessary may be refused.


def box_of(polygon) -> tuple[float, float, float, float]:
    """The box of a lon/lat outline, whose longitudes may run past +-180 degrees."""
    west, south, east, north = polygon.bounds
    return (west + east) / 2, (east - west) / 2, south, north


def box_of_ring(ring: np.ndarray) -> tuple[float, float, float, float]:
    """The box of an outline's points [n, 2], lon and lat."""
    (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
    return (west + east) / 2, (east - west) / 2, south, north


def near(others: np.ndarray, box: tuple, buffer_m: float) -> np.ndarray:
    """Those of the boxes [n, 4] that come within buffer_m metres of a box, or overlap it."""
    middle, half, south, north = box
    up = buffer_m / METRES_PER_DEGREE
    widest = min(89.0, max(abs(south), abs(north)) + up)
    across = up / math.cos(math.radians(widest))
    apart = np.abs((others[:, 0] - middle + 180.0) % 360.0 - 180.0)
    close = apart < others[:, 1] + half + across
    return others[close & (others[:, 2] < north + up) & (others[:, 3] > south - up)]


def overlaps(box: tuple, others: np.ndarray, buffer_m: float = 0.0) -> bool:
    """Whether a box shares ground with, or comes within buffer_m metres of, any of the others."""
    return bool(len(near(others, box, buffer_m)))


def near_duplicates(x: np.ndarray, y: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """For each photo the earlier photo that it nearly duplicates, or -1; int64 [n].

    x, y [n]: position in metres. heading [n]: degrees, NaN unknown; two unknown headings count as
    the same, an unknown and a known one as different. Photos are taken in the given order: one
    stands for itself unless an earlier one that does lies within PLACE_M and HEADING_DEG; so a
    long row of close photos is thinned out, not reduced to its first, and however many photos
    stand on one spot, each is compared with few.
    """
    found = np.full(len(x), -1, np.int64)
    standing: dict[tuple[int, int], list[int]] = {}  # square of PLACE_M -> photos
    cells = np.floor(np.column_stack([x, y]) / PLACE_M).astype(np.int64).tolist()
    x, y, heading = (np.asarray(v, float).tolist() for v in (x, y, heading))
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    for k, (column, row) in enumerate(cells):
        earlier = [
            i
            for dc, dr in around
            for i in standing.get((column + dc, row + dr), ())
            if math.hypot(x[i] - x[k], y[i] - y[k]) <= PLACE_M
            and _same_heading(heading[i], heading[k])
        ]
        if earlier:
            found[k] = min(earlier)
        else:
            standing.setdefault((column, row), []).append(k)
    return found


def _same_heading(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return abs((a - b + 180.0) % 360.0 - 180.0) <= HEADING_DEG


def check_settings(chip_px: int, chip_m: float, max_photos: int, margin: float) -> None:
    """BadInput unless the settings of a pairing make sense."""
    if not (isinstance(chip_px, int) and chip_px >= 1 and chip_m > 0):
        raise BadInput(f"chip_px={chip_px}, chip_m={chip_m}: both must be positive, chip_px whole")
    if max_photos < 1:
        raise BadInput(f"max_photos must be 1 or more, not {max_photos}")
    if not 0.0 <= margin < 0.5:
        raise BadInput(f"margin is a share of the chip in [0, 0.5), not {margin}")
