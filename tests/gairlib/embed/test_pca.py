"""Principal components that are the same in every run, and comparable where weights change."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA as SkPCA

from gairlib.embed import pca
from gairlib.errors import BadInput, Missing


def samples(n=400, d=9, seed=0):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return rng.normal(size=(n, d)) * np.linspace(3, 0.2, d) @ turn


def test_against_sklearn():
    x = samples()
    ours, theirs = pca.fit(x, 4), SkPCA(4).fit(x)
    np.testing.assert_allclose(np.abs(ours.axes.T), np.abs(theirs.components_), atol=1e-9)
    np.testing.assert_allclose(np.abs(ours.scores(x)), np.abs(theirs.transform(x)), atol=1e-9)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, atol=1e-9)
    assert (ours.axes[np.abs(ours.axes).argmax(0), range(4)] > 0).all()  # the stated rule
    low, high = np.percentile(ours.scores(x), [2, 98], axis=0)
    np.testing.assert_array_equal((ours.low, ours.high), (low, high))


def test_same_in_every_run_and_for_rows_in_any_order():
    x = samples()
    first = pca.fit(x, 3)
    assert first.digest() == pca.fit(x.copy(), 3).digest()
    other = pca.fit(x[np.random.default_rng(1).permutation(len(x))], 3)
    np.testing.assert_allclose(other.axes, first.axes, atol=1e-10)
    np.testing.assert_allclose((other.low, other.high), (first.low, first.high), atol=1e-10)
    assert np.abs(first.rgb(x).astype(int) - other.rgb(x)).max() <= 1


def test_rounding_does_not_turn_an_axis_round():
    """Two entries of equal size and opposite sign: the first decides, whatever the last digit."""
    x = np.outer(np.linspace(-1, 1, 50), [1.0, -1.0, 0.1])
    for nudge in (1 - 1e-12, 1.0, 1 + 1e-12):
        assert pca.fit(x * [nudge, 1, 1], 1).axes[0, 0] > 0


def test_like_makes_two_spaces_comparable():
    x = samples(d=6)
    first = pca.fit(x, 3)
    turned = x @ np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0]
    like = pca.fit(turned, 3, like=first.scores(x))
    assert np.abs(like.rgb(turned).astype(int) - first.rgb(x)).max() <= 1


def test_colours():
    flat = pca.fit(np.ones((5, 4)), 3)
    assert (flat.rgb(np.ones((2, 2, 4))) == 128).all()
    p = pca.fit(samples(), 5)
    scores = np.stack([p.low, p.high, np.full(5, np.nan)])
    assert p.colours(scores).tolist() == [[0] * 3, [255] * 3, [0] * 3]
    with pytest.raises(BadInput, match="three"):
        pca.fit(samples(), 2).rgb(samples())


def test_save_and_load(tmp_path):
    p = pca.fit(samples(), 4)
    p.save(tmp_path / "deep" / "p.json")
    q = pca.PCA.load(tmp_path / "deep" / "p.json")
    assert p.digest() == q.digest() and (p.explained == q.explained).all()
    with pytest.raises(Missing):
        pca.PCA.load(tmp_path / "none.json")
    content = json.loads((tmp_path / "deep" / "p.json").read_text())
    for broken in (
        "[]",
        "{",
        json.dumps({}),
        json.dumps(content | {"low": [1.0]}),
        json.dumps(content | {"extra": 1}),
    ):
        (tmp_path / "b.json").write_text(broken)
        with pytest.raises(BadInput, match="b.json"):
            pca.PCA.load(tmp_path / "b.json")


def test_refusals():
    x, p = samples(), pca.fit(samples(), 3)
    for call, said in (
        (lambda: pca.fit(x[0], 1), "shape"),
        (lambda: pca.fit(x[:0], 1), "shape"),
        (lambda: pca.fit(x, 10), "10 axes"),
        (lambda: pca.fit(np.where(x > 3, np.nan, x), 2), "finite"),
        (lambda: pca.fit(x, 2, like=p.scores(x)), "like"),
    ):
        with pytest.raises(BadInput, match=said):
            call()
