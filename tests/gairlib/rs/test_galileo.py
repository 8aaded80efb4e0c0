"""Galileo as GAIR's RS tower: its scale, NDVI of changed bands, field, gradients, refusals."""

import pytest
import torch
import torch.nn.functional as F

from gairlib import GAIR, GAIRConfig, preprocess
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.rs import registry
from gairlib.rs.base import RSTower
from gairlib.rs.galileo import Galileo, GalileoTower
from gairlib.rs.vit import RSEncoder

SV = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}


def model(**changes):
    torch.manual_seed(0)
    values = {
        "dim": 24,
        "rs_model": "galileo",
        "rs_width": 32,
        "rs_depth": 2,
        "rs_heads": 4,
        "rs_size": 16,
        "rs_patch": 4,
        "sv_options": SV,
        "sv_size": 16,
        "decoder_hidden": [8],
        "preprocessing": "galileo",
    }
    return GAIR(GAIRConfig(**{**values, **changes})).eval()


def chips(seed=1, size=16):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(50, 6000, (2, 10, size, size), generator=generator).float()


def test_the_tower_gives_the_encoders_features_and_a_projection_of_its_grid():
    gair = model(rs_options={"month": 3}).double()
    encoder = Galileo(32, depth=2, heads=4, patch=4, month=3).double()
    encoder.load_state_dict({k: v for k, v in gair.rs.state_dict().items() if "project" not in k})
    x = preprocess.get("galileo").rs(chips(), 16)
    features, want = gair.encode_rs(x), encoder(chips())
    close = {"rtol": 1e-4, "atol": 1e-5}  # DN are worked out of float32 values
    torch.testing.assert_close(features.backbone, want.pooled, **close)
    expected = F.linear(want.grid, gair.rs.project.weight, gair.rs.project.bias)
    torch.testing.assert_close(features.grid, expected, **close)
    torch.testing.assert_close(features.pooled, features.grid.mean((1, 2)))
    for found, layer in zip(gair.rs.layers(x.double(), 2), encoder.layers(chips(), 2)):
        torch.testing.assert_close(found, layer, **close)
    assert gair.query_rs(features, torch.zeros(2, 3, 2)).shape == (2, 3, 24)


def test_a_model_leaves_out_bands_that_are_not_there_and_the_vit_reads_what_stands_there():
    gair, x = model(), preprocess.get("galileo").rs(chips(), 16)
    other = x.clone()
    other[:, 3:] = 0.5
    rgb = ("B02", "B03", "B04")
    found = gair.encode_rs(x, bands=rgb)
    assert torch.equal(found.grid, gair.encode_rs(other, bands=rgb).grid)
    assert (found.grid - gair.encode_rs(x).grid).abs().max() > 1e-4
    dn = chips().numpy()
    invented = dn.copy()
    invented[:, 3:] = 1000
    for kind in ("pooled", "shared"):
        a, b, full = (
            encode.chips(gair, values, kind=kind, bands=bands)
            for values, bands in ((dn, rgb), (invented, rgb), (dn, None))
        )
        assert (a == b).all() and (a != full).any()
    plain = model(rs_model="vit", preprocessing="gairlib", rs_depth=1)
    assert torch.equal(plain.encode_rs(x, bands=rgb).grid, plain.encode_rs(x).grid)


def test_ndvi_is_that_of_bands_whose_brightness_has_changed():
    tower = GalileoTower(32, depth=1, heads=2, patch=8)
    x = preprocess.get("galileo").rs(chips(), 16)
    gain = 1 + 0.3 * torch.randn(1, 10, 1, 1, generator=torch.Generator().manual_seed(2))
    scaled = tower.inputs(tower._dn(x * gain))
    torch.testing.assert_close(scaled[:, :10], x * gain)
    dn = (x * gain) * tower.span[:-1] + tower.low[:-1]
    red, infrared = dn[:, 2], dn[:, 6]
    total = infrared + red
    ndvi = torch.where(total > 0, (infrared - red) / total, torch.zeros(())).clamp(-1, 1)
    found = scaled[:, 10] * tower.span[-1] + tower.low[-1]
    torch.testing.assert_close(found, ndvi, rtol=1e-4, atol=1e-4)


def test_it_learns_is_saved_and_comes_back(tmp_path):
    gair = model().train()
    x = preprocess.get("galileo").rs(chips(), 16)
    out = gair.query_rs(gair.encode_rs(x), torch.zeros(2, 1, 2))
    out.square().sum().backward()
    still = [n for n, p in gair.rs.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still
    assert not {"time", "months"} & {n for n, _ in gair.rs.named_parameters()}  # as published
    gair.eval().save_pretrained(tmp_path)
    back = GAIR.from_pretrained(tmp_path)
    assert back.config == gair.config
    torch.testing.assert_close(back.encode_rs(x).grid, gair.encode_rs(x).grid)
    assert back.bfloat16().encode_rs(x).grid.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"rs_model": "clay"}, "clay.*galileo, vit"),
        ({"preprocessing": "gairlib"}, "'galileo'.*'gairlib'"),
        ({"rs_bands": 12}, "rs_bands 12"),
        ({"rs_final_norm": False}, "rs_final_norm False"),
        ({"rs_options": {"wings": 2}}, "wings"),
        ({"rs_width": 24}, "width 24"),
        ({"rs_model": "vit", "preprocessing": "gairlib", "rs_options": {"month": 3}}, "month"),
    ],
)
def test_what_does_not_fit_is_named(changes, fact):
    with pytest.raises(BadInput, match=fact):
        model(**changes)


def test_wrong_chips_are_refused():
    gair = model()
    for shape, fact in (
        ((1, 12, 16, 16), "12, 16, 16"),
        ((1, 10, 18, 18), "18 pixels.*4"),
        ((10, 16, 16), "10, 16, 16"),
    ):
        with pytest.raises(BadInput, match=fact):
            gair.encode_rs(torch.zeros(shape))


@pytest.mark.parametrize("name", ["vit", "galileo"])
def test_every_tower_keeps_the_contract(name):
    assert set(registry.names()) == {"vit", "galileo"}
    torch.manual_seed(0)
    sizes = {"bands": 10, "size": 16, "patch": 8, "depth": 3, "heads": 2, "final_norm": True}
    tower = registry.create(name, 16, width=32, **sizes).eval()
    assert isinstance(tower, RSTower) and tower.patch == 8 and len(tower.blocks) == 3
    x = torch.rand(2, 10, 16, 16, generator=torch.Generator().manual_seed(0))
    features, layers = tower(x), tower.layers(x, 4)
    assert features.grid.shape == (2, 2, 2, 16) and features.pooled.shape == (2, 16)
    assert features.backbone.shape == (2, 32)
    assert {tuple(y.shape) for y in layers} == {(2, 2, 2, 32)}
    torch.testing.assert_close(layers[-1].mean((1, 2)), features.backbone)
    torch.testing.assert_close(tower.project(layers[-1]), features.grid)
    torch.testing.assert_close(features.grid.mean((1, 2)), features.pooled)
    assert tower.double().dtype == torch.float64 and tower.device.type == "cpu"
    with pytest.raises(BadInput, match="layers"):
        tower.layers(x.double(), 0)


def test_configs_of_before_name_no_tower_and_mean_the_vit():
    values = GAIRConfig().to_dict()
    del values["rs_model"], values["rs_options"]
    old = GAIRConfig.from_dict(values)
    assert old == GAIRConfig() and isinstance(GAIR(old).rs, RSEncoder)
