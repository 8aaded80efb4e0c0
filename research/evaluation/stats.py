"""Confidence intervals for benchmark numbers: a bootstrap over clusters, paired between encoders.

Photos of one site, or weather stations of one 10-degree block, are not independent: an interval
over rows would be far too narrow. Clusters (sites, blocks, images) are therefore drawn with
replacement, each draw weights the rows of a cluster by how often it was drawn, and a metric is
computed from the weighted rows. Two encoders are compared on the *same* draws, so that what is
hard about a site cancels in the difference.

A metric is held as a `Score`, a function from cluster weights [R, G] to values [R] (R draws, G
clusters). Means, accuracies and R2 depend on sums over rows only, so a score keeps one small row of
sums per cluster and a thousand draws are one matrix product; medians are taken exactly.

The interval is a symmetric bootstrap t (Hall 1988, Annals of Statistics 16:927): the bootstrap's
standard error, widened by sqrt(G / (G - 1)) because resamples of G clusters spread by that much too
little, times the number of its own standard errors within which 95% of the draws lie. It is laid on
the scale on which the metric is nearly normal (log odds of a share, logarithm of an error,
-log(1 - R2)) and read back, so that no interval leaves the metric's range. By simulation
(`research.evaluation.coverage`, docs/intervals.md) it holds the truth in 94-97% of tables of 6, 10
and 40 clusters; percentiles of the draws do in 85% at 6 and 90% at 10, and the expanded percentiles
of Hesterberg (2015, The American Statistician 69:371) in 91-93% where a share is small.

Several seeds (of a probe, of a training) are a second source of spread: the variance of their mean
is added, and the degrees of freedom are Welch and Satterthwaite's.

Below `MIN_CLUSTERS` no interval is given; nor where every draw has the same value, as when all or
none of the rows are right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from gairlib.errors import BadInput

LEVEL = 0.95
MIN_CLUSTERS = 5  # fewer independent places than this support no interval


@dataclass(frozen=True)
class Scale:
    """Where a metric is nearly normal: `to` that scale and `back`, and the slope of `to`."""

    to: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float]
    least: float = -np.inf
    most: float = np.inf

    def interval(self, value: float, half: float) -> tuple[float, float]:
        """`value` with `half` on either side (in the metric's unit) -> lower and upper end."""
        # a logarithm straightens small errors; large ones, and those at the edge, it would blow up
        if not self.least < value < self.most or half * self.slope(value) > 1:
            low, high = np.clip([value - half, value + half], self.least, self.most)
        else:
            middle, half = self.to(value), half * self.slope(value)
            low, high = self.back(middle - half), self.back(middle + half)
        return float(low), float(high)


PLAIN = Scale(float, float, lambda v: 1.0)  # differences, margins
SHARE = Scale(logit, expit, lambda v: 1 / (v * (1 - v)), 0, 1)
POSITIVE = Scale(np.log, np.exp, lambda v: 1 / v, 0)  # errors, ranks
CORRELATION = Scale(np.arctanh, np.tanh, lambda v: 1 / (1 - v**2), -1, 1)  # Fisher's
EXPLAINED = Scale(lambda v: -np.log1p(-v), lambda y: -np.expm1(-y), lambda v: 1 / (1 - v), most=1)


@dataclass(frozen=True)
class Score:
    """A metric as a function of cluster weights [R, G] -> values [R], and its scale."""

    of: Callable[[np.ndarray], np.ndarray]
    scale: Scale

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return self.of(weights)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval (NaN where too few clusters support one)."""

    value: float
    low: float
    high: float

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

    within = ((values >= 0) & (values <= 1)).all()
    return Score(score, SHARE if within else PLAIN)


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

    return Score(score, EXPLAINED)


def correlation(target, prediction, codes) -> Score:
    """Pearson's correlation of two columns [n] of the rows that are drawn; NaN where one of them
    does not vary."""
    x, y = (np.asarray(v, float) - np.mean(v) for v in (target, prediction))
    totals = _sums(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], 1), np.asarray(codes))

    def score(weights):
        n, sx, sy, xx, yy, xy = (weights @ totals).T
        spread = (xx - sx**2 / n) * (yy - sy**2 / n)
        varied = spread > 1e-24 * np.maximum(xx * yy, 1e-300)
        return (xy - sx * sy / n) / np.sqrt(np.where(varied, spread, np.nan))

    return Score(score, CORRELATION)


def average(scores: Sequence[Score]) -> Score:
    """Mean of several metrics on the same draws."""
    return Score(lambda weights: np.mean([s(weights) for s in scores], 0), scores[0].scale)


def rmse(target, prediction, codes) -> Score:
    """Root mean squared error, in the target's unit."""
    squared = mean((np.asarray(target, float) - np.asarray(prediction, float)) ** 2, codes)
    return Score(lambda weights: np.sqrt(squared(weights)), POSITIVE)


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

    return Score(score, SHARE)


def micro_f1(target, prediction, codes) -> Score:
    """F1 of 0/1 targets [n, K] over all classes together: 2 TP / (2 TP + FP + FN)."""
    target, prediction = np.asarray(target) > 0, np.asarray(prediction) > 0
    both, either = (target & prediction).sum(1), target.sum(1) + prediction.sum(1)  # [n] each
    totals = _sums(np.stack([2.0 * both, either], 1), np.asarray(codes))

    def score(weights):
        hits, marks = (weights @ totals).T
        return hits / np.where(marks > 0, marks, np.nan)

    return Score(score, SHARE)


def median(values, codes, chunk: int = 64) -> Score:
    """Median of values [n] >= 0: ranks, errors (of an even count: the mean of the two in the
    middle)."""
    values = np.asarray(values, dtype=float)
    order = np.argsort(values, kind="stable")
    values, codes = values[order], np.asarray(codes)[order]

    def block(weights):
        running = np.cumsum(weights[:, codes], axis=1)  # [r, n]
        half = running[:, -1:] / 2
        return (values[(running >= half).argmax(1)] + values[(running > half).argmax(1)]) / 2

    return Score(
        lambda weights: np.concatenate(
            [block(weights[i : i + chunk]) for i in range(0, len(weights), chunk)]
        ),
        POSITIVE,
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
    """Mean over seeds of a metric, with an interval over clusters and seeds.

    scores: one `Score` a seed, all over the same G = `clusters` clusters.
    """
    if not scores or clusters < 1 or draws < 1:
        raise BadInput(
            f"a bootstrap needs a score, a cluster and a draw; got {len(scores)} scores, "
            f"{clusters} clusters, {draws} draws"
        )
    each = np.array([score(np.ones((1, clusters)))[0] for score in scores])
    value = float(each.mean())
    if clusters < max(min_clusters, 2):
        return Estimate(value, np.nan, np.nan)
    weights = resamples(clusters, draws, seed)
    found = np.mean([score(weights) for score in scores], 0)  # [R]
    places = np.nanvar(found) * clusters / (clusters - 1) if np.isfinite(found).any() else np.nan
    seeds = each.var(ddof=1) / len(each) if len(each) > 1 else 0.0
    # none of 480 found: resampling them tells nothing of how rare a find is
    if not places + seeds > 1e-24:
        return Estimate(value, np.nan, np.nan)
    # Welch and Satterthwaite: the degrees of freedom of a sum of two estimated variances
    freedom = (places + seeds) ** 2 / (
        places**2 / (clusters - 1) + seeds**2 / max(len(each) - 1, 1)
    )
    tail = (1 + LEVEL) / 2
    wider = student.ppf(tail, freedom) / student.ppf(tail, clusters - 1)
    half = _critical(scores, weights, value) * wider * np.sqrt(places + seeds)
    scale = scores[0].scale if all(x.scale == scores[0].scale for x in scores) else PLAIN
    return Estimate(value, *scale.interval(value, half))


def _critical(scores: Sequence[Score], weights: np.ndarray, value: float) -> float:
    """How many standard errors hold 95% of the deviations: a symmetric bootstrap of Student's t.

    weights [R, G]. The metric is taken as a mean of the jackknife's pseudo-values, so that a draw's
    own standard error costs no further evaluation.
    """
    clusters = weights.shape[1]
    without = np.ones((clusters, clusters)) - np.eye(clusters)
    pseudo = (clusters - 1) * (value - np.mean([score(without) for score in scores], 0))
    pseudo = np.nan_to_num(pseudo - np.nanmean(pseudo))
    shift = weights @ pseudo / clusters
    error = np.sqrt(np.maximum(weights @ pseudo**2 / clusters - shift**2, 0) / (clusters - 1))
    # a draw of nearly the same clusters has no error to divide by; a quarter by simulation
    varied = error > pseudo.std() / np.sqrt(clusters - 1) / 4
    if not varied.any():
        return float(student.ppf((1 + LEVEL) / 2, clusters - 1))
    return float(np.quantile(np.abs(shift[varied]) / error[varied], LEVEL))


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
    gaps = [Score(lambda weights, a=a, b=b: a(weights) - b(weights), PLAIN) for a, b in pairs]
    return cluster_bootstrap(gaps, clusters, **how)
