"""Space2Vec and Sphere2Vec against their equations, written out point by point."""

import math

import pytest
import torch

from gairlib.errors import BadInput
from gairlib.location import registry
from gairlib.location.space2vec import geometric_radii
from gairlib.location.sphere2vec import whole_frequencies

PLACES = [[116.4, 39.9], [-179.9, -55.0], [0.0, 0.0], [12.5, 90.0], [180.0, 10.0]]


def oracle(name, lon, lat, radii, lon_frequencies=None):
    """Features of one point by the papers' equations, as a sorted list: the order is ours."""
    lon, lat, out = math.radians(lon), math.radians(lat), []
    lon_frequencies = lon_frequencies or [1 / r for r in radii]
    kind = name.removeprefix("sphere2vec-").removesuffix("-integer")
    for k, r in zip(lon_frequencies, radii):
        a, b = lon * k, lat / r
        grid = [math.sin(a), math.cos(a), math.sin(b), math.cos(b)]
        c = [math.cos(b) * math.cos(a), math.cos(b) * math.sin(a)]
        m = [
            math.cos(b) * math.cos(lon),
            math.cos(lat) * math.cos(a),
            math.cos(b) * math.sin(lon),
            math.cos(lat) * math.sin(a),
        ]
        if name == "space2vec-theory":
            for j in range(3):
                turn = 2 * math.pi * j / 3
                along = (lon * math.cos(turn) + lat * math.sin(turn)) / r
                out += [math.sin(along), math.cos(along)]
        out += {
            "space2vec-theory": [],
            "space2vec-grid": grid,
            "c": [math.sin(b), *c],
            "c+": grid + c,
            "m": [math.sin(b), *m],
            "m+": grid + m,
            "dfs": grid,
        }[kind]
    if kind == "dfs":
        for r in radii:
            for k in lon_frequencies:
                for f in (math.sin, math.cos):
                    out += [f(lat / r) * math.cos(lon * k), f(lat / r) * math.sin(lon * k)]
    return sorted(out)


FAMILIES = [name for name in registry.names() if "2vec" in name]


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_the_published_ones(name):
    options = {"scales": 5, "min_radius": 0.01, "max_radius": 2.0}
    radii = [0.01 * (2 / 0.01) ** (s / 4) for s in range(5)]
    encoder = registry.create(name, 8, **options)
    whole = encoder.lon_frequencies if name.endswith("-integer") else None
    ours = encoder.features(torch.tensor(PLACES, dtype=torch.float64)).sort(-1).values
    theirs = [oracle(name, *place, radii, whole) for place in PLACES]
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), atol=1e-11, rtol=0)
    assert ours.shape[1] == encoder.net[0].in_features


def test_the_longitude_frequencies_are_whole():
    encoder = registry.create("sphere2vec-c", 8, integer=True)
    assert all(k == int(k) for k in encoder.lon_frequencies)
    assert len(set(encoder.lon_frequencies)) == 16 and min(encoder.lon_frequencies) == 1
    named = registry.create("sphere2vec-c-integer", 8)
    assert named.lon_frequencies == encoder.lon_frequencies
    # ... near the published ones, which stay for the latitude
    for k, f in zip(encoder.lon_frequencies, encoder.frequencies):
        assert abs(k - f) <= 0.5
    assert registry.create("sphere2vec-c", 8).lon_frequencies == encoder.frequencies


def test_whole_frequencies_do_not_repeat():
    assert whole_frequencies([1.0, 1.2, 1.4, 9.6]) == [1, 2, 3, 10]
    assert whole_frequencies([9.6, 0.1, 1.4]) == [10, 1, 2]


def test_radii():
    assert geometric_radii(3, 0.01, 1) == pytest.approx([0.01, 0.1, 1])
    assert geometric_radii(1, 0.01, 1) == [1]
    assert geometric_radii(4, 1e-3, 1)[-1] == 1
    for bad in ((0, 1, 2), (2, 0, 1), (2, 2, 1), (2, 1, math.inf), (1.5, 1, 2)):
        with pytest.raises(BadInput, match="scales"):
            geometric_radii(*bad)


def test_the_jump_of_the_published_form_is_large():
    """What `continuous_at_antimeridian = False` means: neighbours as different as strangers."""
    sides = torch.tensor([[180 - 1e-9, 40.0], [-180 + 1e-9, 40.0]]).double()
    for kind in ("c", "c+", "m", "m+", "dfs"):
        east, west = registry.create(f"sphere2vec-{kind}", 8).features(sides)
        assert (east - west).abs().max() > 0.5
        east, west = registry.create(f"sphere2vec-{kind}-integer", 8).features(sides)
        assert (east - west).abs().max() < 1e-7
