"""Train, val and test for photos whose table has no column `split`: by the extent of the data.

Photos of many places are divided by blocks (`placement.split_by_block`). One city lies in a few
blocks only, of which chance may leave none for training: there one end of the city is for testing,
the other for validation, and what lies between for training. In a quarter smaller than what chips
of different splits must keep apart nothing can be held out, and all photos are for training.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gairlib import geo
from gairlib.pairs.placement import METRES_PER_DEGREE, SPLITS, split_by_block

MIN_BLOCKS = 10  # fewer are no ground for a division by chance
COLUMNS_PER_DEGREE = 200  # ends of a city are whole columns of this width, about 500 m
COLUMN_DEG = 1 / COLUMNS_PER_DEGREE
ON_BORDER = 1e-6  # in columns: a position this little to the west of a border lies on it
END_SHARE = 0.1  # of the photos, for each of val and test
AREA_M = 100_000.0  # wider, photos are no longer those of one city and its surroundings
TRAIN_SHARE = 0.25  # of the photos, that must be left to train on between the ends


@dataclass(frozen=True)
class Division:
    """How photos are divided. block_deg, seed: by blocks. ends: (axis, 0 for longitude; the middle
    column of longitude; last column of test, first column of val). Without either, all are for
    training. sentence: what such a division can and cannot show, "" by blocks."""

    block_deg: float = 0.0
    seed: int = 0
    ends: tuple[int, int, int, int] | None = None
    sentence: str = ""

    def of(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """The split of each position."""
        if self.block_deg:
            return split_by_block(lon, lat, self.block_deg, self.seed)
        found = np.full(len(lon), "train", dtype=object)
        if self.ends is not None:
            axis, middle, last, first = self.ends
            column = _from(middle, _cells(np.column_stack([lon, lat])))[axis]
            found[column <= last], found[column >= first] = "test", "val"
        return found


def divide(
    chunks: Iterable[tuple[pd.DataFrame, pd.Series]],
    block_deg: float,
    seed: int,
    chip_m: float,
    buffer_m: float,
) -> Division:
    """The division of the photos in (photos, reasons), of which no more is read than is needed.

    Blocks of block_deg degrees, where there are MIN_BLOCKS of them and some of each split.
    Otherwise the ends, where they leave TRAIN_SHARE of the photos further from both than chips of
    different splits keep apart (chip_m + buffer_m).
    """
    by_block = Division(block_deg, seed)
    blocks, seen, places = set(), set(), []
    for frame, reasons in chunks:
        if "split" in frame:
            return by_block
        good = reasons.isna().to_numpy()
        at = frame.loc[good, ["lon", "lat"]].to_numpy(np.float64)
        places.append(_cells(at))
        cells = np.unique(np.floor(at / block_deg).astype(np.int64), axis=0)
        new = [cell for cell in map(tuple, cells.tolist()) if cell not in blocks]
        blocks.update(new)
        middles = (np.array(new, float).reshape(-1, 2) + 0.5) * block_deg
        seen.update(split_by_block(*middles.T, block_deg, seed))
        if len(blocks) >= MIN_BLOCKS and seen == set(SPLITS):
            return by_block
    found = np.concatenate(places) if places else np.empty((0, 2), np.int64)
    return _by_ends(found, chip_m + buffer_m) if len(found) else by_block


def _cells(lonlat: np.ndarray) -> np.ndarray:
    """Columns of COLUMN_DEG from the prime meridian and from the equator, of degrees [n, 2]."""
    # A multiplication: 8.505 / 0.005 is below 1701, on the other side of the border
    return np.floor(np.asarray(lonlat) * COLUMNS_PER_DEGREE + ON_BORDER).astype(np.int64)


def _from(middle: int, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns [n] from west to east, counted from column `middle`, and from south to north."""
    half = 180 * COLUMNS_PER_DEGREE
    return (cells[:, 0] - middle + half) % (2 * half) - half, cells[:, 1]


def _by_ends(cells: np.ndarray, apart_m: float) -> Division:
    """The ends of the longer side, or all for training; cells [n, 2]: of COLUMN_DEG, one a photo,
    in any order."""
    cells, photos = np.unique(cells, axis=0, return_counts=True)
    lon, lat = (cells.T + 0.5) * COLUMN_DEG
    angle = np.radians(lon)
    middle = np.degrees(np.arctan2(np.sin(angle).mean(), np.cos(angle).mean()))
    middle = int(np.floor(middle * COLUMNS_PER_DEGREE))
    columns = _from(middle, cells)
    wide = METRES_PER_DEGREE * COLUMN_DEG * np.cos(np.radians(np.abs(lat).min()))
    metres = (wide, METRES_PER_DEGREE * COLUMN_DEG)
    sides = [np.ptp(c) * m for c, m in zip(columns, metres)]
    axis = int(sides[1] > sides[0])
    column, width = columns[axis], metres[axis]
    order = np.argsort(column, kind="stable")
    share = np.cumsum(photos[order]) / photos.sum()
    last = column[order][np.searchsorted(share, END_SHARE)]
    back = np.cumsum(photos[order][::-1]) / photos.sum()
    first = column[order][::-1][np.searchsorted(back, END_SHARE)]
    gap = apart_m / width + 1
    left = photos[(column > last + gap) & (column < first - gap)].sum() / photos.sum()
    about = f"all photos lie within about {max(1.0, max(sides) / 1000):.0f} km"
    little = "too little ground for chips of different splits to keep apart"
    unseen = "nearby streets that were not seen, and nothing about other cities"
    if max(sides) > AREA_M:
        places = np.unique(np.stack([lon, lat], axis=1).round(), axis=0)
        far = geo.haversine(places[:, None], places[None]).max() / 1000
        about = f"the photos lie in a few places up to about {far:,.0f} km apart"
        little = "with too few photos between their ends to train on"
        unseen = "these places where they end, and nothing about others"
    if last >= first or left < TRAIN_SHARE:
        return Division(
            sentence=f"{about}, {little}: all are for training and nothing is held out, so that "
            "every number describes these places alone"
        )
    names = ("western", "eastern") if axis == 0 else ("southern", "northern")
    return Division(
        ends=(axis, middle, int(last), int(first)),
        sentence=f"{about}, in too few blocks for a division by chance: the {names[0]} end, a "
        f"tenth of them, is for testing, the {names[1]} end for validation. That shows what is "
        f"known of {unseen}",
    )
