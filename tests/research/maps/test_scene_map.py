"""The dense field and the map: right place to the pixel, right blending, no network."""

import base64
import html
import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from builders.field_scenes import UTM, write_scene
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

from gairlib import GAIR, GAIRConfig
from gairlib.embed import field
from gairlib.errors import BadInput
from research.evaluation import finding
from research.maps import explore, overlays, popups, scene_map
from research.maps.overlays import Layer
from research.pipeline.offline import external_loads


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
        picture.transpose(2, 0, 1).copy(),
        oracle,
        src_transform=scene.transform,
        src_crs=scene.crs,
        dst_transform=target,
        dst_crs="EPSG:3857",
        resampling=Resampling.nearest,
        tolerance=0,
    )
    same = (oracle == rgba[..., :3].transpose(2, 0, 1)).all(axis=0)
    assert same.mean() > 0.995  # the rest: centres on a pixel's very edge


def test_a_corner_in_utm_lands_where_pyproj_says(tmp_path):
    """One bright pixel whose UTM corners are known: within half an overlay pixel."""
    scene = write_scene(tmp_path / "a.tif")
    picture = np.zeros((80, 96, 3), np.uint8)
    picture[20, 70] = 255  # 676,700 to 676,710 E and 3,989,790 to 3,989,800 N
    grid = overlays.Warp((80, 96), scene)
    j, i = np.nonzero(grid(picture)[..., 0])
    (x0, _), (_, y1) = overlays.mercator(np.array(grid.bounds[::2]), np.array(grid.bounds[1::2]))
    to_mercator = Transformer.from_crs(scene.crs, "EPSG:3857", always_xy=True)
    x, y = to_mercator.transform(
        [676_700, 676_710, 676_700, 676_710], [3_989_800, 3_989_800, 3_989_790, 3_989_790]
    )
    want = [min(x), max(x), min(y), max(y)]
    got = [
        x0 + i.min() * grid.step,
        x0 + (i.max() + 1) * grid.step,
        y1 - (j.max() + 1) * grid.step,
        y1 - j.min() * grid.step,
    ]
    assert np.abs(np.subtract(got, want)).max() <= 0.5 * grid.step + 1e-6
    centre = to_mercator.transform(676_705, 3_989_795)
    assert abs(np.mean(got[:2]) - centre[0]) < 0.5 * grid.step
    assert abs(np.mean(got[2:]) - centre[1]) < 0.5 * grid.step


def test_mercator_round_trip():
    lon, lat = np.array([-180.0, 12.3, 181.0]), np.array([-85.0, 0.0, 60.0])
    assert np.allclose(overlays.unmercator(*overlays.mercator(lon, lat)), [lon, lat])
    assert np.isclose(overlays.mercator(180.0, 0.0)[0], 20037508.342789244)


def test_similarity_is_clear_without_data():
    cosine = np.random.default_rng(0).uniform(size=(8, 9))
    cosine[:, :3] = np.nan
    assert overlays.similarity_rgba(cosine, 0, 1)[..., 3].max() == 255
    assert overlays.similarity_rgba(cosine, 0, 1)[:, :3].max() == 0


# ---------------------------------------------------------------------------- page


def data_of(page: str) -> dict:
    """What the page hands to map.js."""
    start = page.rindex("gairlibMap({") + len("gairlibMap(")
    return json.JSONDecoder().raw_decode(page, start)[0]


def photos_at(scene, columns, rows, **extra):
    lon, lat = scene.to_lonlat(np.asarray(columns, float), np.asarray(rows, float))
    ids = [f"p{i}" for i in range(len(columns))]
    return pd.DataFrame({"photo_id": ids, "lon": lon, "lat": lat} | extra)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    scene = write_scene(folder / "a.tif")
    photos = photos_at(scene, [20.5, 70.5], [30.5, 10.5], heading=[12.345, np.nan])
    photos["photo_id"] = ["p`1${x}</script>", "p<2>"]
    picture = np.zeros((80, 96, 3), np.uint8)
    picture[30, 20] = (255, 0, 0)
    cosine = np.linspace(0.1, 0.5, 80 * 96).reshape(80, 96)
    m = scene_map.scene_map(
        scene,
        Layer(picture),
        {
            "PCA": Layer(picture, note="three components"),
            "Similarity": overlays.similarity_layer(cosine),
        },
        swipe=(Layer(picture, note="raw tokens"), "PCA"),
        photos=photos,
        chosen=0,
        thumbnails=[np.full((24, 24, 3), 90, np.uint8)] * 2,
        vectors=np.eye(2) + 0.1,
        finding=finding.Finding(float(photos.lon[1]), float(photos.lat[1]), 0.7, 538.0, 400.0),
        synthetic=True,
    )
    return scene, photos, scene_map.save(m, folder / "new" / "map.html").read_text(), m


def test_the_saved_map_needs_no_network(saved):
    _, _, page, _ = saved
    assert external_loads(page) == []
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css)', page)
    assert data_of(page)["basemap"] is None
    assert "Leaflet 1." in page and "synthetic" in page and len(page) < 1_000_000


def landmark(uri: str, bounds, lon: float, lat: float) -> tuple:
    """The colour that Leaflet shows at a place under an overlay."""
    rgba = np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    (south, west), (north, east) = bounds
    corners = np.array([west, east, lon]), np.array([south, north, lat])
    (x0, x1, x), (y0, y1, y) = overlays.mercator(*corners)
    i, j = (x - x0) / (x1 - x0) * rgba.shape[1], (y1 - y) / (y1 - y0) * rgba.shape[0]
    return tuple(rgba[int(j), int(i), :3])


def test_the_saved_map_puts_the_landmark_under_its_marker(saved):
    """Read the file back as Leaflet would: every overlay, the swipe's too, and the marker."""
    scene, photos, page, _ = saved
    found = re.findall(r'L\.imageOverlay\(\s*"(data:[^"]+)",\s*(\[\[.*?\]\])', page, re.S)
    data = data_of(page)
    lat, lon = data["photos"]["rows"][0]["at"]
    assert np.allclose((lon, lat), photos.loc[0, ["lon", "lat"]].astype(float))
    assert len(found) == 3
    drawn = [(uri, json.loads(bounds)) for uri, bounds in found[:2]]
    for uri, bounds in [*drawn, (data["swipe"]["url"], data["swipe"]["bounds"])]:
        assert landmark(uri, bounds, lon, lat) == (255, 0, 0)


def test_photos_cannot_break_out_of_the_page(saved):
    page = saved[2]
    assert "p<2>" not in page and "x}</script>" not in page
    rows = data_of(page)["photos"]["rows"]
    assert [r["id"] for r in rows] == ["p`1${x}</script>", "p<2>"]
    assert rows[0]["facts"] == [["heading", "12\u00b0"]] and rows[1]["facts"] == []  # not a number
    assert "innerHTML" not in page[page.rindex("function gairlibMap") :]


def test_names_end_no_line_name_no_address_and_are_no_variables(tmp_path):
    scene = write_scene(tmp_path / "a.tif")
    photos = photos_at(scene, [20.5, 70.5], [30.5, 10.5])
    photos["photo_id"] = ["y\u2028z\u0085", "map_0123456789abcdef0123456789abcdef"]
    photos["weather"] = ["fetch('https://outside.example/a')", "import `//outside.example/b`"]
    layer = Layer(np.zeros((80, 96, 3), np.uint8))
    page = scene_map.page(scene_map.scene_map(scene, layer, {}, photos=photos))
    rows = data_of(page)["photos"]["rows"]
    assert rows[0]["id"] == photos["photo_id"][0] and "\u2028" not in page
    assert [dict(r["facts"])["weather"] for r in rows] == photos["weather"].tolist()
    (handed,) = re.findall(r", \{([\w, ]+)\}\);", page)
    assert all(re.search(rf"(?:var|let) {name} ", page) for name in handed.split(", "))


def test_popups_know_their_neighbours(saved):
    scene, photos, page, _ = saved
    rows = data_of(page)["photos"]["rows"]
    ((other, cosine, metres),) = rows[0]["near"]
    assert other == 1 and rows[1]["near"][0][0] == 0
    assert np.isclose(cosine, 2 * 1.1 * 0.1 / (1.1**2 + 0.1**2), atol=1e-3)
    assert abs(metres - np.hypot(500, 200)) < 2


def test_popups_name_the_source_in_words(saved):
    photos = photos_at(
        saved[0],
        [20.5],
        [30.5],
        heading=[273],
        captured_at=["2021-03-04"],
        photo_source=["Mapillary"],
        licence=["CC BY-SA 4.0"],
        sequence=["not shown"],
    )
    shown = scene_map.popup_columns(photos)
    m = scene_map.scene_map(saved[0], Layer(np.zeros((80, 96, 3), np.uint8)), {}, photos=shown)
    assert dict(data_of(scene_map.page(m))["photos"]["rows"][0]["facts"]) == {
        "heading": "273\u00b0",
        "captured": "2021-03-04",
        "source": "Mapillary",
        "licence": "CC BY-SA 4.0",
    }


def test_the_credit_has_the_year_and_the_page_a_name(saved):
    scene = replace(saved[0], datetime="2021-05-06T10:00:00Z", id="a&b")
    picture = Layer(np.zeros((80, 96, 3), np.uint8))
    page = scene_map.page(scene_map.scene_map(scene, picture, {"PCA": picture}))
    credits = re.findall(r'"attribution": "([^"]*)"', page)
    assert credits == ["contains modified Copernicus Sentinel data 2021"] * 2
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<title>Map of a&amp;b</title>" in page
    assert '"attribution": "synthetic scene"' in saved[2]


def test_true_colour_can_be_switched_off(saved):
    """It is in the control, and in a pane under the layers, so that it returns beneath them."""
    control = saved[2][saved[2].rindex("base_layers :") :][:900]
    assert re.search(r'overlays :\s*\{\s*"True colour" : image_overlay_', control)
    assert '"pane": "gairlib-ground"' in saved[2] and saved[2].count('"pane": "overlayPane"') == 2


def test_neighbours_against_a_plain_search():
    rng = np.random.default_rng(3)
    vectors, lonlat = rng.normal(size=(30, 5)), rng.uniform(0, 1, (30, 2))
    vectors[7] = vectors[4]  # a copy is a neighbour
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i, near in enumerate(popups.neighbours(vectors, lonlat, 4)):
        cosine = np.round(unit @ unit[i], 12)
        cosine[i] = -2
        assert [j for j, _, _ in near] == np.argsort(-cosine, kind="stable")[:4].tolist()
    assert popups.neighbours(vectors, lonlat, 4)[7][0][:2] == [4, 1.0]


def test_legend_has_numbers_and_follows_the_layer(saved):
    legend = saved[3].gairlib_legend
    part = re.search(r'data-layer="Similarity" hidden>(.*?)<div class="part', legend, re.S).group(1)
    assert re.findall(r"<span>([\d.]+)</span>", part) == ["0.11", "0.30", "0.50"]
    assert re.search(r'data-layer="PCA" hidden>\s*<div>three components', legend)
    assert "North is up" in legend and 'data-layer="swipe"' in legend and "538 m off" in legend


def test_swipe_needs_its_layer(saved):
    picture = Layer(np.zeros((80, 96, 3), np.uint8))
    with pytest.raises(BadInput, match="no layer 'Field'; there are PCA"):
        scene_map.scene_map(saved[0], picture, {"PCA": picture}, swipe=(picture, "Field"))
    page = scene_map.page(scene_map.scene_map(saved[0], picture, {"PCA": picture}))
    assert data_of(page)["swipe"] is None and 'data-layer="swipe"' not in page.split("</style>")[-1]


def test_frame_embeds_the_page(saved):
    text = scene_map.frame(saved[3], height=300).data
    assert text.startswith("<div><iframe") and "srcdoc" in text and external_loads(text) == []


def test_a_map_with_tiles_or_plugins_is_refused(saved):
    import leafmap.foliumap as leafmap

    with pytest.raises(BadInput, match="network"):
        scene_map.page(leafmap.Map(tiles=None))  # leafmap's full-screen plugin comes from a CDN
    with pytest.raises(BadInput, match="network"):
        scene_map.page(leafmap.Map(fullscreen_control=False))


def test_a_basemap_is_for_the_saved_page_alone(saved):
    picture = Layer(np.zeros((80, 96, 3), np.uint8))
    m = scene_map.scene_map(saved[0], picture, {}, basemap="OpenStreetMap.Mapnik")
    basemap = data_of(scene_map.page(m))["basemap"]
    assert basemap["url"].startswith("https://") and "{z}" in basemap["url"]
    assert "OpenStreetMap" in basemap["options"]["attribution"]
    assert "cannot be loaded here" in m.gairlib_legend
    framed = html.unescape(scene_map.frame(m).data)
    assert '"basemap": null' in framed  # a report opens without a network
    for wrong, why in (("Atlantis", "no such provider"), ("Thunderforest.Outdoors", "needs a key")):
        with pytest.raises(BadInput, match=why):
            scene_map.scene_map(saved[0], picture, {}, basemap=wrong)


# ---------------------------------------------------------------------------- bad input


def test_a_scene_without_photos_says_so(saved):
    picture = np.zeros((80, 96, 3), np.uint8)
    for none in (None, saved[1].iloc[:0]):
        page = scene_map.page(scene_map.scene_map(saved[0], Layer(picture), {}, photos=none))
        assert "This scene has no photos." in page and data_of(page)["photos"] is None


def test_one_photo_has_no_neighbour_and_says_so(saved):
    scene, photos = saved[:2]
    page = scene_map.page(
        scene_map.scene_map(
            scene,
            Layer(np.zeros((80, 96, 3), np.uint8)),
            {},
            photos=photos.iloc[:1],
            chosen=0,
            vectors=np.ones((1, 4)),
            thumbnails=[np.zeros((20, 30, 3), np.uint8)],
        )
    )
    (row,) = data_of(page)["photos"]["rows"]
    assert row["near"] == [] and row["chosen"] and (row["width"], row["height"]) == (30, 20)
    assert "Only one photo here" in page


def test_a_constant_field_is_named(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif")
    dense = field.dense_field(model, scene, chip_px=32, chip_m=320.0)
    flat = field.Field(
        np.ones_like(dense.values), dense.valid, dense.transform, dense.window, scene, "nili"
    )
    assert "The field is constant: every place looks alike to the model." in explore.missing(
        flat, pd.DataFrame()
    )
    assert explore.missing(dense, pd.DataFrame()) == []
    shown = overlays.similarity_layer(flat.similarity(np.ones(32)))
    assert shown.note == "similarity is 1.00 everywhere: the field is constant"
    photos = photos_at(scene, [20.5, 60.5], [30.5, 20.5])
    noise = np.random.default_rng(0).normal(0, 1e-7, flat.values.shape).astype(np.float32)
    noisy = field.Field(flat.values + noise, *list(vars(flat).values())[1:])
    cosine = noisy.similarity(np.ones(32))
    assert 0 < np.ptp(cosine) < finding.FLAT
    assert explore.find_all(noisy, np.ones((2, 32)), photos) == [None, None]
    numbers = explore.summary([None, None], noisy, 1)
    assert numbers == {"photos": 0, "field_cells": 80 * 96}
    low, high = overlays.similarity_limits(cosine)
    few = overlays.similarity_index(cosine, low, high)
    assert few.max() < 254 // 2  # rounding is not stretched over all colours
    light = overlays.similarity_rgba(cosine, low, high)[..., :3].astype(int)
    assert np.ptp(light.sum(-1)) < 300
    picture, _ = explore.scene_colours(flat)
    m = scene_map.scene_map(
        scene, Layer(picture), {"Similarity": shown}, missing=explore.missing(flat, pd.DataFrame())
    )
    page = scene_map.page(m)
    assert 'class="ticks"' not in m.gairlib_legend and "field is constant" in page


def test_photos_outside_the_window_are_not_looked_for(tmp_path, model):
    scene = write_scene(tmp_path / "a.tif", size=(80, 600))
    photos = photos_at(scene, [5.5, 30.5, 300.5, 590.5], [20.5] * 4)
    dense = field.dense_field(model, scene, chip_px=32, chip_m=320.0, window=(0, 0, 80, 80))
    findings = explore.find_all(dense, np.random.default_rng(0).normal(size=(4, 32)), photos)
    assert [f is not None for f in findings] == [True, True, False, False]
    assert explore.missing(dense, photos) == ["2 of 4 photos stand in the part shown."]
    assert explore.missing(dense, photos.iloc[:2]) == []
    assert explore.summary(findings, dense, 1)["photos"] == 2
    columns = {"split": "test", "scene_id": "a"}
    explore.write({}, findings, photos.assign(**columns), tmp_path, tmp_path / "m.json")
    written = pd.read_csv(tmp_path / "findings.csv")
    assert written["error_m"].notna().tolist() == [True, True, False, False]


def test_the_chosen_photo_is_among_those_drawn(tmp_path):
    scene = write_scene(tmp_path / "a.tif", size=(80, 600))
    n = 50
    photos = photos_at(scene, np.linspace(1, 599, n), np.full(n, 40.0))
    window = (0, 0, 300, 80)
    for chosen in (0, 24, 49):  # the last stands outside the window
        some, place = explore.some_photos(photos, chosen, scene, window, most=10, seed=3)
        assert len(some) == 10 and some.photo_id[place] == photos.photo_id[chosen]
        there = field.in_window(scene, window, some["lon"], some["lat"])
        assert there.sum() == 10 - (chosen == 49)
    many, place = explore.some_photos(photos, None, scene, window, most=40)
    assert place is None and many.photo_id.is_unique
    assert field.in_window(scene, window, many["lon"], many["lat"]).sum() == 25
    assert explore.some_photos(photos, 7, scene, window, most=50) == (photos, 7)


def test_no_data_is_left_clear_and_named(tmp_path, model):
    values = np.random.default_rng(0).integers(200, 4000, (10, 80, 96))
    values[:, :, :24] = 0
    scene = write_scene(tmp_path / "a.tif", values)
    dense = field.dense_field(model, scene, chip_px=32, chip_m=320.0)
    (said,) = explore.missing(dense, pd.DataFrame())
    assert said == "Without data, and left clear: 25% of the area."
    tokens = field.dense_field(model, scene, chip_px=32, chip_m=320.0, mode="nearest", overlap=0.0)
    for picture in (explore.scene_colours(dense)[0], explore.scene_tokens(tokens, dense)):
        assert not picture[:, :24, 3].any() and picture[:, 24:, 3].all()

    empty = write_scene(tmp_path / "b.tif")
    with rasterio.open(empty.path, "r+") as file:  # it had data when it was opened
        file.write(np.zeros((10, 80, 96), np.uint16))
    dense = field.dense_field(model, empty, chip_px=32, chip_m=320.0)
    assert explore.missing(dense, pd.DataFrame()) == ["This part of the scene has no data at all."]
    photos = photos_at(empty, [20], [30])
    assert explore.find_all(dense, np.ones((1, 32)), photos) == []
    shown = overlays.similarity_layer(dense.similarity(np.ones(32)))
    page = scene_map.page(
        scene_map.scene_map(empty, Layer(explore.scene_colours(dense)[0]), {"S": shown})
    )
    assert "no place here has data" in page


def test_a_thousand_photos_over_a_noisy_scene_stay_below_8_mb(tmp_path):
    """The worst case: pictures that no format can compress, at the largest window."""
    rng = np.random.default_rng(0)
    scene = write_scene(tmp_path / "a.tif", np.full((10, 512, 512), 900), size=(512, 512))
    n = 1000
    photos = photos_at(scene, rng.uniform(1, 511, n), rng.uniform(1, 511, n))
    noise = [Layer(rng.integers(0, 255, (512, 512, 3)).astype(np.uint8)) for _ in range(4)]
    thumbs = [rng.integers(0, 255, (140, 200, 3)).astype(np.uint8) for _ in range(20)]
    m = scene_map.scene_map(
        scene,
        noise[0],
        {"a": noise[1], "b": noise[2]},
        swipe=(noise[3], "a"),
        photos=photos,
        vectors=rng.normal(size=(n, 16)),
        thumbnails=[thumbs[i % 20] for i in range(n)],
        chosen=77,
    )
    path = scene_map.save(m, tmp_path / "map.html")
    assert path.stat().st_size < 8_000_000
    page = path.read_text()
    rows = data_of(page)["photos"]["rows"]
    assert len(rows) == n and all("src" in r and r["width"] < 140 for r in rows)
    assert all(len(r["near"]) == popups.NEIGHBOURS for r in rows)


def test_pictures_shrink_before_any_is_left_out():
    thumbs = [np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)] * 10
    one = len(popups.fit(thumbs[:1])[0]["src"])
    assert [p["width"] for p in popups.fit(thumbs, budget=12 * one)] == [200] * 10
    smaller = popups.fit(thumbs, budget=4 * one)
    assert all(smaller) and smaller[0]["width"] < 200
    few = popups.fit(thumbs, chosen=3, budget=one // 2)
    assert few[3] and 0 < sum(p is not None for p in few) < 10


def test_photos_without_room_for_their_picture_say_so(saved, monkeypatch):
    thumbs = [np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)] * 9
    photos = photos_at(saved[0], np.arange(9) + 20, np.full(9, 30))
    monkeypatch.setattr(popups, "PICTURE_BYTES", 5 * len(popups.fit(thumbs[:1])[0]["src"]))
    page = scene_map.page(
        scene_map.scene_map(
            saved[0], Layer(np.zeros((80, 96, 3), np.uint8)), {}, photos=photos, thumbnails=thumbs
        )
    )
    kept = sum("src" in r for r in data_of(page)["photos"]["rows"])
    assert 0 < kept < 9 and f"{kept} of 9 photos have their picture in this file." in page
