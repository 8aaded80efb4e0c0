"""mIoU by hand, and the task from end to end."""

import numpy as np
import pytest

from research.evaluation import stats
from research.tasks.segmentation import scores
from research.tasks.segmentation.data import IGNORE


def test_miou_is_what_counting_by_hand_gives():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, (6, 5, 5)), rng.integers(0, 3, (6, 5, 5))
    truth[rng.random(truth.shape) < 0.2] = IGNORE
    codes = np.array([0, 0, 1, 1, 2, 2])
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]], float)
    matrices = scores.confusion(truth, guess, codes, 3)
    for w, miou, accuracy in zip(
        weights, scores.miou(matrices)(weights), scores.accuracy(matrices)(weights)
    ):
        t = np.concatenate([truth[codes == k].ravel() for k in range(3) for _ in range(int(w[k]))])
        g = np.concatenate([guess[codes == k].ravel() for k in range(3) for _ in range(int(w[k]))])
        t, g = t[t != IGNORE], g[t != IGNORE]
        ious = [((t == k) & (g == k)).sum() / ((t == k) | (g == k)).sum() for k in range(3)]
        assert miou == pytest.approx(np.mean(ious)) and accuracy == pytest.approx((t == g).mean())


def test_a_class_that_is_nowhere_is_left_out_and_ignored_pixels_do_not_count():
    truth = np.array([[[0, 1], [IGNORE, 1]]])
    matrices = scores.confusion(truth, np.array([[[0, 1], [2, 1]]]), np.array([0]), 3)
    assert scores.miou(matrices)(np.ones((1, 1)))[0] == 1.0
    matrices = scores.confusion(truth, np.array([[[2, 1], [0, 1]]]), np.array([0]), 3)
    assert scores.miou(matrices)(np.ones((1, 1)))[0] == pytest.approx(1 / 3)  # 0, 1 and a false 2


def test_stats_take_the_scores():
    matrices = np.stack([np.eye(2) * 3, np.ones((2, 2)), np.eye(2), np.eye(2), np.eye(2)])
    got = stats.cluster_bootstrap([scores.miou(matrices)], 5, draws=50)
    assert 0 <= got.low <= got.value <= got.high <= 1
