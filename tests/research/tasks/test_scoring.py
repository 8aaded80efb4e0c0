"""Margins against full matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.tasks import scoring
from research.tasks import search as finding


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_margins_equal_the_full_matrix(seed):
    rng = np.random.default_rng(seed)
    a, b, groups = *rng.normal(size=(2, 15, 4)), rng.integers(0, 3, 15)
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    cosine = a @ b.T
    expected = [cosine[i, i] - cosine[i, groups != groups[i]].mean() for i in range(15)]
    np.testing.assert_allclose(scoring.margins(3 * a, b, groups), expected, atol=1e-5)
    assert np.isnan(scoring.margins(a, b, np.zeros(15))).all()
    assert finding.gap(a, 2 * a) == pytest.approx(0, abs=1e-6)
    assert finding.gap(a[:1], -a[:1]) == pytest.approx(2, abs=1e-6)
