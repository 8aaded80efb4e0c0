"""Search in galleries of places against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from research.evaluation.neighbours import sphere
from research.tasks import search as finding

GEOD = Geod(ellps="WGS84")


@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), more=st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_search_equals_a_loop_with_geodesics(seed, n, more):
    rng = np.random.default_rng(seed)
    centre = rng.uniform([-180, -80], [180, 80])
    spread = rng.choice([0.05, 1.0, 30.0])
    lonlat = centre + rng.uniform(-1, 1, (n + more, 2)) * spread
    lonlat = np.stack([(lonlat[:, 0] + 180) % 360 - 180, np.clip(lonlat[:, 1], -90, 90)], 1)
    q, g = rng.normal(size=(n, 4)), rng.normal(size=(n + more, 4))
    q, g = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, g))
    got = finding.search(q, g, lonlat[:n], lonlat)
    for i in range(n):
        order = sorted(range(n + more), key=lambda j: -float(q[i] @ g[j]))
        assert got.ranks.rank()[i] == order.index(i) + 1
        assert got.ranks.size[i] == n + more
        km = GEOD.inv(*lonlat[i], *lonlat[order[0]])[2] / 1000
        assert got.km[i] == pytest.approx(km, rel=0.006, abs=1e-6)  # sphere against ellipsoid
        for d, limit in enumerate((1, 25, 200, 750, 2500)):
            if abs(km - limit) > 0.01 * limit:
                assert got.hits[i, d] == float(km <= limit)


def test_equal_candidates_count_as_broken_at_random():
    lonlat = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [90.0, 0.0]])  # 0, 0, 111, 10,008 km
    flat = finding.search(np.ones((1, 1)), np.ones((4, 1)), lonlat[:1], lonlat)
    np.testing.assert_allclose(flat.hits[0], [0.5, 0.5, 0.75, 0.75, 0.75])
    np.testing.assert_allclose(flat.ranks.recall_at(1), 0.25)
    assert flat.km[0] == pytest.approx((111.2 + 10_007.5) / 4, rel=0.002)
    g = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])  # the photos of one place share its vector
    twice = finding.search(np.array([[1.0, 0]]), g, lonlat[:1], lonlat)
    assert twice.ranks.rank()[0] == 1.5 and twice.km[0] == 0 and (twice.hits == 1).all()


def test_the_sphere_s_nearest_neighbour_is_the_nearest_place():
    lonlat = np.array([[179.9995, 10.0], [-179.9995, 10.0], [179.99, 10.0], [0.0, 90.0]])
    x = sphere(lonlat)
    assert (x @ x[0]).argsort()[::-1].tolist() == [0, 1, 2, 3]
    found = finding.search(x[:1], x, lonlat[:1], lonlat, tie=finding.SPHERE_TIE)
    assert found.ranks.tied[0] == 0  # 110 m are not a tie
    assert finding.medoid([[0, 0], [1, 0], [50, 0], [2, 0]]).tolist() in ([1, 0], [2, 0])
    np.testing.assert_allclose(finding.medoid([[179, 0], [-179, 0], [180, 0]]), [180, 0])
