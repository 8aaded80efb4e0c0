"""Box interpolation against the exact way, and the figure of it."""

import numpy as np
import pyproj
import pytest

from gairlib import geo
from research.figures import box_error


def test_exact_positions_agree_with_pyproj_alone():
    for lat in (-77.0, -33.0, 0.0, 51.5, 82.0):
        for degrees in (-2.9, 0.0, 2.9):
            assert box_error.pixels_off_exact(lat, degrees, 2000.0) < 1e-6


def test_the_box_is_right_on_the_meridian_at_the_equator_and_wrong_at_a_zones_edge():
    assert box_error.metres_off(0.0, 0.0, 640.0).max() < 0.01
    error = box_error.metres_off(50.0, 2.98, 640.0)
    # The chip is turned by the convergence, 2.98 deg * sin(50 deg) = 2.28 deg: a corner moves by
    # about 2.28 deg of the half diagonal's projection, and the box is wider by the same.
    turn = np.radians(2.98 * np.sin(np.radians(50.0)))
    assert 0.8 * turn * 320 * np.sqrt(2) < error.max() < 1.6 * turn * 320 * np.sqrt(2)


def test_positions_are_compared_in_metres_on_the_ground():
    """Oracle: both places as lon/lat, and the geodesic between them."""
    crs, transform, lonlat = box_error.chip_at(48.0, 2.0, 2000.0)
    west, south, east, north = geo.box_of(crs, transform, (1, 1))
    share = (lonlat - [west, north]) / np.array([east - west, south - north])
    placed = geo.chip_lonlat(2 * share - 1, crs, transform, (1, 1))
    metres = pyproj.Geod(ellps="WGS84").inv(*lonlat.T, *placed.T)[2]
    np.testing.assert_allclose(metres, box_error.metres_off(48.0, 2.0, 2000.0), rtol=2e-3)


def test_single_precision_adds_its_steps():
    double = box_error.metres_off(45.0, 0.02, 640.0)
    single = box_error.metres_off(45.0, 0.02, 640.0, single=True)
    assert 0.02 < np.abs(single - double).max() < 1.0


def test_figure_and_numbers():
    figure, numbers = box_error.box_errors()
    assert len(figure.axes) == 2 and all(len(ax.lines) == 4 for ax in figure.axes)
    assert numbers["exact_worst_px"] < 0.01
    assert numbers["box_worst_m"] == pytest.approx(30.0, abs=2.0)
