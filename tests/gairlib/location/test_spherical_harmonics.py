"""Spherical harmonics against SciPy, their orthonormality, high degrees, and the SIREN on them."""

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from gairlib.errors import BadInput
from gairlib.location import registry
from gairlib.location.spherical_harmonics import Siren, real_harmonics

EDGES = [[0, 90], [123, 90], [50, -90], [180, 0], [-180, 0], [0, 0], [-180, -90], [10, 89.9999]]


def some_points(count=60, seed=0):
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    return np.concatenate([np.stack([rng.uniform(-180, 180, count), lat], -1), EDGES])


def scipy_real(points, degree):
    """Real harmonics of the complex ones, without SciPy's Condon-Shortley phase."""
    phi, theta = np.radians(points[:, 0]), np.radians(90 - points[:, 1])
    columns = []
    for ell in range(degree + 1):
        for m in range(-ell, ell + 1):
            y = sph_harm_y(ell, abs(m), theta, phi) * (-1.0) ** m
            columns.append(y.real if m == 0 else math.sqrt(2) * (y.real if m > 0 else y.imag))
    return np.stack(columns, -1)


@pytest.mark.parametrize("degree", [0, 1, 2, 7, 40])
def test_against_scipy(degree):
    points = some_points()
    ours = real_harmonics(points, degree)
    assert ours.dtype == torch.float64 and ours.shape == (len(points), (degree + 1) ** 2)
    np.testing.assert_allclose(ours, scipy_real(points, degree), atol=1e-10, rtol=0)


def test_the_first_ones_by_hand():
    """(lon, lat) order, columns l^2 + l + m, signs: y, z, x of the unit sphere at degree 1."""
    lon, lat = math.radians(30), math.radians(60)
    got = real_harmonics([[30.0, 60.0]], 1)[0]
    xyz = [math.cos(lat) * math.sin(lon), math.sin(lat), math.cos(lat) * math.cos(lon)]
    want = [math.sqrt(0.25 / math.pi)] + [math.sqrt(0.75 / math.pi) * v for v in xyz]
    np.testing.assert_allclose(got, want, atol=1e-15)


def test_orthonormal():
    """Gauss-Legendre in sin(lat) and an even grid in lon integrate the products exactly."""
    degree = 12
    x, weight = np.polynomial.legendre.leggauss(degree + 1)
    lon = np.arange(2 * degree + 1) * 360 / (2 * degree + 1)
    points = np.stack(np.meshgrid(lon, np.degrees(np.arcsin(x))), -1).reshape(-1, 2)
    area = np.repeat(weight * 2 * math.pi / len(lon), len(lon))
    y = real_harmonics(points, degree).numpy()
    np.testing.assert_allclose(y.T @ (area[:, None] * y), np.eye(y.shape[1]), atol=1e-13)


def test_orthonormal_at_degree_130():
    """On the zero meridian Y_l,m is its latitude part: for each m the degrees are orthogonal."""
    degree = 130
    x, weight = np.polynomial.legendre.leggauss(degree + 1)
    points = np.stack([np.zeros_like(x), np.degrees(np.arcsin(x))], -1)
    y = real_harmonics(points, degree).numpy()
    for m in range(degree + 1):
        ells = np.arange(m, degree + 1)
        part = y[:, ells * ells + ells + m]
        around = math.pi if m else 2 * math.pi  # the integral of cos(m phi)^2
        gram = around * part.T @ (weight[:, None] * part)
        np.testing.assert_allclose(gram, np.eye(len(ells)), atol=1e-11)


@pytest.mark.parametrize("degree", [150, 600])
def test_high_degrees_stay_finite_and_right(degree):
    """Each degree's squares add up to (2l + 1) / 4 pi everywhere (Unsoeld), poles included."""
    points = some_points(8)
    y = real_harmonics(points, degree)
    assert y.isfinite().all()
    for ell in (0, 1, degree // 2, degree):
        total = y[:, ell * ell : (ell + 1) ** 2].square().sum(1)
        np.testing.assert_allclose(total, (2 * ell + 1) / (4 * math.pi), rtol=1e-11)


def test_pieces_types_and_the_graph_agree(monkeypatch):
    points = torch.tensor(some_points(30))
    whole = real_harmonics(points, 9)
    monkeypatch.setattr("gairlib.location.spherical_harmonics._PIECE", 7)
    assert torch.equal(real_harmonics(points, 9), whole)
    assert torch.equal(real_harmonics(points, 9, torch.float32), whole.float())
    traced = real_harmonics(points.clone().requires_grad_(), 9)
    assert traced.requires_grad and torch.equal(traced.detach(), whole)
    assert real_harmonics(torch.zeros(0, 2), 3).shape == (0, 16)


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_a_pole_is_one_point_to_the_last_bit(pole):
    y = real_harmonics([[lon, pole] for lon in (-180.0, -20.0, 0.0, 77.0)], 60)
    assert (y == y[0]).all()


def test_gradients_at_high_degree_and_at_the_poles():
    points = torch.tensor(some_points(4), requires_grad=True)
    (gradient,) = torch.autograd.grad(real_harmonics(points, 120).sum(), points)
    assert gradient.isfinite().all()
    inner = torch.tensor([[20.0, 35.0], [-100.0, -70.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: real_harmonics(p, 6), inner)


def test_bad_input():
    for degree in (-1, 2.0, "3"):
        with pytest.raises(BadInput, match="degree"):
            real_harmonics([[0.0, 0.0]], degree)
    with pytest.raises(BadInput, match="lonlat"):
        real_harmonics([[0.0, 95.0]], 2)
    with pytest.raises(BadInput, match=r"\[N, 2\]"):
        real_harmonics([0.0, 5.0], 2)
    with pytest.raises(BadInput, match="degree 0"):
        registry.create("spherical-harmonics", 8, degree=0)


def test_siren_is_the_published_network():
    torch.manual_seed(0)
    net = Siren(9, 5, 3, layers=2)
    x = torch.rand(4, 9)
    a, b, c = net.layers[0], net.layers[1], net.last_layer
    h = torch.sin(30 * (x @ a.weight.T + a.bias))
    h = torch.sin(h @ b.weight.T + b.bias)
    torch.testing.assert_close(net(x), h @ c.weight.T + c.bias)
    big = Siren(400, 300, 300, layers=2)
    for layer, bound in zip([*big.layers, big.last_layer], [1 / 400, *[math.sqrt(6 / 300)] * 2]):
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound


def test_encoder_of_degree_100():
    """Degree counts from 0 to itself, so there are (100 + 1)^2 inputs."""
    encoder = registry.create("spherical-harmonics", 8, degree=100, hidden=16)
    assert encoder.net.layers[0].in_features == 101**2
    out = encoder(some_points(5))
    assert out.dtype == torch.float32 and out.isfinite().all()
    poles = encoder([[0.0, 90.0], [140.0, 90.0]])
    torch.testing.assert_close(poles[0], poles[1], atol=1e-6, rtol=0)


def test_benchmark_runs(monkeypatch):
    """In this process; `peak` itself starts fresh ones."""
    from research.speed import measure as bench
    from research.speed import spherical_harmonics

    monkeypatch.setattr(spherical_harmonics, "peak", lambda f, *a: bench.call(f, list(a)))
    out = spherical_harmonics.run(quick=True)
    assert out["values"] == 100 and out["ours_seconds"] > 0 and out["frugal_peak_bytes"] > 0
    assert out["closed_form_degree_9_float64_error"] < 1e-12
    assert 0 < out["closed_form_degree_9_float32_error"] < 1e-3


def test_the_frugal_form_is_the_closed_form(monkeypatch):
    """What `ours` is timed against computes the same thing."""
    from research.speed import spherical_harmonics as bench

    kept = []
    monkeypatch.setattr(bench, "_say", kept.append)
    bench.frugal(50, 6), bench.closed_form(50, 6)
    torch.testing.assert_close(kept[0], kept[1], atol=1e-5, rtol=0)
