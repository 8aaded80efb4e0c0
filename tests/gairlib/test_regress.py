"""LocationRegressor on a small table with a tiny encoder: scikit-learn's interface, its choices."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score

from gairlib import assets, geo, regress
from gairlib.errors import BadInput, Missing
from gairlib.regress import DegreeBlocks, LocationRegressor

N = 240


def waves(lonlat):
    """A tiny encoder: [N, 2] -> [N, 6], sines of the position that no map of 240 rows shows."""
    lon, lat = torch.deg2rad(lonlat).unbind(1)
    parts = [f(k * lon + lat) for k in (3, 7, 20) for f in (torch.sin, torch.cos)]
    return torch.stack(parts, 1)


@pytest.fixture(scope="module")
def table():
    """Places [N, 2] all over the Earth and a number that the encoder tells, and noise."""
    rng = np.random.default_rng(0)
    X = np.stack([rng.uniform(-180, 180, N), rng.uniform(-60, 60, N)], 1)
    x = waves(torch.from_numpy(X)).numpy()
    return X, 20 + 3 * x[:, 4] + 2 * x[:, 1] + x[:, 0] * x[:, 2] + rng.normal(size=N) / 5


@pytest.fixture(scope="module")
def fitted(table):
    X, y = table
    return LocationRegressor(waves).fit(X[:160], y[:160])


def test_it_predicts_places_that_it_has_not_seen(table, fitted):
    X, y = table
    assert r2_score(y[160:], fitted.predict(X[160:])) > 0.9
    assert fitted.score(X[160:], y[160:]) == r2_score(y[160:], fitted.predict(X[160:]))


def test_features_tell_more_than_the_position_alone(table, fitted):
    X, y = table
    alone = LocationRegressor(None).fit(X[:160], y[:160])
    assert alone.score(X[160:], y[160:]) < fitted.score(X[160:], y[160:]) - 0.3


def test_without_features_it_interpolates_between_near_rows():
    rng = np.random.default_rng(3)
    X = rng.uniform(0, 3, (N, 2))
    y = np.sin(3 * X[:, 0]) + X[:, 1]
    assert LocationRegressor(None).fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.95


def test_intervals_hold_their_share_and_widen_with_the_level(table, fitted):
    X, y = table
    low, high = fitted.predict_interval(X[160:]).T
    assert 0.8 <= np.mean((low <= y[160:]) & (y[160:] <= high)) <= 1
    inner = fitted.predict_interval(X[160:], level=0.5)
    assert (inner[:, 0] > low).all() and (inner[:, 1] < high).all()
    np.testing.assert_allclose((low + high) / 2, fitted.predict(X[160:]), atol=1e-9)
    with pytest.raises(BadInput, match="1.5"):
        fitted.predict_interval(X, level=1.5)


def test_intervals_are_wider_far_from_the_training_rows():
    rng = np.random.default_rng(4)
    X = np.stack([rng.uniform(0, 40, N), rng.uniform(0, 40, N)], 1)
    y = np.sin(X[:, 0] / 5) + rng.normal(size=N) / 20
    model = LocationRegressor(None).fit(X, y)
    width = np.ptp(model.predict_interval(np.array([[20.0, 20.0], [-140.0, -50.0]])), axis=1)
    assert width[1] > 2 * width[0]


def test_parameters_are_scikit_learns(table, fitted):
    model = LocationRegressor(None, most=50, random_state=3)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(block_degrees=20.0).block_degrees == 20.0
    X, y = table
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    scores = cross_val_score(LocationRegressor(None), X, y, cv=DegreeBlocks(20, 2))
    assert scores.shape == (2,) and np.isfinite(scores).all()


def test_the_same_rows_and_seed_give_the_same_model(table, fitted):
    X, y = table
    again = LocationRegressor(waves).fit(X[:160].tolist(), list(y[:160]))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_targets_unit_and_longitudes_turn_do_not_matter(table, fitted):
    X, y = table
    scaled = LocationRegressor(waves).fit(X[:160] + [360, 0], 1000 * y[:160] - 5)
    np.testing.assert_allclose((scaled.predict(X[160:]) + 5) / 1000, fitted.predict(X[160:]), 1e-4)


def test_more_rows_than_kriging_takes_still_teach(table):
    X, y = table
    few = LocationRegressor(waves, most=60).fit(X[:160], y[:160])
    assert len(few.kriging_.y) == 60 and few.score(X[160:], y[160:]) > 0.8


def test_cross_validation_leaves_out_whole_blocks(table):
    X, y = table
    found = LocationRegressor(None).cross_validate(X, y, block_degrees=20)
    cells = geo.blocks(X, 20)
    assert all(len(set(found.fold[cells == cell])) == 1 for cell in np.unique(cells))
    assert found.r2 == r2_score(y, found.prediction)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((y - found.prediction) ** 2)))
    inside = (found.interval[:, 0] <= y) & (y <= found.interval[:, 1])
    assert found.coverage == inside.mean()


def test_blocks_are_tested_once_and_stay_whole(table):
    X, _ = table
    cells, tested = geo.blocks(X, 10), []
    for train, test in DegreeBlocks(10, 3).split(X):
        assert not set(cells[train]) & set(cells[test])
        tested += list(test)
    assert sorted(tested) == list(range(N)) and DegreeBlocks(10, 3).get_n_splits() == 3
    with pytest.raises(BadInput, match="1 blocks of 10 degrees"):
        list(DegreeBlocks(10).split(X[:1]))


def test_a_constant_target_and_rows_of_one_block(table):
    X, _ = table
    assert LocationRegressor(waves).fit(X[:40], np.full(40, 7.0)).predict(X) == pytest.approx(7)
    near = np.random.default_rng(5).uniform(0, 1e-4, (40, 2))
    y = near[:, 0] * 1e4
    assert LocationRegressor(None).fit(near, y).score(near, y) > 0.9


@pytest.mark.parametrize(
    ("X", "y", "fact"),
    [
        ([[0, 95.0]] * 12, range(12), "lat 95"),
        ([[0, 5.0, 1]] * 12, range(12), r"\[12, 3\]"),
        ([[0, 5.0]] * 12, range(11), r"\[11\] with 12 places"),
        ([[0, 5.0]] * 9, range(9), "at least 10"),
        ([[0, 5.0]] * 12, [*range(11), np.nan], "row 11"),
    ],
)
def test_a_bad_row_is_named(X, y, fact):
    with pytest.raises(BadInput, match=fact):
        LocationRegressor(None).fit(X, list(y))


def test_without_the_asset_it_says_what_fetches_it(table, monkeypatch, tmp_path):
    X, y = table
    monkeypatch.setenv("GAIRLIB_ASSETS", str(tmp_path))
    regress._default.cache_clear()
    with pytest.raises(Missing, match="gairlib.assets geoclip"):
        LocationRegressor().fit(X, y)
    with pytest.raises(BadInput, match="'nowhere'"):
        LocationRegressor("nowhere").fit(X, y)


def test_the_asset_is_the_default_and_is_fetched_where_asked(table, monkeypatch):
    X, y = table
    asked = []

    def find(name, fetch):
        asked.append((name, fetch))
        raise Missing("stop here")

    monkeypatch.setattr(assets, "find", find)
    regress._default.cache_clear()
    with pytest.raises(Missing):
        LocationRegressor(fetch=True).fit(X, y)
    assert asked == [("geoclip", True)]
