"""Photos of the same place in the same direction: found, so that they can be counted or dropped.

Street-level collections hold bursts (a car at a traffic light) and the same drive twice; such
photos show the same and, in one batch, are each other's false negatives.
"""

import math

import numpy as np

PLACE_M = 2.0
HEADING_DEG = 10.0


def first_alike(
    x: np.ndarray,
    y: np.ndarray,
    heading: np.ndarray,
    place_m: float = PLACE_M,
    heading_deg: float = HEADING_DEG,
) -> np.ndarray:
    """For each photo the earlier photo that it nearly duplicates, or -1; int64 [n].

    x, y [n]: position in metres. heading [n]: degrees, NaN unknown; two unknown headings count as
    the same, an unknown and a known one as different. Photos are taken in the given order: one
    stands for itself unless an earlier one that does lies within place_m and heading_deg; so a
    long row of close photos is thinned out, not reduced to its first, and however many photos
    stand on one spot, each is compared with few.
    """
    found = np.full(len(x), -1, np.int64)
    standing: dict[tuple[int, int], list[int]] = {}  # square of place_m -> photos
    cells = np.floor(np.column_stack([x, y]) / place_m).astype(np.int64).tolist()
    x, y, heading = (np.asarray(v, float).tolist() for v in (x, y, heading))
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    for k, (column, row) in enumerate(cells):
        earlier = [
            i
            for dc, dr in around
            for i in standing.get((column + dc, row + dr), ())
            if math.hypot(x[i] - x[k], y[i] - y[k]) <= place_m
            and _same(heading[i], heading[k], heading_deg)
        ]
        if earlier:
            found[k] = min(earlier)
        else:
            standing.setdefault((column, row), []).append(k)
    return found


def _same(a: float, b: float, limit: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return abs((a - b + 180.0) % 360.0 - 180.0) <= limit
