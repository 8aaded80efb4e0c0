"""Fourier features: float64 phases, frequencies that survive casts, the projection, the kernels."""

import math

import numpy as np
import pytest
import torch
from pyproj import Proj

from gairlib import geo
from gairlib.location import registry
from gairlib.location.fourier import equal_earth

PLACES = [[116.4, 39.9], [-179.999, -55.0], [0.0, 0.0], [12.5, 90.0], [-77.0, -90.0], [180.0, 10.0]]


def make(name, **options):
    torch.manual_seed(0)
    return registry.create(name, 16, **options)


def test_phases_are_computed_in_float64():
    """In float32 the phase at sigma 256 is off by 1e-4; after the cast, by float32's last digit."""
    encoder = make("rff")
    points = torch.rand(500, 2).double() * torch.tensor([360, 180]) - torch.tensor([180, 90])
    exact = encoder.features(points)
    coarse = 2 * torch.pi * (equal_earth(points).float() @ encoder.frequencies.float().mT)
    assert (coarse.cos() - exact[..., :256]).abs().max() > 3e-5
    out = encoder(points)
    torch.testing.assert_close(out.double(), encoder.double()(points), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["rff", "rff-xyz"])
def test_frequencies_survive_casts(name):
    encoder = make(name)
    before = encoder.frequencies.clone()
    encoder.bfloat16().half().float()
    assert encoder.frequencies.dtype == torch.float64
    assert torch.equal(encoder.frequencies, before)
    assert encoder.bfloat16()(PLACES).dtype == torch.bfloat16


def test_published_weights_stay_valid():
    """Parameters of the encoders that models were trained with: names and sizes as they were."""
    sizes = {"xyz": (3, 256), "wrap": (4, 256), "direct": (2, 256)}
    for name, (width, hidden) in sizes.items():
        state = make(name).state_dict()
        assert list(state) == [f"net.{i}.{k}" for i in (0, 2, 4, 6) for k in ("weight", "bias")]
        assert state["net.0.weight"].shape == (hidden, width)
    assert make("rff-xyz").state_dict()["frequencies"].shape == (4, 64, 3)
    assert make("rff").state_dict()["nets.2.6.weight"].shape == (16, 1024)


def test_seeds():
    a, b, c = (registry.create("rff-xyz", 8, seed=s).frequencies for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_the_stated_kernel_lengths():
    """Mean of cos(phase difference) of one scale is a Gaussian of the chord, length R/sigma."""
    encoder = make("rff-xyz", features=4096, sigmas=(128.0,), hidden=8)
    a = torch.tensor([[10.0, 45.0]]).double()
    b = a + torch.tensor([[0.0, 0.4]])
    f = encoder.features(torch.cat([a, b]))[0]
    kilometres = float(geo.haversine(a, b)) / 1000
    want = math.exp(-((kilometres / (6371.0088 / 128)) ** 2) / 2)
    assert (f[0] * f[1]).mean().item() * 2 == pytest.approx(want, abs=0.05)


def test_equal_earth_against_proj():
    to_map = Proj("+proj=eqearth +R=1")
    points = torch.tensor(PLACES).double()
    want = torch.tensor(np.stack(to_map(*points.T.numpy()), -1)) * 66.50336 / 180
    torch.testing.assert_close(equal_earth(points), want, atol=1e-7, rtol=1e-6)
