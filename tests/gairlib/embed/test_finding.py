"""A photo and an area in, a map and places out; a place in, photos out: against plain oracles."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from builders.field_scenes import UTM, write_scene
from builders.small_models import SMALL
from PIL import Image
from rasterio.transform import from_origin

import gairlib
from gairlib import GAIR
from gairlib.cone import any_direction
from gairlib.data.dataset import Dataset
from gairlib.embed import area, encode, likely
from gairlib.embed.field import dense_field
from gairlib.embed.nearest import Index
from gairlib.errors import BadInput

QUIET = dict(progress=False, device="cpu")


def made(**changes):
    torch.manual_seed(0)
    model = GAIR(SMALL.replace(chip_px=32, chip_m=320.0, **changes)).eval()
    if model.config.decoder != "linear":  # starts at zero otherwise
        last = model.field.cone.last if model.config.decoder == "cone" else model.field.last
        torch.nn.init.normal_(last.weight)
    return model


@pytest.fixture(scope="module")
def linear():
    return made(decoder="linear")


@pytest.fixture(scope="module")
def cone():
    return made(decoder="cone", decoder_options={"channels": 4, "width": 8, "directions": 4})


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    values = np.random.default_rng(0).integers(200, 4000, (10, 80, 96))
    values[:, :8, :8] = 0  # no data
    return write_scene(tmp_path_factory.mktemp("scene") / "a.tif", values)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "street.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read(1), file.tags(), file.transform


def softmax_places(similarity, t, reach, count):
    """Naive: all in memory, cell after cell."""
    share = np.exp(np.where(np.isnan(similarity), -np.inf, similarity) / t)
    share /= share.sum()
    left, rows = np.where(np.isnan(similarity), -np.inf, similarity), []
    down, across = np.mgrid[: share.shape[0], : share.shape[1]]
    while len(rows) < count and np.isfinite(left.max()):
        r, c = np.unravel_index(left.argmax(), left.shape)
        far = np.hypot(down - r, across - c)
        rows.append((r, c, share[far <= reach].sum(), similarity[r, c]))
        left = np.where(far < 2 * reach, -np.inf, left)
    return rows


def test_the_map_is_the_fields_similarity_and_places_are_its_softmax(
    linear, scene, photo, tmp_path
):
    found = gairlib.find(photo, scene, linear, radius=60.0, count=4, **QUIET)
    values, tags, _ = read(found.map)
    pixels = np.asarray(Image.open(photo).convert("RGB").resize((32, 32), Image.BICUBIC))
    vector = encode.encode_photos(linear, torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    dense = dense_field(linear, scene, chip_px=32, chip_m=320.0, window=(0, 0, 96, 80))
    np.testing.assert_allclose(values, dense.similarity(vector), atol=2e-3)
    assert np.isnan(values[:8, :8]).all() and np.isfinite(values).sum() == 80 * 96 - 64
    t = float(linear.temperatures()["incl"])
    assert found.temperature == t and tags["temperature"] == f"{t:g}"
    assert found.reading == tags["query_mode"] == "nili"
    want = softmax_places(values.astype(float), t, 6.0, 4)
    lon, lat = scene.to_lonlat(*(np.array([w[i] for w in want]) + 0.5 for i in (1, 0)))
    np.testing.assert_allclose(found.places["lon"], lon)
    np.testing.assert_allclose(found.places["lat"], lat)
    np.testing.assert_allclose(found.places["probability"], [w[2] for w in want], rtol=1e-6)
    assert (
        found.places["probability"].sum() < 1 and found.places["similarity"].is_monotonic_decreasing
    )
    # a lower temperature trusts the map more; another photo does not go on with this one's map
    path = tmp_path / "kept.tif"
    sharp = gairlib.find(photo, scene, linear, temperature=t / 10, radius=60.0, path=path, **QUIET)
    assert sharp.places["probability"][0] > found.places["probability"][0]
    other = gairlib.find(-vector, scene, linear, path=path, **QUIET)
    np.testing.assert_allclose(read(other.map)[0], -values, atol=1e-5)
    saved = other.save(tmp_path / "answer")
    points = gpd.read_file(saved["places"])
    np.testing.assert_allclose(points.geometry.x, other.places["lon"])
    assert json.loads(saved["about"].read_text())["radius"] == 160.0
    assert (read(saved["map"])[0] == read(other.map)[0])[8:].all()


def test_with_a_compass_one_direction_is_read_and_without_the_one_that_fits(cone, scene, photo):
    how = dict(chip_px=32, chip_m=320.0, overlap=0.25)
    vector = np.random.default_rng(2).normal(size=16)
    window = dict(window=(0, 0, 96, 80))
    each = [
        dense_field(cone, scene, heading=h, **how, **window).similarity(vector)
        for h in (0.0, 90.0, 180.0, 270.0)
    ]
    east = gairlib.find(vector, scene, cone, heading=90.0, **QUIET)
    assert east.reading == "nili, heading 90"
    np.testing.assert_allclose(read(east.map)[0], each[1], atol=2e-3)
    blind = gairlib.find(vector, scene, cone, **QUIET)
    assert blind.reading == read(blind.map)[1]["query_mode"] == "nili, each of 4 headings"
    want = any_direction(torch.from_numpy(np.stack(each, -1)).double(), blind.temperature)
    np.testing.assert_allclose(read(blind.map)[0], want, atol=2e-3)
    assert np.nanmax(np.abs(read(blind.map)[0] - np.mean(each, 0))) > 0.01


def test_a_box_cuts_the_area_and_its_cells_are_those_of_the_whole(linear, scene, photo):
    (west, east), (north, south) = scene.to_lonlat([30.2, 60.7], [20.2, 50.7])
    found = gairlib.find(photo, scene, linear, box=(west, south, east, north), **QUIET)
    values, _, transform = read(found.map)
    column, row = (round(v) for v in ~scene.transform @ (transform.c, transform.f))
    assert abs(column - 30) <= 1 and abs(row - 20) <= 1 and 31 <= values.shape[0] <= 34
    everywhere = gairlib.find(photo, scene, linear, **QUIET)
    whole = read(everywhere.map)[0]
    h, w = values.shape
    np.testing.assert_allclose(values, whole[row : row + h, column : column + w], atol=1e-5)
    for bad in ((0, 0, 1, 1), (west, north, east, south), (1, 2, 3), (0, 0, 1, 100)):
        with pytest.raises(BadInput, match="box"):
            gairlib.find(photo, scene, linear, box=bad, **QUIET)
    for all_of_it in (None, (-180, -90, 180, 90), (100, 0, 179, 80), (140, 30, -170, 40)):
        assert area.window_of(scene, all_of_it) == (0, 0, 96, 80)
    half = area.window_of(scene, (141.0, float(north), -170.0, 90.0))  # what is north of a row
    assert half[:3] == (0, 0, 96) and abs(half[3] - 20) <= 2


def test_a_box_may_lie_across_the_antimeridian(tmp_path):
    scene = write_scene(
        tmp_path / "a.tif", crs="EPSG:4326", transform=from_origin(179.996, 10, 1e-4, 1e-4)
    )
    assert area.window_of(scene, (179.99805, 9.0, -179.99805, 11.0)) == (20, 0, 40, 80)
    assert area.window_of(scene, (-179.99795, 9.99505, 0.0, 11.0)) == (60, 0, 36, 50)


def test_a_folder_of_several_scenes_needs_a_box_or_a_scene(tmp_path, linear, photo):
    near, far = UTM[1], from_origin(690_000, 3_990_000, 10, 10)
    first = write_scene(tmp_path / "scenes/first.tif", transform=near)
    write_scene(tmp_path / "scenes/second.tif", transform=far)
    with pytest.raises(BadInput, match=r"2 scenes \(first, second\)"):
        gairlib.find(photo, tmp_path, linear, **QUIET)
    lon, lat = (float(v) for v in first.to_lonlat(40, 40))
    box = (lon - 0.001, lat - 0.001, lon + 0.001, lat + 0.001)
    assert area.scene_of(Dataset(tmp_path), box).id == "first"
    assert gairlib.find(photo, tmp_path, linear, box=box, **QUIET).scene == "first"
    with pytest.raises(BadInput, match="0 scenes in the box"):
        area.scene_of(tmp_path, (0, 0, 1, 1))


def test_what_cannot_be_asked_is_said(linear, scene, photo):
    for wrong, how in (
        ("photo: shape", dict(photo=np.ones(3))),
        ("photo: shape", dict(photo=np.zeros(16))),
        ("heading", dict(heading=20.0)),
        ("temperature", dict(temperature=0.0)),
        ("radius", dict(radius=0.0)),
        ("count", dict(count=0)),
    ):
        with pytest.raises(BadInput, match=wrong):
            gairlib.find(**{"photo": photo, "area": scene, "model": linear, **QUIET, **how})


def test_places_of_a_map_of_many_blocks_are_those_of_a_search_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    similarity = rng.uniform(-1, 1, (150, 200)).astype(np.float32)
    similarity[rng.random(similarity.shape) < 0.3] = np.nan
    similarity[16:32, :16] = np.nan  # a block of nothing
    path = tmp_path / "map.tif"
    about = dict(driver="GTiff", count=1, dtype="float32", crs=UTM[0], transform=UTM[1])
    tiles = dict(tiled=True, blockxsize=16, blockysize=16, nodata=np.nan)
    with rasterio.open(path, "w", height=150, width=200, **about, **tiles) as file:
        file.write(similarity, 1)
    want = softmax_places(similarity.astype(float), 0.1, 3.5, 30)
    got = likely.places(path, temperature=0.1, radius=35.0, cell=10.0, count=30)
    np.testing.assert_allclose(got["similarity"], [w[3] for w in want])
    np.testing.assert_allclose(got["probability"], [w[2] for w in want])
    everything = likely.places(path, temperature=0.1, radius=500.0, cell=10.0, count=100)
    assert len(everything) == len(softmax_places(similarity.astype(float), 0.1, 50.0, 100)) < 10
    with rasterio.open(path, "r+") as file:
        file.write(np.full_like(similarity, np.nan), 1)
    with pytest.raises(BadInput, match="no cell has data"):
        likely.places(path, temperature=0.1, radius=35.0, cell=10.0, count=3)


def index_of(vectors):
    n = len(vectors)
    table = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "kind": "photos", "lon": 0.0})
    other = pd.DataFrame({"id": ["chip"], "kind": "chips", "lon": 0.0})  # no photo
    both = pd.concat([other, table])
    return Index(both, np.concatenate([vectors[:1], vectors]).astype(np.float32))


def test_photos_that_look_like_a_place_the_other_way_round(cone, scene):
    column, row = 50, 40
    lonlat = [float(v) for v in scene.to_lonlat(column + 0.5, row + 0.5)]
    vectors = np.random.default_rng(4).normal(size=(40, 16))
    cosines = []
    for heading in (0.0, 90.0, 180.0, 270.0):
        chip = dict(area=scene, heading=heading, count=40)
        answer = gairlib.photos_like(lonlat, index_of(vectors), cone, **chip, device="cpu")
        assert answer["similarity"].is_monotonic_decreasing and len(answer) == 40
        cosines.append(answer.set_index("id")["similarity"].sort_index())
    t = float(cone.temperatures()["incl"])
    blind = gairlib.photos_like(lonlat, index_of(vectors), cone, area=scene, count=5, device="cpu")
    want = any_direction(torch.from_numpy(np.stack(cosines, -1)), t).numpy()
    want = pd.Series(want, index=cosines[0].index).sort_values(ascending=False)[:5]
    assert blind["id"].tolist() == want.index.tolist()
    np.testing.assert_allclose(blind["similarity"], want, atol=1e-6)


def test_a_place_known_by_its_coordinates_finds_photos_in_files(linear, tmp_path):
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(np.full((20, 20, 3), 80 * i, np.uint8)).save(paths[-1])
    answer = gairlib.photos_like((8.0, 47.0), paths, linear, device="cpu")
    images = torch.stack([torch.full((3, 32, 32), 80 * i, dtype=torch.uint8) for i in range(3)])
    photos = encode.encode_photos(linear, images)
    place = encode.locations(linear, [8.0, 47.0])[0]
    order = np.argsort(-photos @ place)
    assert answer["path"].tolist() == [str(paths[i]) for i in order]
    np.testing.assert_allclose(answer["similarity"], (photos @ place)[order], atol=1e-5)
    with pytest.raises(BadInput, match="no photos"):
        gairlib.photos_like((8.0, 47.0), [], linear)
    with pytest.raises(BadInput, match="other weights"):
        held = index_of(photos)
        held.weights = "of another"
        gairlib.photos_like((8.0, 47.0), held, linear)
