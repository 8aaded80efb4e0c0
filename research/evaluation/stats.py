"""Confidence intervals for benchmark numbers: a bootstrap over clusters, paired between encoders.

Photos of one site, or weather stations of one 10-degree block, are not independent: an interval
over rows would be far too narrow. Clusters (sites, blocks, images) are therefore drawn with
replacement, each draw weights the rows of a cluster by how often it was drawn, and a metric is
computed from the weighted rows. Two encoders are compared on the *same* draws, so that what is
hard about a site cancels in the difference.

A metric is held as a `Score`, a function from cluster weights [R, G] to values [R] (R draws, G
clusters). Means, accuracies and R2 depend on sums over rows only, so a score keeps one small row of
sums per cluster and a thousand draws are one matrix product; medians are taken exactly.

Several probe seeds count as a second level: each draw averages the seeds drawn with replacement, so
the interval also carries the spread between seeds (and between random initialisations).

Percentile intervals from few clusters are too narrow (for 10 sites by some 5-10% of their width),
and below `MIN_CLUSTERS` none is given at all; nor where every draw has the same value, as when all
or none of the rows are right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gairlib.errors import BadInput

Score = Callable[[np.ndarray], np.ndarray]  # weights [R, G] -> values [R]

TAIL = 50 * (1 - 0.95)  # per cent of the draws on each side of an interval
MIN_CLUSTERS = 5  # fewer independent places than this support no interval


@dataclass(frozen=True)
class Estimate:
    """A value with its interval (NaN where too few clusters support one) and draws [R]."""

    value: float
    low: float
    high: float
    draws: np.ndarray

    def excludes_zero(self) -> bool:
        """True if the whole interval lies on one side of zero (False without an interval)."""
        return bool(self.low > 0 or self.high < 0)


def encode_clusters(clusters) -> tuple[np.ndarray, int]:
    """Labels [n] of any type -> integer codes [n] in 0..G-1, and G."""
    names, codes = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    return codes.reshape(-1), len(names)


@lru_cache(maxsize=4)  # all encoders of a task share their draws
def resamples(clusters: int, draws: int, seed: int) -> np.ndarray:
    """How often each of G clusters is drawn in each of R bootstrap draws: counts [R, G]."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=draws)
    counts = counts.astype(float)
    counts.flags.writeable = False
    return counts


# ---------------------------------------------------------------------------------------- scores


def _sums(columns: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Sum the rows [n, S] of each cluster -> [G, S]."""
    totals = np.zeros((codes.max() + 1, columns.shape[1]))
    np.add.at(totals, codes, columns)
    return totals


def mean(values, codes) -> Score:
    """Mean of values [n]: accuracy (of 0/1), recall at k, mean error."""
    values = np.asarray(values, dtype=float)
    totals = _sums(np.stack([values, np.ones_like(values)], 1), np.asarray(codes))

    def score(weights):
        sums = weights @ totals  # [R, 2]
        return sums[:, 0] / sums[:, 1]

    return score


def r2(target, prediction, codes) -> Score:
    """Coefficient of determination, 1 - SSE / SST, about the mean of the rows that are drawn."""
    target, prediction = np.asarray(target, float), np.asarray(prediction, float)
    centred = target - target.mean()  # shifts nothing, but keeps the sums from cancelling
    columns = [np.ones_like(target), centred, centred**2, (target - prediction) ** 2]
    totals = _sums(np.stack(columns, 1), np.asarray(codes))

    def score(weights):
        n, s, ss, error = (weights @ totals).T
        spread = ss - s**2 / n
        return 1.0 - error / np.where(spread > 1e-12 * np.maximum(ss, 1e-300), spread, np.nan)

    return score


def rmse(target, prediction, codes) -> Score:
    """Root mean squared error, in the target's unit."""
    squared = mean((np.asarray(target, float) - np.asarray(prediction, float)) ** 2, codes)
    return lambda weights: np.sqrt(squared(weights))


def balanced_accuracy(target, prediction, codes) -> Score:
    """Mean over the classes (of the rows drawn) of the share of each class that is recognised.

    A class that sits in few clusters is absent from many draws, which shifts the mean: see
    `class_clusters` before giving an interval.
    """
    target, prediction = np.asarray(target), np.asarray(prediction)
    member = target[:, None] == np.unique(target)[None]  # [n, K]
    hit = member & (target == prediction)[:, None]
    totals = _sums(np.concatenate([member, hit], 1).astype(float), np.asarray(codes))

    def score(weights):
        count, right = np.split(weights @ totals, 2, axis=1)  # [R, K] each
        share = right / np.where(count > 0, count, np.nan)
        return np.nanmean(share, axis=1)

    return score


def micro_f1(target, prediction, codes) -> Score:
    """F1 of 0/1 targets [n, K] over all classes together: 2 TP / (2 TP + FP + FN)."""
    target, prediction = np.asarray(target) > 0, np.asarray(prediction) > 0
    both, either = (target & prediction).sum(1), target.sum(1) + prediction.sum(1)  # [n] each
    totals = _sums(np.stack([2.0 * both, either], 1), np.asarray(codes))

    def score(weights):
        hits, marks = (weights @ totals).T
        return hits / np.where(marks > 0, marks, np.nan)

    return score


def median(values, codes, chunk: int = 64) -> Score:
    """Median of values [n] (of an even count: the mean of the two in the middle)."""
    values = np.asarray(values, dtype=float)
    order = np.argsort(values, kind="stable")
    values, codes = values[order], np.asarray(codes)[order]

    def block(weights):
        running = np.cumsum(weights[:, codes], axis=1)  # [r, n]
        half = running[:, -1:] / 2
        return (values[(running >= half).argmax(1)] + values[(running > half).argmax(1)]) / 2

    return lambda weights: np.concatenate(
        [block(weights[i : i + chunk]) for i in range(0, len(weights), chunk)]
    )


def class_clusters(target, codes) -> int:
    """The number of clusters in which the least spread class occurs."""
    target, codes = np.asarray(target), np.asarray(codes)
    return min(len(np.unique(codes[target == name])) for name in np.unique(target))


# ------------------------------------------------------------------------------------- intervals


def cluster_bootstrap(
    scores: Sequence[Score],
    clusters: int,
    *,
    draws: int = 1000,
    seed: int = 0,
    min_clusters: int = MIN_CLUSTERS,
) -> Estimate:
    """Mean over probe seeds of a metric, with a percentile interval over clusters and seeds.

    scores: one `Score` a probe seed, all over the same G = `clusters` clusters.
    """
    if not scores or clusters < 1 or draws < 1:
        raise BadInput(
            f"a bootstrap needs a score, a cluster and a draw; got {len(scores)} scores, "
            f"{clusters} clusters, {draws} draws"
        )
    s = len(scores)
    value = float(np.mean([score(np.ones((1, clusters)))[0] for score in scores]))
    shares = np.random.default_rng([seed, s]).multinomial(s, np.full(s, 1 / s), size=draws) / s
    weights = resamples(clusters, draws, seed)
    found = (np.stack([score(weights) for score in scores], 1) * shares).sum(1)  # [R]
    if clusters < min_clusters or not np.isfinite(found).any():
        return Estimate(value, np.nan, np.nan, found)
    low, high = np.nanpercentile(found, [TAIL, 100 - TAIL])
    # none of 480 found: resampling them tells nothing of how rare a find is
    if np.isclose(low, high, rtol=1e-9, atol=1e-12):
        return Estimate(value, np.nan, np.nan, found)
    return Estimate(value, float(low), float(high), found)


def paired_difference(
    first: Sequence[Score], second: Sequence[Score], clusters: int, **how
) -> Estimate:
    """first minus second on the same draws of clusters and seeds; a single score serves all seeds.

    The pairing over seeds is meant: seed s of both sides saw the same training sites or folds.
    how: options of `cluster_bootstrap`.
    """
    s = max(len(first), len(second))
    if {len(first), len(second)} - {1, s}:
        raise BadInput(
            f"paired_difference got {len(first)} and {len(second)} seeds; "
            "both sides need the same number, or one"
        )
    pairs = list(zip(list(first) * (s // len(first)), list(second) * (s // len(second))))
    gaps = [lambda weights, a=a, b=b: a(weights) - b(weights) for a, b in pairs]
    return cluster_bootstrap(gaps, clusters, **how)
