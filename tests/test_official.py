"""load_official against the reference figures of the published code, and its refusals."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import gairlib
from gairlib import geo, location
from gairlib.errors import BadInput, Missing
from gairlib.official import load_official

PARITY = Path(__file__).resolve().parents[2] / "shared/parity"
WEIGHTS = PARITY / "official_small.weights.safetensors"
HEADS = {"rs_heads": 4, "sv_heads": 4}
pytestmark = pytest.mark.skipif(
    not WEIGHTS.is_file(), reason="the published reference figures lie outside the repository"
)


@pytest.fixture(scope="module")
def io():
    return load_file(PARITY / "official_small.io.safetensors")


@pytest.fixture
def state():
    return load_file(WEIGHTS)


def figures(model, io, dtype):
    """Every reference output, computed by our model."""
    with torch.no_grad():
        features = model.encode_rs(io["rs"].to(dtype))
        xy = geo.relative_xy(io["lonlat"], io["bbox"][:, [0, 3, 2, 1]])
        out = {
            "rs_tokens": features.grid.flatten(1, 2),
            "rs_embedding": features.pooled,
            "sv_embedding": model.encode_sv(io["sv"].to(dtype)),
            "location_embedding": model.encode_location(io["coords"]),
        }
        for mode in ("nili", "bilinear", "bicubic"):
            out[f"localized_{mode}"] = model.query_rs(features, xy, mode)
    return out


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-7)])
def test_parity(io, dtype, tolerance):
    model = load_official(WEIGHTS, **HEADS).to(dtype)
    for name, ours in figures(model, io, dtype).items():
        assert ours.dtype == dtype, name
        torch.testing.assert_close(
            ours.double(),
            io[name],
            atol=tolerance,
            rtol=tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_equal_earth(io):
    torch.testing.assert_close(
        location.equal_earth(io["coords"]), io["equal_earth"], atol=1e-14, rtol=0
    )


def test_wrappers_and_files(state, io, tmp_path):
    reference = load_official(state, **HEADS).state_dict()
    wrapped = {"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "a.pth")
    save_file({f"module.{k}": v for k, v in state.items()}, tmp_path / "b.safetensors")
    for source in (wrapped, tmp_path / "a.pth", str(tmp_path / "b.safetensors")):
        for key, value in load_official(source, **HEADS).state_dict().items():
            assert torch.equal(value, reference[key]), key


def test_unused_are_listed_and_may_be_absent(state):
    model = load_official(state, **HEADS)
    assert (
        "logit_scale" in model.unused_tensors and "rs_encoder.head.weight" in model.unused_tensors
    )
    assert not any(k.startswith(("imnet", "sv_encoder")) for k in model.unused_tensors)
    slim = {k: v for k, v in state.items() if k not in model.unused_tensors}
    assert load_official(slim, **HEADS).unused_tensors == []


def test_reads_every_used_tensor(state):
    """Each tensor that is not listed as unused changes the model."""
    reference = load_official(state, **HEADS)
    before = reference.state_dict()
    for key in state.keys() - set(reference.unused_tensors):
        after = load_official({**state, key: state[key] + 1}, **HEADS).state_dict()
        assert sum(not torch.equal(before[k], after[k]) for k in before) == 1, key


@pytest.mark.parametrize(
    "name",
    [
        "imnet.weight",
        "sv_encoder.pooler.dense.bias",
        "location_encoder.LocEnc1.head.0.weight",
        "rs_encoder.s2_encoder.linear_input.weight",
        "rs_encoder.s2_encoder.transformer.layers.0.0.to_qkv.weight",
        "sv_encoder.embeddings.position_embeddings",
    ],
)
def test_missing_and_misshapen_are_named(state, name):
    whole = state.pop(name)
    with pytest.raises(BadInput, match=f"{name}.*missing"):
        load_official(state, **HEADS)
    with pytest.raises(BadInput, match=name):
        load_official({**state, name: whole[..., :-1]}, **HEADS)


def test_a_whole_missing_layer_is_named(state):
    part = {k: v for k, v in state.items() if ".transformer.layers.0." not in k}
    with pytest.raises(BadInput, match=r"transformer\.layers\.0\.0\.input_norm\.weight is missing"):
        load_official(part, **HEADS)


def test_unknown_is_named(state):
    with pytest.raises(BadInput, match="surprise.weight is unknown"):
        load_official({**state, "surprise.weight": torch.zeros(2)}, **HEADS)


def test_other_refusals(state, tmp_path):
    with pytest.raises(Missing, match="no such checkpoint"):
        load_official(tmp_path / "absent.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="broken.safetensors"):
        load_official(tmp_path / "broken.safetensors")
    torch.save({"model": Path("x")}, tmp_path / "objects.pth")  # needs pickle to be trusted
    with pytest.raises(BadInput, match="more than tensors"):
        load_official(tmp_path / "objects.pth")
    with pytest.raises(BadInput, match="rs_heads 5"):
        load_official(state, rs_heads=5, sv_heads=4)
    with pytest.raises(BadInput, match="is missing"):
        load_official({"a": torch.zeros(1)})


def test_survives_save_and_load(io, tmp_path):
    model = load_official(WEIGHTS, **HEADS)
    model.save_pretrained(tmp_path)
    again = gairlib.GAIR.from_pretrained(tmp_path)
    assert again.config == model.config and again.config.interpolation_padding == "zeros"
    a, b = figures(model, io, torch.float32), figures(again, io, torch.float32)
    assert all(torch.equal(a[k], b[k]) for k in a)
