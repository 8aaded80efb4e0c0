"""Cheap readings of frozen features: ridge and logistic regression, and neighbours on the globe.

A linear probe is the field's standard question to a frozen encoder (GEO-Bench, TorchSpatial,
Global Streetscapes use the same). Features are standardised on the training rows, and the strength
of regularisation is chosen by grouped cross-validation *inside* the training rows, so that neither
test sites nor a site's own neighbours speak in the choice.

Ridge is solved here instead of by scikit-learn: one eigendecomposition per inner fold serves the
whole path of penalties, which makes a probe of 7,000 rows a matter of 50 ms. Location baselines
(inverse distance weighting, k nearest neighbours) use great-circle distances.
"""

import numpy as np
from scipy.spatial import cKDTree
from sklearn.linear_model import LogisticRegression

from gairlib import geo
from gairlib.errors import BadInput

PENALTIES = np.logspace(-5, 2, 15)  # ridge, relative to the number of rows
INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # logistic regression's C


def standardise(train, *others) -> list[np.ndarray]:
    """Centre and scale columns by the training rows' mean and spread; constant columns become 0."""
    train = np.asarray(train, dtype=np.float64)
    centre, spread = train.mean(0), train.std(0)
    scale = np.where(spread > 1e-9 * np.maximum(np.abs(centre), 1.0), spread, np.inf)
    return [(np.asarray(x, dtype=np.float64) - centre) / scale for x in (train, *others)]


def inner_folds(groups, folds: int, seed: int) -> np.ndarray:
    """Fold number [n] of every row, whole groups together, about equal in rows.

    Groups are shuffled and dealt out largest first to the smallest fold so far.
    """
    names, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    folds = min(folds, len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    if (counts == counts[0]).all():  # such as single rows: dealing out is counting off
        fold = np.zeros(len(names), int)
        fold[order] = np.arange(len(names)) % folds
        return fold[codes.reshape(-1)]
    order = order[np.argsort(-counts[order], kind="stable")]
    load, fold = np.zeros(folds), np.zeros(len(names), int)
    for group in order:
        fold[group] = load.argmin()
        load[fold[group]] += counts[group]
    return fold[codes.reshape(-1)]


# ----------------------------------------------------------------------------------------- ridge


def _path(gram, moment, n, penalties):
    """Coefficients of every penalty from centred X'X [D, D] and X'Y [D, T]: [A, D, T]."""
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ moment  # [D, T]
    shrunk = rotated[None] / (np.maximum(values, 0)[None, :, None] + penalties[:, None, None] * n)
    return vectors @ shrunk


def ridge(train, y, test, groups, *, folds: int = 5, seed: int = 0, penalties=PENALTIES):
    """Ridge regression with the penalty chosen by grouped inner folds.

    train [n, D], y [n], test [m, D], groups [n] -> prediction [m], chosen penalty. The intercept is
    not penalised; a penalty is in units of n, on standardised columns.
    """
    x, z = standardise(train, test)
    y = np.asarray(y, dtype=np.float64)[:, None]
    penalties = np.asarray(penalties, dtype=np.float64)
    fold = inner_folds(groups, folds, seed)
    n, gram, moment = len(x), x.T @ x, x.T @ y
    sum_x, sum_y = x.sum(0), y.sum(0)
    error = np.zeros(len(penalties))
    for f in range(fold.max() + 1) if fold.max() > 0 else []:
        out = fold == f
        xo, yo, m = x[out], y[out], n - out.sum()
        mean_x, mean_y = (sum_x - xo.sum(0)) / m, (sum_y - yo.sum(0)) / m
        inner_gram = gram - xo.T @ xo - m * np.outer(mean_x, mean_x)
        inner_moment = moment - xo.T @ yo - m * np.outer(mean_x, mean_y)
        beta = _path(inner_gram, inner_moment, m, penalties)  # [A, D, 1]
        error += ((mean_y + (xo - mean_x) @ beta - yo[None]) ** 2).sum((1, 2))
    chosen = penalties[[error.argmin() if error.any() else len(penalties) // 2]]
    beta = _path(gram - n * np.outer(x.mean(0), x.mean(0)), moment - sum_x[:, None] * y.mean(0),
                 n, chosen)[0]
    return (y.mean(0) + (z - x.mean(0)) @ beta)[:, 0], float(chosen[0])


# -------------------------------------------------------------------------------------- logistic


def _logistic(x, y, c):
    return LogisticRegression(C=c, max_iter=300, tol=1e-3).fit(x, y)


def logistic(train, y, test, groups, *, folds: int = 3, seed: int = 0, choices=INVERSE_PENALTIES):
    """Multinomial logistic regression with C chosen by grouped inner folds (accuracy).

    train [n, D], y labels [n], test [m, D], groups [n] -> predicted labels [m], chosen C.
    """
    x, z = (a.astype(np.float32) for a in standardise(train, test))
    y = np.asarray(y)
    if len(np.unique(y)) < 2:  # nothing to separate
        return np.full(len(z), y[0]), np.nan
    fold = inner_folds(groups, folds, seed)
    right = np.zeros(len(choices))
    for f in range(fold.max() + 1) if fold.max() > 0 else []:
        out = fold == f
        if len(np.unique(y[~out])) < 2:
            continue
        right += [(_logistic(x[~out], y[~out], c).predict(x[out]) == y[out]).sum() for c in choices]
    chosen = choices[int(right.argmax())] if right.any() else choices[len(choices) // 2]
    return _logistic(x, y, chosen).predict(z), float(chosen)


# ------------------------------------------------------------------------- neighbours on the globe


def sphere(lonlat) -> np.ndarray:
    """(lon, lat) in degrees [n, 2] -> unit vectors [n, 3], without a seam at the antimeridian."""
    return geo.unit_sphere(geo.as_float64(lonlat)).numpy()


def nearest(train_lonlat, test_lonlat, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Great-circle distances in metres [m, k] and training rows [m, k] of the k nearest."""
    k = min(k, len(train_lonlat))
    chord, rows = cKDTree(sphere(train_lonlat)).query(sphere(test_lonlat), k=k)
    chord, rows = chord.reshape(-1, k), rows.reshape(-1, k)
    return 2 * geo.EARTH_RADIUS * np.arcsin(np.clip(chord / 2, 0, 1)), rows


def by_distance(train_lonlat, y, test_lonlat, *, k: int, power: float, labels: bool = False):
    """Inverse distance weighting over the k nearest rows: weights 1 / metres**power.

    power 1 with k 5 is distance-weighted 5-NN. A row at the same place takes all the weight.
    labels=True votes instead of averaging. -> prediction [m].
    """
    if len(train_lonlat) == 0:
        raise BadInput("inverse distance weighting needs at least one training row")
    distance, rows = nearest(train_lonlat, test_lonlat, k)
    weight = 1.0 / np.maximum(distance, 1e-3) ** power  # a millimetre: 'the same place'
    weight /= weight.sum(1, keepdims=True)
    if not labels:
        return (np.asarray(y, dtype=float)[rows] * weight).sum(1)
    names, codes = np.unique(np.asarray(y), return_inverse=True)
    votes = np.zeros((len(rows), len(names)))
    np.add.at(votes, (np.arange(len(rows))[:, None], codes[rows]), weight)
    return names[votes.argmax(1)]


def constant(y, n: int, labels: bool):
    """The training mean, or the most frequent training label, n times."""
    y = np.asarray(y)
    if not labels:
        return np.full(n, y.astype(float).mean())
    names, counts = np.unique(y, return_counts=True)
    return np.full(n, names[counts.argmax()])


# ------------------------------------------------------------------------------ two colour spaces


def canonical_pairs(x, y, *, components: int = 16, shrink: float = 0.01):
    """Regularised canonical correlation of two tables of colours, x [n, P] and y [n, Q].

    Returns two functions that send new rows of each side into the shared [*, K] space, each
    canonical direction scaled by its correlation: what plain statistics can align by themselves.
    """
    sides = []
    for table in (x, y):
        table = np.asarray(table, dtype=np.float64)
        standard = standardise(table)[0]
        covariance = standard.T @ standard / len(standard)
        values, vectors = np.linalg.eigh(covariance + shrink * np.eye(len(covariance)))
        sides.append((table, standard, vectors / np.sqrt(values) @ vectors.T))
    (x, sx, wx), (y, sy, wy) = sides
    u, correlation, vt = np.linalg.svd(wx @ (sx.T @ sy / len(sx)) @ wy)
    k = min(components, len(correlation))
    scale = correlation[:k]
    return (
        lambda new: standardise(x, new)[1] @ wx @ u[:, :k] * scale,
        lambda new: standardise(y, new)[1] @ wy @ vt[:k].T * scale,
    )
