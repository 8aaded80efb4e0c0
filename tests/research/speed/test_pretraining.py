"""The two figures on training speed, in small: what is compared learns the same."""

import pytest
import torch

from gairlib import geo, losses
from research.speed import pretraining


def test_plain_loss_is_the_librarys():
    g = torch.Generator().manual_seed(0)
    a, b, c = (
        torch.nn.functional.normalize(torch.randn(n, 6, generator=g), dim=-1) for n in (7, 7, 3)
    )
    far = torch.rand(7, 10, generator=g) > 0.3
    exclude = ~far
    exclude.diagonal().fill_(False)
    plain = pretraining.contrast(a, b, torch.tensor(0.1), far, c)
    ours = losses.info_nce(a, b, temperature=0.1, extra_keys=c, exclude=exclude)["loss"]
    torch.testing.assert_close(plain, ours)
    assert not torch.isclose(plain, pretraining.contrast(a, b, torch.tensor(0.1), far[:, :7]))


def test_haversine_is_the_great_circle():
    lonlat = torch.tensor([[0.0, 0.0], [180.0, 0.0], [0.0, 90.0]], dtype=torch.float64)
    apart = pretraining.haversine(lonlat, lonlat) / geo.EARTH_RADIUS
    expected = torch.pi * torch.tensor([[0, 1, 0.5], [1, 0, 0.5], [0.5, 0.5, 0]])
    torch.testing.assert_close(apart, expected.double())


def test_batches_have_the_samples_statistics():
    config, options = pretraining.sample(quick=True)
    batch = pretraining.draw(3, config, 400, 8)
    counts = batch.valid.sum(1)
    assert counts.min() >= 1 and abs(counts.double().mean() - 4.34) < 0.5
    assert len(batch.photo_ids) == int(counts.sum()) and len(set(batch.photo_ids)) == counts.sum()
    inside = pretraining.haversine(batch.lonlat[0], batch.lonlat[0])
    along = torch.cdist(batch.xy[0], batch.xy[0]) * 320  # metres in a chip of 640
    torch.testing.assert_close(inside, along, rtol=1e-2, atol=1.0)
    assert torch.equal(pretraining.draw(3, config, 400, 8).photos, batch.photos)
    assert (pretraining.draw(4, config, 4, 1).valid.shape) == (4, 1)


def test_both_loops_learn_the_same_in_small():
    found = pretraining.run(quick=True)
    assert found["curve_max_relative_difference"] < 1e-3
    assert found["curve_last_loss"] != found["curve_first_loss"]
    assert found["ratio"] > 0 and found["equal_work_ratio"] > 0
    shares = [v for k, v in found.items() if k.startswith("share_")]
    assert len(shares) == 7 and min(shares) > 0 and sum(shares) == pytest.approx(1)


def test_open_clip_in_small():
    pytest.importorskip("open_clip_train", reason="open_clip_torch is not installed")
    from research.speed import open_clip

    found = open_clip.run(quick=True)
    assert found["loss_relative_difference"] < 1e-6
    assert found["loss_gradient_relative_difference"] < 1e-4
    assert found["step_loss_relative_difference"] < 1e-5
    assert found["accumulate_loss_relative_difference"] < 1e-5
    assert all(found[f"{k}_speed_ratio"] > 0 for k in ("loss", "step", "shared", "full"))
    assert open_clip.alone("step", "quick", "ours") > 1e6


def test_open_clips_step_changes_the_towers_as_its_loss_says():
    pytest.importorskip("open_clip_train", reason="open_clip_torch is not installed")
    from research.speed import open_clip

    steps, pairs = open_clip.sides("step", "quick")
    first, second = steps["theirs"](), steps["theirs"]()
    assert pairs == open_clip.PAIRS["quick"] and first != second
    parts, _ = open_clip.sides("accumulate", "quick")
    assert parts["theirs"]() > 0  # the sum over parts is its own business
