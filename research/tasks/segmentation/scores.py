"""mIoU and pixel accuracy from confusions by cluster.

mIoU as in PANGAEA (arXiv 2412.04204): intersections and unions are summed over all test pixels,
then divided class by class, then averaged over classes, all of equal weight. A class that is
neither true nor predicted anywhere in a draw has no IoU there and is left out of that mean.
"""

import numpy as np

from research.evaluation.stats import SHARE, Score
from research.tasks.segmentation.data import IGNORE


def confusion(truth: np.ndarray, guess: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of masks [n, H, W] by cluster, true and guessed class: [G, K, K]; IGNORE left out."""
    found = np.zeros((codes.max() + 1, classes * classes))
    for code, t, g in zip(codes, truth, guess):
        known = t != IGNORE
        at = t[known].astype(np.int64) * classes + g[known]
        found[code] += np.bincount(at, minlength=classes * classes)
    return found.reshape(-1, classes, classes)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union [..., K] of confusions [..., K, K]; NaN for absent classes."""
    both = np.diagonal(matrix, axis1=-2, axis2=-1)
    union = matrix.sum(-1) + matrix.sum(-2) - both
    return both / np.where(union > 0, union, np.nan)


def miou(matrices: np.ndarray) -> Score:
    """Mean IoU over classes; matrices [G, K, K] from `confusion`."""
    return Score(
        lambda weights: np.nanmean(class_iou(np.tensordot(weights, matrices, 1)), axis=-1), SHARE
    )


def accuracy(matrices: np.ndarray) -> Score:
    """Share of the labelled pixels that are right."""

    def score(weights):
        total = np.tensordot(weights, matrices, 1)  # [R, K, K]
        return np.trace(total, axis1=-2, axis2=-1) / total.sum((-2, -1))

    return Score(score, SHARE)
