"""Blocks of ground, their folds, and intervals over them."""

import numpy as np
import pytest
from pyproj import Geod

from gairlib.mapping import blocks

GEOD = Geod(ellps="WGS84")


@pytest.mark.parametrize("lon, lat", [(12.5, 52.4), (-70, -33), (179.99, 65), (0, 0)])
def test_blocks_are_about_as_wide_as_asked(lon, lat):
    rng = np.random.default_rng(0)
    places = np.array([lon, lat]) + rng.uniform(-0.05, 0.05, (4000, 2))
    places[:, 0] = (places[:, 0] + 180) % 360 - 180
    codes = blocks.blocks(places, 1000.0)
    for code in np.unique(codes)[:40]:
        inside = places[codes == code]
        far = GEOD.inv(*np.repeat(inside[:1], len(inside), 0).T, *inside.T)[2].max()
        assert far < 1000 * np.sqrt(2) * 1.02
    assert blocks.fitting_size(places) in blocks.SIZES
    assert blocks.blocks(places, blocks.fitting_size(places)).max() + 1 >= blocks.LEAST


def test_scores_are_those_of_the_rows_that_are_drawn():
    rng = np.random.default_rng(0)
    codes, truth = rng.integers(0, 12, 300), rng.integers(0, 3, 300)
    guess = np.where(rng.random(300) < 0.6, truth, rng.integers(0, 3, 300))
    weights = rng.integers(0, 3, (1, 12)).astype(float)
    rows = np.repeat(np.arange(300), weights[0, codes].astype(int))
    found = blocks.class_scores(truth, guess, codes, 3)
    t, g = truth[rows], guess[rows]
    assert found["accuracy"](weights)[0] == pytest.approx((t == g).mean())
    naive = np.mean([(g[t == k] == k).mean() for k in range(3)])
    assert found["balanced accuracy"](weights)[0] == pytest.approx(naive)
    y = rng.normal(size=300)
    found = blocks.number_scores(y, y + 0.3, codes)
    assert found["rmse"](weights)[0] == pytest.approx(0.3)
    assert found["R2"](weights)[0] == pytest.approx(1 - 0.09 / y[rows].var())


def test_the_interval_covers_the_mean_of_blocks():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        values = rng.normal(1, 1, 40)
        _, low, high = blocks.interval(lambda w, v=values: w @ v / w.sum(1), 40, trial)
        hits += low < 1 < high
    assert 0.9 <= hits / 200 <= 0.99
    assert np.isnan(blocks.interval(lambda w: w.sum(1), 5)[1:]).all()
