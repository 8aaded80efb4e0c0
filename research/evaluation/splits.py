"""Random and spatially blocked folds over places: the two splits that every location table gets.

Random folds test rows whose neighbours were trained on, so they measure interpolation between
near points; blocked folds hold out whole cells of 0.5, 2, 10 or 20 degrees, so they measure what is
known about a region that was not seen (Roberts et al. 2017, Ecography 40:913-929, section 4). Data
of one city get smaller cells (`fitting_size`): what is then known is about streets not seen there.

- A fold is a property of a *group* (a row, or a block), never of a row: rows of one group cannot
  land on both sides, whatever the seed.
- Blocks (`gairlib.geo.blocks`) are cells of equal angle, counted from (-180, -90), longitude
  modulo 360. Both poles are treated alike: the pole itself belongs to the row of cells that touches
  it, and there, where a longitude says nothing, to the first cell of that row. Cells narrow towards
  both poles: one of 10 degrees is 1,100 km wide at the equator and 560 km at 60 degrees north or
  south. This is the grid of the published comparisons; cells of equal width would hold out larger
  parts of the north.
- Neighbouring blocks may touch, so a test row near an edge can have a training row beside it: the
  larger the block, the fewer there are.
- Folds are about equal in rows: groups are dealt out largest first to the smallest fold so far, so
  two folds differ by at most the largest group.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedKFold

from gairlib.errors import BadInput
from gairlib.geo import blocks, fold_numbers

__all__ = [
    "block_count",
    "fitting_size",
    "fold_numbers",
    "folds",
    "named_sites",
    "sites_of",
    "stratified",
]

Folds = list[tuple[np.ndarray, np.ndarray]]  # (training rows, test rows)


def block_count(lonlat: ArrayLike, degrees: float) -> int:
    """How many cells of that size hold one of (lon, lat) [n, 2]."""
    return len(np.unique(blocks(lonlat, degrees)))


def fitting_size(lonlat: ArrayLike, sizes: Sequence[float], least: int) -> float:
    """The first of the cell sizes (degrees, from large to small) that gives (lon, lat) [n, 2] at
    least `least` cells; where none does, the one with most cells, the larger of equals. So places
    all over a continent get its blocks, and those of one city get blocks of a city."""
    counts = {}
    for size in sizes:
        counts[size] = block_count(lonlat, size)
        if counts[size] >= least:
            return float(size)
    return float(max(sizes, key=counts.get))


def sites_of(rows: pd.DataFrame) -> np.ndarray:
    """What counts as one place for the rows of a manifest [n]: the site where all have one, else
    the scene."""
    return rows["site" if named_sites(rows) else "scene_id"].astype(str).to_numpy(dtype=str)


def named_sites(rows: pd.DataFrame) -> bool:
    """Whether all rows name their site."""
    return "site" in rows and bool(rows["site"].notna().all())


def folds(groups: ArrayLike, k: int, seed: int) -> Folds:
    """k folds with whole groups: every row is tested once. BadInput for fewer than two groups."""
    if k < 2 or len(np.unique(groups)) < 2:
        raise BadInput(
            f"{k} folds of {len(np.unique(groups))} groups: two folds and two groups are the least"
        )
    fold = fold_numbers(groups, k, seed)
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(fold.max() + 1)]


def stratified(labels: ArrayLike, k: int, seed: int) -> Folds:
    """k random folds with each class of labels [n] spread evenly over them."""
    split = StratifiedKFold(k, shuffle=True, random_state=seed)
    return list(split.split(np.zeros(len(labels)), labels))
