"""GAIR as a whole: encode and query, modes, dtypes, save and load, refusals."""

import json
import math
import resource
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import gairlib
from gairlib.config import QUERY_MODES, GAIRConfig
from gairlib.errors import BadInput, Missing, NotSaved
from gairlib.model import GAIR, model_hash, weights_hash

TINY = {
    "dim": 16,
    "rs_size": 16,
    "rs_depth": 1,
    "rs_heads": 2,
    "sv_size": 16,
    "sv_options": {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
    "location_options": {"features": 4, "hidden": 8},
    "decoder_hidden": [8, 8],
}


def make(**changes):
    torch.manual_seed(0)
    return GAIR(GAIRConfig.from_dict({**TINY, **changes})).eval()


@pytest.fixture(scope="module")
def model():
    return make()


def inputs(b=3, q=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    chips = torch.randn(b, 10, 16, 16, generator=g)
    return chips, torch.rand(b, q, 2, generator=g).double() * 2 - 1


def test_shapes(model):
    chips, xy = inputs()
    features = model.encode_rs(chips)
    assert features.grid.shape == (3, 2, 2, 16) and features.pooled.shape == (3, 16)
    torch.testing.assert_close(features.pooled, features.grid.mean((1, 2)))
    for mode in (*QUERY_MODES, None):
        assert model.query_rs(features, xy, mode).shape == (3, 5, 16)
    assert model.encode_sv(chips[:, :3]).shape == (3, 16)
    assert model.sv_backbone(chips[:, :3]).shape == (3, 16)
    assert model.encode_location([[0, 0], [1, 1]]).shape == (2, 16)


def test_normalize(model):
    chips, xy = inputs()
    features, unit = model.encode_rs(chips), model.encode_rs(chips, normalize=True)
    assert torch.equal(features.grid, unit.grid)
    vectors = [unit.pooled, model.encode_sv(chips[:, :3], normalize=True)]
    vectors += [model.encode_location([[5, 5]], normalize=True)]
    vectors += [model.query_rs(features, xy, mode, normalize=True) for mode in QUERY_MODES]
    for v in vectors:
        torch.testing.assert_close(v.norm(dim=-1), torch.ones(v.shape[:-1]))


def test_modes(model):
    chips, xy = inputs()
    features = model.encode_rs(chips)
    default = model.query_rs(features, xy)
    assert torch.equal(default, model.query_rs(features, xy, "nili"))
    mean = model.query_rs(features, xy, "mean")
    assert torch.equal(mean, model.chip_vector(features)[:, None].expand(-1, 5, -1))
    assert torch.equal(model.query_rs(features, None, "mean")[:, 0], mean[:, 0])
    bilinear = make(query_mode="bilinear")
    features = bilinear.encode_rs(chips)
    assert torch.equal(bilinear.chip_vector(features), features.pooled)
    assert bilinear.field is None  # nothing that training would not reach
    with pytest.raises(BadInput, match="trained with 'bilinear'"):
        bilinear.query_rs(features, xy, "nili")


def test_queries_are_independent(model):
    """No state between calls: any subset, any order, any other chip in between."""
    chips, xy = inputs()
    features = model.encode_rs(chips)
    whole = model.query_rs(features, xy)
    model.query_rs(model.encode_rs(chips + 1), xy)
    single = torch.cat([model.query_rs(features, xy[:, i : i + 1]) for i in (3, 0)], 1)
    torch.testing.assert_close(single, whole[:, [3, 0]], atol=1e-5, rtol=1e-5)


def test_lists_arrays_and_dtypes(model):
    chips, xy = inputs()
    features = model.encode_rs(chips.numpy())
    want = model.query_rs(features, xy)
    for given in (xy.numpy(), xy.tolist(), xy.float()):
        torch.testing.assert_close(model.query_rs(features, given), want, atol=1e-4, rtol=1e-4)
    assert want.dtype == torch.float32
    lonlat = np.array([[8.5, 47.4]])
    torch.testing.assert_close(model.encode_location(lonlat), model.encode_location([[8.5, 47.4]]))
    double = make().double()
    assert double.query_rs(double.encode_rs(chips), xy.float()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        low = model.query_rs(model.encode_rs(chips), xy)
    assert (low.float() - want).abs().max() < 0.1 * want.abs().max()


def test_every_parameter_learns():
    torch.manual_seed(1)
    model = make().train()
    torch.nn.init.normal_(model.field.last.weight)
    chips, xy = inputs()
    local = model.query_rs(model.encode_rs(chips), xy)
    total = local.square().sum() + model.encode_sv(chips[:, :3]).square().sum()
    total = total + model.encode_location([[3.0, 4.0]]).square().sum()
    (total / model.temperatures()["incl"] + sum(model.temperatures().values())).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_temperature():
    fixed = make(learn_temperature=False, temperature=0.1)
    assert "log_temperature" not in dict(fixed.named_parameters())
    assert {k: round(v.item(), 6) for k, v in fixed.temperatures().items()} == {
        "incl": 0.1,
        "secl": 0.1,
        "rs_location": 0.1,
    }
    model = make()
    assert "log_temperature" in dict(model.named_parameters())
    for outside, end in ((-9.0, 0.01), (2.0, 1.0)):
        with torch.no_grad():
            model.log_temperature.fill_(outside)
        model.hold_temperatures()
        assert [v.item() for v in model.temperatures().values()] == pytest.approx([end] * 3)
        sum(model.temperatures().values()).backward()
        assert (model.log_temperature.grad > 0).all(), "it can come back from either end"


def test_temperatures_are_held_when_weights_are_loaded(tmp_path):
    model = make()
    with torch.no_grad():
        model.log_temperature.copy_(torch.tensor([-9.0, math.log(0.2), 3.0]))
    model.save_pretrained(tmp_path)
    loaded = GAIR.from_pretrained(tmp_path).temperatures()
    assert [v.item() for v in loaded.values()] == pytest.approx([0.01, 0.2, 1.0])


def test_refusals(model):
    chips, xy = inputs()
    features = model.encode_rs(chips)
    with pytest.raises(BadInput, match="xy is for 2 chips and the features are of 3"):
        model.query_rs(features, xy[:2])
    with pytest.raises(BadInput, match="xy: row 6 .*outside the chip"):
        bad = xy.clone()
        bad[1, 1, 0] = 1.001
        model.query_rs(features, bad)
    with pytest.raises(BadInput, match="outside"):
        model.query_rs(features, xy * float("nan"))
    model.query_rs(features, torch.ones(3, 1, 2).double() + 9e-10)  # the edge is inside
    with pytest.raises(BadInput, match="'cubic'"):
        model.query_rs(features, xy, "cubic")
    with pytest.raises(BadInput, match="None"):
        model.query_rs(features, None)
    with pytest.raises(BadInput, match="13|10, H, W"):
        model.encode_rs(torch.zeros(1, 13, 16, 16))
    with pytest.raises(BadInput, match="preprocess"):
        model.encode_rs(chips.abs() * 3000)
    with pytest.raises(BadInput, match="preprocess"):
        model.encode_sv(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(BadInput, match="lat"):
        model.encode_location([[10.0, 100.0]])


# ---- config


def test_config_round_trip_and_presets():
    config = GAIRConfig.from_dict(TINY)
    assert GAIRConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert GAIRConfig.preset("small") == GAIRConfig()
    base = GAIRConfig.preset("base", temperature=0.1)
    assert (base.dim, base.rs_patch, base.rs_size, base.temperature) == (768, 8, 96, 0.1)
    assert config.replace(dim=32).dim == 32


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"speed": 3}, "speed"),
        ({"query_mode": "linear"}, "query_mode"),
        ({"rs_heads": 3}, "rs_heads"),
        ({"rs_size": 17}, "rs_size"),
        ({"dim": 0}, "dim"),
        ({"temperature": 0.0}, "temperature"),
        ({"decoder_hidden": []}, "decoder_hidden"),
    ],
)
def test_bad_configs(changes, says):
    with pytest.raises(BadInput, match=says):
        GAIRConfig.from_dict({**TINY, **changes})


@pytest.mark.parametrize("key", ["location", "preprocessing"])
def test_unknown_parts(key):
    with pytest.raises(BadInput, match="nonsense"):
        make(**{key: "nonsense"})


# ---- save and load


def test_save_and_load(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    again = GAIR.from_pretrained(tmp_path / "a")
    assert again.config == model.config and not again.training
    chips, xy = inputs()
    assert torch.equal(
        again.query_rs(again.encode_rs(chips), xy), model.query_rs(model.encode_rs(chips), xy)
    )
    assert torch.equal(again.location.frequencies, model.location.frequencies)


def test_load_is_strict(model, tmp_path):
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    for change, says in (
        ({"rs.embed.bias": None}, "rs.embed.bias is missing"),
        ({"rs.surprise": torch.zeros(1)}, "rs.surprise is unknown"),
        ({"rs.embed.bias": torch.zeros(3)}, r"rs.embed.bias is \[3\] instead of \[16\]"),
    ):
        save_file({k: v for k, v in {**state, **change}.items() if v is not None}, path)
        with pytest.raises(BadInput, match=says):
            GAIR.from_pretrained(tmp_path)
    save_file({f"net.{k}": v for k, v in state.items()}, path)
    again = GAIR.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(v, again[k]) for k, v in state.items())
    save_file({f"net.{k}": v for k, v in state.items()} | {"loss.w": torch.ones(1)}, path)
    with pytest.raises(BadInput, match="loss.w is unknown"):
        GAIR.from_pretrained(tmp_path)
    path.write_bytes(b"cut short")
    with pytest.raises(BadInput, match="cannot be read"):
        GAIR.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(Missing, match="model.safetensors"):
        GAIR.from_pretrained(tmp_path)


def test_an_absent_folder_does_not_reach_for_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    for name in ("outputs/model", "absent", str(tmp_path / "x" / "y"), "a/b/c"):
        with pytest.raises(Missing, match="no such folder"):
            GAIR.from_pretrained(name)
    assert asked == []


def test_the_hub_is_asked_for_an_id(model, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    model.save_pretrained(tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: tmp_path / "cache")
    assert GAIR.from_pretrained("someone/gair").config == model.config

    def offline(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(Missing, match="hub did not give it"):
        GAIR.from_pretrained("someone/gair")


def test_lazy_package():
    assert gairlib.GAIR is GAIR and gairlib.GAIRConfig is GAIRConfig
    assert gairlib.geo.relative_xy([0, 0], (-1, -1, 1, 1)).tolist() == [0, 0]
    assert gairlib.__version__
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = gairlib.nothing_here


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "module._orig_mod.", "model.", "_forward_module.model."]
)
def test_weights_of_a_compiled_or_wrapped_model_are_read(model, tmp_path, prefix):
    """torch.compile, DDP, both, a LightningModule's attribute, Fabric around it."""
    model.save_pretrained(tmp_path)
    own = load_file(tmp_path / "model.safetensors")
    save_file({f"{prefix}{k}": v for k, v in own.items()}, tmp_path / "model.safetensors")
    for name, value in GAIR.from_pretrained(tmp_path).state_dict().items():
        assert torch.equal(value, own[name])


def test_a_flipped_bit_of_a_saved_model_is_named(tmp_path):
    make().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for at in (0, 40, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(BadInput, match=str(tmp_path)):
            GAIR.from_pretrained(tmp_path)
    path.write_bytes(whole)
    assert weights_hash(tmp_path) == model_hash(GAIR.from_pretrained(tmp_path))
    save_file(
        load_file(path), path
    )  # by somebody who makes no digests, as older versions made none
    assert weights_hash(tmp_path) == model_hash(GAIR.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    "text", ["[1]", "7", "[" * 100_000, "{", "\udcff", '{"dim": "x"}', '{"temperature": []}']
)
def test_a_damaged_config_is_named(model, tmp_path, text):
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=str(path)):
        GAIR.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"query_mode": "bilinear"}, {"temperature": 0.08}, {"rs_heads": 1}, {"dim": 10_000_000}],
)
def test_another_config_than_that_of_the_weights_is_named(tmp_path, changes):
    """It would load, or take all memory, and be another model."""
    model = make()
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | changes))
    with pytest.raises(BadInput, match=f"{path}: {[*changes][0]} is .*save_pretrained"):
        GAIR.from_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights, tmp_path / "model.safetensors")  # by somebody who says no config
    if "temperature" in changes:
        assert GAIR.from_pretrained(tmp_path).config.temperature == 0.08
    path.write_text(json.dumps(dict(reversed(whole.items()))))
    model.save_pretrained(tmp_path / "again")
    assert GAIR.from_pretrained(tmp_path / "again").config == model.config


@pytest.mark.parametrize(
    "changes", [{"sv_options": {"depth": "x"}}, {"location_options": {"n": 1}}, {"rs_depth": -1}]
)
def test_a_config_that_makes_no_model_is_named(model, tmp_path, changes):
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights), weights)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BadInput, match=str(path)):
        GAIR.from_pretrained(tmp_path)


def test_a_model_that_the_disk_does_not_take_leaves_the_old_one(tmp_path):
    make().save_pretrained(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG in place of the signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(NotSaved, match=f"{tmp_path}: the model was not saved"):
            make().save_pretrained(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    left = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert left == before
    GAIR.from_pretrained(tmp_path)
