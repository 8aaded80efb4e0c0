"""Heads learn what their inputs say, and the seed decides."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from builders.small_models import SMALL
from sklearn.linear_model import LogisticRegression

from gairlib.errors import BadInput
from gairlib.mapping import pixel_heads
from gairlib.model import GAIR
from research.tasks.segmentation import linear, skip, train
from research.tasks.segmentation.data import IGNORE
from research.tasks.segmentation.unet import UNet
from research.tasks.task import UPERNETS, Options


def test_heads_learn_what_the_tokens_say_and_the_seed_decides():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 3, (12, 4, 4))
    tokens = torch.eye(3)[torch.from_numpy(coarse)]
    masks = coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)
    masks[0, :8] = IGNORE
    schedule = train.Schedule(steps=60, batch=6, lr=0.05)
    for make, layers in (
        (lambda: pixel_heads.LinearHead(3, 3, 16), [tokens]),
        (lambda: pixel_heads.UPerNet(3, 3, 16, channels=8), [tokens] * 4),
    ):
        tiles = train.Tiles(layers, masks, np.arange(12) // 2)
        (first, _), (again, _) = (
            train.fit(make, tiles, seed=1, schedule=schedule) for _ in range(2)
        )
        found = train.predict(first, layers)
        known = masks != IGNORE
        assert (found == masks)[known].mean() > 0.8
        np.testing.assert_array_equal(found, train.predict(again, layers))


def test_the_u_net_turns_images_and_masks_together():
    """What is to be learnt is one band's sign at each pixel: turned apart, nothing is."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (8, 2, 8, 8)).repeat(2, 2).repeat(2, 3)
    masks = (images[:, 0] > 0).astype(np.uint8)
    net, _ = train.fit(
        lambda: UNet(2, 2, channels=8),
        train.Tiles([torch.from_numpy(images)], masks, np.arange(8)),
        seed=0,
        schedule=train.Schedule(steps=60, batch=4, lr=0.02),
        pixels=True,
    )
    found = train.predict(net, [torch.from_numpy(images)], pixels=True)
    assert (found == masks).mean() > 0.9


def noisy(n=20, seed=0):
    """Tiles whose labels follow three of five features, and not always."""
    rng = np.random.default_rng(seed)
    tokens = torch.from_numpy(rng.normal(0, [1, 3, 0.1, 1, 1], (n, 4, 4, 5))).float()
    tokens[..., 4] = tokens[..., 0] + 0.05 * tokens[..., 4]  # nearly the same feature twice
    noise = torch.from_numpy(rng.normal(0, 0.7, (n, 4, 4, 3)))
    classes = (tokens[..., :3] / torch.tensor([1, 3, 0.1]) + noise).argmax(-1)
    masks = classes.numpy().repeat(2, 1).repeat(2, 2).astype(np.uint8)
    masks[rng.random(masks.shape) < 0.1] = IGNORE
    return train.Tiles([tokens], masks, np.arange(n) // 4)


def test_the_linear_head_is_what_scikit_learn_finds():
    tiles, ridge = noisy(), 1e-3
    rows = linear._Rows(tiles, 0)
    found = rows.solve(3, ridge)
    x, labels = linear.pixels(tiles.inputs[0], tiles.masks, 0)
    assert not (labels == IGNORE).any() and len(labels) == (tiles.masks != IGNORE).sum()
    standard = ((x - x.mean(0)) / x.std(0)).double().numpy()
    reference = LogisticRegression(C=1 / (ridge * len(x)), tol=1e-10, max_iter=10_000)
    reference.fit(standard, labels.numpy())
    assert not found.at_limit
    np.testing.assert_allclose(found.weights[:-1].T, reference.coef_, atol=0.01)
    # the head answers at every pixel what the table of pixels says
    with torch.no_grad():
        logits = rows.head(found, 3, 8)(tiles.inputs)
    guess = logits.permute(0, 2, 3, 1)[torch.from_numpy(tiles.masks != IGNORE)].argmax(-1)
    expected = np.bincount(reference.predict(standard), minlength=3)
    np.testing.assert_allclose(np.bincount(guess, minlength=3), expected, atol=3)


def test_pixels_are_those_of_the_enlarged_tokens():
    tiles = noisy(3)
    whole = F.interpolate(
        tiles.inputs[0].permute(0, 3, 1, 2), size=(8, 8), mode="bilinear", align_corners=False
    )
    known = torch.from_numpy(tiles.masks != IGNORE)
    expected = whole.permute(0, 2, 3, 1)[known]
    found, labels = linear.pixels(tiles.inputs[0], tiles.masks, 0)
    order, wanted = (t.sum(1).argsort() for t in (found, expected))
    torch.testing.assert_close(found[order], expected[wanted], atol=1e-4, rtol=1e-4)
    assert (torch.bincount(labels) == torch.bincount(torch.from_numpy(tiles.masks)[known])).all()


def test_the_ridge_is_chosen_on_groups_kept_aside_and_the_seed_decides():
    tiles = noisy()
    learn, judge = train.apart(tiles, 0)
    assert not set(learn.groups) & set(judge.groups) and len(learn) + len(judge) == len(tiles)
    first, again = (linear.fit(tiles, 3, seed=0) for _ in range(2))
    assert first.ridge == again.ridge and first.ridge in linear.RIDGES and not first.fit.at_limit
    assert torch.equal(first.head.parts[0].read.weight, again.head.parts[0].read.weight)
    assert first.missed == pytest.approx(  # of the head before it saw what chose its ridge
        train.error(linear.fit(learn, 3, seed=0, validation=judge).head, judge), abs=0.05
    )


def two_scales(n=16):
    """Tiles whose class is told by a token of 4 pixels and by the pixel itself, never by one."""
    rng = np.random.default_rng(3)
    coarse, fine = rng.integers(0, 2, (n, 4, 4)), rng.integers(0, 2, (n, 16, 16))
    masks = (2 * coarse.repeat(4, 1).repeat(4, 2) + fine).astype(np.uint8)
    tokens, pixels = (torch.from_numpy(v).float()[..., None] for v in (coarse, fine))
    return tokens, pixels, masks


def test_a_linear_head_reads_grids_of_two_resolutions_side_by_side():
    tokens, pixels, masks = two_scales()
    right = {}
    for name, grids in {"both": [tokens, pixels], "tokens": [tokens], "pixels": [pixels]}.items():
        tiles = train.Tiles(grids, masks, np.arange(len(masks)) // 2)
        found = linear.fit(tiles, 4, seed=0, windows=[()] * len(grids))
        right[name] = (train.predict(found.head, grids) == masks).mean()
    assert right["both"] > 0.85 > 0.7 > max(right["tokens"], right["pixels"])


def test_means_around_a_pixel_leave_out_what_is_beyond_the_edge():
    grid = torch.randn(2, 5, 6, 3)
    found = pixel_heads.around(grid, (3, 5))
    assert found.shape == (2, 5, 6, 9) and torch.equal(found[..., :3], grid)
    for row, column in ((0, 0), (2, 3), (4, 5)):
        for at, reach in ((3, 1), (6, 2)):
            near = grid[:, max(0, row - reach) : row + reach + 1]
            near = near[:, :, max(0, column - reach) : column + reach + 1]
            torch.testing.assert_close(found[:, row, column, at : at + 3], near.mean((1, 2)))
    assert pixel_heads.around(grid, ()) is grid


def test_how_far_around_is_chosen_by_the_bands_alone():
    """The class is what a 9 x 9 square holds more of: three by three is too little."""
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(0, 1, (16, 24, 24, 1))).float()
    masks = (pixel_heads.around(noise, (9,))[..., 1] > 0).numpy().astype(np.uint8)
    tiles = train.Tiles([noise], masks, np.arange(16))
    squares, found = skip.alone({"train": tiles}, 2)
    assert 9 in squares and found.missed < 0.1


def test_the_skip_of_a_cone_holds_its_map_and_others_hold_none():
    chips = np.random.default_rng(0).integers(300, 3000, (3, 10, 64, 64)).astype(np.float32)
    cone = SMALL.replace(decoder="cone", decoder_options={"channels": 6})
    models = [SMALL, cone.replace(decoder_options={"pixels": False}), cone]
    none, tokens_alone, guided = (skip.guided(GAIR(c), chips, batch=2) for c in models)
    assert none == tokens_alone == [] and skip.bands(chips).shape == (3, 64, 64, 10)
    assert guided[0].shape == (3, SMALL.rs_size, SMALL.rs_size, 6) and guided[0].std() > 0


def test_training_ends_by_itself_and_says_how():
    tiles = noisy()
    create = partial(pixel_heads.UPerNet, 5, 3, 8, channels=4)
    tiles = train.Tiles(tiles.inputs * 4, tiles.masks, tiles.groups)
    short = train.Schedule(steps=2, batch=4, every=1)
    assert train.fit(create, tiles, seed=0, schedule=short)[1].at_limit
    ends = train.Schedule(steps=2000, batch=4, every=5, patience=2, plateaus=2, lr=0.02)
    network, found = train.fit(create, tiles, seed=0, schedule=ends)
    assert not found.at_limit and found.steps < 2000
    _, judge = train.apart(tiles, 0)
    assert train.error(network, judge) == min(e for _, e in found.curve)  # the best weights
    # epochs are passes over the tiles that teach, each judged
    passes = train.Schedule(batch=4, epochs=3, every=1, milestones=(0.6, 0.9))
    _, found = train.fit(create, tiles, seed=0, schedule=passes, validation=judge)
    assert [step for step, _ in found.curve] == [5, 10, 15]
    assert not found.at_limit  # their number was settled beforehand


def test_pangaeas_protocol_is_512_channels_80_epochs_and_the_best_checkpoint():
    assert set(train.UPERNETS) == set(UPERNETS)
    channels, schedule = train.UPERNETS["pangaea"]
    assert (channels, schedule.epochs, schedule.batch, schedule.lr) == (512, 80, 8, 1e-4)
    with pytest.raises(BadInput, match=r"benchmark\.upernet: 'wide'.*narrow, pangaea"):
        Options(upernet="wide")
