"""Arrays of xarray as scenes: the pixels, the place and the date that went in come back."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from pyproj import CRS

from gairlib.bands import BANDS
from gairlib.data import scenes, tables
from gairlib.data.arrays import open_array
from gairlib.errors import BadInput

X = 399_965.0 + 10 * np.arange(90)
Y = 5_300_035.0 - 10 * np.arange(70)
PIXELS = np.random.default_rng(0).integers(200, 4000, (10, 70, 90)).astype(np.uint16)
PIXELS[:, :, :5] = 0


def array(values=PIXELS, names=BANDS, **changes):
    about = {"crs_wkt": CRS("EPSG:32632").to_wkt()}
    coords = {"band": list(names), "y": Y, "x": X, "spatial_ref": xr.Variable((), 0, about)}
    return xr.DataArray(values, {**coords, **changes}, ("band", "y", "x"))


def test_an_array_and_its_dataset_are_the_scene(tmp_path):
    when = np.datetime64("2023-05-06T10:20:30")
    one = array(time=when)
    for given in (
        one,
        one.to_dataset("band"),
        one.expand_dims("time"),
        one.isel(band=slice(None, None, -1)),  # by their names, in any order
        one.rename(x="lon", y="lat"),
        one.chunk({"y": 30}),
    ):
        scene = open_array(given, id="mine")
        np.testing.assert_array_equal(scenes.read(scene), PIXELS)
        assert scene.crs == "EPSG:32632" and scene.datetime.startswith("2023-05-06")
        assert scene.transform.to_gdal() == (399_960.0, 10, 0, 5_300_040.0, 0, -10)
        assert scene.id == "mine"
    kept = open_array(one, tmp_path / "kept.tif")
    with rasterio.open(kept.path) as file:
        assert list(file.descriptions) == list(BANDS)


def test_nan_is_no_data_and_south_up_is_turned():
    values = np.where(PIXELS > 0, PIXELS, np.nan).astype(np.float32)
    scene = open_array(array(values))
    np.testing.assert_array_equal(scenes.read(scene), PIXELS)
    turned = open_array(array().isel(y=slice(None, None, -1)))
    np.testing.assert_array_equal(scenes.read(turned), PIXELS)


def test_a_file_that_rioxarray_opened(tmp_path):
    """Bands numbered from 1, names in long_name, the place in GeoTransform alone."""
    given = array(names=range(1, 11)).drop_vars(["x", "y"])
    given.attrs["long_name"] = tuple(BANDS)
    given["spatial_ref"].attrs["GeoTransform"] = "399960.0 10.0 0.0 5300040.0 0.0 -10.0"
    scene = open_array(given)
    np.testing.assert_array_equal(scenes.read(scene), PIXELS)
    assert scene.transform.to_gdal() == (399_960.0, 10, 0, 5_300_040.0, 0, -10)


def test_arrays_that_are_no_scene():
    two = xr.concat([array(), array()], "time")
    bent = array(x=X + np.arange(90) ** 2)
    for given, said in (
        (two, "isel"),
        (array().drop_vars("spatial_ref"), "CRS"),
        (bent, "evenly"),
        (array().drop_vars(["x", "y"]), "GeoTransform"),
        (array().rename(x="column"), "dimensions"),
        (xr.Dataset({"a": ("z", [1])}), "no variable"),
    ):
        with pytest.raises(BadInput, match=said):
            open_array(given)


def test_a_geodataframe_says_where_its_rows_lie():
    frame = pd.DataFrame({"photo_id": ["a", "b"], "lon": [7.44, 7.45], "lat": [46.9, 46.8]})
    points = gpd.points_from_xy(frame["lon"], frame["lat"])
    given = gpd.GeoDataFrame(frame[["photo_id"]], geometry=points, crs="EPSG:4326")
    for crs in ("EPSG:4326", "EPSG:2056", "EPSG:3857"):
        found = tables.placed(given.to_crs(crs))
        np.testing.assert_allclose(found[["lon", "lat"]], frame[["lon", "lat"]], atol=1e-9)
        assert not isinstance(found, gpd.GeoDataFrame)
    assert tables.placed(frame) is frame
    with pytest.raises(BadInput, match="CRS"):
        tables.placed(given.set_crs(None, allow_override=True))
