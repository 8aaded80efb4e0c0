"""Ranks against sorting, recall under ties against enumeration, positions against known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib import ranks
from gairlib.errors import BadInput


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), chunk=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_ranks_equal_sorting_one_query_at_a_time(seed, n, chunk):
    rng = np.random.default_rng(seed)
    q, g = rng.normal(size=(2, n, 5))
    groups = rng.integers(0, 3, n)
    got = ranks.match_ranks(q, g, groups, chunk=chunk)
    for i in range(n):
        others = np.flatnonzero(groups == groups[i])
        cosine = [q[i] @ g[j] / np.linalg.norm(q[i]) / np.linalg.norm(g[j]) for j in others]
        order = others[np.argsort(-np.array(cosine))]
        assert got.rank()[i] == order.tolist().index(i) + 1
        assert got.size[i] == len(others)
        assert got.recall_at(2)[i] == float(i in order[:2])


def test_ranks_of_a_matrix_and_their_summaries():
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.2, 0.1]])
    found = ranks.ranks(similarity)
    assert found.rank().tolist() == [1, 2, 3] and len(found) == 3
    assert ranks.recall_at_k(found, 1) == pytest.approx(1 / 3)
    assert ranks.median_rank(found) == 2
    assert ranks.ranks(similarity, [2, 0, 0]).rank().tolist() == [2, 1, 1]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_permuting_the_photos_permutes_the_ranks(seed):
    rng = np.random.default_rng(seed)
    q, g = rng.normal(size=(2, 20, 4))
    p = rng.permutation(20)
    assert (ranks.match_ranks(q, g).rank()[p] == ranks.match_ranks(q[p], g[p]).rank()).all()


def test_ties_count_as_broken_at_random():
    g = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])  # three photos share the vector of their chip
    q = np.array([[1.0, 0.1], [1, 0.1], [0.1, 1], [0.1, 1]])
    r = ranks.match_ranks(q, g)
    np.testing.assert_array_equal(r.better, [0, 0, 1, 0])
    np.testing.assert_array_equal(r.tied, [2, 2, 2, 0])
    np.testing.assert_allclose(r.recall_at(1), [1 / 3, 1 / 3, 0, 1])
    np.testing.assert_allclose(r.recall_at(2), [2 / 3, 2 / 3, 1 / 3, 1])
    np.testing.assert_allclose(r.rank(), [2, 2, 3, 1])
    constant = ranks.match_ranks(np.ones((10, 2)), np.ones((10, 2)))
    np.testing.assert_allclose(constant.recall_at(3), constant.chance_at(3))  # no information
    np.testing.assert_allclose(constant.rank(), constant.chance_rank())


def test_chance_is_what_random_embeddings_reach():
    rng = np.random.default_rng(0)
    r = ranks.match_ranks(*rng.normal(size=(2, 2000, 8)), np.repeat(np.arange(50), 40))
    assert r.recall_at(5).mean() == pytest.approx(r.chance_at(5).mean(), abs=0.03)
    assert r.rank().mean() == pytest.approx(r.chance_rank().mean(), rel=0.05)


def test_bad_embeddings_are_named():
    with pytest.raises(BadInput, match="row 2 of the gallery"):
        ranks.match_ranks(np.ones((3, 2)), np.array([[1, 1], [1, 1], [np.nan, 1]]))
    with pytest.raises(BadInput, match="row i of one"):
        ranks.match_ranks(np.ones((3, 2)), np.ones((4, 2)))
    empty = ranks.match_ranks(np.ones((0, 2)), np.ones((0, 2)))
    assert len(empty.rank()) == 0


def test_cells_tile_the_chip_row_by_row_from_the_north_west():
    xy = ranks.cell_centres(4)
    assert xy.shape == (16, 2)
    np.testing.assert_allclose(xy[0], [-0.75, -0.75])
    np.testing.assert_allclose(xy[1], [-0.25, -0.75])  # x runs first, y to the south
    np.testing.assert_allclose(xy.mean(0), 0, atol=1e-12)


def test_a_peaked_map_is_localised_to_its_cell():
    xy = ranks.cell_centres(32)
    truth = np.array([[0.3, -0.6], [-0.9, 0.9]])
    similarity = -np.linalg.norm(truth[:, None] - xy[None], axis=2)
    for guess in (
        ranks.best_cell(similarity, xy),
        ranks.least_expected_error(similarity, xy, 0.001),
    ):
        error = ranks.errors_m(guess, truth, 640.0)
        assert (error <= 10 * np.sqrt(2) + 1e-9).all()  # half the diagonal of a 20 m cell
    flat = ranks.least_expected_error(np.zeros((1, 1024)), xy, 0.07)
    assert np.abs(flat).max() < 0.05  # nothing known: the middle


def test_two_far_peaks_are_bet_on_by_mass():
    xy = ranks.cell_centres(8)
    similarity = np.zeros((1, 64))
    similarity[0, 0], similarity[0, [61, 62, 63]] = 1.0, 0.95  # one sharp, one broad
    best = ranks.best_cell(similarity, xy)
    assert best[0].tolist() == xy[0].tolist()
    assert ranks.least_expected_error(similarity, xy, 0.07)[0].sum() > 1  # far south-east


def test_the_likeliest_disc_is_the_one_that_holds_most():
    """Against every disc, counted one by one."""
    rng = np.random.default_rng(0)
    xy, similarity = ranks.cell_centres(9), rng.normal(0, 0.1, (5, 81))
    found = ranks.likeliest_disc(similarity, xy, 0.05, radius=0.5)
    for row, guess in zip(similarity, found):
        share = np.exp(row / 0.05) / np.exp(row / 0.05).sum()
        held = [
            sum(p * max(0, 1 - (np.hypot(*(a - c)) / 0.5) ** 8) for p, a in zip(share, xy))
            for c in xy
        ]
        assert guess.tolist() == xy[int(np.argmax(held))].tolist()
    sharp, broad = np.zeros((1, 81)), slice(60, 63)
    sharp[0, 0], sharp[0, broad] = 1.0, 0.97
    assert ranks.best_cell(sharp, xy)[0].tolist() == xy[0].tolist()
    assert ranks.likeliest_disc(sharp, xy, 0.1)[0].tolist() != xy[0].tolist()


def test_a_fitted_temperature_is_the_one_that_made_the_data():
    rng = np.random.default_rng(1)
    similarity = rng.normal(0, 0.2, (4000, 50))
    share = np.exp(similarity / 0.1)
    share /= share.sum(1, keepdims=True)
    cell = np.array([rng.choice(50, p=p) for p in share])
    found = ranks.fit_temperature(similarity, cell)
    assert abs(np.log(found / 0.1)) < 0.2  # a step of the choices is 0.14
    wrong = rng.permutation(cell)  # nothing is known: trust as little as can be
    assert ranks.fit_temperature(similarity, wrong) == 1.0


def test_cells_are_counted_as_their_centres_are():
    xy = ranks.cell_centres(7)
    np.testing.assert_array_equal(ranks.cell_of(xy, 7), np.arange(49))
    assert ranks.cell_of([[1.0, 1.0]], 7)[0] == 48
    assert ranks.cell_of([[-1.0, 1.0]], 7)[0] == 42


def test_errors_in_metres_take_one_width_or_one_a_chip():
    a, b = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [-1.0, -1.0]])
    np.testing.assert_allclose(ranks.errors_m(a, b, 640), [320, 640 * np.sqrt(2)])
    np.testing.assert_allclose(ranks.errors_m(a, b, [100, 10]), [50, 10 * np.sqrt(2)])
    np.testing.assert_allclose(ranks.errors_m(a, b, np.array([[100, 5], [30, 40]])), [50, 50])


def test_best_constant_is_the_best_constant():
    rng = np.random.default_rng(1)
    xy = np.clip(rng.normal([0.4, -0.2], 0.2, (200, 2)), -1, 1)
    guess = ranks.best_constant(xy)
    best = np.median(ranks.errors_m(np.tile(guess, (200, 1)), xy, 2.0))
    for other in rng.uniform(-1, 1, (300, 2)):
        assert best <= np.median(np.linalg.norm(other - xy, axis=1)) + 0.02
