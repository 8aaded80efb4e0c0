"""A scene's grid: pixels, degrees, metres and outline."""

import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine
from builders.small_files import UTM
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.data.scene import Scene, outline


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 50), st.floats(0, 40), st.sampled_from([UTM, "EPSG:4326", "EPSG:3857"]))
def test_pixels_and_lonlat_round_trip(column, row, crs):
    scene = placed(crs)
    lon, lat = scene.to_lonlat(column, row)
    np.testing.assert_allclose(scene.to_pixels(lon, lat), (column, row), atol=1e-6)
    np.testing.assert_allclose(scene.to_pixels(lon + 360, lat), (column, row), atol=1e-6)


def placed(crs="EPSG:32654", origin=None, pixel=None, size=(50, 40)):
    """A Scene without a file, for geometry."""
    x, y = {
        "EPSG:32654": (388_000, 3_950_000),
        "EPSG:4326": (139.7, 35.7),
        "EPSG:3857": (15_560_000, 4_260_000),
    }.get(crs, origin)
    x, y = origin or (x, y)
    pixel = pixel or (9e-5 if crs == "EPSG:4326" else 10.0)
    transform = Affine(pixel, 0, x, 0, -pixel, y)
    return Scene(
        "s",
        Path("s.tif"),
        crs,
        transform,
        *size,
        tuple(range(1, 11)),
        "named",
        0,
        "stac",
        footprint=outline(transform, crs, *size),
    )


def test_outline_is_the_densified_true_outline():
    scene = placed("EPSG:32633", (445_100, 7_800_000), 10.0, (10980, 10980))
    to = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    west, south, east, north = scene.footprint.bounds
    side = (0, 109_800)
    corners = [to.transform(445_100 + dx, 7_800_000 - dy) for dx in side for dy in side]
    # At 70 degrees north the upper edge is an arc: higher at its middle than at its corners.
    assert north > max(lat for _, lat in corners) + 0.004
    assert west == pytest.approx(min(lon for lon, _ in corners), abs=1e-9)
    assert len(scene.footprint.exterior.coords) == 65


@pytest.mark.parametrize("crs, x", [("EPSG:32660", 770_000), ("EPSG:32701", 130_000)])
def test_outline_across_the_antimeridian(crs, x):
    y = 1_000_000 if crs == "EPSG:32660" else 8_200_000
    scene = placed(crs, (x, y), 10.0, (10980, 10980))
    west, _, east, _ = scene.footprint.bounds
    assert east - west < 1.5 and (east > 180 or west < -180)
    for lon in (179.99, -179.99):
        column, row = scene.to_pixels(lon, scene.footprint.centroid.y)
        assert 0 < column < 10980 and 0 < row < 10980


def test_ground_size_of_pixels():
    np.testing.assert_allclose(placed().pixel_metres(25, 20), 10, rtol=1e-3)
    width, height = placed("EPSG:4326").pixel_metres(25, 20)
    assert width == pytest.approx(9e-5 * 111_320 * math.cos(math.radians(35.7)), rel=3e-3)
    assert height == pytest.approx(9e-5 * 110_950, rel=1e-3)
    # Web Mercator stretches by 1 / cos(lat): 10 "metres" are about 8 there.
    assert placed("EPSG:3857").pixel_metres(25, 20)[0] == pytest.approx(8.12, abs=0.05)
    assert placed().chip_pixels(640, 25, 20) == (64, 64)
    assert placed().chip_pixels(1280, 25, 20) == (128, 128)
