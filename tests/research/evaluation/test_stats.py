"""Scores and intervals against loops that really resample, and simulated coverage."""

import numpy as np
import pytest
from builders.intervals import naive_interval
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, r2_score

from gairlib.errors import BadInput
from research.evaluation import coverage, stats


def table(seed, n=60, clusters=7):
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(clusters), rng.integers(0, clusters, n - clusters)])
    target = rng.normal(size=n) + codes
    return rng, codes, target, target + rng.normal(size=n)


def naive(codes, counts, metric):
    """Repeat the rows of every cluster as often as it was drawn, then compute the metric."""
    return np.array(
        [
            metric(
                np.concatenate(
                    [np.repeat(np.flatnonzero(codes == g), int(c)) for g, c in enumerate(row)]
                )
            )
            for row in counts
        ]
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_scores_equal_metrics_of_resampled_rows(seed):
    rng, codes, y, p = table(seed)
    labels, guess = rng.integers(0, 3, len(y)), rng.integers(0, 3, len(y))
    counts = stats.resamples(7, 9, seed)
    assert (counts.sum(1) == 7).all()
    cases = [
        (stats.mean(y, codes), lambda i: y[i].mean()),
        (stats.median(y, codes, chunk=4), lambda i: np.median(y[i])),
        (stats.r2(y, p, codes), lambda i: r2_score(y[i], p[i])),
        (stats.rmse(y, p, codes), lambda i: np.sqrt(((y[i] - p[i]) ** 2).mean())),
    ]
    for score, metric in cases:
        np.testing.assert_allclose(score(counts), naive(codes, counts, metric), rtol=1e-9)
    present = [  # scikit-learn warns about labels that are predicted but never true
        balanced_accuracy_score(labels[i], np.where(np.isin(guess[i], labels[i]), guess[i], -1))
        if np.isin(guess[i], labels[i]).all()
        else None
        for i in (np.arange(len(y)),)
    ]
    if present[0] is not None:
        got = stats.balanced_accuracy(labels, guess, codes)(np.ones((1, 7)))[0]
        assert got == pytest.approx(present[0])


def test_r2_of_a_far_offset_keeps_its_digits():
    _, codes, y, p = table(1)
    far = stats.r2(y + 1e7, p + 1e7, codes)(np.ones((1, 7)))[0]
    assert far == pytest.approx(r2_score(y, p), abs=1e-6)


KINDS = ["share near 0.15", "share near 0.4", "difference of two shares", "R2"]


@pytest.fixture(scope="module")
def covered():
    return coverage.simulate(1500, [*KINDS, "share, three trainings"])


@pytest.mark.parametrize("places", coverage.CLUSTERS)
def test_interval_covers_the_truth_as_often_as_it_says(covered, places):
    # 0.94 to 0.97 and two standard errors of 1,500 tables
    assert covered[places].between(0.928, 0.982).all(), covered
    assert 0.94 <= covered.loc[KINDS, places].mean() <= 0.97


def test_rows_instead_of_clusters_would_claim_too_much():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        codes = np.repeat(np.arange(30), 8)
        values = rng.normal(size=30)[codes] + 0.3 * rng.normal(size=240)  # rows of a site agree
        e = stats.cluster_bootstrap([stats.mean(values, np.arange(240))], 240, draws=300)
        hits += e.low <= 0 <= e.high
    assert hits < 70


@pytest.mark.parametrize("places", [7, 24])
def test_interval_equals_one_that_is_made_by_loops(places):
    rng = np.random.default_rng(places)
    first, second = rng.random((2, 3, places))
    codes = np.arange(places)
    scores = [[stats.mean(row, codes) for row in side] for side in (first, second)]
    e = stats.paired_difference(*scores, places, draws=20_000)
    expected = naive_interval(first - second, 20_000)
    assert [e.low, e.high] == pytest.approx(expected, abs=0.02 * (e.high - e.low))


@given(
    hits=st.lists(st.integers(0, 1), min_size=8, max_size=8),
    errors=st.lists(st.floats(0.1, 1e4), min_size=8, max_size=8),
)
@settings(max_examples=50, deadline=None)
def test_no_interval_leaves_the_range_of_its_metric(hits, errors):
    codes = np.arange(8)
    share = stats.cluster_bootstrap([stats.mean(hits, codes)], 8, draws=200)
    assert np.isnan(share.low) or 0 <= share.low <= share.value <= share.high <= 1
    error = stats.cluster_bootstrap([stats.median(errors, codes)], 8, draws=200)
    assert np.isnan(error.low) or 0 <= error.low <= error.value <= error.high
    r2 = stats.cluster_bootstrap([stats.r2(errors, errors[::-1], codes)], 8, draws=200)
    assert np.isnan(r2.low) or r2.low <= r2.value <= r2.high <= 1


def test_pairing_cancels_what_is_hard_about_a_cluster():
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(12), 20)
    hard = rng.normal(size=12)[codes]
    a = [stats.mean(hard + 0.1 + 0.01 * rng.normal(size=240), codes) for _ in range(3)]
    b = [stats.mean(hard + 0.01 * rng.normal(size=240), codes) for _ in range(3)]
    gap = stats.paired_difference(a, b, 12)
    alone = stats.cluster_bootstrap(a, 12)
    assert gap.value == pytest.approx(0.1, abs=0.01) and gap.excludes_zero()
    assert gap.high - gap.low < 0.1 * (alone.high - alone.low)
    same = stats.paired_difference(a, a, 12)
    assert same.value == 0 and np.isnan(same.low)  # nothing varies


def test_one_score_serves_every_seed_and_other_counts_are_refused():
    _, codes, y, p = table(5)
    a = [stats.mean(y + s, codes) for s in range(3)]
    b = [stats.mean(p, codes)]
    gap = stats.paired_difference(a, b, 7)
    assert gap.value == pytest.approx(np.mean(y) + 1 - np.mean(p))
    with pytest.raises(BadInput, match="2 and 3 seeds"):
        stats.paired_difference(a[:2], a, 7)


def test_interval_carries_the_spread_between_seeds():
    codes = np.arange(50)
    seeds = [stats.mean(np.full(50, float(s)), codes) for s in range(3)]  # clusters all alike
    e = stats.cluster_bootstrap(seeds, 50)
    assert e.value == 1 and e.low < 0.7 and e.high > 1.3


@pytest.mark.parametrize("clusters", [1, 3, 4])
def test_too_few_clusters_support_no_interval(clusters):
    codes = np.arange(clusters)
    e = stats.cluster_bootstrap([stats.mean(np.arange(clusters), codes)], clusters)
    assert np.isnan(e.low) and np.isnan(e.high) and not e.excludes_zero()
    assert e.value == pytest.approx((clusters - 1) / 2)


def test_draws_repeat_with_the_seed_and_clusters_may_be_named():
    codes, count = stats.encode_clusters(["b", "a", "b"])
    assert count == 2 and codes.tolist() == [1, 0, 1]
    assert (stats.resamples(4, 8, 1) == stats.resamples(4, 8, 1)).all()
    assert (stats.resamples(4, 8, 1) != stats.resamples(4, 8, 2)).any()
    with pytest.raises(BadInput):
        stats.cluster_bootstrap([], 3)


def test_no_interval_where_every_draw_has_the_same_value():
    codes = np.repeat(np.arange(10), 4)
    none = stats.cluster_bootstrap([stats.mean(np.zeros(40), codes)], 10, draws=200)
    assert none.value == 0 and np.isnan(none.low) and np.isnan(none.high)
    one = stats.cluster_bootstrap([stats.mean(np.arange(40) == 7, codes)], 10, draws=200)
    assert one.low == 0 < one.high


def test_correlation_equals_numpys_on_the_rows_that_are_drawn():
    """Of repeated rows, and NaN where a column does not vary; `average` is the mean of several."""
    rng = np.random.default_rng(0)
    x, y, codes = rng.normal(size=12) + 100, rng.normal(size=12), np.repeat(np.arange(4), 3)
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 3], [0, 1, 1, 0]], float)
    found = stats.correlation(x, y, codes)(weights)
    for row, value in zip(weights.astype(int), found):
        drawn = np.repeat(np.arange(12), row[codes])
        np.testing.assert_allclose(value, np.corrcoef(x[drawn], y[drawn])[0, 1])
    assert np.isnan(stats.correlation(x, np.ones(12), codes)(weights)).all()
    other = stats.correlation(x, -y, codes)
    assert not stats.average([stats.correlation(x, y, codes), other])(weights).any()
