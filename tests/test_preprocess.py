"""The published preprocessing against its formula, ours against its promises; scale mistakes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gairlib import preprocess
from gairlib.errors import BadInput


def chips(b=2, size=24, seed=0):
    return np.random.default_rng(seed).integers(0, 9000, (b, 10, size, size)).astype(np.uint16)


def photos(b=2, h=30, w=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (b, 3, h, w)).astype(np.uint8)


def test_published_rs_pixel_by_pixel():
    dn = chips()
    dn[0, :, 0, 0], dn[0, :, 0, 1] = 0, 65535
    got = preprocess.get("published").rs(dn, 24)
    assert got.dtype == torch.float32 and got.shape == dn.shape
    for band, (m, s) in enumerate(zip(preprocess.RS_MEAN, preprocess.RS_STD)):
        value = np.clip((dn[:, band].astype(np.float64) - (m - 2 * s)) / (4 * s), 0, 1) * 255
        want = value.astype(np.uint8).astype(np.float32) / 255
        np.testing.assert_allclose(got[:, band].numpy(), want, atol=1e-7)
    assert got.min() == 0 and got.max() == 1


def test_published_sizes_keep_the_overshoot():
    tool = preprocess.get("published")
    dn, rgb = np.zeros((1, 10, 24, 24), np.uint16), photos()
    dn[..., 12:] = 9000
    big = tool.rs(dn, 96)
    want = F.interpolate(tool.rs(dn, 24), (96, 96), mode="bicubic", align_corners=False)
    assert torch.equal(big, want) and big.max() > 1
    mean, std = torch.tensor(preprocess.SV_MEAN), torch.tensor(preprocess.SV_STD)
    x = (torch.tensor(rgb).float() - mean[:, None, None]) / std[:, None, None]
    want = F.interpolate(x, (224, 224), mode="bicubic", align_corners=False)
    torch.testing.assert_close(tool.sv(rgb, 224), want)


def test_ours_is_standardised_and_limited():
    tool = preprocess.get("gairlib")
    mean = torch.tensor(preprocess.RS_MEAN)[:, None, None].expand(1, 10, 8, 8)
    assert tool.rs(mean, 8).abs().max() < 1e-6
    dn = chips(size=8)
    z = tool.rs(dn, 8)
    assert z.abs().max() < preprocess.SOFT_LIMIT
    order = torch.from_numpy(dn.astype(np.int64))[:, 3].flatten().argsort()
    assert (z[:, 3].flatten()[order].diff() >= 0).all()
    x = tool.sv(photos(h=16, w=16), 16)
    back = x * torch.tensor(preprocess.IMAGENET_STD)[:, None, None] + torch.tensor(
        preprocess.IMAGENET_MEAN
    ).reshape(3, 1, 1)
    torch.testing.assert_close(back * 255, torch.tensor(photos(h=16, w=16)).float())


@pytest.mark.parametrize("name", preprocess.names())
def test_shapes_and_types(name):
    tool = preprocess.get(name)
    assert tool.name == name
    for dn in (chips(), torch.from_numpy(chips()), chips().astype(np.float32)):
        for size in (16, 24, 40):
            out = tool.rs(dn, size)
            assert out.shape == (2, 10, size, size) and out.dtype == torch.float32
    assert torch.equal(tool.rs(chips(), 24), tool.rs(chips().astype(np.float32), 24))
    rgb = photos()
    assert torch.equal(tool.sv(rgb, 32), tool.sv(np.moveaxis(rgb, 1, -1), 32))
    assert tool.rs(chips(b=0), 16).shape == (0, 10, 16, 16)
    assert tool.sv(photos(b=0), 16).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("name", preprocess.names())
def test_scale_mistakes(name):
    tool = preprocess.get(name)
    dn = chips().astype(np.float32)
    for bad, hint in (
        (dn / 10000, "multiply by 10000"),
        (dn - 1000, "harmonised"),
        (np.where(dn == dn[0, 0, 0, 0], np.nan, dn), "harmonised"),
        (dn * 100, "65535"),
        (dn.astype(np.uint8), "8-bit"),
        (dn[:, :9], "10, H, W"),
        (dn[0], "10, H, W"),
    ):
        with pytest.raises(BadInput, match=hint):
            tool.rs(bad, 24)
    for bad, hint in (
        (photos() / 255.0, "by 255"),
        (photos() - 135.0, "0..255"),
        (photos()[:, :2], "photos"),
        (photos()[0], "photos"),
    ):
        with pytest.raises(BadInput, match=hint):
            tool.sv(bad, 24)
    assert tool.rs(np.zeros((1, 10, 8, 8), np.uint16), 8).isfinite().all()  # all nodata


def test_unknown_name():
    with pytest.raises(BadInput, match="gairlib, published"):
        preprocess.get("croma")
