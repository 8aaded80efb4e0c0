"""GeoCLIP and SatCLIP converters, and what all converters refuse.

The state dicts are small random values under the published names; each published forward pass is
written out here a second time, plainly, in the other project's own conventions.
"""

import math

import numpy as np
import pytest
import torch
from builders.small_weights import geoclip_state, refuses, satclip_state
from scipy.special import lpmv

from gairlib import weights
from gairlib.errors import BadInput, Missing
from gairlib.location import registry

PLACES = torch.tensor([[116.4, 39.9], [-77.0, -12.1], [0.0, 0.0], [-179.9, 66.0], [12.5, 90.0]])
PLACES = PLACES.double()


# ---- GeoCLIP


def geoclip_forward(state, latlon):
    """(lat, lon), Equal Earth with GeoCLIP's constants, one capsule for each sigma, summed."""
    lat, lon = torch.deg2rad(latlon).unbind(-1)
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    t = torch.asin(math.sqrt(3) / 2 * torch.sin(lat))
    x = 2 * math.sqrt(3) * lon * torch.cos(t)
    x = x / (3 * (9 * a4 * t**8 + 7 * a3 * t**6 + 3 * a2 * t**2 + a1))
    y = a4 * t**9 + a3 * t**7 + a2 * t**3 + a1 * t
    v = torch.stack([x, y], 1) * 66.50336 / 180
    total = 0
    for k in range(3):
        p = {
            n.removeprefix(f"LocEnc{k}."): w.double()
            for n, w in state.items()
            if n.startswith(f"LocEnc{k}.")
        }
        phase = 2 * math.pi * v @ p["capsule.0.b"].T
        h = torch.cat([phase.cos(), phase.sin()], -1)
        for layer in (1, 3, 5):
            h = (h @ p[f"capsule.{layer}.weight"].T + p[f"capsule.{layer}.bias"]).relu()
        total = total + h @ p["head.0.weight"].T + p["head.0.bias"]
    return total


def test_geoclip():
    state = geoclip_state()
    encoder = weights.load_geoclip(state)
    want = geoclip_forward(state, PLACES.flip(-1))
    assert want.shape == (5, 512) and not encoder.training
    torch.testing.assert_close(encoder(PLACES).double(), want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder.double()(PLACES), want, atol=1e-11, rtol=1e-11)
    whole = {f"location_encoder.{k}": v for k, v in state.items()}
    whole |= {"logit_scale": torch.ones(()), "image_encoder.mlp.0.weight": torch.zeros(2, 2)}
    again = weights.load_geoclip({"state_dict": whole})
    assert torch.equal(again.double()(PLACES), encoder(PLACES))
    assert again.unused_tensors == ["image_encoder.mlp.0.weight", "logit_scale"]
    with pytest.raises(BadInput, match="text_encoder.w is unknown"):
        weights.load_geoclip({**whole, "text_encoder.w": torch.zeros(2)})


@pytest.mark.parametrize("name", ["LocEnc1.capsule.3.weight", "LocEnc2.head.0.weight"])
def test_geoclip_is_strict(name):
    refuses(weights.load_geoclip, geoclip_state(), name)
    with pytest.raises(BadInput, match="LocEnc0.capsule.0.b is missing"):
        weights.load_geoclip({"a": torch.zeros(1)})
    with pytest.raises(BadInput, match="LocEnc0.capsule.0.b.*int64"):
        b = torch.zeros(256, 2, dtype=torch.int64)
        weights.load_geoclip({**geoclip_state(), "LocEnc0.capsule.0.b": b})


# ---- SatCLIP


def satclip_harmonics(lonlat, L, form):
    """The published columns; SciPy's P_lm carries the Condon-Shortley phase, as SymPy's does."""
    phi, theta = np.radians(lonlat[:, 0] + 180), np.radians(lonlat[:, 1] + 90)
    columns = []
    for ell in range(L):
        for m in range(-ell, ell + 1):
            p = lpmv(abs(m), ell, np.cos(theta))
            norm = (2 * ell + 1) / (4 * math.pi)
            norm *= math.factorial(ell - abs(m)) / math.factorial(ell + abs(m))
            if m == 0 and form == "analytic":  # the generator's "(2 * l + 1) / 4 * pi"
                y = math.sqrt((2 * ell + 1) / 4 * math.pi) * p
            elif m == 0:
                y = math.sqrt(norm) * p
            else:
                turn = np.cos(m * phi) if m > 0 else np.sin(-m * phi)
                y = math.sqrt(2 * norm) * p * turn * ((-1.0) ** m if form == "analytic" else 1.0)
            columns.append(y)
    return torch.tensor(np.stack(columns, -1))


def satclip_forward(state, lonlat, L, form):
    w = {k: v.double() for k, v in state.items()}
    h = satclip_harmonics(lonlat.numpy(), L, form)
    h = torch.sin(30 * (h @ w["nnet.layers.0.weight"].T + w["nnet.layers.0.bias"]))
    h = torch.sin(h @ w["nnet.layers.1.weight"].T + w["nnet.layers.1.bias"])
    return h @ w["nnet.last_layer.weight"].T + w["nnet.last_layer.bias"]


@pytest.mark.parametrize("L, form", [(10, "analytic"), (10, "closed-form"), (40, "analytic")])
def test_satclip(L, form):
    state = satclip_state(L)
    encoder = weights.load_satclip(state, form)
    want = satclip_forward(state, PLACES, L, form)
    assert want.shape == (5, 256) and encoder.degree == L - 1
    torch.testing.assert_close(encoder(PLACES).double(), want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoder.double()(PLACES), want, atol=1e-9, rtol=1e-9)
    assert encoder.continuous_at_antimeridian and encoder.one_value_per_pole


def test_satclip_harmonics_are_those_of_the_generated_file():
    """Constants of the published expressions of degrees 0..2, at one place."""
    phi, theta = math.radians(20.0 + 180), math.radians(35.0 + 90)
    c, s = math.cos(theta), math.sin(theta)
    want = [
        0.886226925452758,
        0.48860251190292 * s * math.sin(phi),
        1.53499006191973 * c,
        0.48860251190292 * s * math.cos(phi),
        0.18209140509868 * (3 - 3 * c**2) * math.sin(2 * phi),
        1.09254843059208 * s * math.sin(phi) * c,
        2.97249547320451 * c**2 - 0.990831824401503,
    ]
    encoder = weights.load_satclip(satclip_state(3))
    got = encoder.features(torch.tensor([[20.0, 35.0]]).double())[0, :7]
    np.testing.assert_allclose(got, want, atol=1e-13)


def lightning(state, **settings):
    inner = {f"model.location.{k}": v for k, v in state.items()}
    inner |= {"model.logit_scale": torch.ones(()), "model.visual.patch_embed.w": torch.zeros(2)}
    settings = {"le_type": "sphericalharmonics", "pe_type": "siren", "capacity": 512, **settings}
    return {
        "state_dict": inner,
        "hyper_parameters": settings,
        "epoch": 3,
        "pytorch-lightning_version": "2.0.0",
    }


def test_satclip_checkpoints(tmp_path):
    state = satclip_state()
    torch.save(lightning(state, harmonics_calculation="closed-form"), tmp_path / "satclip.ckpt")
    encoder = weights.load_satclip(tmp_path / "satclip.ckpt")
    assert encoder.harmonics == "closed-form"
    assert encoder.unused_tensors == ["model.logit_scale", "model.visual.patch_embed.w"]
    want = weights.load_satclip(state, "closed-form")(PLACES)
    assert torch.equal(encoder(PLACES), want)
    assert weights.load_satclip(lightning(state)).harmonics == "analytic"
    said = lightning(state, harmonics_calculation="closed-form")
    with pytest.raises(BadInput, match="says 'closed-form'"):
        weights.load_satclip(said, "analytic")
    with pytest.raises(BadInput, match="not spherical harmonics"):
        weights.load_satclip(lightning(state, le_type="grid"))
    with pytest.raises(BadInput, match="not spherical harmonics"):
        weights.load_satclip(lightning(state, legendre_polys=40))
    with pytest.raises(BadInput, match="model.text.w is unknown"):
        broken = lightning(state)
        broken["state_dict"]["model.text.w"] = torch.zeros(2)
        weights.load_satclip(broken)


@pytest.mark.parametrize("name", ["nnet.layers.1.weight", "nnet.last_layer.weight"])
def test_satclip_is_strict(name):
    refuses(weights.load_satclip, satclip_state(), name)
    state = satclip_state()
    state["nnet.layers.0.weight"] = torch.zeros(512, 99)
    with pytest.raises(BadInput, match="99 inputs"):
        weights.load_satclip(state)


# ---- files


def test_files(tmp_path):
    with pytest.raises(Missing, match="no such folder or file"):
        weights.load_geoclip(tmp_path / "absent.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read"):
        weights.load_satclip(tmp_path / "broken.safetensors")
    torch.save({"state_dict": PLACES, "other": tmp_path}, tmp_path / "objects.pt")
    with pytest.raises(BadInput, match="more than tensors"):
        weights.load_croma(tmp_path / "objects.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(BadInput, match="holds a list"):
        weights.load_timm_vit(tmp_path / "list.pt", 8)
    with pytest.raises(BadInput, match="epoch is no tensor"):
        weights.load_geoclip({"epoch": 3})
    with pytest.raises(BadInput, match="holds no tensors"):
        weights.load_geoclip({"state_dict": {}})
    wrapped = {"model": {f"module.{k}": v for k, v in satclip_state().items()}}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    want = weights.load_satclip(satclip_state())(PLACES)
    assert torch.equal(weights.load_satclip(str(tmp_path / "wrapped.pt"))(PLACES), want)


def test_names_of_the_registry_hold_no_published_weights():
    assert "satclip" not in registry.names()
    theirs = weights.load_geoclip(geoclip_state())
    ours = registry.create("geoclip", 8)  # the design alone: drawn at random, from no file
    assert ours.frequencies.shape == theirs.frequencies.shape
    assert not torch.equal(ours.frequencies, theirs.frequencies)
