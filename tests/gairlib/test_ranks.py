"""Ranks against sorting, recall under ties against enumeration."""

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
