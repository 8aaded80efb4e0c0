"""Masks that are refused, bands that are filled."""

import numpy as np
import pytest

from gairlib.errors import BadInput
from research.tasks.segmentation.data import IGNORE, SegmentationData, Tiles, check_classes, load


def tiles_of(masks, images=None, clusters=None):
    images = np.zeros((len(masks), 3, *masks.shape[1:]), np.float32) if images is None else images
    names = [f"tile-{i}" for i in range(len(masks))]
    return Tiles(
        names,
        lambda i: (images[i], masks[i].astype(np.int64)),
        np.array(names if clusters is None else clusters),
    )


def data_of(train_masks, test_masks):
    return SegmentationData(
        "made-up",
        ("B02", "B03", "B04"),
        ("a", "b", "c"),
        "image",
        {"train": tiles_of(train_masks), "test": tiles_of(test_masks)},
    )


def test_bad_masks_are_refused_by_name():
    good = np.array([[[0, 1], [2, 0]]])
    with pytest.raises(BadInput, match="tile-0: label 7"):
        load(data_of(np.where(good == 2, 7, good), good), "train")
    with pytest.raises(BadInput, match="class 'c' is in the test split"):
        data = data_of(np.minimum(good, 1), good)
        check_classes(data, {s: load(data, s)[1] for s in data.splits})
    with pytest.raises(BadInput, match="hold 1 class"):
        check_classes(data, {"train": good * 0, "test": good})
    with pytest.raises(BadInput, match="hold no label"):
        check_classes(data, {"train": good, "test": good * 0 + IGNORE})


def test_absent_bands_are_filled_with_the_training_mean():
    masks = np.array([[[0, 1], [1, 0]]])
    images = np.full((1, 3, 2, 2), 77.0, np.float32)
    data = SegmentationData(
        "x", ("B04", "B03", "B02"), ("a", "b"), "image", {"train": tiles_of(masks, images)}
    )
    chips = load(data, "train")[0]
    assert (chips[0, :3] == 77).all() and chips[0, 6, 0, 0] == pytest.approx(2245.1629)
