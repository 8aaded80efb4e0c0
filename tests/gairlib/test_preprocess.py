"""The published preprocessing against its formula, ours against its promises; scale mistakes."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from gairlib import GAIR, GAIRConfig, bands, preprocess
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
    for band, (m, s) in enumerate(zip(bands.MEAN, bands.STD)):
        value = np.clip((dn[:, band].astype(np.float64) - (m - 2 * s)) / (4 * s), 0, 1) * 255
        want = value.astype(np.uint8).astype(np.float32) / 255
        np.testing.assert_allclose(got[:, band].numpy(), want, atol=1e-7)
    assert got.min() == 0 and got.max() == 1


def test_published_sizes_keep_the_overshoot():
    tool = preprocess.get("published")
    dn, rgb = np.zeros((1, 10, 24, 24), np.uint16), photos()
    dn[..., 12:] = 9000
    big = tool.rs(dn, 96, offset=0)
    want = F.interpolate(tool.rs(dn, 24, offset=0), (96, 96), mode="bicubic", align_corners=False)
    assert torch.equal(big, want) and big.max() > 1
    mean, std = torch.tensor(preprocess.SV_MEAN), torch.tensor(preprocess.SV_STD)
    x = (torch.tensor(rgb).float() - mean[:, None, None]) / std[:, None, None]
    want = F.interpolate(x, (224, 224), mode="bicubic", align_corners=False)
    torch.testing.assert_close(tool.sv(rgb, 224), want)


def test_ours_is_standardised_and_limited():
    tool = preprocess.get("gairlib")
    mean = torch.tensor(bands.MEAN).float()[:, None, None].expand(1, 10, 8, 8)
    assert tool.rs(mean, 8, offset=0).abs().max() < 1e-6
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
        (dn / 10000 * 3, "multiply by 10000"),  # glint reaches reflectances of 2.7
        (dn.astype(np.int64) - 1000, "harmonised"),
        (dn - 1000, "harmonised"),
        (np.where(dn == dn[0, 0, 0, 0], np.nan, dn), "harmonised"),
        (dn * 100, "65535"),
        (dn.astype(np.uint8), "8-bit"),
        (dn.astype(bool), "8-bit"),
        (dn[:, :9], "gairlib.bands.place"),
        (dn[0], r"x\[None\]"),
        (np.moveaxis(dn, 1, -1), "permute"),
        (np.concatenate([dn, dn[:, :2]], 1), "layout='l2a-12'"),
        (np.concatenate([dn, dn[:, :3]], 1), "'l1c' or 'eurosat-ms'"),
    ):
        with pytest.raises(BadInput, match=hint):
            tool.rs(bad, 24)
    for bad, hint in (
        (photos() / 255.0, "by 255"),
        (photos() - 135.0, "0..255"),
        (photos().astype(np.int64) * 2, "0..255"),
        (photos() > 99, "true and false"),
        (photos()[:, :2], "photos"),
        (photos()[0], "photos"),
    ):
        with pytest.raises(BadInput, match=hint):
            tool.sv(bad, 24)
    assert tool.rs(np.zeros((1, 10, 8, 8), np.uint16), 8).isfinite().all()  # all nodata


def test_photos_in_the_scale_of_efficientnet_lite():
    """(x - 127) / 128, chips as the first name says."""
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).reshape(1, 3, 16, 16)
    for chip_scale in ("gairlib", "published", "galileo"):
        tool = preprocess.get(f"{chip_scale}+efficientnet-lite")
        assert tool.name == f"{chip_scale}+efficientnet-lite"
        torch.testing.assert_close(tool.sv(pixels, 16), (pixels.float() - 127) / 128)
        dn = chips()
        assert torch.equal(tool.rs(dn, 24), preprocess.get(chip_scale).rs(dn, 24))
    for name in ("gairlib+", "+efficientnet-lite", "gairlib+vgg"):
        with pytest.raises(BadInput, match="is not one of"):
            preprocess.get(name)


@pytest.mark.parametrize("name", preprocess.names())
def test_the_scale_that_is_stated_is_the_one_that_photos_get(name):
    mean, std = preprocess.photo_scale(name)
    pixels = torch.tensor([0.0, 100.0, 255.0]).reshape(1, 1, 1, 3).expand(1, 3, 3, 3)
    want = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    found = preprocess.get(name).sv(pixels.to(torch.uint8), 3)
    torch.testing.assert_close(found, want.float(), rtol=1e-5, atol=1e-5)


def test_unknown_name():
    with pytest.raises(BadInput, match="gairlib, galileo, published"):
        preprocess.get("croma")


L2A = "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12".split()
L1C = "B1 B2 B3 B4 B5 B6 B7 B8 B8a B9 B10 B11 B12".split()  # as torchgeo spells them


@pytest.mark.parametrize("name", preprocess.names())
@pytest.mark.parametrize(
    "declared, hint",
    [
        ({"bands": list(preprocess.BANDS[::-1])}, "B12 B11 .* needed in this order.*to_dn"),
        ({"bands": L2A}, "to_dn"),
        ({"level": "L1C"}, "top of atmosphere.*L2A product.*allow_l1c=True"),
        ({"level": "L3"}, "'L2A' or 'L1C'"),
        ({"offset": 1000}, r"to_dn\(values, offset=1000\) subtracts"),
        ({"scale": 1}, r"to_dn\(values, scale=1\) rescales"),
    ],
)
def test_declarations_that_do_not_fit_are_refused(name, declared, hint):
    """What the numbers cannot tell: order, level, offset, scale. The chips themselves are fine."""
    tool = preprocess.get(name)
    with pytest.raises(BadInput, match=hint):
        tool.rs(chips(), 24, **declared)


@pytest.mark.parametrize("name", preprocess.names())
def test_declarations_that_fit_change_nothing(name):
    tool, want = preprocess.get(name), preprocess.get(name).rs(chips(), 24)
    names = "blue green red B5 b06 B07 B8 B8a B11 B12".split()
    fits = {"bands": names, "level": "L2A", "offset": 0, "scale": 10000}
    assert torch.equal(tool.rs(chips(), 24, **fits), want)
    assert torch.equal(tool.rs(chips(), 24, level="L1C", allow_l1c=True), want)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_an_offset_that_was_left_is_warned_about(kind):
    tool = preprocess.get("gairlib")
    left = (chips() + 1000).astype(kind)
    left[0, :, :4] = 0  # nodata says nothing
    with pytest.warns(UserWarning, match="offset=1000"):
        tool.rs(left, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tool.rs(left, 24, offset=0)  # a bright place, as the caller knows
        tool.rs(chips().astype(kind), 24)
        tool.rs(np.zeros((1, 10, 8, 8), kind), 8)


@pytest.mark.parametrize("names, layout", [(L2A, "l2a-12"), (L1C, "l1c")])
def test_to_dn_is_the_remedy(names, layout):
    """Bands by name or layout in any order, offset, scale: the same digital numbers come back."""
    rng, dn = np.random.default_rng(1), chips()
    dn[0, :, 0, 0] = 0  # nodata
    dn[0, :, 0, 1] = 1
    file = rng.integers(1, 9000, (2, len(names), 24, 24)).astype(np.uint16)
    places = [
        [n.upper().replace("B0", "B") for n in names].index(b.replace("B0", "B"))
        for b in preprocess.BANDS
    ]
    file[:, places] = dn
    want = torch.from_numpy(dn.astype(np.float32))
    assert torch.equal(preprocess.to_dn(file, bands=names), want)
    assert torch.equal(preprocess.to_dn(file, layout=layout), want)
    order = rng.permutation(len(names))
    shuffled = [names[i] for i in order]
    assert torch.equal(preprocess.to_dn(file[:, order], bands=shuffled), want)
    raw = np.where(file == 0, 0, file + 1000).astype(np.uint16)
    assert torch.equal(preprocess.to_dn(raw, bands=names, offset=1000), want)
    reflectance = torch.from_numpy(file / 10000)
    torch.testing.assert_close(preprocess.to_dn(reflectance, bands=names, scale=1), want)
    below = np.full((1, len(names), 2, 2), 900, np.uint16)  # darker than the offset: clipped
    assert (preprocess.to_dn(below, bands=names, offset=1000) == 0).all()
    preprocess.get("published").rs(preprocess.to_dn(file, bands=names), 24)


def test_to_dn_asks_for_what_it_cannot_know():
    thirteen = np.ones((1, 13, 4, 4))
    for options, hint in (
        ({}, "only 10 and 12 are taken by count"),
        ({"bands": L2A}, "13 bands, but 12 band names"),
        ({"layout": "l2a-12"}, "has 12 bands, but the file has 13"),
        ({"bands": L1C, "layout": "eurosat-ms"}, "contradicts"),
        ({"layout": "l1c", "scale": 0}, "scale 0"),
    ):
        with pytest.raises(BadInput, match=hint):
            preprocess.to_dn(thirteen, **options)
    with pytest.raises(BadInput, match="B, C, H, W"):
        preprocess.to_dn(thirteen[0])


def test_a_model_brings_its_own_scale(tmp_path):
    """The name is stored with the weights; a name that nobody knows is refused before loading."""
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    config = GAIRConfig(
        dim=16,
        rs_size=16,
        rs_depth=1,
        rs_heads=2,
        sv_size=16,
        sv_options=options,
        preprocessing="published",
    )
    GAIR(config).save_pretrained(tmp_path)
    assert GAIR.from_pretrained(tmp_path).config.preprocessing == "published"
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"published"', '"croma"'))
    with pytest.raises(BadInput, match="saved with 'published'; put that back"):
        GAIR.from_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights), weights)  # these say no config
    with pytest.raises(BadInput, match="'croma' is not one of gairlib, galileo, published"):
        GAIR.from_pretrained(tmp_path)
