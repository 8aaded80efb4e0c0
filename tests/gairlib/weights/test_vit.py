"""CROMA and timm converters: published names and shapes, published forward passes.

The published forward passes are written out here a second time, plainly.
"""

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from builders.small_weights import chips, croma_shapes, photos, random_state, refuses
from safetensors.torch import save_file

from gairlib import weights
from gairlib.errors import BadInput
from gairlib.weights.vit import timm_vit_options

# ---- CROMA


def croma_forward(state, images, heads):
    """Tokens [B, N, D]: patches as (band, row, column), attention minus slope times distance."""
    w = {k: v.double() for k, v in state.items()}
    b, bands, height, _ = images.shape
    n, width = height // 8, w["linear_input.bias"].numel()
    x = images.double().unfold(2, 8, 8).unfold(3, 8, 8)  # [B, C, n, n, 8, 8]
    x = x.permute(0, 2, 3, 1, 4, 5).reshape(b, n * n, -1)
    x = x @ w["linear_input.weight"].T + w["linear_input.bias"]
    cells = [(i, j) for i in range(n) for j in range(n)]
    far = torch.tensor([[math.dist(p, q) for q in cells] for p in cells], dtype=torch.float64)
    slopes = torch.tensor([2 ** (-8 * (h + 1) / heads) for h in range(heads)]).double()
    depth = sum(k.endswith("to_qkv.weight") for k in w)
    for i in range(depth):
        at, ff = f"transformer.layers.{i}.0", f"transformer.layers.{i}.1"
        y = F.layer_norm(x, [width], w[f"{at}.input_norm.weight"], w[f"{at}.input_norm.bias"])
        q, k, v = (
            t.reshape(b, n * n, heads, -1).transpose(1, 2)
            for t in (y @ w[f"{at}.to_qkv.weight"].T).chunk(3, -1)
        )
        score = q @ k.transpose(2, 3) / math.sqrt(width // heads) - slopes[:, None, None] * far
        y = (score.softmax(-1) @ v).transpose(1, 2).reshape(b, n * n, width)
        x = x + y @ w[f"{at}.to_out.weight"].T + w[f"{at}.to_out.bias"]
        y = F.layer_norm(x, [width], w[f"{ff}.input_norm.weight"], w[f"{ff}.input_norm.bias"])
        y = F.gelu(y @ w[f"{ff}.net.0.weight"].T + w[f"{ff}.net.0.bias"])
        x = x + y @ w[f"{ff}.net.3.weight"].T + w[f"{ff}.net.3.bias"]
    last = "transformer.norm_out"
    return F.layer_norm(x, [width], w[f"{last}.weight"], w[f"{last}.bias"])


def test_croma_with_its_twelve_bands():
    state = random_state(croma_shapes(32, 3))
    encoder = weights.load_croma(state, bands=12, heads=4)
    want = croma_forward(state, chips(12), 4)
    got = encoder(chips(12))
    assert got.grid.shape == (2, 5, 5, 32) and encoder.grid == (15, 15) and not encoder.training
    torch.testing.assert_close(got.grid.flatten(1, 2).double(), want, atol=1e-5, rtol=1e-5)
    double = encoder.double()(chips(12).double())
    torch.testing.assert_close(double.grid.flatten(1, 2), want, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(double.pooled, want.mean(1))


@pytest.mark.parametrize("fill", [0.5, 0.0])
def test_croma_with_our_ten_bands(fill):
    """The published encoder on twelve bands of which B01 (first) and B09 (tenth) are `fill`."""
    state = random_state(croma_shapes(32, 2))
    ten = chips(10)
    twelve = torch.full((2, 12, 40, 40), fill)
    twelve[:, 1:9], twelve[:, 10:] = ten[:, :8], ten[:, 8:]
    encoder = weights.load_croma(state, fill=fill, heads=4).double()
    want = croma_forward(state, twelve, 4)
    got = encoder(ten.double()).grid.flatten(1, 2)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)  # the bias is float32
    assert encoder.bands == 10
    same = torch.equal(encoder.embed.bias, state["linear_input.bias"].double())
    assert same == (fill == 0)


def test_croma_files(tmp_path):
    state = random_state(croma_shapes(16, 1))
    gap = {"0.weight": torch.ones(16)}
    torch.save(
        {
            "s1_encoder": {"x": torch.ones(2)},
            "s2_encoder": state,
            "s2_GAP_FFN": gap,
            "s1_GAP_FFN": gap,
            "joint_encoder": {"y": torch.ones(2)},
        },
        tmp_path / "CROMA_base.pt",
    )
    save_file({f"s2_encoder.{k}": v for k, v in state.items()}, tmp_path / "croma.safetensors")
    want = weights.load_croma(state, heads=4)(chips(10)).pooled
    for file in ("CROMA_base.pt", "croma.safetensors"):
        encoder = weights.load_croma(tmp_path / file, heads=4)
        assert torch.equal(encoder(chips(10)).pooled, want)
    encoder = weights.load_croma(tmp_path / "CROMA_base.pt", heads=4)
    assert encoder.unused_tensors == [
        "joint_encoder.y",
        "s1_GAP_FFN.0.weight",
        "s1_encoder.x",
        "s2_GAP_FFN.0.weight",
    ]


def test_croma_base_has_these_names_and_shapes():
    """The full size: 12 layers of width 768; the values take no memory."""
    shapes = croma_shapes(768, 12)
    state = {k: torch.zeros(1).expand(shape) for k, shape in shapes.items()}
    encoder = weights.load_croma({"s2_encoder": state})
    assert (encoder.bands, encoder.patch, encoder.grid) == (10, 8, (15, 15))
    assert len(encoder.blocks) == 12 and encoder.blocks[0].attn.num_heads == 16
    assert all(not p.any() for p in encoder.parameters())


@pytest.mark.parametrize(
    "name", ["transformer.layers.1.0.to_qkv.weight", "transformer.norm_out.weight"]
)
def test_croma_is_strict(name):
    def load(state):
        return weights.load_croma(state, heads=4)

    refuses(load, random_state(croma_shapes(16, 2)), name)
    with pytest.raises(BadInput, match="bands 13"):
        weights.load_croma({}, bands=13)
    with pytest.raises(BadInput, match="12 bands times a square patch"):
        load(random_state(croma_shapes(16, 1, bands=10)))
    with pytest.raises(BadInput, match="heads = 5"):
        weights.load_croma(random_state(croma_shapes(16, 1)), heads=5)


# ---- timm


def timm_forward(state, images, heads):
    """A plain ViT with a class token, timm's epsilon; the class token after the last norm."""
    w = {k: v.double() for k, v in state.items()}
    width = w["cls_token"].shape[-1]

    def norm(x, name):
        return F.layer_norm(x, [width], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = (
        F.conv2d(
            images.double(),
            w["patch_embed.proj.weight"],
            w["patch_embed.proj.bias"],
            stride=w["patch_embed.proj.weight"].shape[-1],
        )
        .flatten(2)
        .mT
    )
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1) + w["pos_embed"]
    for i in range(sum(k.endswith("qkv.weight") for k in w)):
        q, k, v = (
            t.unflatten(-1, (heads, -1)).transpose(1, 2)
            for t in linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").chunk(3, -1)
        )
        y = (q @ k.mT / math.sqrt(width // heads)).softmax(-1) @ v
        x = x + linear(y.transpose(1, 2).flatten(2), f"blocks.{i}.attn.proj")
        y = F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(y, f"blocks.{i}.mlp.fc2")
    return norm(x, "norm")[:, 0]


def test_timm_vit_tiny():
    """Published names and shapes: timm makes them itself. Heads of ViT-Ti are known by width."""
    torch.manual_seed(0)
    state = timm.create_model("vit_tiny_patch16_224", num_classes=7).state_dict()
    encoder = weights.load_timm_vit(state, 24)
    assert encoder(photos(224)).shape == (2, 24) and not encoder.training
    assert encoder.unused_tensors == ["head.bias", "head.weight"]
    want = timm_forward(state, photos(224), 3)
    got = encoder.double().backbone(photos(224).double())
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mlp_ratio": 3.0, "qkv_bias": False},
        {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.5},
        {"reg_tokens": 4, "init_values": 0.5, "qk_norm": True},
        {"class_token": False, "global_pool": "avg", "fc_norm": True},
        {"class_token": False, "global_pool": "avg", "fc_norm": False},
        {"global_pool": "avg", "pre_norm": True},
    ],
)
def test_timm_vits_of_other_forms(more, tmp_path):
    torch.manual_seed(0)
    theirs = timm.create_model("vit_base_patch16_224", num_classes=0, **SMALL, **more).eval()
    state = {k: torch.randn_like(v) * 0.3 for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    save_file(state, tmp_path / "model.safetensors")
    encoder = weights.load_timm_vit(tmp_path / "model.safetensors", 16, heads=4, pooler="tanh")
    torch.testing.assert_close(encoder.backbone(photos(32)), theirs(photos(32)))
    assert encoder(photos(32)).abs().max() <= 1


def test_timm_options_build_a_model():
    from gairlib import GAIR, GAIRConfig

    state = timm.create_model("vit_base_patch16_224", num_classes=0, **SMALL).state_dict()
    options = timm_vit_options(state, heads=4)
    config = GAIRConfig(sv_model="vit_base_patch16_224", sv_options=options, sv_size=32)
    GAIR(config).sv.tower.load_state_dict(state)


@pytest.mark.parametrize("name", ["blocks.1.attn.qkv.weight", "norm.weight"])
def test_timm_is_strict(name):
    def load(state):
        return weights.load_timm_vit(state, 8, heads=4)

    state = timm.create_model("vit_base_patch16_224", num_classes=0, **SMALL).state_dict()
    refuses(load, state, name)
    with pytest.raises(BadInput, match="give heads="):
        weights.load_timm_vit(state, 8)
    with pytest.raises(BadInput, match="no square grid"):
        load({**state, "pos_embed": torch.zeros(1, 15, 48)})
    with pytest.raises(BadInput, match="3 channels"):
        load({**state, "patch_embed.proj.weight": torch.zeros(48, 10, 8, 8)})
    with pytest.raises(BadInput, match="attn_pool.latent is unknown"):
        load({**state, "attn_pool.latent": torch.zeros(1, 1, 48)})
