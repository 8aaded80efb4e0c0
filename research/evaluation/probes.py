"""Cheap readings of frozen features: ridge and logistic regression, canonical correlation.

A linear probe is the field's standard question to a frozen encoder (GEO-Bench, TorchSpatial,
Global Streetscapes use the same). Features are standardised on the training rows and cut off at FAR
spreads, and the strength of regularisation is chosen by grouped cross-validation *inside* the
training rows, so that neither test sites nor a site's own neighbours speak in the choice.

Ridge is solved here instead of by scikit-learn: one eigendecomposition per inner fold serves the
whole path of penalties, which makes a probe of 7,000 rows a matter of 50 ms.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

from research.evaluation.splits import fold_numbers

# A unit of an untrained tower that is on at one training row in thousands would stand at sixty
# spreads there, and at hundreds at a test row: one such photo outweighs all others of its site
FAR = 10.0
PENALTIES = np.logspace(-5, 2, 15)  # ridge, relative to the number of rows
INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # logistic regression's C


def standardise(train, *others, far: float = FAR) -> list[np.ndarray]:
    """Centre and scale columns by the training rows' mean and spread, and cut them off at `far`
    spreads; constant columns become 0."""
    train = np.asarray(train, dtype=np.float64)
    centre, spread = train.mean(0), train.std(0)
    scale = np.where(spread > 1e-9 * np.maximum(np.abs(centre), 1.0), spread, np.inf)
    return [
        np.clip((np.asarray(x, dtype=np.float64) - centre) / scale, -far, far)
        for x in (train, *others)
    ]


# ----------------------------------------------------------------------------------------- ridge


def _path(gram, moment, n, penalties):
    """Coefficients of every penalty from centred X'X [D, D] and X'Y [D, T]: [A, D, T]."""
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ moment  # [D, T]
    shrunk = rotated[None] / (np.maximum(values, 0)[None, :, None] + penalties[:, None, None] * n)
    return vectors @ shrunk


def ridge(train, y, test, groups, *, seed: int = 0, penalties=PENALTIES):
    """Ridge regression with the penalty chosen by grouped inner folds.

    train [n, D], y [n], test [m, D], groups [n] -> prediction [m], chosen penalty. The intercept is
    not penalised; a penalty is in units of n, on standardised columns.
    """
    x, z = standardise(train, test)
    y = np.asarray(y, dtype=np.float64)[:, None]
    penalties = np.asarray(penalties, dtype=np.float64)
    fold = fold_numbers(groups, 5, seed)
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
    beta = _path(
        gram - n * np.outer(x.mean(0), x.mean(0)), moment - sum_x[:, None] * y.mean(0), n, chosen
    )[0]
    return (y.mean(0) + (z - x.mean(0)) @ beta)[:, 0], float(chosen[0])


# -------------------------------------------------------------------------------------- logistic


def _logistic(x, y, path):
    """Models of one table with less and less regularisation, each started from the one before."""
    model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
    for c in path:
        yield model.set_params(C=c).fit(x, y)


def logistic(train, y, test, groups, *, seed: int = 0):
    """Multinomial logistic regression with C chosen by grouped inner folds (accuracy).

    train [n, D], y labels [n], test [m, D], groups [n] -> predicted labels [m], chosen C.
    """
    x, z = (a.astype(np.float32) for a in standardise(train, test))
    y = np.asarray(y)
    if len(np.unique(y)) < 2:  # nothing to separate
        return np.full(len(z), y[0]), np.nan
    fold = fold_numbers(groups, 3, seed)
    right = np.zeros(len(INVERSE_PENALTIES))
    for f in range(fold.max() + 1) if fold.max() > 0 else []:
        out = fold == f
        if len(np.unique(y[~out])) < 2:
            continue
        right += [
            (model.predict(x[out]) == y[out]).sum()
            for model in _logistic(x[~out], y[~out], INVERSE_PENALTIES)
        ]
    middle = len(INVERSE_PENALTIES) // 2
    chosen = INVERSE_PENALTIES[int(right.argmax()) if right.any() else middle]
    (model,) = _logistic(x, y, [chosen])
    return model.predict(z), float(chosen)


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
