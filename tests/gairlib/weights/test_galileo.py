"""Galileo: the published names and shapes, and its forward pass written out a second time."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from gairlib import GAIR, GAIRConfig, preprocess
from gairlib.bands import BANDS
from gairlib.bands import GALILEO_MEAN as MEAN
from gairlib.bands import GALILEO_STD as STD
from gairlib.errors import BadInput
from gairlib.weights.galileo import load_galileo
from gairlib.weights.towers import initialise

SHARED = Path(__file__).resolve().parents[4] / "shared"
PARITY, NANO = SHARED / "parity", SHARED / "real-more/weights/galileo_nano/encoder.pt"
GROUPS = {"S1": 2, "S2_RGB": 3, "S2_Red_Edge": 3, "S2_NIR_10m": 1, "S2_NIR_20m": 1}
GROUPS |= {"S2_SWIR": 2, "NDVI": 1}


def published(width=32, depth=2, seed=0):
    """A random state dict with the names and shapes of encoder.pt, the unused ones among them."""
    quarter, shapes = width // 4, {"norm.weight": (width,), "norm.bias": (width,)}
    shapes |= {"pos_embed": (24, quarter), "month_embed.weight": (12, quarter)}
    shapes |= {"s_t_channel_embed": (7, quarter), "sp_channel_embed": (3, quarter)}
    shapes |= {"t_channel_embed": (3, quarter), "st_channel_embed": (4, quarter)}
    for name, bands in GROUPS.items():
        shapes[f"space_time_embed.{name}.proj.weight"] = (width, bands, 8, 8)
        shapes[f"space_time_embed.{name}.proj.bias"] = (width,)
    for i in range(depth):
        for name in ("attn.q", "attn.k", "attn.v", "attn.proj"):
            shapes[f"blocks.{i}.{name}.weight"] = (width, width)
            shapes[f"blocks.{i}.{name}.bias"] = (width,)
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
        shapes |= {f"blocks.{i}.mlp.fc1.weight": (4 * width, width)}
        shapes |= {f"blocks.{i}.mlp.fc1.bias": (4 * width,)}
        shapes |= {f"blocks.{i}.mlp.fc2.weight": (width, 4 * width)}
        shapes |= {f"blocks.{i}.mlp.fc2.bias": (width,)}
    shapes |= {"static_embed.location.weight": (width, 3), "static_embed.location.bias": (width,)}
    generator = torch.Generator().manual_seed(seed)
    return {k: 0.2 * torch.randn(size, generator=generator) for k, size in shapes.items()}


def forward(state, dn, heads, month):
    """Tokens of each patch and group [B, h, w, 6, D], one patch and one token at a time."""
    w = {k: v.double() for k, v in state.items()}
    b, side, width = len(dn), dn.shape[-1] // 8, w["norm.weight"].numel()
    x = dn.double()
    scaled = torch.stack(
        [(x[:, c] - MEAN[c] + 2 * STD[c]) / (4 * STD[c]) for c in range(10)]
        + [(x[:, 6] - x[:, 2]) / (x[:, 6] + x[:, 2])],
        1,
    )
    channels = {"S2_RGB": [0, 1, 2], "S2_Red_Edge": [3, 4, 5], "S2_NIR_10m": [6]}
    channels |= {"S2_NIR_20m": [7], "S2_SWIR": [8, 9], "NDVI": [10]}
    eighth = width // 8
    omega = [1 / 10000 ** (i / eighth / 2.0) for i in range(eighth // 2)]

    def waves(place):
        angles = torch.tensor([place * o for o in omega], dtype=torch.float64)
        return torch.cat([angles.sin(), angles.cos()])

    tokens = []
    for row in range(side):
        for column in range(side):
            patch = scaled[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            for group, (name, bands) in enumerate(channels.items(), 1):
                kernel = w[f"space_time_embed.{name}.proj.weight"]
                token = torch.einsum("bchw,dchw->bd", patch[:, bands], kernel)
                token = token + w[f"space_time_embed.{name}.proj.bias"]
                where = [w["s_t_channel_embed"][group], w["pos_embed"][0]]
                where += [w["month_embed.weight"][month - 1], waves(8 * column), waves(8 * row)]
                tokens.append(token + torch.cat(where))
    x = torch.stack(tokens, 1)
    for i in range(max(int(k.split(".")[1]) for k in w if k.startswith("blocks")) + 1):
        p = {
            k.removeprefix(f"blocks.{i}."): v for k, v in w.items() if k.startswith(f"blocks.{i}.")
        }

        def linear(name, y, p=p):
            return y @ p[f"{name}.weight"].T + p[f"{name}.bias"]

        y = F.layer_norm(x, (width,), p["norm1.weight"], p["norm1.bias"], 1e-5)
        q, k, v = (
            linear(f"attn.{part}", y).unflatten(2, (heads, -1)).transpose(1, 2) for part in "qkv"
        )
        weights = (q @ k.transpose(2, 3) / (width // heads) ** 0.5).softmax(-1)
        x = x + linear("attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        y = F.layer_norm(x, (width,), p["norm2.weight"], p["norm2.bias"], 1e-5)
        x = x + linear("mlp.fc2", F.gelu(linear("mlp.fc1", y)))
    x = F.layer_norm(x, (width,), w["norm.weight"], w["norm.bias"], 1e-5)
    return x.reshape(b, side, side, 6, width)


def test_tokens_are_those_of_the_published_forward_pass():
    state = published()
    dn = torch.randint(100, 5000, (2, 10, 24, 24), generator=torch.Generator().manual_seed(1))
    expected = forward(state, dn, heads=4, month=3)
    encoder = load_galileo(state, heads=4, month=3, scale_ndvi=False).double()
    with torch.inference_mode():
        found = encoder(dn)
    torch.testing.assert_close(found.grid, expected.mean(3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.pooled, expected.flatten(1, 3).mean(1), rtol=1e-4, atol=1e-4)
    assert "space_time_embed.S1.proj.weight" in encoder.unused_tensors
    assert {"sp_channel_embed", "static_embed.location.bias"} <= set(encoder.unused_tensors)


def test_heads_come_from_the_file_beside_it_and_faults_are_named(tmp_path):
    path = tmp_path / "encoder.pt"
    torch.save(
        {k.replace("blocks.", "blocks.backbone.", 1): v for k, v in published().items()}, path
    )
    with pytest.raises(BadInput, match="heads"):
        load_galileo(path)
    about = {"model": {"encoder": {"num_heads": 8}}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    encoder = load_galileo(path)
    assert encoder.blocks[0].attn.num_heads == 8 and not encoder.training
    for shape in ((1, 12, 16, 16), (1, 10, 20, 20), (1, 10, 16, 8)):
        with pytest.raises(BadInput, match="Galileo"):
            encoder(torch.ones(shape))
    state = published()
    del state["blocks.1.attn.k.bias"]
    with pytest.raises(BadInput, match="blocks.1.attn.k.bias is missing"):
        load_galileo(state, heads=4)


def test_land_without_light_has_no_ndvi_and_no_nan():
    encoder = load_galileo(published(), heads=4, scale_ndvi=False)
    assert torch.isfinite(encoder(torch.zeros(1, 10, 8, 8)).pooled).all()
    assert encoder.inputs(torch.zeros(1, 10, 8, 8))[0, 10].abs().max() == 0


def naive_resizing(kernel, patch):
    """Pixel by pixel: the pseudo-inverse of what resizing does to each pixel of a patch."""
    columns = []
    for i in range(kernel**2):
        one = torch.zeros(1, 1, kernel, kernel, dtype=torch.float64)
        one[0, 0, i // kernel, i % kernel] = 1
        size = (patch, patch)
        columns.append(F.interpolate(one, size, mode="bicubic", antialias=True).flatten())
    return torch.linalg.pinv(torch.stack(columns))


@pytest.mark.parametrize("patch", [4, 12])
def test_kernels_of_other_patches_are_resized_by_the_pseudo_inverse(patch):
    """The published forward pass on kernels resized one by one; and a larger patch gives the tokens
    that the smaller one gave, where the image is a smaller one enlarged."""
    state = published()
    encoder = load_galileo(state, heads=4, patch=patch).double()
    matrix = naive_resizing(8, patch)
    x = torch.rand(1, 11, 24, 24, generator=torch.Generator().manual_seed(2)).double()
    kernel = state["space_time_embed.S2_RGB.proj.weight"].double()
    resized = torch.zeros(*kernel.shape[:2], patch, patch, dtype=torch.float64)
    for row in range(kernel.shape[0]):
        for band in range(3):
            resized[row, band] = (matrix @ kernel[row, band].flatten()).reshape(patch, patch)
    bias = state["space_time_embed.S2_RGB.proj.bias"].double()
    expected = F.conv2d(x[:, :3], resized, bias, stride=patch).permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder._tokens(x, 0), expected, rtol=1e-5, atol=1e-5)
    if patch > 8:
        small = torch.rand(1, 11, 8, 8, generator=torch.Generator().manual_seed(3)).double()
        large = F.interpolate(small, (patch, patch), mode="bicubic", antialias=True)
        first = load_galileo(state, heads=4).double()._tokens(small, 0)
        torch.testing.assert_close(encoder._tokens(large, 0), first, rtol=1e-5, atol=1e-5)


def test_groups_that_are_not_there_are_left_out_and_never_looked_at():
    encoder = load_galileo(published(), heads=4).double()
    generator = torch.Generator().manual_seed(4)
    dn = torch.randint(100, 5000, (2, 10, 16, 16), generator=generator).double()
    other = dn.clone()
    other[:, 3:] = float("nan")
    with torch.inference_mode():
        rgb = encoder(dn, ("B2", "green", "B04"))
        torch.testing.assert_close(rgb, encoder(other, ("B02", "B03", "B04")), rtol=0, atol=0)
        assert (rgb.pooled - encoder(dn).pooled).abs().max() > 0.01
        last = encoder.layers(dn, 2, ("B02", "B03", "B04"))
        torch.testing.assert_close(last[-1], rgb.grid)
        # NIR and red give NDVI too; two of three red edges are no group
        tokens, (*_, groups) = encoder._start(dn, ("B02", "B03", "B04", "B05", "B06", "B08"))
    assert groups == 3 and tokens.shape == (2, 2 * 2 * 3, 32)
    with pytest.raises(BadInput, match="B05 B07.*no group is complete"):
        encoder(dn, ("B05", "B07"))
    with pytest.raises(BadInput, match="month"):
        load_galileo(published(), heads=4, month=13)


def gair(**changes):
    sv = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    values = {"dim": 24, "rs_model": "galileo", "rs_width": 32, "rs_depth": 2, "rs_heads": 4}
    values |= {"rs_size": 16, "rs_patch": 4, "preprocessing": "galileo", "decoder_hidden": [8]}
    torch.manual_seed(0)
    return GAIR(GAIRConfig(**{**values, "sv_options": sv, "sv_size": 16, **changes})).eval()


def test_a_tower_of_gair_starts_from_a_file(tmp_path):
    path = tmp_path / "encoder.pt"
    torch.save(published(), path)
    started = gair(rs_options={"month": 3})
    start = initialise(started, {"rs": str(path)})
    dn = torch.randint(100, 5000, (2, 10, 16, 16), generator=torch.Generator().manual_seed(1))
    want = load_galileo(path, heads=4, month=3, patch=4)(dn)
    found = started.encode_rs(preprocess.get("galileo").rs(dn, 16))
    torch.testing.assert_close(found.backbone, want.pooled, rtol=1e-4, atol=1e-4)
    assert start.provenance["rs"]["new"] == ["rs.project.weight", "rs.project.bias"]
    assert start.provenance["rs"]["unused"] == len(load_galileo(path, heads=4).unused_tensors)
    assert gair().rs.state_dict().keys() == started.rs.state_dict().keys()


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"rs_width": None, "dim": 64}, "dim = 32, the config has 64"),
        ({"rs_depth": 3}, "rs_depth = 2, the config has 3"),
        ({"rs_heads": 2}, "config.json.*rs_heads = 4, the config has 2"),
        ({"rs_options": {"hidden": 64}}, "rs_options.hidden = 128, the config has 64"),
        ({"rs_options": {"kernel": 4}}, "rs_options.kernel = 8, the config has 4"),
        ({"rs_model": "vit", "preprocessing": "gairlib"}, "CROMA"),
    ],
)
def test_a_tower_that_does_not_fit_is_told_by_its_fields(tmp_path, changes, fact):
    path = tmp_path / "encoder.pt"
    torch.save(published(), path)
    about = {"model": {"encoder": {"num_heads": 4}}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(BadInput, match=fact):
        initialise(gair(**changes), {"rs": str(path)})


def test_heads_of_the_published_sizes_are_known_and_a_broken_config_is_named(tmp_path):
    encoder = load_galileo(published(width=128, depth=1))
    assert encoder.blocks[0].attn.num_heads == 8
    torch.save(published(), tmp_path / "encoder.pt")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="config.json.*num_heads"):
        load_galileo(tmp_path / "encoder.pt")


@pytest.mark.skipif(not PARITY.is_dir(), reason="the published figures lie outside the repository")
@pytest.mark.parametrize("case", ["p8", "p4", "p8_rgb"])
def test_the_published_nano_gives_its_published_figures(case):
    io = load_file(PARITY / "galileo_nano.io.safetensors")
    how = json.loads((PARITY / "galileo_nano.json").read_text())["cases"][case]
    encoder = load_galileo(NANO, patch=how["patch"], month=how["month_index"] + 1)
    dn = io["dn"] if how["patch"] == 8 else io["dn"][:2, :, :32, :32]
    with torch.inference_mode():
        found = encoder(dn, ("B02", "B03", "B04") if case == "p8_rgb" else BANDS)
    torch.testing.assert_close(found.pooled, io[f"{case}.pooled"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.grid, io[f"{case}.grid"], rtol=0, atol=1e-5)
