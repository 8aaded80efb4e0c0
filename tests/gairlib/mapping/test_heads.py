"""Heads against scikit-learn, and what is chosen and set right on rows that were left out."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from gairlib.errors import BadInput
from gairlib.mapping import heads


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    x = rng.normal(size=(600, 8)) * np.linspace(1, 30, 8) + 5
    x[:, 0] += y
    x[:, 1] -= 2 * (y == 2)
    return x.astype(np.float32), y, np.arange(600) // 20


def standard(x):
    return ((x - x.mean(0)) / x.std(0)).astype(np.float64)


def test_discriminants_are_those_of_scikit_learn(table):
    x, y, _ = table
    head = next(heads._path("discriminant", x, y, 3, (1e-12,)))
    naive = LinearDiscriminantAnalysis(solver="lsqr").fit(standard(x), y)
    np.testing.assert_allclose(head(x).numpy(), naive.predict_proba(standard(x)), atol=1e-4)


def test_logistic_regression_is_that_of_scikit_learn(table):
    x, y, _ = table
    for head in heads._path("logistic", x, y, 3, (1e-2, 1e-3)):
        naive = LogisticRegression(C=1 / (600 * head.strength), max_iter=1000, tol=1e-8)
        naive.fit(standard(x), y)
        np.testing.assert_allclose(head(x).numpy(), naive.predict_proba(standard(x)), atol=5e-3)


def test_the_linear_head_is_the_one_that_suits(table):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (900, 2)).astype(np.float32)
    x[:, 0] = np.sign(x[:, 0]) * np.abs(x[:, 0]) ** 6 * 100  # far from Gaussian
    y = (x[:, 0] + 0.05 * x[:, 1] > 0.02).astype(int)
    assert heads.choose("linear", x, y, 2, np.arange(900) // 30, 0).name == "logistic"


def test_ridge_is_that_of_scikit_learn_and_its_deviation_holds(table):
    x, _, groups = table
    rng = np.random.default_rng(1)
    y = (x @ rng.normal(size=8) + rng.normal(0, 40, 600)).astype(np.float32)
    head = next(heads._path("ridge", x, y, 0, (0.1,)))
    naive = Ridge(alpha=0.1 * 600).fit(standard(x), y)
    np.testing.assert_allclose(head(x)[:, 0].numpy(), naive.predict(standard(x)), rtol=1e-3)
    chosen = heads.choose("linear", x[:400], y[:400], 0, groups[:400], seed=0)
    answers = chosen(x[400:])
    inside = np.abs(y[400:] - answers[:, 0].numpy()) < 1.645 * answers[:, 1].numpy()
    assert 0.84 < inside.mean() < 0.96


def test_neighbours_are_those_of_scikit_learn(table):
    x, y, _ = table
    head = next(heads._path("neighbours", x, y, 3, (5,)))
    naive = KNeighborsClassifier(5).fit(standard(x), y).predict_proba(standard(x))
    off = np.abs(head(x).numpy() - naive).max(1) > 0.01
    assert off.mean() < 0.01  # where two neighbours are as near as each other
    number = next(heads._path("neighbours", x, y.astype(np.float32), 0, (5,)))
    np.testing.assert_allclose(number(x)[:, 0].numpy()[~off], naive[~off] @ [0, 1, 2], atol=1e-5)


@pytest.mark.parametrize("name", heads.HEADS)
def test_the_strength_suits_rows_that_were_left_out(table, name):
    x, y, groups = table
    noise = np.random.default_rng(2).permutation(y)
    chosen = heads.choose(name, x, y, 3, groups, seed=0)
    assert chosen.strength in heads.PATHS[chosen.name]
    right = (heads.choose(name, x[:400], y[:400], 3, groups[:400], 0)(x[400:]).argmax(1)).numpy()
    guess = (
        heads.choose(name, x[:400], noise[:400], 3, groups[:400], 0)(x[400:]).argmax(1)
    ).numpy()
    assert (right == y[400:]).mean() > 0.5 > (guess == noise[400:]).mean()
    with pytest.raises(BadInput, match="head 'trees'"):
        heads.choose("trees", x, y, 3, groups, 0)


def test_calibration_finds_the_temperature_and_the_deviation():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 2, (20_000, 4)))
    truth = torch.multinomial((logits / 2).softmax(-1), 1)[:, 0].numpy()
    assert heads.calibration(logits.softmax(-1), truth, 4) == pytest.approx(2, rel=0.08)
    value = rng.normal(size=5000)
    answers = torch.from_numpy(np.stack([value, np.full(5000, 0.5)], 1))
    factor = heads.calibration(answers, value + rng.normal(0, 1.5, 5000), 0)
    assert factor == pytest.approx(3, rel=0.05)
    assert heads.calibrated(answers, factor, 0)[0, 1] == pytest.approx(0.5 * factor)
