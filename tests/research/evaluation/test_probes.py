"""Probes against scikit-learn."""

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from research.evaluation import probes
from research.evaluation.splits import fold_numbers


def regression(n=120, d=9, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d) + rng.normal(size=d)
    y = x @ (rng.normal(size=d) / x.std(0)) + noise * rng.normal(size=n) + 7
    return x, y, rng.integers(0, 12, n), rng


def test_ridge_equals_scikit_learn_at_every_penalty_and_picks_the_best_inner_one():
    x, y, groups, rng = regression()
    test = rng.normal(size=(30, 9))
    xs, zs = probes.standardise(x, test)
    for penalty in (1e-4, 1e-1, 10.0):
        got, chosen = probes.ridge(x, y, test, groups, penalties=[penalty])
        assert chosen == penalty
        oracle = Ridge(alpha=penalty * len(x)).fit(xs, y).predict(zs)
        np.testing.assert_allclose(got, oracle, rtol=1e-6)
    penalties = np.logspace(-4, 2, 7)
    fold = fold_numbers(groups, 5, 0)
    error = [
        sum(
            (
                (
                    Ridge(alpha=a * (fold != f).sum())
                    .fit(xs[fold != f], y[fold != f])
                    .predict(xs[fold == f])
                    - y[fold == f]
                )
                ** 2
            ).sum()
            for f in range(5)
        )
        for a in penalties
    ]
    assert probes.ridge(x, y, test, groups, penalties=penalties)[1] == penalties[np.argmin(error)]


def test_ridge_copes_with_more_columns_than_rows_and_with_constant_ones():
    x, y, groups, rng = regression(n=40, d=80)
    x[:, 3] = 5.0
    test = x.copy()
    test[:, 3] = 1e9  # a column that was constant in training must not speak
    got, _ = probes.ridge(x, y, test, groups)
    assert np.isfinite(got).all() and r2_score(y, got) > 0.5


def test_noise_is_shrunk_to_the_mean():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 100)), rng.normal(size=200)
    got, penalty = probes.ridge(x[:100], y[:100], x[100:], np.arange(100))
    assert penalty >= 1.0 and got.std() < 0.4


def test_logistic_separates_and_survives_a_single_class():
    rng = np.random.default_rng(0)
    y = rng.choice(["forest", "urban", "water"], 150)
    centres = {"forest": 0, "urban": 3, "water": 6}
    x = rng.normal(size=(150, 4)) + np.array([centres[v] for v in y])[:, None]
    got, c = probes.logistic(x[:100], y[:100], x[100:], np.arange(100) // 5)
    assert (got == y[100:]).mean() > 0.9 and c in probes.INVERSE_PENALTIES
    only, _ = probes.logistic(x[:5], np.full(5, "forest"), x[5:8], np.arange(5))
    assert only.tolist() == ["forest"] * 3
    two, _ = probes.logistic(x[:6], np.array(["a"] * 5 + ["b"]), x[6:9], np.arange(6))
    assert set(two) <= {"a", "b"}  # one inner fold has a single class


def test_canonical_pairs_find_the_correlation_of_scikit_learn():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2))
    x = z @ rng.normal(size=(2, 6)) + 0.5 * rng.normal(size=(400, 6))
    y = z @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(400, 5))
    fx, fy = probes.canonical_pairs(x, y, components=2, shrink=1e-9)
    a, b = fx(x), fy(y)
    u, v = CCA(2, max_iter=2000).fit_transform(x, y)
    for k in range(2):
        ours = np.corrcoef(a[:, k], b[:, k])[0, 1]
        assert ours == pytest.approx(np.corrcoef(u[:, k], v[:, k])[0, 1], abs=1e-3)
    new = rng.normal(size=(7, 6))
    np.testing.assert_allclose(fx(np.concatenate([x, new]))[400:], fx(new))  # rows are independent


def test_a_unit_that_is_on_at_one_row_in_thousands_leads_no_probe_astray():
    """Untrained towers have them: on at one training row, and forty times as far at a test row."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2100, 6))
    y = x[:, 0] + 0.5 * rng.normal(size=2100)
    x[:, 5] = 0.0
    train, test = np.arange(2000), np.arange(2000, 2100)
    x[7, 5], y[7], x[2003, 5] = 1.0, 9.0, 40.0
    guess, _ = probes.ridge(x[train], y[train], x[test], np.arange(2000) // 40)
    assert np.abs(guess).max() < 12 and r2_score(np.delete(y[test], 3), np.delete(guess, 3)) > 0.6
    z, far = probes.standardise(x[train], x[test])
    assert z.max() == far.max() == probes.FAR
    assert probes.standardise(x[train], x[test], far=np.inf)[1].max() > 1000
