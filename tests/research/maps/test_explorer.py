"""Exploration by clicks: right photos, right places, and words for what is missing."""

import base64
import html as markup
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from pyproj import Geod
from rasterio.transform import from_origin

from gairlib.data import scenes
from gairlib.embed.field import Field
from gairlib.errors import BadInput
from research.maps import explorer, explorer_widgets, overlays, turning
from research.speed import exploration

ROOT = Path(__file__).resolve().parents[3]
BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
SIDE, DIM = 12, 8  # cells of 40 m


def encode(lonlat):
    """A location encoder that is the point on the unit sphere, and five zeros."""
    lon, lat = np.radians(np.asarray(lonlat)).T
    xyz = [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    return np.stack(xyz + [0 * lon] * (DIM - 3), 1).astype(np.float32)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "a.tif"
    profile = dict(driver="GTiff", width=48, height=48, count=10, dtype="uint16", nodata=0)
    with rasterio.open(
        path, "w", crs="EPSG:32654", **profile, transform=from_origin(676_000, 3_990_000, 10, 10)
    ) as file:
        file.write(np.full((10, 48, 48), 900, np.uint16))
        file.descriptions = BANDS
    return scenes.open_scene(path, row={"processing_baseline": "02.14"})


def make(scene, photos=5, valid=None, values=None):
    """Photo i stands in cell (row 2i, column i) and its vector is that cell's, the last outside."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(SIDE, SIDE, DIM)).astype(np.float32) if values is None else values
    valid = np.ones((SIDE, SIDE), bool) if valid is None else valid
    field = Field(values, valid, scene.transform, (0, 0, 48, 48), scene, "nili")
    i = np.arange(photos)
    lon, lat = scene.to_lonlat(4 * i + 2.0, 8 * i + 2.0)
    table = pd.DataFrame({"photo_id": [f"p{k}" for k in i], "lon": lon, "lat": lat})
    vectors = values[2 * i, i] if photos else np.zeros((0, DIM), np.float32)
    return explorer.Explorer(
        field, table, vectors, [f"data:image/png;base64,{k}" for k in i], encode
    )


def decoded(picture) -> np.ndarray:
    content = base64.b64decode(picture.uri.split(",")[1])
    return np.array(Image.open(io.BytesIO(content)).convert("RGBA"))


# ---------------------------------------------------------------------------- the three questions


def test_a_spot_finds_the_photo_with_its_vector(scene):
    held = make(scene)
    for i in range(5):
        lon, lat = (float(v) for v in scene.to_lonlat(4 * i + 3.9, 8 * i + 0.1))  # same cell
        spot = held.at(lon, lat, k=3)
        assert spot.near[0].photo_id == f"p{i}" and np.isclose(spot.near[0].cosine, 1, atol=1e-5)
        assert len(spot.near) == 3 and spot.problem == ""
        metres = Geod(ellps="WGS84").inv(lon, lat, *held.lonlat[i])[2]
        assert abs(spot.near[0].metres - metres) < 0.01 * metres + 0.1
        assert [n.cosine for n in spot.near] == sorted((n.cosine for n in spot.near), reverse=True)
    everything = held.at(lon, lat, k=99).near
    oracle = held.field.values[8, 4] @ held.vectors.T / np.linalg.norm(held.field.values[8, 4])
    assert np.allclose([n.cosine for n in everything], np.sort(oracle)[::-1], atol=1e-5)


def test_spots_without_an_answer_say_why(scene):
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 6:] = False
    held = make(scene, valid=valid)
    outside = held.at(*(float(v) for v in scene.to_lonlat(-1.0, 5.0)))
    assert not outside.near and "outside the part" in outside.problem
    clear = held.at(*(float(v) for v in scene.to_lonlat(40.0, 5.0)))
    assert not clear.near and clear.problem == "no satellite data here"
    alone = make(scene, photos=0).at(*(float(v) for v in scene.to_lonlat(4.0, 5.0)))
    assert not alone.near and "no photo to compare with" in alone.problem
    with pytest.raises(BadInput):
        held.at(float("nan"), 5.0)


def test_a_photo_is_found_in_its_own_cell(scene):
    held = make(scene)
    for i in range(5):
        place = held.where(i)
        assert place.finding.cosine > 0.999 and place.finding.error_m < 0.5
        assert place == held.where(f"p{i}")
        low, high = place.picture.limits
        assert np.isclose(high, 1, atol=1e-5) and low < 0.5
    with pytest.raises(BadInput, match="'p9' is not among the 5"):
        held.where("p9")


def test_the_similarity_picture_is_brightest_over_the_photo(scene):
    """Its pixels are where Leaflet would show them: the brightest lie in the photo's cell."""
    held = make(scene)
    rgba = decoded(held.where(3, alpha=0.5).picture)
    assert set(np.unique(rgba[..., 3])) == {0, 128}  # see-through, and clear outside the scene
    brightness = rgba[..., :3].astype(int).sum(-1)
    j, i = np.nonzero(brightness == brightness.max())
    west, south, east, north = held.where(3).picture.bounds
    (x0, x1), (y0, y1) = overlays.mercator(np.array([west, east]), np.array([south, north]))
    x = x0 + (i.mean() + 0.5) / rgba.shape[1] * (x1 - x0)
    y = y1 - (j.mean() + 0.5) / rgba.shape[0] * (y1 - y0)
    column, row = scene.to_pixels(*overlays.unmercator(x, y))
    assert abs(column - 14) < 0.6 and abs(row - 26) < 0.6  # pixels of 10 m


def test_photos_without_a_place_say_why(scene):
    held = make(scene)
    held.lonlat = np.vstack([[0.0, 0.0], held.lonlat[1:]])
    far = held.where(0)
    assert far.finding is None and far.picture and "outside the part" in far.problem
    assert held.inside() == [1, 2, 3, 4]
    empty = make(scene, valid=np.zeros((SIDE, SIDE), bool)).where(1)
    assert empty.picture is None and empty.finding is None and "no data" in empty.problem


def test_a_constant_field_answers_too(scene):
    held = make(scene, values=np.ones((SIDE, SIDE, DIM), np.float32))
    place = held.where(2)
    low, high = place.picture.limits
    assert np.isclose(low, 1) and np.isclose(high, 1)
    assert place.finding is None
    assert place.problem == "similarity is 1.00 everywhere: the field is constant"
    noise = np.random.default_rng(0).normal(0, 1e-7, (SIDE, SIDE, DIM)).astype(np.float32)
    noisy = make(scene, values=1 + noise).where(2)
    assert noisy.finding is None and noisy.problem == place.problem
    shown = explorer_widgets.SceneClicks(held, np.zeros((48, 48, 4), np.uint8))
    shown.map.add(shown.best)
    shown.choose(2)
    assert place.problem in shown.place.value and "cosine similarity" not in shown.place.value
    assert shown.best not in shown.map.layers  # the ring of an answer before
    assert len(held.at(*held.lonlat[2]).near) == 5


def test_the_world_is_brightest_at_the_place(scene):
    held = make(scene)
    for lon, lat in ((10.0, 50.0), (-179.0, -33.0), (140.0, 0.0)):
        answer = held.world(lon, lat)
        rgba = decoded(answer.picture)
        brightness = rgba[..., :3].astype(int).sum(-1)
        j, i = np.nonzero(brightness == brightness.max())
        places, shape, bounds = explorer.world_grid()
        assert rgba.shape[:2] == shape and answer.picture.bounds == bounds
        here = places.reshape(*shape, 2)[j, i]
        away = (here - (lon, lat) + 180) % 360 - 180
        assert np.abs(away).min(0).max() < 2.5
    assert len(answer.near) == 5


def test_the_worlds_grid_is_square_in_web_mercator():
    places, (h, w), (west, south, east, north) = explorer.world_grid(36)
    assert len(places) == h * w and (west, east) == (-180.0, 180.0) and np.isclose(south, -north)
    x, y = overlays.mercator(*places.T)
    x, y = x.reshape(h, w), y.reshape(h, w)
    step = 2 * 20037508.342789244 / 36
    assert np.allclose(np.diff(x, axis=1), step) and np.allclose(np.diff(y, axis=0), -step)
    assert np.isclose(overlays.mercator(0, north)[1], y[0, 0] + step / 2)
    assert north >= explorer.WORLD_LAT


def test_tables_must_agree(scene):
    held = make(scene)
    with pytest.raises(BadInput, match="5 photos, 4 vectors"):
        explorer.Explorer(held.field, held.photos, held.vectors[:4], held.pictures, encode)


def test_gallery_has_the_scenes_photos_first():
    manifest = pd.DataFrame(
        {"photo_id": ["a", "b", "b", "c", "d", "e"], "scene_id": ["s", "s", "s", "t", "t", "t"]}
    )

    class Scene:
        id = "s"

    assert explorer.gallery(manifest, Scene, 4)["photo_id"].tolist()[:2] == ["a", "b"]
    assert len(explorer.gallery(manifest, Scene, 4)) == 4
    assert len(explorer.gallery(manifest, Scene, 99)) == 5
    assert set(explorer.gallery(manifest, Scene, 1)["scene_id"]) == {"s"}
    assert len(explorer.gallery(manifest.iloc[:0], Scene, 4)) == 0


# ---------------------------------------------------------------------------- the widgets


def click(widget_map, lon, lat):
    """What ipyleaflet sends from the browser."""
    message = {"event": "interaction", "type": "click", "coordinates": [lat, lon]}
    widget_map._handle_leaflet_event(widget_map, message, [])


def test_clicks_on_the_scene_are_answered(scene):
    held = make(scene)
    shown = explorer_widgets.SceneClicks(held, np.zeros((48, 48, 4), np.uint8))
    assert "Click anywhere" in shown.near.value
    click(shown.map, *held.lonlat[2])
    assert "<b>p2</b>" in shown.near.value and "cos 1.00" in shown.near.value
    assert shown.here in shown.map.layers and np.allclose(shown.here.location, held.lonlat[2][::-1])
    shown.choose(3)
    assert shown.photos.value == 3 and "<b>p3</b>" in shown.place.value
    assert "<b>0 m</b> from where it was taken" in shown.place.value
    assert shown.similarity.url == held.where(3).picture.uri
    shown.opacity.value = 0.3
    assert shown.similarity.url == held.where(3, 0.3).picture.uri
    assert [shown.map.layers.count(x) for x in (shown.truth, shown.best)] == [1, 1]


def test_a_direction_is_turned_by_hand_and_the_last_questions_are_asked_anew(scene):
    held = make(scene)
    shown = explorer_widgets.SceneClicks(held, np.zeros((SIDE, SIDE, 4), np.uint8))
    read = []

    def looking(heading):  # the photo of cell (0, 0) is what is seen from the last one
        read.append(heading)
        values = np.roll(first.values, (SIDE - 1, SIDE - 1), axis=(0, 1))
        return replace(first, values=values, mode=f"nili, heading {heading:g}")

    first = held.field
    turned = turning.slider(shown, looking)
    lon, lat = (float(v) for v in scene.to_lonlat(46.0, 46.0))
    shown.spot(lon, lat)
    shown.choose(0)
    before = shown.near.value, shown.best.location, shown.similarity.url
    turned.value = 90.0
    assert held.field.mode == "nili, heading 90" and read == [90.0]
    assert held.at(lon, lat).near[0].photo_id == "p0"
    after = shown.near.value, shown.best.location, shown.similarity.url
    assert all(a != b for a, b in zip(before, after))
    np.testing.assert_allclose(after[1], (lat, lon), atol=1e-4)
    turned.value = turning.ALL
    assert held.field is first and shown.best.location == before[1]
    turned.value = 90.0
    assert read == [90.0]  # each stop is read once


def test_clicks_on_the_world_are_answered(scene):
    held = make(scene)
    earth = explorer_widgets.WorldClicks(held, np.array([[10.0, 50.0], [0.0, 89.0]]))
    click(earth.map, 370.0, 50.0)  # Leaflet counts on past 180 degrees
    assert earth.similarity.url == held.world(10.0, 50.0).picture.uri
    height = {name: pane["zIndex"] for name, pane in earth.map.panes.items()}
    assert height[earth.land.pane] > height[earth.similarity.pane]  # land shows over the field
    click(earth.map, -30.0, 10.0)
    assert earth.similarity.url == held.world(-30.0, 10.0).picture.uri
    assert "cosine similarity" in earth.near.value


def test_without_photos_the_widgets_say_so(scene):
    held = make(scene, photos=0)
    shown = explorer_widgets.SceneClicks(held, np.zeros((48, 48, 4), np.uint8))
    assert "no photo to compare with" in shown.near.value
    click(shown.map, *(float(v) for v in scene.to_lonlat(4.0, 5.0)))
    assert "there is no photo to compare with" in shown.near.value
    earth = explorer_widgets.WorldClicks(held, np.zeros((0, 2)))
    earth.place(10.0, 50.0)
    assert earth.similarity is not None and "Photos most like it" not in earth.near.value


def test_dots_that_are_not_drawn_are_named(scene, monkeypatch):
    held = make(scene)
    whole = explorer_widgets.SceneClicks(held, np.zeros((48, 48, 4), np.uint8))
    monkeypatch.setattr(explorer_widgets, "MARKERS", 3)
    shown = explorer_widgets.SceneClicks(held, np.zeros((48, 48, 4), np.uint8))
    assert "3 of 5 dots drawn; all are in the list" in words(shown.view)
    assert len(shown.photos.options) == 1 + 5 and "dots drawn" not in words(whole.view)


def test_credits_stand_under_the_widgets(scene):
    taken = replace(scene, datetime="2021-05-06")
    assert overlays.credit(taken, synthetic=True) == "synthetic scene"
    of_scene, of_world = overlays.credit(taken, synthetic=False), "places: a table"
    assert of_scene == "contains modified Copernicus Sentinel data 2021"
    held = make(scene)
    ground = np.zeros((48, 48, 4), np.uint8)
    assert of_scene in words(explorer_widgets.SceneClicks(held, ground, credit=of_scene).view)
    assert of_world in words(explorer_widgets.WorldClicks(held, held.lonlat, of_world).view)


def words(widget) -> str:
    """The text of every HTML widget within."""
    children = getattr(widget, "children", ())
    own = widget.value if isinstance(widget, ipywidgets.HTML) else ""
    return own + "".join(words(child) for child in children)


def test_distances_are_written_with_their_unit():
    assert [explorer_widgets.distance(m) for m in (0.4, 999, 1000, 9_990, 1_234_000)] == [
        "0 m",
        "999 m",
        "1.0 km",
        "10.0 km",
        "1,234 km",
    ]


# ---------------------------------------------------------------------------- time, notebook


def test_bench_measures_every_kind_of_click():
    found = exploration.run(quick=True)
    for kind in ("spot", "photo", "world"):
        for shown in ("", "_shown"):
            assert 0 < found[f"{kind}{shown}_median_seconds"] <= found[f"{kind}{shown}_p95_seconds"]
    assert found["slowest_seconds"] < 5  # bounds a defect, not the machine


@pytest.mark.parametrize(
    "case, said",
    [
        ("no photos", ["This scene has no photos."]),
        ("one photo", ["Only one photo here: there is no other to compare it with."]),
        ("many photos", ["200 of this scene's 203 photos are drawn."]),
    ],
)
def test_notebook_50_ends_with_a_map_that_says_what_is_missing(
    tiny, embedded, tmp_path, monkeypatch, case, said
):
    """Its cells, run one after the other in this process, on folders that lack something."""
    from gairlib.data.dataset import Dataset
    from gairlib.pairs.pairing import pair

    folder, photo = tmp_path / "data", ""
    shutil.copytree(tiny, folder)
    street = pd.read_csv(tiny / "street.csv").query("site == 'bern'").iloc[:12]
    if case == "no photos":
        street["lon"] += 1.0
    elif case == "one photo":
        street = street.iloc[:1]
    elif case == "many photos":  # and one that a draw of 200 by this seed leaves out
        street = street.loc[np.arange(203) % 12].assign(photo_id=[f"p{i}" for i in range(203)])
        drawn = street["photo_id"].reset_index(drop=True).sort_values().sample(200, random_state=0)
        photo = min(set(street["photo_id"]) - set(drawn))
    street.to_csv(folder / "street.csv", index=False)
    dataset = Dataset(folder)
    pair(
        dataset.photo_table(),
        dataset.scenes(),
        folder=tmp_path / "pair",
        max_photos=64,
        photos_root=folder,
        chip_px=32,
        chip_m=320.0,
        progress=False,
    )

    monkeypatch.chdir(tmp_path)
    given = {
        "folder": "data",
        "checkpoint": str(embedded[2] / "model"),
        "pairs": "pair",
        "scene": "bern",
        "photo": photo,
        "resolution": 40.0,
    }
    names = run_cells("50-explore-the-continuous-field.ipynb", given)
    page = (tmp_path / "scratch/outputs/explore/map.html").read_text()
    legend = page[page.rindex('<details class="legend') :].split("</details>")[0]
    for sentence in said:
        assert sentence in markup.unescape(legend)
    numbers = json.loads((tmp_path / "scratch/metrics/explore.json").read_text())
    assert numbers["photos"] == {"one photo": 1, "many photos": 200}.get(case, 0)
    assert ("most similar place:" in legend) == (numbers["photos"] > 0)
    if photo:
        assert names["photos"].photo_id[names["chosen"]] == photo


def run_cells(notebook: str, given: dict) -> dict:
    """Run a notebook's code cells with these parameters; the names that they leave."""
    names = {}
    for cell in json.loads((ROOT / "notebooks" / notebook).read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= given
    return names


@pytest.mark.parametrize("with_photos", [True, False])
def test_the_notebook_runs_without_a_browser(tiny, embedded, tmp_path, with_photos):
    from gairlib.data.dataset import Dataset
    from gairlib.pairs.pairing import pair

    folder = tiny
    if not with_photos:
        folder = tmp_path / "bare"
        (folder / "scenes").mkdir(parents=True)
        for path in (tiny / "scenes").glob("*.tif"):
            (folder / "scenes" / path.name).write_bytes(path.read_bytes())
    dataset = Dataset(folder)
    pair(
        dataset.photo_table(),
        dataset.scenes(),
        folder=tmp_path / "pair",
        photos_root=dataset.folder,
        chip_px=32,
        chip_m=320.0,
        progress=False,
    )
    values = {
        "folder": str(folder),
        "pairs": str(tmp_path / "pair"),
        "gallery": 20,
        "checkpoint": str(embedded[2] / "model"),
        "resolution": 40.0,
    }
    given = [x for k, v in values.items() for x in ("-p", f"{k}={v}")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "research.pipeline.notebook",
            str(ROOT / "notebooks/55-find-a-photo-by-hand.ipynb"),
            *given,
            "--html",
            str(tmp_path / "55.html"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "55.html").read_text()
    assert json.loads((tmp_path / "55.json").read_text())["parameters"]["gallery"] == 20
    said = "the most similar place is off by" if with_photos else "No photo stands in this scene"
    assert said in page and "The slowest kind of click" in page
    held = re.search(
        r"(\d+) of this scene.{1,6} (\d+) and (\d+) of the folder.* (\d+) paired", page
    )
    own, of_own, other, of_other = map(int, held.groups())
    assert own == min(20, of_own) and own + other == min(20, of_own + of_other)
