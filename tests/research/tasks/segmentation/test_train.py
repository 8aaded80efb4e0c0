"""Heads learn what their inputs say, and the seed decides."""

import numpy as np
import torch

from research.tasks.segmentation import heads, train
from research.tasks.segmentation.data import IGNORE


def test_heads_learn_what_the_tokens_say_and_the_seed_decides():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 3, (12, 4, 4))
    tokens = torch.eye(3)[torch.from_numpy(coarse)]
    masks = coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)
    masks[0, :8] = IGNORE
    schedule = train.Schedule(steps=60, batch=6, lr=0.05)
    for make, layers in (
        (lambda: heads.LinearHead(3, 3, 16), [tokens]),
        (lambda: heads.UPerNet(3, 3, 16, channels=8), [tokens] * 4),
    ):
        first, again = (train.fit(make, layers, masks, seed=1, schedule=schedule) for _ in range(2))
        found = train.predict(first, layers)
        known = masks != IGNORE
        assert (found == masks)[known].mean() > 0.8
        np.testing.assert_array_equal(found, train.predict(again, layers))


def test_the_u_net_turns_images_and_masks_together():
    """What is to be learnt is one band's sign at each pixel: turned apart, nothing is."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (8, 2, 8, 8)).repeat(2, 2).repeat(2, 3)
    masks = (images[:, 0] > 0).astype(np.uint8)
    net = train.fit(
        lambda: heads.UNet(2, 2, channels=8),
        [torch.from_numpy(images)],
        masks,
        seed=0,
        schedule=train.Schedule(steps=60, batch=4, lr=0.02),
        pixels=True,
    )
    found = train.predict(net, [torch.from_numpy(images)], pixels=True)
    assert (found == masks).mean() > 0.9
