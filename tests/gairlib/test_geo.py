"""Coordinates: round trips, antimeridian, refusals, the cost of float32 and of a lon/lat box."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from gairlib import geo
from gairlib.errors import BadInput

LON, LAT = st.floats(-180, 180), st.floats(-89, 89)
UTM = (10.0, 0.0, 600000.0, 0.0, -10.0, 4420000.0)  # 10 m, north-up


@given(st.floats(-179, 179), st.floats(-60, 60), st.floats(0.01, 1.9), st.floats(0.01, 0.99))
def test_relative_xy_is_linear_and_modulo_360(west, south, width, share):
    box = (west, south, west + width, south + 1.0)
    point = [west + share * width, south + share]
    xy = geo.relative_xy(point, box)
    want = torch.tensor([2 * share - 1, 1 - 2 * share], dtype=torch.float64)
    torch.testing.assert_close(xy, want, atol=1e-9 / width, rtol=0)
    for turn in (-360, 360):
        again = geo.relative_xy([point[0] + turn, point[1]], box)
        torch.testing.assert_close(again, xy, atol=1e-9 / width, rtol=0)


def test_relative_xy_corners_antimeridian_and_batches():
    box = (179.0, -10.0, -179.0, 10.0)  # west > east
    corners = [[179, 10], [-179, 10], [-179, -10], [180, 0], [-180, 0], [179.5, 5]]
    want = [[-1, -1], [1, -1], [1, 1], [0, 0], [0, 0], [-0.5, -0.5]]
    assert geo.relative_xy(corners, box).tolist() == want
    batch = geo.relative_xy(np.array([[[179.0, 10.0]], [[5.0, 5.0]]]), [box, (0, 0, 10, 10)])
    assert isinstance(batch, np.ndarray) and batch.tolist() == [[[-1, -1]], [[0, 0]]]
    tensor = torch.tensor([[[179.0, 10.0]]], dtype=torch.float32)
    assert geo.relative_xy(tensor, box).dtype == torch.float64


@pytest.mark.parametrize("point", [[10.1, 5], [-0.1, 5], [5, 10.1], [5, -0.1], [190, 5]])
def test_relative_xy_refuses_outside(point):
    with pytest.raises(BadInput, match="row 1 .*outside the box"):
        geo.relative_xy([[5, 5], point], (0, 0, 10, 10))


def test_the_edge_has_a_tolerance():
    inside = geo.relative_xy([10 + 4e-9, 5], (0, 0, 10, 10))  # 8e-10 in xy
    assert inside.tolist() == [1.0, 0.0]
    with pytest.raises(BadInput):
        geo.relative_xy([10 + 1e-7, 5], (0, 0, 10, 10))


@pytest.mark.parametrize(
    "box", [(0, 10, 10, 0), (0, 0, 0, 10), (0, 0, float("nan"), 1), (0, 0, 1, 91), (0, 0, 1)]
)
def test_bad_boxes(box):
    with pytest.raises(BadInput, match="bbox"):
        geo.relative_xy([0, 0], box)


def test_check_lonlat():
    with pytest.raises(BadInput, match="photos: row 1 .*swapped"):
        geo.check_lonlat([[0, 0], [48.1, 116.4]], "photos")
    for bad in ([[0, float("nan")]], [[float("inf"), 0]], [[0, 90.001]], [[1, 2, 3]], 5.0):
        with pytest.raises(BadInput, match="lonlat"):
            geo.check_lonlat(bad)
    assert geo.check_lonlat([540.0, -90.0]).tolist() == [540.0, -90.0]


@given(st.integers(1, 60), st.floats(-79, 83), st.floats(-1, 1), st.floats(-1, 1), st.booleans())
@settings(deadline=None, max_examples=40)
def test_chip_xy_round_trip(zone, lat, x, y, rotated):
    lon = -183.0 + 6 * zone
    epsg = (32600 if lat >= 0 else 32700) + zone
    east, north = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    a, b = (8.0, 6.0) if rotated else (10.0, 0.0)
    transform = (a, b, east - 300, b, -a, north + 200)
    xy = np.array([[x, y], [-1, -1], [1, 1]])
    lonlat = geo.chip_lonlat(xy, epsg, transform, (64, 48))
    np.testing.assert_allclose(
        geo.chip_xy(lonlat, f"EPSG:{epsg}", transform, (64, 48)), xy, atol=1e-7, rtol=0
    )


def test_chip_xy_by_hand():
    """Pixel (12.25, 40.5) of a 64 x 48 raster, without chip_lonlat."""
    to_lonlat = Transformer.from_crs(32650, 4326, always_xy=True)
    lon, lat = to_lonlat.transform(600000 + 122.5, 4420000 - 405.0)
    xy = geo.chip_xy([lon, lat], 32650, UTM, (48, 64))
    want = torch.tensor([2 * 12.25 / 64 - 1, 2 * 40.5 / 48 - 1], dtype=torch.float64)
    torch.testing.assert_close(xy, want, atol=1e-9, rtol=0)


def test_what_the_published_ways_cost():
    """In a UTM chip a lon/lat box is off by metres, float32 coordinates are by decimetres."""
    transform = (10.0, 0.0, 300000.0, 0.0, -10.0, 6700000.0)  # far from the zone's middle, 60 N
    true = np.array([[0.9, -0.9]])
    lonlat = geo.chip_lonlat(true, 32633, transform, (64, 64))
    box = geo.box_of(32633, transform, (64, 64))
    boxed = geo.relative_xy(lonlat, box)
    assert np.abs(boxed - true).max() * 320 > 5  # metres
    coarse = geo.chip_xy(lonlat.astype(np.float32), 32633, transform, (64, 64))
    assert 0.02 < np.abs(coarse - true).max() * 320 < 2


def test_chip_xy_refusals():
    inside = geo.chip_lonlat([[0.0, 0.0], [1.2, 0.0]], 32650, UTM, (64, 64))
    with pytest.raises(BadInput, match="row 1 .*outside the chip"):
        geo.chip_xy(inside, 32650, UTM, (64, 64))
    with pytest.raises(BadInput, match="crs"):
        geo.chip_xy(inside, None, UTM, (64, 64))
    with pytest.raises(BadInput, match="EPSG:99999"):
        geo.chip_xy(inside, "EPSG:99999", UTM, (64, 64))
    with pytest.raises(BadInput, match="not a raster grid"):
        geo.chip_xy(inside, 32650, (0.0, 0.0, 1.0, 0.0, 0.0, 1.0), (64, 64))


def test_chip_in_degrees_across_the_antimeridian():
    transform = (0.1, 0.0, 178.0, 0.0, -0.1, 2.0)  # 178 E to 178 W
    xy = geo.chip_xy([[179.0, 0.0], [-179.0, 0.0]], "EPSG:4326", transform, (40, 40))
    torch.testing.assert_close(xy.tolist(), [[-0.5, 0.0], [0.5, 0.0]], atol=1e-9, rtol=0)
    assert geo.chip_lonlat([0.5, 0.0], "EPSG:4326", transform, (40, 40))[0] == -179.0


def test_utm_chip_across_the_antimeridian():
    to_utm = Transformer.from_crs(4326, 32760, always_xy=True)
    east, north = to_utm.transform(179.99, -17.0)
    transform = (10.0, 0.0, east, 0.0, -10.0, north)
    west, south, e, n = geo.box_of(32760, transform, (400, 400))
    assert west > 179 and e < -179 and south < n
    xy = geo.chip_xy([[-179.995, -17.01]], 32760, transform, (400, 400))
    assert (xy.abs() < 1).all()


def test_box_of_contains_the_edges():
    west, south, east, north = geo.box_of(32650, UTM, (64, 64))
    edge = [[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)]
    lonlat = geo.chip_lonlat(edge, 32650, UTM, (64, 64))
    assert west - 1e-9 <= lonlat[:, 0].min() and lonlat[:, 0].max() <= east + 1e-9
    assert south - 1e-9 <= lonlat[:, 1].min() and lonlat[:, 1].max() <= north + 1e-9


@given(LON, LAT, LON, LAT)
@settings(deadline=None)
def test_haversine_against_pyproj(lon1, lat1, lon2, lat2):
    sphere = Geod(a=geo.EARTH_RADIUS, b=geo.EARTH_RADIUS)
    want = sphere.inv(lon1, lat1, lon2, lat2)[2]
    got = float(geo.haversine([lon1, lat1], [lon2, lat2]))
    assert got == pytest.approx(want, rel=1e-6, abs=1e-2)


def test_haversine_pairs_and_types():
    a, b = np.zeros((3, 2)), np.array([[0.0, 1.0], [0.0, -90.0]])
    metres = geo.haversine(a[:, None], b[None])
    assert isinstance(metres, np.ndarray) and metres.shape == (3, 2)
    assert metres[0, 1] == pytest.approx(np.pi / 2 * geo.EARTH_RADIUS)


@pytest.mark.parametrize(
    "lon, lat, epsg",
    [(116.4, 39.9, 32650), (-46.6, -23.5, 32723), (5.3, 60.4, 32632), (15, 78, 32633)]
    + [
        (180, 10, 32601),
        (-180, 10, 32601),
        (179.9, -10, 32760),
        (539.9, -10, 32760),
        (6, 0, 32632),
    ],
)
def test_utm_epsg(lon, lat, epsg):
    assert geo.utm_epsg(lon, lat) == epsg


def test_utm_has_no_poles():
    with pytest.raises(BadInput, match="UTM"):
        geo.utm_epsg(0, 85)


def test_unit_sphere():
    xyz = geo.unit_sphere(torch.tensor([[0, 0], [90, 0], [17, 90], [-99, 90]]).double())
    assert xyz.round(decimals=12).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert torch.equal(xyz[2], xyz[3])
