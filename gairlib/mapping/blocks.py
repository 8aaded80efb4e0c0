"""Blocks of ground, folds of whole blocks, and intervals over them.

Neighbouring pixels are alike, so a map is judged on ground that its labels did not come from: the
blocks of a fold are left out together (Roberts et al. 2017, Ecography 40:913-929), and intervals
draw blocks, not pixels. Neighbouring blocks may touch: the larger the block, the less it matters.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

SIZES, LEAST = (20_000.0, 10_000.0, 5000.0, 2000.0, 1000.0, 500.0, 200.0), 30  # metres; blocks
DEGREE = 111_195.0  # metres
DRAWS, LEVEL, FEWEST = 1000, 0.95, 10  # of the interval; with fewer blocks there is none


def blocks(lonlat: ArrayLike, metres: float) -> np.ndarray:
    """Numbers [n] of the blocks, about so many metres a side, that hold (lon, lat) [n, 2]."""
    lon, lat = np.asarray(lonlat, np.float64).T
    row = np.floor(lat * DEGREE / metres)
    across = DEGREE * np.cos(np.radians((row + 0.5) * metres / DEGREE))
    column = np.floor((lon % 360) * across / metres)
    return np.unique(np.column_stack([row, column]), axis=0, return_inverse=True)[1].reshape(-1)


def fitting_size(lonlat: ArrayLike, sizes: Sequence[float] = SIZES, least: int = LEAST) -> float:
    """The largest size, in metres, that makes at least so many blocks; else the smallest."""
    return next((s for s in sizes if blocks(lonlat, s).max() + 1 >= least), sizes[-1])


def interval(
    score: Callable[[np.ndarray], np.ndarray], count: int, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high) of a score over `count` blocks, a function of weights [R, count] to [R]:
    as far on either side as LEVEL of the bootstrap's deviations. NaN ends for too few blocks."""
    value = float(score(np.ones((1, count)))[0])
    if count < FEWEST:
        return value, np.nan, np.nan
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    off = np.abs(score(drawn.astype(np.float64)) - value)
    half = float(np.nanquantile(off, LEVEL)) * np.sqrt(count / (count - 1))
    return value, value - half, value + half


def per_block(columns: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """Sums [count, S] of the rows [n, S] of each block."""
    totals = np.zeros((count, columns.shape[1]))
    np.add.at(totals, codes, columns)
    return totals


def class_scores(truth: np.ndarray, guess: np.ndarray, codes: np.ndarray, classes: int) -> dict:
    """Name -> score of classes: accuracy, and the mean over classes of the share that is found."""
    member = np.eye(classes)[truth]
    hits = member * (truth == guess)[:, None]
    totals = per_block(np.hstack([member, hits]), codes, int(codes.max()) + 1)

    def parts(weights):
        return np.split(weights @ totals, 2, axis=1)

    def balanced(weights):
        n, right = parts(weights)
        return np.nanmean(right / np.where(n > 0, n, np.nan), axis=1)

    def accuracy(weights):
        n, right = parts(weights)
        return right.sum(1) / n.sum(1)

    return {"balanced accuracy": balanced, "accuracy": accuracy}


def number_scores(truth: np.ndarray, guess: np.ndarray, codes: np.ndarray) -> dict:
    """Name -> score of numbers: R2 about the mean of what is drawn, and root mean squared error."""
    centred = truth - truth.mean()
    columns = [np.ones_like(centred), centred, centred**2, (truth - guess) ** 2]
    totals = per_block(np.stack(columns, 1), codes, int(codes.max()) + 1)

    def r2(weights):
        n, s, ss, error = (weights @ totals).T
        spread = ss - s**2 / n
        return 1 - error / np.where(spread > 1e-12 * ss, spread, np.nan)

    def rmse(weights):
        n, _, _, error = (weights @ totals).T
        return np.sqrt(error / n)

    return {"R2": r2, "rmse": rmse}
