"""The dense field and the map: right place to the pixel, right blending, no network."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

from gairlib import GAIR, GAIRConfig, field, maps, overlays, preprocess, scenes
from gairlib.errors import BadInput
from gairlib.offline import external_loads

BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
UTM = ("EPSG:32654", from_origin(676_000, 3_990_000, 10, 10))  # 141.0 E: 2 degrees off the meridian


def write_scene(path, values=None, crs=UTM[0], transform=UTM[1], size=(80, 96), **options):
    """A 10-band uint16 scene of `size` (height, width); random unless values are given."""
    if values is None:
        values = np.random.default_rng(0).integers(200, 4000, (10, *size))
    profile = dict(driver="GTiff", count=10, dtype="uint16", nodata=0, crs=crs, transform=transform)
    with rasterio.open(path, "w", height=size[0], width=size[1], **profile, **options) as file:
        file.write(values.astype(np.uint16))
        file.descriptions = BANDS
    return scenes.open_scene(path, row={"processing_baseline": "02.14"})


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GAIR(GAIRConfig(dim=32, rs_depth=1, rs_size=32, decoder_hidden=[32])).eval()


# ---------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    "crs, transform",
    [
        UTM,
        ("EPSG:32719", from_origin(300_000, 6_300_000, 10, 10)),  # southern hemisphere
        ("EPSG:4326", from_origin(-71.5, 42.6, 1.2e-4, 9e-5)),
        ("EPSG:32660", from_origin(833_000, 200_000, 10, 10)),  # across the antimeridian
    ],
)
def test_a_landmark_lands_at_its_lonlat(tmp_path, crs, transform):
    scene = write_scene(tmp_path / "a.tif", crs=crs, transform=transform)
    picture = np.zeros((80, 96, 3), np.uint8)
    for row, column in ((0, 0), (79, 95), (17, 61), (60, 4)):
        picture[:] = 0
        picture[row, column] = 255
        rgba, (west, south, east, north) = overlays.warp(picture, scene)
        j, i = np.nonzero(rgba[..., 0] == 255)
        # Leaflet stretches the image linearly between its projected corners
        (x0, x1), (y0, y1) = overlays.mercator(np.array([west, east]), np.array([south, north]))
        x = x0 + (i.mean() + 0.5) / rgba.shape[1] * (x1 - x0)
        y = y1 - (j.mean() + 0.5) / rgba.shape[0] * (y1 - y0)
        c, r = scene.to_pixels(*overlays.unmercator(x, y))
        assert abs(c - column - 0.5) < 0.15 and abs(r - row - 0.5) < 0.15  # in pixels of the scene
    assert east > west and east - west < 0.1


def test_an_unwarped_picture_would_be_askew(tmp_path):
    """The reason for warping: the scene's corners are off by pixels if it is put up as it is."""
    scene = write_scene(tmp_path / "a.tif", size=(192, 192))
    _, (west, south, east, north) = overlays.warp(np.zeros((192, 192, 3), np.uint8), scene)
    c, r = scene.to_pixels(west, north)
    assert max(abs(c), abs(r)) > 1.5


def test_warp_agrees_with_gdal(tmp_path):
    scene = write_scene(tmp_path / "a.tif")
    picture = np.random.default_rng(1).integers(1, 255, (80, 96, 3)).astype(np.uint8)
    rgba, (west, south, east, north) = overlays.warp(picture, scene)
    (x0, x1), (y0, y1) = overlays.mercator(np.array([west, east]), np.array([south, north]))
    h, w = rgba.shape[:2]
    target = rasterio.transform.from_bounds(x0, y0, x1, y1, w, h)
    oracle = np.zeros((3, h, w), np.uint8)
    reproject(
        picture.transpose(2, 0, 1).copy(), oracle, src_transform=scene.transform,
        src_crs=scene.crs, dst_transform=target, dst_crs="EPSG:3857",
        resampling=Resampling.nearest, tolerance=0,
    )  # fmt: skip
    same = (oracle == rgba[..., :3].transpose(2, 0, 1)).all(axis=0)
    assert same.mean() > 0.995  # the rest: centres on a pixel's very edge


def test_mercator_round_trip():
    lon, lat = np.array([-180.0, 12.3, 181.0]), np.array([-85.0, 0.0, 60.0])
    assert np.allclose(overlays.unmercator(*overlays.mercator(lon, lat)), [lon, lat])
    assert np.isclose(overlays.mercator(180.0, 0.0)[0], 20037508.342789244)


# ---------------------------------------------------------------------------- field


def test_dense_field_of_one_chip_is_the_model_at_its_cells(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif", size=(32, 32))
    got = field.dense(model, scene, chip_px=32, chip_m=320.0, resolution=20.0)
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
    got = field.dense(model, scene, chip_px=32, chip_m=320.0, resolution=10.0)
    assert got.values.shape[:2] == (80, 96)
    assert np.isfinite(got.values).all() and np.linalg.norm(got.values, axis=-1).min() > 0
    # the same chip everywhere: blending must not bring in anything but its own field's range
    one = field.read_chip_field(
        model, np.full((10, 32, 32), 1500), field.cell_centres(32), field.cell_centres(32)
    )
    assert got.values.min() >= one.min() - 1e-4 and got.values.max() <= one.max() + 1e-4


def test_centres_and_finding(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif")
    dense = field.dense(
        model, scene, chip_px=32, chip_m=320.0, window=(10, 20, 60, 40), resolution=10.0
    )
    lon, lat = dense.centres()
    c, r = scene.to_pixels(lon[7, 5], lat[7, 5])
    assert np.allclose((c, r), (15.5, 27.5), atol=1e-6)
    assert np.allclose(dense.transform @ (0, 0), scene.transform @ (10, 20))
    similarity = np.zeros(dense.valid.shape)
    similarity[7, 5] = 1.0
    found = field.find(dense, similarity, lon[7, 15], lat[7, 15])
    assert abs(found.error_m - 100.0) < 0.6 and found.cosine == 1.0
    assert 100 < found.guess_m < 600
    cosine = dense.similarity(dense.values[7, 5])
    assert np.isclose(cosine[7, 5], 1.0, atol=1e-5) and np.nanmax(np.abs(cosine)) <= 1 + 1e-5


def test_places_without_data_are_left_out(tmp_path, model):
    values = np.random.default_rng(0).integers(200, 4000, (10, 80, 96))
    values[:, :, :30] = 0
    scene = write_scene(tmp_path / "a.tif", values)
    dense = field.dense(model, scene, chip_px=32, chip_m=320.0)
    assert not dense.valid[:, :30].any() and dense.valid[:, 30:].all()
    cosine = dense.similarity(np.ones(32))
    assert np.isnan(cosine[:, :30]).all()
    assert overlays.similarity_rgba(cosine, 0, 1)[..., 3].max() == 255
    assert overlays.similarity_rgba(cosine, 0, 1)[:, :30].max() == 0
    with pytest.raises(BadInput, match="no cell with data"):
        field.find(dense, np.full(dense.valid.shape, np.nan), 141, 36)


def test_small_and_large_scenes(tmp_path, model):
    small = write_scene(tmp_path / "small.tif", size=(20, 24))  # smaller than a chip
    assert field.dense(model, small, chip_px=32, chip_m=320.0).values.shape[:2] == (20, 24)
    coarse = field.dense(model, small, chip_px=32, chip_m=320.0, resolution=1000.0)
    assert coarse.values.shape[:2] == (1, 1)
    large = write_scene(tmp_path / "large.tif", size=(600, 700))
    lon, lat = (float(v) for v in large.to_lonlat(690, 10))
    assert field.window_around(large, lon, lat) == (188, 0, 512, 512)
    assert field.window_around(small) == (0, 0, 24, 20)


def test_colours_are_fixed_and_comparable():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 10, 6)) * [5, 3, 2, 0.1, 0.1, 0.1]
    first = field.colours(values)
    assert np.allclose(np.abs(first.axes), np.eye(6)[:, :3], atol=0.15) and first.axes.max() > 0.9
    assert (first.axes[np.abs(first.axes).argmax(0), range(3)] > 0).all()
    turned = values @ np.linalg.qr(rng.normal(size=(6, 6)))[0]  # the same field in another basis
    like = field.colours(turned, like=(values - first.mean) @ first.axes).rgb(turned)
    assert np.abs(like.astype(int) - first.rgb(values).astype(int)).max() < 8
    assert (field.colours(np.ones((4, 4, 6))).rgb(np.ones((4, 4, 6))) == 128).all()


# ---------------------------------------------------------------------------- page


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    scene = write_scene(folder / "a.tif")
    lon, lat = scene.to_lonlat([20.5, 70.5], [30.5, 10.5])
    photos = pd.DataFrame(
        {"photo_id": ["p`1${x}", "p<2>"], "lon": lon, "lat": lat, "heading": [12.345, np.nan]}
    )
    picture = np.zeros((80, 96, 3), np.uint8)
    picture[30, 20] = (255, 0, 0)
    m = maps.scene_map(
        scene, picture, {"PCA": (picture, None)}, photos=photos, chosen=0,
        thumbnails=[np.full((24, 24, 3), 90, np.uint8)] * 2,
        finding=field.Finding(float(lon[1]), float(lat[1]), 0.7, 538.0, 400.0),
        legend="cosine similarity", synthetic=True,
    )  # fmt: skip
    return scene, photos, maps.save(m, folder / "new" / "map.html").read_text(), m


def test_the_saved_map_needs_no_network(saved):
    _, _, page, _ = saved
    assert external_loads(page) == []
    assert "L.tileLayer" not in page.split("</script>")[-2]
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css)', page)
    assert "Leaflet 1." in page and "synthetic" in page and len(page) < 1_000_000


def test_the_saved_map_puts_the_landmark_under_its_marker(saved):
    """Read the file back as Leaflet would: overlay bounds and PNG, and the marker's position."""
    scene, photos, page, _ = saved
    found = re.search(
        r'L\.imageOverlay\(\s*"data:image/png;base64,([^"]+)",\s*(\[\[.*?\]\])', page, re.S
    )
    rgba = np.array(Image.open(io.BytesIO(base64.b64decode(found.group(1)))))
    (south, west), (north, east) = eval(found.group(2))
    marker = re.search(r"L\.circleMarker\(\s*\[([-\d.]+), ([-\d.]+)\]", page)
    lat, lon = (float(v) for v in marker.groups())
    assert np.allclose((lon, lat), photos.loc[0, ["lon", "lat"]].astype(float))
    corners = np.array([west, east, lon]), np.array([south, north, lat])
    (x0, x1, x), (y0, y1, y) = overlays.mercator(*corners)
    i, j = (x - x0) / (x1 - x0) * rgba.shape[1], (y1 - y) / (y1 - y0) * rgba.shape[0]
    assert tuple(rgba[int(j), int(i), :3]) == (255, 0, 0)


def test_popups_are_escaped(saved):
    page = saved[2]
    assert "p<2>" not in page and "p&lt;2&gt;" in page
    assert "p`1${x}" not in page and "heading: nan" not in page
    assert page.count('width="220" height="220">') == 2  # known before the picture is decoded


def test_frame_embeds_the_page(saved):
    text = maps.frame(saved[3], height=300).data
    assert text.startswith("<div><iframe") and "srcdoc" in text and external_loads(text) == []


def test_a_map_with_tiles_or_plugins_is_refused(saved):
    import leafmap.foliumap as leafmap

    with pytest.raises(BadInput, match="network"):
        maps.page(leafmap.Map(tiles=None))  # leafmap's full-screen plugin comes from a CDN
    with pytest.raises(BadInput, match="network"):
        maps.page(leafmap.Map(fullscreen_control=False))


def test_a_scene_without_photos_says_so(saved):
    picture = np.zeros((80, 96, 3), np.uint8)
    page = maps.page(maps.scene_map(saved[0], picture, {}, photos=None))
    assert "no photos" in page and "circleMarker(" not in page.split("</head>")[1]
