"""Every registered location encoder: contract, continuity where claimed, precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.errors import BadInput
from gairlib.location import registry
from gairlib.location.base import LocationEncoder

NAMES = {
    *("direct", "wrap", "xyz", "rff", "geoclip", "rff-xyz", "spherical-harmonics"),
    *("space2vec-grid", "space2vec-theory"),
    *(
        f"sphere2vec-{kind}{end}"
        for kind in ("c", "c+", "m", "m+", "dfs")
        for end in ("", "-integer")
    ),
}
CONTINUOUS = {"rff-xyz", "xyz", "wrap", "spherical-harmonics"}  # across the antimeridian
CONTINUOUS |= {name for name in NAMES if name.endswith("-integer")}
POLES = {"rff-xyz", "xyz", "spherical-harmonics"}  # one value per pole
PLACES = [[116.4, 39.9], [-179.999, -55.0], [0.0, 0.0], [12.5, 90.0], [-77.0, -90.0], [180.0, 10.0]]


def make(name, **options):
    torch.manual_seed(0)
    return registry.create(name, 16, **options)


def test_names():
    assert set(registry.names()) == NAMES
    with pytest.raises(BadInput, match="rff-xyz"):
        registry.create("geohash", 16)
    with pytest.raises(BadInput, match="direct.*wings"):
        registry.create("direct", 16, wings=2)


ENCODERS = {name: make(name) for name in registry.names()}


@pytest.mark.parametrize("name", registry.names())
def test_contract(name):
    encoder = make(name)
    out = encoder(torch.tensor(PLACES))
    assert out.shape == (6, 16) and out.dtype == torch.float32 and out.isfinite().all()
    torch.testing.assert_close(encoder(PLACES), encoder(np.array(PLACES)))
    assert encoder(torch.zeros(0, 2)).shape == (0, 16)
    out.square().sum().backward()
    for key, p in encoder.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), key
    double = encoder.double()(PLACES)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), out.detach(), atol=1e-5, rtol=1e-4)
    for bad in ([[0, 91]], [[math.nan, 0]], [0, 0], [[1, 2, 3]]):
        with pytest.raises(BadInput, match="lonlat"):
            encoder(bad)


@pytest.mark.parametrize("name", registry.names())
def test_the_output_is_one_linear_layer_of_its_own_features(name):
    options = {"width": 24} if name == "geoclip" else {}  # its own features are a head's
    encoder = make(name, hidden=24, **options).double()
    rng = np.random.default_rng(0)
    places = np.stack([rng.uniform(-180, 180, 300), rng.uniform(-90, 90, 300)], 1)
    with torch.no_grad():
        own, out = encoder.backbone(places), encoder(places)
    assert own.shape[1] % 24 == 0 and not (own.shape == out.shape and torch.equal(own, out))
    with_one = torch.cat([own, torch.ones(300, 1, dtype=own.dtype)], 1)
    layer = torch.linalg.lstsq(with_one, out, driver="gelsd").solution
    torch.testing.assert_close(with_one @ layer, out, atol=1e-9, rtol=0)
    torch.testing.assert_close(encoder.head(own), out, atol=1e-12, rtol=1e-12)


def test_an_encoder_that_names_no_hidden_layer_has_its_output():
    class Bare(LocationEncoder):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def features(self, lonlat):
            return lonlat / 90

        def network(self, features):
            return self.layer(features)

    encoder = Bare()
    torch.testing.assert_close(encoder.backbone(PLACES), encoder(PLACES))
    torch.testing.assert_close(encoder.head(encoder.backbone(PLACES)), encoder(PLACES))


@pytest.mark.parametrize("name", registry.names())
def test_longitude_counts_modulo_360(name):
    encoder = make(name).double()
    places = torch.tensor([[116.4, 39.9], [-170.0, 5.0]]).double()
    for turn in (-360.0, 360.0, 720.0):
        moved = places + torch.tensor([turn, 0.0])
        torch.testing.assert_close(encoder(moved), encoder(places), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", registry.names())
def test_order_is_lon_lat(name):
    encoder = make(name)
    assert (encoder([[30.0, 60.0]]) - encoder([[60.0, 30.0]])).abs().max() > 1e-4


@pytest.mark.parametrize("name", registry.names())
def test_antimeridian_and_poles(name):
    """Continuous, or one value, where the encoder claims it; really not, where it does not."""
    encoder = make(name).double()
    assert encoder.continuous_at_antimeridian == (name in CONTINUOUS)
    assert encoder.one_value_per_pole == (name in POLES)
    with torch.no_grad():
        jump = encoder([[180 - 1e-9, 40.0]]) - encoder([[-180 + 1e-9, 40.0]])
        poles = encoder([[lon, lat] for lat in (90, -90) for lon in (-180, -20, 0, 77, 180)])
    spread = max((p - p[0]).abs().max() for p in poles.chunk(2))
    assert (jump.abs().max() < 1e-6) == (name in CONTINUOUS)
    assert (spread < 1e-12) == (name in POLES)


@given(st.floats(-180, 180), st.floats(-90, 90))
@settings(deadline=None, max_examples=30)
def test_gradients_are_finite(lon, lat):
    for name, encoder in ENCODERS.items():
        point = torch.tensor([[lon, lat]], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(encoder(point).sum(), point)
        assert gradient.isfinite().all(), name


EDGES = [[lon, lat] for lon in (-180, -90, 0, 37, 180) for lat in (-90, -89.999, 0, 45, 90)]


@pytest.mark.parametrize("name", registry.names())
def test_values_and_gradients_at_the_edges_of_the_map(name):
    points = torch.tensor(EDGES, dtype=torch.float64, requires_grad=True)
    out = ENCODERS[name](points)
    (gradient,) = torch.autograd.grad(out.sum(), points)
    assert out.isfinite().all() and gradient.isfinite().all()
    with torch.no_grad():  # without a graph, another way through the spherical harmonics
        torch.testing.assert_close(ENCODERS[name](points), out.detach())


def test_a_gradient_is_the_slope():
    """Against central differences, away from the seams of |lat| and of the map."""
    place = torch.tensor([[30.3, 41.7], [-120.2, -63.4]], dtype=torch.float64)
    for name in registry.names():
        encoder = make(name).double()
        for axis in ([1e-7, 0.0], [0.0, 1e-7]):
            step, point = torch.tensor(axis).double(), place.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(encoder(point).sum(), point)
            with torch.no_grad():
                slope = (encoder(place + step) - encoder(place - step)).sum(1) / 2e-7
            expected = gradient[:, axis.index(1e-7)]
            torch.testing.assert_close(slope, expected, atol=1e-5, rtol=1e-3, msg=name)
