"""Baselines against a loop over great circles, and 5-NN against its known R2 on real tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from gairlib import geo
from gairlib.errors import BadInput
from research.evaluation import neighbours, splits

TABLES = Path(__file__).resolve().parents[4] / "shared/real/tables"


@given(
    seed=st.integers(0, 10_000), power=st.sampled_from([0.0, 1.0, 2.0]), k=st.sampled_from([1, 5])
)
@settings(max_examples=20, deadline=None)
def test_neighbours_equal_a_loop_over_great_circles(seed, power, k):
    rng = np.random.default_rng(seed)
    train = np.stack([rng.uniform(-180, 180, 40), rng.uniform(-90, 90, 40)], 1)
    train[0] = [179.9, 10]
    test = np.stack([rng.uniform(-180, 180, 9), rng.uniform(-90, 90, 9)], 1)
    test[0] = [-179.9, 10]  # across the antimeridian from row 0
    y = rng.normal(size=40)
    got = neighbours.by_distance(train, y, test, k=k, power=power)
    for i, place in enumerate(test):
        metres = np.array([float(geo.haversine(place, t)) for t in train])
        near = np.argsort(metres)[:k]
        weight = 1 / metres[near] ** power
        assert got[i] == pytest.approx((weight * y[near]).sum() / weight.sum(), rel=1e-6)
    assert neighbours.nearest(train, test, 1)[1][0, 0] == 0


def test_the_same_place_takes_all_weight_and_labels_vote():
    train = [[0, 0], [1, 0], [2, 0], [50, 50]]
    same = neighbours.by_distance(train, [5.0, 1, 1, 1], [[0, 0]], k=4, power=1)
    assert same[0] == pytest.approx(5.0, abs=1e-6)
    labels = np.array(["b", "a", "a", "c"])
    vote = neighbours.by_distance(train, labels, [[1.4, 0]], k=4, power=1, labels=True)
    assert vote[0] == "a"


def test_constants():
    assert neighbours.constant(np.array([1.0, 2, 6]), 2, False).tolist() == [3.0, 3.0]
    assert neighbours.constant(np.array(["x", "y", "x"]), 2, True).tolist() == ["x", "x"]


@pytest.mark.parametrize("name", neighbours.NEIGHBOURS)
@pytest.mark.parametrize("labels", [False, True])
def test_neighbours_answer_for_every_row(name, labels):
    rng = np.random.default_rng(0)
    places = np.stack([rng.uniform(-180, 180, 30), rng.uniform(-60, 60, 30)], 1)
    y = np.where(places[:, 1] > 0, "north", "south") if labels else places[:, 1]
    probe, k, power = neighbours.NEIGHBOURS[name]
    near = dict(k=k, power=power, labels=labels)
    answer = neighbours.by_distance(places[:20], y[:20], places[20:], **near)
    assert answer.shape == (10,) and probe
    if not labels:
        assert r2_score(y[20:], answer) > 0.3


@pytest.mark.parametrize("k, power, rows", [(0, 1, 2), (5, -1, 2), (5, 1, 0)])
def test_what_cannot_be_weighted_is_refused(k, power, rows):
    with pytest.raises(BadInput, match="at least one neighbour"):
        neighbours.by_distance([[0, 0]] * rows, [1.0] * rows, [[1, 1]], k=k, power=power)


@pytest.mark.skipif(not TABLES.is_dir(), reason="the real tables are not beside this checkout")
@pytest.mark.parametrize(
    "table, column, known, slack",
    [  # random, 2, 10, 20 degrees
        ("air_temperature", "mean_temperature", (0.94, 0.94, 0.90, 0.85), 0.02),
        ("air_temperature", "mean_precipitation", (0.73, 0.70, 0.50, 0.35), 0.07),
        ("population", "log_population_density", (0.70, 0.66, 0.52, 0.42), 0.05),
        ("forest_cover", "log_forest_cover", (0.71, 0.67, 0.55, 0.46), 0.05),
        # over larger blocks these depend on which blocks share a fold (docs/log)
        ("elevation", "elevation", (0.82, 0.75), 0.05),
        ("nightlights", "log_nightlights", (-0.03, -0.10), 0.05),
        ("california_housing", "median_house_value", (0.78,), 0.02),
    ],
)
def test_five_neighbours_reach_the_known_r2_on_real_tables(table, column, known, slack):
    rows = pd.read_csv(TABLES / f"{table}.csv").dropna(subset=[column])
    places, y = rows[["lon", "lat"]].to_numpy(), rows[column].to_numpy()
    _, k, power = neighbours.NEIGHBOURS[neighbours.NEAREST]
    for degrees, value in zip((None, 2, 10, 20), known):
        groups = splits.blocks(places, degrees) if degrees else np.arange(len(places))
        found = [
            r2_score(
                y[test],
                neighbours.by_distance(places[train], y[train], places[test], k=k, power=power),
            )
            for train, test in splits.folds(groups, 5, 0)
        ]
        assert np.mean(found) == pytest.approx(value, abs=slack), degrees
