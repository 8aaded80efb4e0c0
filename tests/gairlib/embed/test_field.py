"""A scene's field for maps: the model's own values, blended as in the GeoTIFF, and answers."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from builders.field_scenes import write_scene
from pyproj import CRS

from gairlib import GAIR, GAIRConfig, preprocess
from gairlib.data import scenes
from gairlib.data.scene_reader import Reader
from gairlib.embed import field, walker
from gairlib.embed.dense import write_cog
from gairlib.embed.reading import Reading


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GAIR(GAIRConfig(dim=32, rs_depth=1, rs_size=32, decoder_hidden=[32])).eval()


def test_dense_field_of_one_chip_is_the_model_at_its_cells(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif", size=(32, 32))
    got = field.dense_field(model, scene, chip_px=32, chip_m=320.0, resolution=20.0)
    assert got.values.shape == (16, 16, 32) and got.valid.all() and got.mode == "nili"
    x = field.cell_centres(16)
    want = field.read_chip_field(model, scenes.read(scene), x, x)
    assert np.abs(got.values - want).max() < 1e-5
    one = torch.tensor([[[x[3], x[9]]]])  # naive: one query, column 3, row 9
    prep = preprocess.get(model.config.preprocessing)
    dn = torch.from_numpy(scenes.read(scene).astype(np.float32))[None]
    with torch.inference_mode():
        naive = model.query_rs(model.encode_rs(prep.rs(dn, 32)), one)[0, 0]
    assert np.abs(got.values[9, 3] - naive.numpy()).max() < 1e-5


def test_overlapping_chips_cover_and_blend(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif", np.full((10, 80, 96), 1500))
    got = field.dense_field(model, scene, chip_px=32, chip_m=320.0, resolution=10.0)
    assert got.values.shape[:2] == (80, 96)
    assert np.isfinite(got.values).all() and np.linalg.norm(got.values, axis=-1).min() > 0
    # the same chip everywhere: blending must not bring in anything but its own field's range
    one = field.read_chip_field(
        model, np.full((10, 32, 32), 1500), field.cell_centres(32), field.cell_centres(32)
    )
    assert got.values.min() >= one.min() - 1e-4 and got.values.max() <= one.max() + 1e-4


def test_without_blending_tokens_stay_squares(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif")
    options = dict(chip_px=32, chip_m=320.0, resolution=10.0, mode="nearest")
    raw = field.dense_field(model, scene, **options, overlap=0.0).values
    patch = 32 // model.encode_rs(torch.zeros(1, 10, 32, 32)).grid.shape[1]
    assert np.array_equal(raw[:patch, :patch], np.broadcast_to(raw[0, 0], (patch, patch, 32)))
    # every cell is some chip's own token, to rounding, and blending makes others
    cells = {tuple(np.round(v, 3)) for v in raw.reshape(-1, 32)}
    mixed = field.dense_field(model, scene, **options).values
    assert len({tuple(np.round(v, 3)) for v in mixed.reshape(-1, 32)}) > len(cells)
    assert len(cells) <= raw.shape[0] * raw.shape[1] / 2


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("window", [None, (13, 9, 50, 61)])
def test_map_and_geotiff_hold_the_same_numbers(tmp_path, model, overlap, window):
    values = np.random.default_rng(0).integers(200, 4000, (10, 80, 96))
    values[:, 30:50, 40:] = 0
    scene = write_scene(tmp_path / "a.tif", values)
    options = dict(chip_px=32, chip_m=320.0, resolution=5.0, overlap=overlap, window=window)
    got = field.dense_field(model, scene, **options)
    path = write_cog(model, scene, tmp_path / "f.tif", progress=False, **options)
    with rasterio.open(path) as file:
        want = np.moveaxis(file.read(), 0, -1)
        assert np.allclose(list(file.transform), list(got.transform), atol=1e-9)
    assert np.array_equal(np.isnan(want[..., 0]), ~got.valid) and 0 < got.valid.mean() < 1
    np.testing.assert_allclose(got.values[got.valid], want[got.valid], atol=1e-6)


def test_without_blending_each_cell_is_read_from_one_chip(tmp_path, model):
    """Chips of 32 px over 80 x 96 px: three columns side by side, three rows that share 8 px."""
    scene = write_scene(tmp_path / "a.tif")
    columns, rows = np.arange(96) + 0.5, np.arange(80) + 0.5
    layout = walker.lay_out(scene, 320.0, 0.0)
    assert layout.columns == (0.0, 32.0, 64.0) and layout.rows == (0.0, 24.0, 48.0)
    got = field.dense_field(model, scene, chip_px=32, chip_m=320.0, overlap=0.0).values
    chips = scenes.read(scene)
    for r0, first, end in ((0, 0, 28), (24, 28, 52), (48, 52, 80)):
        x, y = field.cell_centres(32), 2 * (rows[first:end] - r0) / 32 - 1
        for c0 in (0, 32, 64):
            want = field.read_chip_field(model, chips[:, r0 : r0 + 32, c0 : c0 + 32], x, y)
            np.testing.assert_allclose(got[first:end, c0 : c0 + 32], want, atol=1e-6)
    with Reader(scene) as reader:
        found = walker.Walker(reader, Reading(model), layout, 32, columns, rows)
        assert [place for _, _, place in found.down] == [slice(0, 28), slice(28, 52), slice(52, 80)]


def test_centres_and_similarity(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif")
    dense = field.dense_field(
        model, scene, chip_px=32, chip_m=320.0, window=(10, 20, 60, 40), resolution=10.0
    )
    lon, lat = dense.centres()
    c, r = scene.to_pixels(lon[7, 5], lat[7, 5])
    assert np.allclose((c, r), (15.5, 27.5), atol=1e-6)
    assert np.allclose(dense.transform @ (0, 0), scene.transform @ (10, 20))
    cosine = dense.similarity(dense.values[7, 5])
    assert np.isclose(cosine[7, 5], 1.0, atol=1e-5) and np.nanmax(np.abs(cosine)) <= 1 + 1e-5


def test_places_without_data_are_left_out(tmp_path, model):
    values = np.random.default_rng(0).integers(200, 4000, (10, 80, 96))
    values[:, :, :30] = 0
    scene = write_scene(tmp_path / "a.tif", values)
    dense = field.dense_field(model, scene, chip_px=32, chip_m=320.0)
    assert not dense.valid[:, :30].any() and dense.valid[:, 30:].all()
    cosine = dense.similarity(np.ones(32))
    assert np.isnan(cosine[:, :30]).all()


def test_small_and_large_scenes(tmp_path, model):
    small = write_scene(tmp_path / "small.tif", size=(20, 24))  # smaller than a chip
    assert field.dense_field(model, small, chip_px=32, chip_m=320.0).values.shape[:2] == (20, 24)
    coarse = field.dense_field(model, small, chip_px=32, chip_m=320.0, resolution=1000.0)
    assert coarse.values.shape[:2] == (1, 1)
    large = write_scene(tmp_path / "large.tif", size=(600, 700))
    lon, lat = (float(v) for v in large.to_lonlat(690, 10))
    assert field.window_around(large, lon, lat) == (188, 0, 512, 512)
    assert field.window_around(small) == (0, 0, 24, 20)


def test_colours_are_fixed_and_comparable():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 10, 6)) * [5, 3, 2, 0.1, 0.1, 0.1]
    first = field.fit_colours(values)
    assert np.allclose(np.abs(first.axes), np.eye(6)[:, :3], atol=0.15) and first.axes.max() > 0.9
    assert (first.axes[np.abs(first.axes).argmax(0), range(3)] > 0).all()
    turned = values @ np.linalg.qr(rng.normal(size=(6, 6)))[0]  # the same field in another basis
    like = field.fit_colours(turned, like=(values - first.mean) @ first.axes).rgb(turned)
    assert np.abs(like.astype(int) - first.rgb(values).astype(int)).max() < 8
    assert (field.fit_colours(np.ones((4, 4, 6))).rgb(np.ones((4, 4, 6))) == 128).all()


def test_the_field_as_an_array(tmp_path, model):
    """Every cell at its place, in the array's own CRS and grid."""
    scene = replace(write_scene(tmp_path / "a.tif"), datetime="2023-05-06T10:20:30Z")
    got = field.dense_field(model, scene, chip_px=32, chip_m=320.0, resolution=20.0)
    array = got.to_xarray()
    assert array.dims == ("band", "y", "x") and array.dtype == np.float32
    values = np.moveaxis(array.to_numpy(), 0, -1)
    np.testing.assert_array_equal(values[got.valid], got.values[got.valid])
    assert np.isnan(values[~got.valid]).all()
    assert CRS.from_wkt(array.spatial_ref.attrs["crs_wkt"]) == CRS.from_user_input(scene.crs)
    assert array.time.to_numpy() == np.datetime64("2023-05-06T10:20:30")
    place = Affine.from_gdal(*map(float, array.spatial_ref.attrs["GeoTransform"].split()))
    assert place == got.transform
    at = [~place @ (float(x), float(y)) for x, y in zip(array.x[:3], array.y[:3])]
    np.testing.assert_allclose(at, [(i + 0.5, i + 0.5) for i in range(3)])
