"""Images cut into chips: every pixel once."""

import numpy as np
import pytest
from builders import small_published as small

from research.tasks.published import pictures
from research.tasks.segmentation.data import IGNORE


@pytest.mark.parametrize("length, size", [(40, 16), (16, 16), (48, 16), (17, 16), (5, 16)])
def test_every_pixel_is_in_one_chip(length, size):
    seen = np.zeros(max(length, size), int)
    for start, earlier in pictures.starts(length, size):
        assert start + size <= max(length, size)
        seen[start + earlier : start + size] += 1
    assert (seen[:length] == 1).all()


@pytest.mark.parametrize("side", [40, 16, 9])
def test_chips_hold_all_pixels_once_and_the_rest_is_ignored(side):
    values = 1000 + np.arange(side * side).reshape(side, side)
    picture = pictures.Picture(
        "a",
        "c",
        None,
        lambda: np.stack([values] * 10).astype(np.float32),
        lambda: values.astype(np.int64),
    )
    part = pictures.tiles([picture], [(side, side)], 16)
    chips, masks = small.read(part)
    assert chips.shape[1:] == (10, 16, 16) and chips.dtype == np.float32
    assert sorted(masks[masks != IGNORE]) == list(range(1000, 1000 + side * side))
    assert (chips[:, 0][masks != IGNORE] == masks[masks != IGNORE]).all()
