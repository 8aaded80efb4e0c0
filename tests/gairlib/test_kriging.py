"""Kriging against its equations written out, row by row and fold by fold."""

import numpy as np
import pytest

from gairlib.kriging import LEAST, Kriging


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(60, 7)) / 7**0.5, rng.normal(size=(60, 2))
    s = rng.normal(size=(60, 3))
    s /= np.linalg.norm(s, axis=1, keepdims=True)
    y = 2 * x[:, 0] + np.sin(z[:, 0]) + s[:, 2] + rng.normal(size=60) / 10
    inputs = (x, z, s)
    return inputs, (y - y.mean()) / y.std()


def covariance(logs, a, b):
    """Entry by entry."""
    linear, features, positions, _, reach, length = np.exp(logs.numpy())
    out = np.empty((len(a[0]), len(b[0])))
    for i in range(len(a[0])):
        for j in range(len(b[0])):
            d = np.linalg.norm(a[1][i] - b[1][j]) * 3**0.5 / reach
            out[i, j] = linear * a[0][i] @ b[0][j] + features * (1 + d) * np.exp(-d)
            out[i, j] += positions * np.exp(-np.linalg.norm(a[2][i] - b[2][j]) / length)
    return out


def answer(logs, train, y, new):
    noise = float(logs[3].exp()) + LEAST
    inverse = np.linalg.inv(covariance(logs, train, train) + noise * np.eye(len(y)))
    cross = covariance(logs, new, train)
    own = np.array([covariance(logs, *[[v[i : i + 1] for v in new]] * 2)[0, 0] for i in range(2)])
    spread = own + noise - np.einsum("ij,jk,ik->i", cross, inverse, cross)[:2]
    return cross @ inverse @ y, np.sqrt(spread)  # [m], the first two of [m]


def test_new_rows_get_the_mean_and_deviation_of_the_equations(made):
    inputs, y = made
    train, new = [v[:50] for v in inputs], [v[50:] for v in inputs]
    model = Kriging(train, y[:50])
    mean, deviation = answer(model.logs, train, y[:50], new)
    np.testing.assert_allclose(model.predict(new), mean, atol=1e-9)
    np.testing.assert_allclose(model.deviation(new)[:2], deviation, atol=1e-6)


def test_left_out_rows_are_answered_as_by_the_other_rows_alone(made):
    inputs, y = made
    model, fold = Kriging(inputs, y), np.random.default_rng(1).integers(0, 3, 60)
    mean, deviation = model.left_out(fold)
    for number in range(3):
        kept = [v[fold != number] for v in inputs]
        out = [v[fold == number] for v in inputs]
        found, spread = answer(model.logs, kept, y[fold != number], out)
        np.testing.assert_allclose(mean[fold == number], found, atol=1e-8)
        np.testing.assert_allclose(deviation[fold == number][:2], spread, atol=1e-6)


def test_what_the_features_do_not_tell_is_noise():
    rng = np.random.default_rng(2)
    inputs = (rng.normal(size=(80, 4)) / 2, rng.normal(size=(80, 2)), rng.normal(size=(80, 3)))
    y = rng.normal(size=80)
    assert np.std(Kriging(inputs, y).predict(inputs)) < 0.5 * np.std(y)


def test_rows_of_one_place_with_different_numbers_are_averaged(made):
    inputs, _ = made
    twice = [np.concatenate([v[:20], v[:20]]) for v in inputs]
    y = np.concatenate([np.ones(20), -np.ones(20)])
    np.testing.assert_allclose(Kriging(twice, y).predict(twice), 0, atol=1e-6)
