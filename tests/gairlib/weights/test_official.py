"""load_official against the reference figures of the published code, and its refusals."""

import argparse
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import gairlib
from gairlib import geo
from gairlib.errors import BadInput, Missing
from gairlib.location.fourier import equal_earth
from gairlib.weights.official import load_official

PARITY = Path(__file__).resolve().parents[4] / "shared/parity"
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
    torch.testing.assert_close(equal_earth(io["coords"]), io["equal_earth"], atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
        lambda s: {k.replace(".", "._orig_mod.", 1): v for k, v in s.items()},
        lambda s: {"model": {f"_orig_mod.{k}": v for k, v in s.items()}, "epoch": 3},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "global_step": 10},
        lambda s: {"state_dict": {f"model._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {f"_forward_module.module.{k}": v for k, v in s.items()},
        lambda s: {f"teacher.backbone.{k}": v for k, v in s.items()},
        lambda s: {"module": {f"net.{k}": v for k, v in s.items()}, "ds_config": {"zero": 1}},
        lambda s: {"checkpoint": {"model_state_dict": s}, "optimizer": {"m": torch.ones(3)}},
        lambda s: {f"module.{k}": v for k, v in s.items()} | {"n_averaged": torch.tensor(7)},
    ],
)
def test_what_training_tools_put_into_names_comes_off(state, wrap):
    own = load_official(state, **HEADS).state_dict()
    for name, value in load_official(wrap(state), **HEADS).state_dict().items():
        assert torch.equal(value, own[name])


def test_wrappers_and_files(state, io, tmp_path):
    reference = load_official(state, **HEADS).state_dict()
    wrapped = {"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "a.pth")
    save_file({f"module.{k}": v for k, v in state.items()}, tmp_path / "b.safetensors")
    for source in (wrapped, tmp_path / "a.pth", str(tmp_path / "b.safetensors")):
        for key, value in load_official(source, **HEADS).state_dict().items():
            assert torch.equal(value, reference[key]), key


def test_what_stands_beside_the_model_is_listed(state):
    lightning = {f"net.{k}": v for k, v in state.items()} | {"criterion.weight": torch.ones(3)}
    model = load_official({"state_dict": lightning, "epoch": 2}, **HEADS)
    assert [(o.part, o.licence) for o in model.origins] == [("model", "CC BY-NC 4.0")]
    assert "criterion.weight" in model.unused_tensors
    with pytest.warns(UserWarning, match="'model.' was taken, not 'model_ema.'"):
        both = {"model_ema": {k: v + 1 for k, v in state.items()}, "model": state}
        taken = load_official(both, **HEADS)
    plain = load_official(state, **HEADS).state_dict()
    assert all(torch.equal(v, plain[k]) for k, v in taken.state_dict().items())


def test_half_of_a_checkpoint_is_refused_with_numbers_and_names(state):
    used = [k for k in state if k not in load_official(state, **HEADS).unused_tensors]
    for part in (used[::2], used[1::2], used[: len(used) // 2]):
        with pytest.raises(BadInput, match=r"is missing.*\d+ (tensors )?are there"):
            load_official({f"net.{k}": state[k] for k in part}, **HEADS)


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda v: v * math.nan, "NaN"),
        (lambda v: v / 0, "NaN or infinity"),
        (lambda v: v.to_sparse(), "no dense numbers"),
        (lambda v: v.to("meta"), "no dense numbers"),
        (lambda v: v.to(torch.float8_e4m3fn), "float8"),
    ],
)
def test_tensors_without_usable_numbers_are_named(state, damage, told):
    with pytest.raises(BadInput, match=f"imnet.weight holds .*{told}"):
        load_official(state | {"imnet.weight": damage(state["imnet.weight"])}, **HEADS)


def test_parameters_load_as_tensors_and_adapters_are_to_be_merged(state):
    plain = load_official(state, **HEADS).state_dict()
    learnt = {k: torch.nn.Parameter(v, v.is_floating_point()) for k, v in state.items()}
    for name, value in load_official(learnt, **HEADS).state_dict().items():
        assert torch.equal(value, plain[name])
    with pytest.raises(BadInput, match="LoRA.*merged"):
        load_official(state | {"imnet.lora_A.default.weight": torch.ones(4, 8)}, **HEADS)


@pytest.mark.parametrize(
    "content, told",
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "Git LFS"),
        ("<!doctype html>", "website"),
        ('{"weight_map": {}}', "one file"),
    ],
)
def test_files_that_only_stand_for_weights_are_told(tmp_path, content, told):
    for name in ("a.safetensors", "a.pth"):
        (tmp_path / name).write_text(content)
        with pytest.raises(BadInput, match=told):
            load_official(tmp_path / name)


def test_safetensors_by_another_name_are_read(state, tmp_path):
    save_file(state, tmp_path / "a.pt")
    save_file(state, tmp_path / "a.SAFETENSORS")
    for path in tmp_path.iterdir():
        assert load_official(path, **HEADS).config.dim == 32


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


@pytest.mark.parametrize("name", ["surprise.weight", "logit_scale_2", "nerf_function.weight"])
def test_unknown_is_named(state, name):
    """Also where a name only begins like one that is known to be unused."""
    with pytest.raises(BadInput, match=f"{name} is unknown"):
        load_official({**state, name: torch.zeros(2)}, **HEADS)


def test_many_faults_are_counted(state):
    with pytest.raises(BadInput, match="s00 is unknown; .*s07 is unknown and 12 more"):
        load_official({**state, **{f"s{i:02d}": torch.zeros(1) for i in range(20)}}, **HEADS)


def test_whole_numbers_are_no_weights(state):
    with pytest.raises(BadInput, match="imnet.weight holds torch.int8"):
        load_official({**state, "imnet.weight": state["imnet.weight"].to(torch.int8)}, **HEADS)


def test_half_precision_is_read_as_float32(state):
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    model = load_official(half, **HEADS)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    want = state["imnet.weight"].half().float()
    assert any(torch.equal(p, want) for p in model.field.linear.parameters())


def test_a_name_with_and_without_prefix(state):
    with pytest.raises(BadInput, match="imnet.bias stands there twice"):
        load_official({**state, "module.imnet.bias": state["imnet.bias"]}, **HEADS)


def test_sizes_are_inferred(state):
    config = load_official(state, **HEADS).config
    want = {"dim": 32, "rs_size": 48, "rs_patch": 8, "rs_heads": 4, "sv_size": 64, "rs_bands": 10}
    assert {k: getattr(config, k) for k in want} == want
    assert config.preprocessing == "published" and config.sv_options["patch_size"] == 16
    slim = {k: v for k, v in state.items() if k != "rs_patch_pos_encoding"}
    assert load_official(slim, **HEADS).config.rs_size == 96  # the published 12 x 12 tokens
    for bad in (torch.zeros(1, 35, 32), torch.zeros(36, 32)):
        with pytest.raises(BadInput, match="rs_patch_pos_encoding"):
            load_official({**state, "rs_patch_pos_encoding": bad}, **HEADS)


def test_training_options_beside_the_model_are_read(state, tmp_path):
    """Checkpoints of MAE-like scripts hold an argparse.Namespace; code in one is still refused."""
    torch.save({"model": state, "args": argparse.Namespace(lr=1e-3)}, tmp_path / "a.pth")
    assert load_official(tmp_path / "a.pth", **HEADS).config.dim == 32
    torch.save({"model": state, "args": argparse.Namespace(run=print)}, tmp_path / "b.pth")
    with pytest.raises(BadInput, match="more than tensors .print"):
        load_official(tmp_path / "b.pth", **HEADS)


def test_other_refusals(state, tmp_path):
    with pytest.raises(Missing, match="no such folder or file"):
        load_official(tmp_path / "absent.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="broken.safetensors"):
        load_official(tmp_path / "broken.safetensors")
    torch.save({"model": Path("x")}, tmp_path / "objects.pth")  # needs pickle to be trusted
    with pytest.raises(BadInput, match="more than tensors"):
        load_official(tmp_path / "objects.pth")
    for heads in ({"rs_heads": 5}, {"sv_heads": 0}, {"rs_heads": -4}):
        ((name, number),) = heads.items()
        with pytest.raises(BadInput, match=f"{name} {number}"):
            load_official(state, **{**HEADS, **heads})
    with pytest.raises(BadInput, match="is missing"):
        load_official({"a": torch.zeros(1)})


def test_survives_save_and_load(io, tmp_path):
    model = load_official(WEIGHTS, **HEADS)
    model.save_pretrained(tmp_path)
    again = gairlib.GAIR.from_pretrained(tmp_path)
    assert again.config == model.config and again.config.interpolation_padding == "zeros"
    a, b = figures(model, io, torch.float32), figures(again, io, torch.float32)
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_modes_without_reference_figures(io, dtype):
    """nearest and mean are ours: a token of the grid, and the mean of the field at its centres."""
    model = load_official(WEIGHTS, **HEADS).to(dtype)
    with torch.no_grad():
        features = model.encode_rs(io["rs"].to(dtype))
        b, h, w, d = features.grid.shape
        x = (2 * torch.arange(w, dtype=torch.float64) + 1) / w - 1
        y = (2 * torch.arange(h, dtype=torch.float64) + 1) / h - 1
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(1, -1, 2)
        nearest = model.query_rs(features, centres.expand(b, -1, -1), "nearest")
        assert torch.equal(nearest, features.grid.flatten(1, 2)) and nearest.dtype == dtype
        mean = model.query_rs(features, None, "mean")
        assert torch.equal(mean[:, 0], model.chip_vector(features)) and mean.dtype == dtype
