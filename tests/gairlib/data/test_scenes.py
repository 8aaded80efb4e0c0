"""Scenes opened and read: layouts, what is refused, chips, tiles."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from builders.small_files import ramp, write_scene
from rasterio.control import GroundControlPoint
from rasterio.windows import Window

from gairlib.bands import BANDS
from gairlib.data import scene_reader, scenes
from gairlib.data.scene_reader import Reader
from gairlib.errors import BadInput, Missing

REAL = Path(__file__).resolve().parents[4] / "shared/real"


def test_named_scene_with_offset_scl_and_stac(tmp_path):
    values = ramp(10, 40, 50, low=900)
    values[:, 0, 0] = 0
    path = write_scene(tmp_path / "a.tif", values, baseline="05.09", scl=np.full((40, 50), 4))
    scene = scenes.open_scene(path)
    assert (scene.layout, scene.offset, scene.offset_source) == ("named", 1000, "stac")
    assert (scene.scl_index, scene.cloud_cover) == (11, 12.5)
    assert scene.datetime == "2023-05-01T10:00:00Z"
    read = scenes.read(scene)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, np.clip(values.astype(int) - 1000, 0, None))
    part = scenes.read(scene, Window(3, 5, 7, 11))
    np.testing.assert_array_equal(part, read[:, 5:16, 3:10])
    with pytest.raises(BadInput, match="outside"):
        scenes.read(scene, Window(45, 0, 10, 10))


def test_nodata_stays_0(tmp_path):
    values = ramp(10, 40, 40, low=2000).astype(np.int16)
    values[:, :20] = -9999
    scene = scenes.open_scene(write_scene(tmp_path / "a.tif", values, nodata=-9999, baseline="5.0"))
    read = scenes.read(scene)
    assert (read[:, :20] == 0).all() and (read[:, 20:] > 0).all()
    with Reader(scene) as reader:
        assert reader.chip(0, 0, 40, 40, 40).nodata_share == 0.5


def test_unusable_files_are_refused(tmp_path):
    values = ramp(10, 32, 32)

    def refused(name, match, **options):
        path = write_scene(tmp_path / name, options.pop("values", values), **options)
        with pytest.raises(BadInput, match=match):
            scenes.open_scene(path)

    refused("crs.tif", r"scene crs \(crs.tif\): has no CRS", crs=None)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        refused("grid.tif", "no geotransform", transform=Affine.identity())
    refused("bands.tif", "13 bands without", values=ramp(13, 32, 32), names=None)
    refused("refl.tif", "look like reflectance", values=(values / 10000.0).astype(np.float32))
    refused("pole.tif", "goes around a pole", crs="EPSG:3995", origin=(-1000, 1000), pixel=100.0)
    refused("unit.tif", "m wide; is its geotransform in the unit", pixel=1e-4)
    quarter = Affine(0, 10, 399_960, -10, 0, 5_300_040)
    refused("turned.tif", "its grid is rotated", transform=quarter)
    refused("radar.tif", "complex", values=values.astype(np.complex64))
    with rasterio.open(write_scene(tmp_path / "points.tif", values, crs=None), "r+") as target:
        corners = ((0, 0), (0, 32), (32, 0))
        points = [GroundControlPoint(r, c, 4e5 + 10 * c, 5e6 - 10 * r) for r, c in corners]
        target.gcps = (points, "EPSG:32632")
    with pytest.raises(BadInput, match="control points"):
        scenes.open_scene(tmp_path / "points.tif")
    path = write_scene(tmp_path / "cut.tif", values)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadInput, match="cut.tif"):
        scenes.open_scene(path)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(BadInput, match="text.tif"):
        scenes.open_scene(tmp_path / "text.tif")
    with pytest.raises(Missing, match="absent.tif"):
        scenes.open_scene(tmp_path / "absent.tif")
    path = write_scene(tmp_path / "json.tif", values)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(BadInput, match="json.json"):
        scenes.open_scene(path)


def test_band_names_from_the_stac_item(tmp_path):
    values = ramp(10, 32, 32)
    path = write_scene(tmp_path / "a.tif", values[::-1].copy(), names=None)
    order = ["B12", "B11", "B8A", "B08", "B07", "B06", "B05", "B04", "B03", "B02"]
    item = {"assets": {"data": {"href": "./a.tif", "eo:bands": [{"name": n} for n in order]}}}
    path.with_suffix(".json").write_text(json.dumps(item))
    scene = scenes.open_scene(path)
    np.testing.assert_array_equal(scenes.read(scene), values)


def test_utm_chip_is_an_exact_window(tmp_path):
    scene = scenes.open_scene(write_scene(tmp_path / "a.tif", ramp(10, 90, 100), baseline="3.0"))
    everything = scenes.read(scene)
    values, transform = scenes.read_chip(scene, 50.3, 40.2, size_px=32, size_m=320.0)
    np.testing.assert_array_equal(values, everything[:, 24:56, 34:66])
    assert transform == scene.transform @ Affine.translation(34, 24)
    values, transform = scenes.read_chip(scene, 99.5, 1.0, size_px=32, size_m=320.0)
    np.testing.assert_array_equal(values, everything[:, :32, 68:])  # shifted into the scene
    with pytest.raises(BadInput, match="2000 m"):
        scenes.read_chip(scene, 50, 40, size_px=32, size_m=2000.0)


def naive_bilinear(band, column, row):
    """One value at (column, row), in pixels from the outer corner, clamped at the border."""
    h, w = band.shape
    c, r = min(max(column - 0.5, 0), w - 1), min(max(row - 0.5, 0), h - 1)
    c0, r0 = min(int(c), w - 2), min(int(r), h - 2)
    fc, fr = c - c0, r - r0
    top = band[r0, c0] * (1 - fc) + band[r0, c0 + 1] * fc
    return top * (1 - fr) + (band[r0 + 1, c0] * (1 - fc) + band[r0 + 1, c0 + 1] * fc) * fr


def test_resampling_up_is_bilinear_on_the_scenes_grid(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 9000, (10, 40, 50)).astype(np.uint16)
    scene = scenes.open_scene(write_scene(tmp_path / "a.tif", values, baseline="3.0"))
    with Reader(scene) as reader:
        chip = reader.chip(3.3, 5.7, 14.9, 11.2, 16)
        column, row = np.meshgrid(np.arange(16), np.arange(16))
        x, y = chip.transform @ (column + 0.5, row + 0.5)
        column, row = ~scene.transform @ (x, y)
        for i in range(16):
            for j in range(16):
                # The neighbourhood ends where the chip's window ends, hence the tolerance inside.
                if 1 <= i < 15 and 1 <= j < 15:
                    expected = naive_bilinear(values[4].astype(float), column[i, j], row[i, j])
                    assert abs(chip.values[4, i, j] - expected) <= 0.5 + 1e-6


def test_resampling_down_by_two_is_a_mean_that_skips_nothing(tmp_path):
    values = np.zeros((10, 64, 64), np.uint16) + 1000
    values[:, :, 31] = 9000  # a thin line; plain bilinear sampling at every other pixel loses it
    scene = scenes.open_scene(write_scene(tmp_path / "a.tif", values, baseline="3.0"))
    chip, transform = scenes.read_chip(scene, 32, 32, size_px=32, size_m=640.0)
    assert chip.mean() == pytest.approx(values.mean(), rel=0.01)
    assert transform.a == pytest.approx(20.0)


def test_resampling_keeps_nodata_out_of_the_means(tmp_path):
    values = np.full((10, 40, 40), 3000, np.uint16)
    values[:, :, :20] = 0
    scene = scenes.open_scene(write_scene(tmp_path / "a.tif", values, baseline="3.0"))
    with Reader(scene) as reader:
        chip = reader.chip(0, 0, 40, 40, 33)
    assert set(np.unique(chip.values)) == {0, 3000}
    assert chip.nodata_share == 0.5


def test_cloud_share_counts_pixels_with_data(tmp_path):
    scl = np.full((40, 40), 4)
    scl[:, 30:] = 9
    values = ramp(10, 40, 40)
    values[:, :, :20] = 0
    path = write_scene(tmp_path / "a.tif", values, baseline="3.0", scl=scl)
    with Reader(scenes.open_scene(path)) as reader:
        chip = reader.chip(0, 0, 40, 40, 40)
    assert (chip.nodata_share, chip.cloud_share) == (0.5, 0.5)


@pytest.mark.parametrize("kept", [2**29, 10])  # bytes: blocks kept, or read window by window
def test_tiles_cover_the_scene(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(scene_reader, "CACHE_BYTES", kept)
    scene = scenes.open_scene(write_scene(tmp_path / "a.tif", ramp(10, 70, 100), baseline="3.0"))
    everything, seen = scenes.read(scene), np.zeros((70, 100), int)
    for values, transform in scenes.tiles(scene, 32, 320.0, 32):
        column, row = (round(v) for v in ~scene.transform @ (transform.c, transform.f))
        np.testing.assert_array_equal(values, everything[:, row : row + 32, column : column + 32])
        seen[row : row + 32, column : column + 32] += 1
    assert (seen > 0).all() and seen.max() <= 4
    assert len(list(scenes.tiles(scene, 32, 320.0, 16))) == 4 * 6


def test_tile_of_a_small_scene_is_the_whole_scene(tmp_path):
    scene = scenes.open_scene(write_scene(tmp_path / "a.tif", ramp(10, 20, 30), baseline="3.0"))
    ((values, transform),) = scenes.tiles(scene, 64, 640.0)
    assert values.shape == (10, 64, 64)
    assert transform @ (64, 64) == pytest.approx(scene.transform @ (30, 20))


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real is not there")
def test_real_harmonised_export_is_not_shifted_again():
    scene = scenes.open_scene(REAL / "scenes/gair_tokyo.tif")
    assert (scene.layout, scene.offset) == ("named", 0)
    assert scene.offset_source == "tags (harmonised collection)"  # though its baseline is 05.10
    values, transform = scenes.read_chip(scene, 44.9, 198.2, size_px=64, size_m=640.0)
    assert values.shape == (10, 64, 64) and 300 < np.median(values) < 3000
    bottom = (transform @ (0, 64))[1]
    assert bottom == pytest.approx((scene.transform @ (0, scene.height))[1], abs=1e-12)


def test_reflectance_is_converted_where_it_is_declared_and_only_there(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(200, 9000, (10, 40, 40)).astype(np.uint16)
    values[:, :20] = 0
    path = write_scene(tmp_path / "a.tif", (values / 1e4).astype(np.float32))
    with pytest.raises(BadInput, match="column `scale`"):
        scenes.open_scene(path)
    for row in ({"scale": "1"}, {"scale": "1", "processing_baseline": "02.14"}):
        scene = scenes.open_scene(path, row=row)
        np.testing.assert_array_equal(scenes.read(scene), values)
    with Reader(scene) as reader:
        assert reader.chip(0, 0, 40, 40, 40).nodata_share == 0.5
    scene = scenes.open_scene(path, row={"scale": "1", "processing_baseline": "05.09"})
    expected = np.maximum(values.astype(int) - 1000, 0)  # DN x 0.0001 with the offset still in it
    np.testing.assert_array_equal(scenes.read(scene), expected)
    with rasterio.open(path, "r+") as target:
        target.units = ("reflectance",) * 10
    np.testing.assert_array_equal(scenes.read(scenes.open_scene(path)), values)
    for wrong in ("0", "x", "-1", "nan", "10000"):
        with pytest.raises(BadInput, match="scale"):
            scenes.open_scene(path, row={"scale": wrong})
    whole = write_scene(tmp_path / "b.tif", values)
    with pytest.raises(BadInput, match="reflectance above 3"):
        scenes.open_scene(whole, row={"scale": "1"})
    with rasterio.open(whole, "r+") as target:  # of the scaled value, as xarray writes it
        target.units, target.scales = ("reflectance",) * 10, (1e-4,) * 10
    np.testing.assert_array_equal(scenes.read(scenes.open_scene(whole)), values)


def test_plants_ten_times_too_dark_are_refused(tmp_path):
    level = np.array([43, 77, 41, 137, 400, 459, 494, 501, 214, 108])[:, None, None]
    values = np.random.default_rng(0).normal(level, level / 10, (10, 40, 40)).astype(np.uint16)
    path = write_scene(tmp_path / "a.tif", values, names=None)
    with pytest.raises(BadInput, match="x 1000"):
        scenes.open_scene(path)
    read = scenes.read(scenes.open_scene(path, row={"scale": "0.001"}))
    np.testing.assert_array_equal(read, values * 10)
    water = np.full((10, 40, 40), 1, np.uint16) * level.astype(np.uint16)[::-1]
    assert scenes.open_scene(write_scene(tmp_path / "w.tif", water)).offset == 0


def test_a_cog_that_is_cut_short_behind_its_overviews(tmp_path):
    values = np.random.default_rng(0).integers(1000, 6000, (10, 512, 512)).astype(np.uint16)
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 399_960, 0, -10, 5_300_040)}
    shape = {"width": 512, "height": 512, "count": 10, "dtype": "uint16"}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="COG", blocksize=128, **place, **shape) as target:
        target.write(values)
        for i, band in enumerate(BANDS):
            target.set_band_description(i + 1, band)
    assert scenes.open_scene(path).width == 512
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(BadInput, match="cut short"):
        scenes.open_scene(path)
