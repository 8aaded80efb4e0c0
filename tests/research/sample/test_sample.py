"""The sample world: seeded and repeatable, its geometry right, its folder as the others expect."""

import filecmp
import json
import math
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from gairlib.errors import BadInput
from research.sample import (
    forms,
    learnability,
    look,
    noise,
    photos,
    rays,
    render,
    sentinel,
    sites,
    sky,
    spectra,
    write,
)
from research.sample.climate import CLIMATES, styles_of
from research.sample.layout import CELL, EXTENT, MARGIN, N, plan
from research.sample.objects import build
from research.sample.sky import make_air

DATA = Path(__file__).resolve().parents[3] / "outputs/sites"
AGAIN = "tartu"  # the site that is made again and compared


@pytest.fixture(scope="module")
def world():
    return build(sites.load_sites([AGAIN])[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write.write_dataset(tmp_path_factory.mktemp("world"), [AGAIN])


# ---------------------------------------------------------------------------- sites


def test_sites_span_continents_and_splits():
    table = pd.DataFrame(write._site_row(s) for s in sites.load_sites())
    assert len(table) == 90 and table["site"].is_unique
    assert table["split"].value_counts().to_dict() == {
        "test": 40,
        "train": 32,
        "shifted": 12,
        "val": 6,
    }
    assert tuple(table["site"][:38]) == sites.STORED
    assert set(table["split"][:38]) == {"train", "val"}
    held_out = table[table["split"] == "test"]
    assert held_out["continent"].nunique() == 6 and held_out["climate"].nunique() == 13


def test_further_test_sites_have_climates_and_forms_that_no_other_has():
    table = pd.DataFrame(write._site_row(s) for s in sites.load_sites())
    known = table[table["split"].isin(["train", "val"])]
    further = table[(table["split"] == "test")][10:]  # the first ten are of the training's kind
    assert set(known["form"]) == {"patchwork"} and "patchwork" not in set(further["form"])
    assert (
        further["form"].nunique() == len(forms.FORMS) - 1
        and further["form"].value_counts().min() > 2
    )
    new = set(further["climate"]) - set(known["climate"])
    assert new == {"tundra", "steppe", "monsoon", "puna"}
    assert further["climate"].isin(new).sum() == 18


def test_sites_lie_on_the_ten_metre_grid_around_their_city():
    for site in sites.load_sites():
        assert site.west % 10 == 0 and site.north % 10 == 0
        x, y = Transformer.from_crs(4326, site.epsg, always_xy=True).transform(site.lon, site.lat)
        assert abs(x - site.west - 960) <= 5 and abs(site.north - y - 960) <= 5


def test_shifted_sites_keep_clear_of_those_whose_plan_they_have():
    by_name = {site.name: site for site in sites.load_sites()}
    for site in by_name.values():
        if site.split == "shifted":
            twin = by_name[site.plan]
            assert twin.split == "test" and twin.epsg == site.epsg
            assert site.west - twin.west == look.EAST_M > 2 * sites.SITE_M
        else:
            assert site.plan == "" and site.look == look.LOOK


def test_unknown_site_is_named():
    with pytest.raises(BadInput, match="atlantis"):
        sites.load_sites(["atlantis"])


def test_cities_are_real_and_spread():
    table = sites.cities_table(rows=100)
    assert list(table) == [
        "lon",
        "lat",
        "country",
        "continent",
        "log_population",
        "elevation",
        "climate",
    ]
    assert table["elevation"].between(-450, 6000).all() and table["elevation"].median() < 500
    assert set(table["climate"].dropna()) <= set(sites.GROUPS.values())
    assert table["lon"].between(-180, 180).all() and table["lat"].between(-90, 90).all()
    assert table["continent"].value_counts(normalize=True).max() < 0.4
    pd.testing.assert_frame_equal(table, sites.cities_table(rows=100))


def test_elevation_and_climate_of_known_places():
    lon, lat = [86.92, -74.0, 37.62, 31.24, 103.8, -160.0], [27.99, 40.71, 55.75, 30.05, 1.3, -20.0]
    height = sites.elevations(lon, lat)
    assert height[0] > 4000 and (abs(height[1:5]) < 300).all()
    want = ["polar", "temperate", "continental", "arid", "tropical", None]  # the last: open sea
    assert sites.climates(lon, lat) == want
    assert sites.climates([-179.99, 180.0], [68.9, 68.9])[0] is not None  # across the antimeridian


# ---------------------------------------------------------------------------- parts


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(0, 2**31 - 1))
@settings(max_examples=50, deadline=None)
def test_hash_is_in_range_and_repeats(i, j, seed):
    a = noise.hash01(np.array([i]), np.array([j]), seed)
    assert 0 <= a[0] < 1 and a == noise.hash01(np.array([i]), np.array([j]), seed)


def test_hash_is_uniform():
    values = noise.hash01(*np.meshgrid(np.arange(200), np.arange(200)), 3)
    assert abs(values.mean() - 0.5) < 0.01 and abs(values.std() - math.sqrt(1 / 12)) < 0.01


def test_sun_stands_where_it_should():
    # Equinox, local noon on the equator: overhead. At 45 N: to the south, 45 degrees up.
    noon = sky.at_solar_hour(30.0, datetime(2021, 3, 21), 12.0)
    assert sky.sun_position(30.0, 0.0, noon)[0] > math.radians(88)
    up, azimuth = sky.sun_position(30.0, 45.0, noon)
    assert abs(math.degrees(up) - 45) < 1.5 and abs(math.degrees(azimuth) - 180) < 2
    morning = sky.at_solar_hour(30.0, datetime(2021, 3, 21), 7.0)
    assert 80 < math.degrees(sky.sun_position(30.0, 45.0, morning)[1]) < 110  # in the east


def test_shadow_falls_away_from_the_sun():
    height = np.zeros((60, 60), np.float32)
    height[30, 30] = 20.0
    shade = sky.shadow_mask(height, math.radians(45), math.radians(90))  # sun in the east
    rows, columns = np.nonzero(shade)
    assert set(rows) == {30} and columns.max() == 29  # a shadow to the west
    assert columns.min() == 30 - 7  # 20 m tall, 45 degrees, cells of 2.5 m, half a metre of grace


def test_nearest_strip_against_loops():
    rng = np.random.default_rng(0)
    z = rng.uniform(1, 100, (25, 9))
    z[rng.random(z.shape) < 0.5] = np.inf
    low = rng.uniform(-1, 0.5, z.shape)
    high = low + rng.uniform(0, 0.6, z.shape)
    v = np.linspace(1, -1, 15)
    got = rays.nearest_strip(z, low, high, v)
    for c in range(z.shape[1]):
        for r, slope in enumerate(v):
            met = [
                k for k in range(len(z)) if np.isfinite(z[k, c]) and low[k, c] <= slope < high[k, c]
            ]
            assert got[r, c] == (min(met, key=lambda k: z[k, c]) if met else -1)


def test_boxes_are_met_where_they_stand():
    cam = rays.Camera(x=0.0, y=0.0, height=2.0, heading=90.0, fov=90.0)  # looking east
    table = {
        "x": np.array([20.0]),
        "y": np.array([0.0]),
        "cos": np.array([1.0]),
        "sin": np.array([0.0]),
        "half_w": np.array([3.0]),
        "half_d": np.array([4.0]),
    }
    u = np.array([-0.5, -0.1, 0.0, 0.1, 0.5])
    pick, enter, leave, flank = rays.enter_boxes(table, cam, u, 100.0)
    assert list(pick) == [0]
    np.testing.assert_allclose(enter[0], [np.inf, 17, 17, 17, np.inf])
    np.testing.assert_allclose(leave[0, 1:4], 23)
    assert flank[0, 2]
    turned = rays.Camera(x=0.0, y=0.0, height=2.0, heading=270.0, fov=90.0)
    assert not np.isfinite(rays.enter_boxes(table, turned, u, 100.0)[1]).any()


def test_camera_right_hand_is_clockwise():
    north = rays.Camera(0, 0, 2, 0.0, 90.0)
    east, south = north.directions(np.array([0.0, 1.0]))
    np.testing.assert_allclose([east[0], south[0]], [0, -1], atol=1e-12)
    np.testing.assert_allclose([east[1], south[1]], [1, -1], atol=1e-12)  # right of north: east


def test_seasons_and_snow_change_plants_not_walls():
    summer, winter = spectra.seasonal(1.0, False), spectra.seasonal(0.0, False)
    assert winter[spectra.INDEX["broadleaf"], 6] < summer[spectra.INDEX["broadleaf"], 6]
    road = spectra.INDEX["asphalt"]
    np.testing.assert_array_equal(winter[road], summer[road])
    snow = spectra.seasonal(1.0, True)
    assert snow[spectra.INDEX["grass"], 0] > 0.4 and snow[spectra.INDEX["clear water"], 0] < 0.1


# ---------------------------------------------------------------------------- forms and looks


def some(form, seed=0):
    return forms.centres(forms.FORMS[form], EXTENT, 0.6, np.random.default_rng(seed))


def along_and_across(found):
    """Metres from the middle along the lattice's two axes."""
    x, y = found.x - EXTENT / 2, found.y - EXTENT / 2
    c, s = math.cos(found.turn), math.sin(found.turn)
    return x * c + y * s, -x * s + y * c


def test_forms_lay_quarters_out_differently():
    count = {form: len(some(form).x) for form in forms.FORMS}
    assert count["old town"] > 2 * count["patchwork"] > 3 * count["superblocks"]
    grid = some("grid")
    p, q = along_and_across(grid)
    for steps in (p / grid.spacing, q / grid.spacing):
        assert np.abs(steps - np.rint(steps)).max() <= 0.011
    assert grid.parallel and not some("old town").parallel
    ring = some("radial")
    away = np.hypot(ring.x - EXTENT / 2, ring.y - EXTENT / 2) / ring.spacing
    assert np.abs(away - np.rint(away)).max() <= 0.1  # jitter of 0.06 in both directions
    assert ring.angle is not None and some("ribbon").angle is None
    town = some("ribbon")
    along, across = (np.abs(v) > 900 for v in along_and_across(town))
    assert town.u[along & ~across].mean() > town.u[across].mean() + 0.2


@pytest.fixture(scope="module")
def twins():
    return [build(site) for site in sites.load_sites(["boise", "boise-shifted"])]


def test_the_changed_generator_changes_what_it_says_and_nothing_else(twins):
    plain, other = twins
    for name, values in vars(plain.quarters).items():  # uses, styles, blocks, trees, crops ...
        np.testing.assert_array_equal(values, getattr(other.quarters, name), err_msg=name)
    for raster in ("quarter", "water", "parcel"):
        np.testing.assert_array_equal(getattr(plain, raster), getattr(other, raster))
    assert plain.water_material == other.water_material

    half = plain.quarters.street[plain.quarter]
    wider = (plain.road - other.road)[(plain.road < 40) & (plain.road > 0) & (plain.water > 4)]
    drawn = np.unique(np.r_[0.5 * half.ravel(), 0.5 * plain.quarters.main, 1.3])
    assert wider.min() > 0.4 and wider.max() <= drawn.max() + 1e-3

    a, b = (np.median(world.buildings["height"]) for world in twins)
    assert 1.4 < b / a < 1.8
    assert 0.4 < len(other.trees["x"]) / len(plain.trees["x"]) < 0.7
    kinds = [np.median(w.trees["radius"][w.trees["kind"] == w.trees["kind"][0]]) for w in twins]
    assert len(set(plain.trees["kind"]) ^ set(other.trees["kind"])) == 0 and kinds[1] > kinds[0]

    strange = [
        spectra.INDEX[n] for n in (*look.SHIFTED.ground.values(), "thatch roof", "solar roof")
    ]
    assert not np.isin(plain.top, strange).any() and np.isin(other.top, strange).mean() > 0.2
    swapped = look.SHIFTED.ground_of()
    np.testing.assert_array_equal(spectra.CLASS_OF[swapped], spectra.CLASS_OF)  # class for class
    np.testing.assert_array_equal(swapped[swapped], swapped)
    same = (plain.road > 3) & (other.road > 3)  # ground of quarters, off all roads and pavements
    np.testing.assert_array_equal(swapped[plain.ground[same]], other.ground[same])


def test_materials_of_the_changed_generator_are_of_no_other_climate_or_style():
    strange = {*look.SHIFTED.ground.values()}
    for climate in CLIMATES.values():
        used = {climate.grass, climate.dry, climate.soil, climate.dirt}
        assert not strange & {*used, *climate.trees, *climate.crops}
    own = {*look.SHIFTED.styles.values()}
    known = [style for site in sites.load_sites() for style in styles_of(site)]
    assert not own & set(known) and own.isdisjoint(look.SHIFTED.styles)
    roofs = {spectra.STYLES[s].roof for s in own}
    assert roofs.isdisjoint(v.roof for k, v in spectra.STYLES.items() if k not in own)


@pytest.mark.parametrize("name", ["cusco", "boise-shifted"])
def test_a_further_site_is_the_same_every_time(name):
    site = sites.load_sites([name])[0]
    a, b = plan(site), plan(site)
    np.testing.assert_array_equal(a.ground, b.ground)
    np.testing.assert_array_equal(a.light, b.light)
    np.testing.assert_array_equal(a.road, b.road)


# ---------------------------------------------------------------------------- a site


def test_world_is_consistent(world):
    on = world.building >= 0
    assert on.any() and (world.solid[on] > 2).all() and (world.solid[~on] == 0).all()
    assert (world.canopy[on] == 0).all()
    assert (world.road[on] > -CELL).mean() > 0.999  # no houses in the street
    assert (world.water[on] > 0).mean() > 0.999
    assert world.top.shape == (N, N)
    assert (spectra.CLASS_OF[world.top[world.canopy > 0]] == spectra.TREES).all()


def test_a_site_holds_many_uses(world):
    inside = int(MARGIN / CELL)
    cover = sentinel.land_cover(world)
    assert cover.shape == (192, 192) and set(np.unique(cover)) <= set(spectra.CLASSES)
    assert len(np.unique(world.quarters.use[np.unique(world.quarter[inside:-inside])])) >= 6


def test_scene_bands_have_their_native_resolution(world):
    scene = sentinel.observe(world)
    assert scene.bands.shape == (11, 192, 192) and scene.bands.dtype == np.uint16
    coarse = [sentinel.spectra.BANDS.index(b) for b in spectra.BANDS_20M] + [10]
    for b in range(11):
        same = np.array_equal(scene.bands[b, ::2, ::2], scene.bands[b, 1::2, 1::2])
        assert same == (b in coarse)
    assert scene.bands[:10].min() >= (1000 if scene.baseline >= "04.00" else 1)
    assert (scene.baseline >= "04.00") == (scene.when >= datetime(2022, 1, 25))


def test_photo_labels_add_up(world):
    shots = photos.shots(world)
    assert len(shots) == photos.PER_SITE + photos.MORE.get(world.site.split, 0)
    camera, when, _ = shots[0]
    air = make_air(world.site, when, "clear", np.random.default_rng(0))
    view = render.render(world, camera, air, seed=1)
    assert view.image.shape == (96, 96, 3) and view.image.dtype == np.uint8
    parts = view.green_view, view.building_view, view.sky_view, view.road_view, view.water_view
    assert all(0 <= p <= 1 for p in parts) and sum(parts) <= 1 + 1e-9
    np.testing.assert_array_equal(view.image, render.render(world, camera, air, seed=1).image)


def test_further_photos_leave_the_first_ones_as_they_are(world, monkeypatch):
    everyone = photos.shots(world)
    monkeypatch.setattr(photos, "MORE", {})
    first = photos.shots(world)
    assert len(first) == photos.PER_SITE and everyone[: len(first)] == first
    monkeypatch.setattr(photos, "MORE", {world.site.split: 30})
    shots = photos.shots(world)
    assert len(shots) == photos.PER_SITE + 30
    at = np.array([[camera.x, camera.y] for camera, _, _ in shots])
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(at))
    assert apart.min() >= photos.APART_M


def test_a_photo_turned_round_shows_something_else(world):
    camera = photos.shots(world)[3][0]
    back = rays.Camera(camera.x, camera.y, camera.height, (camera.heading + 180) % 360, camera.fov)
    a, b = (rays.cast(world, c, np.random.default_rng(0)) for c in (camera, back))
    assert (a.kind != b.kind).mean() > 0.02
    # Every hit lies in the half plane in front of its camera.
    for cam, hits in ((camera, a), (back, b)):
        fx, fy = cam.forward
        ahead = (hits.x - cam.x) * fx + (hits.y - cam.y) * fy
        np.testing.assert_allclose(ahead, hits.depth, rtol=1e-5, atol=1e-3)


def test_cameras_stand_inside_and_outdoors(world):
    for camera, _, _ in photos.shots(world):
        assert MARGIN < min(camera.x, camera.y) and max(camera.x, camera.y) < EXTENT - MARGIN
        assert world.at(world.building, np.float64(camera.x), np.float64(camera.y)) < 0


def test_coasts_have_more_land_than_sea():
    for site in [s for s in sites.load_sites() if s.coast]:
        inside = int(MARGIN / CELL)
        share = (plan(site).water[inside:-inside, inside:-inside] < 0).mean()
        assert 0.02 < share < 0.6, (site.name, share)


# ---------------------------------------------------------------------------- the folder


def test_folder_is_complete(folder, world):
    about = json.loads((folder / "dataset.json").read_text())
    assert about["name"] == "sample" and about["synthetic"] is True
    street = pd.read_csv(folder / "street.csv")
    further = photos.MORE.get(world.site.split, 0)
    assert len(street) == photos.PER_SITE + further and street["photo_id"].is_unique
    assert all((folder / p).is_file() for p in street["path"])
    with rasterio.open(folder / "scenes" / f"{AGAIN}.tif") as f:
        assert f.descriptions == write.SCENE_BANDS and f.nodata == 0 and f.res == (10, 10)
        grid = f.transform, f.shape, f.crs
        x, y = Transformer.from_crs(4326, f.crs, always_xy=True).transform(
            street["lon"].to_numpy(), street["lat"].to_numpy()
        )
        west, south, east, north = f.bounds
    assert ((x > west) & (x < east) & (y > south) & (y < north)).all()
    with rasterio.open(folder / "landcover" / f"{AGAIN}.tif") as f:
        assert (f.transform, f.shape, f.crs) == grid
    # Written coordinates give the render position back to a centimetre or better.
    shots = photos.shots(world)
    np.testing.assert_allclose(x - west + MARGIN, [c.x for c, _, _ in shots], atol=0.001)
    np.testing.assert_allclose(north - y + MARGIN, [c.y for c, _, _ in shots], atol=0.001)


def test_stored_sites_are_copied_and_others_rendered(folder, tmp_path, monkeypatch):
    rendered = []
    plain = write.write_site

    def counted(site, out, seed):
        rendered.append(site.name)
        return plain(site, out, seed)

    monkeypatch.setattr(write, "write_site", counted)
    monkeypatch.setattr(photos, "PER_SITE", 2)
    out = write.write_dataset(tmp_path / "all", [AGAIN, "gent"], stored=folder)
    assert rendered == ["gent"]
    for table in ("scenes.csv", "street.csv"):
        lines, old = ((f / table).read_text().splitlines() for f in (out, folder))
        assert len(lines) > len(old) and lines[: len(old)] == old
    street = pd.read_csv(out / "street.csv")
    assert street.groupby("site").size()["gent"] == 2
    files = [*street["path"], f"scenes/{AGAIN}.tif", "scenes/gent.tif", "landcover/gent.tif"]
    assert all((out / path).is_file() for path in files)
    same, other, missing = filecmp.cmpfiles(out, folder, files, shallow=False)
    assert not other and len(missing) == 4


def test_stac_item_is_valid_and_agrees(folder):
    item = json.loads((folder / "scenes" / f"{AGAIN}.json").read_text())
    row = pd.read_csv(folder / "scenes.csv", dtype={"processing_baseline": str}).iloc[0]
    assert item["stac_version"] == "1.0.0" and item["id"] == AGAIN
    assert item["properties"]["s2:processing_baseline"] == row["processing_baseline"]
    assert item["properties"]["datetime"] == row["datetime"]
    assert (folder / "scenes" / item["assets"]["data"]["href"]).is_file()
    ring = item["geometry"]["coordinates"][0]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:]))
    assert ring[0] == ring[-1] and area > 0  # counter-clockwise


def test_one_site_again_gives_the_same_bytes(folder):
    if not (DATA / "street.csv").is_file():
        pytest.skip("outputs/sites is not there: fetch it with `dvc pull`")
    files = [
        f"scenes/{AGAIN}.tif",
        f"scenes/{AGAIN}.json",
        f"landcover/{AGAIN}.tif",
        *pd.read_csv(folder / "street.csv")["path"],
    ]
    same, other, missing = filecmp.cmpfiles(folder, DATA, files, shallow=False)
    assert not other and not missing and len(same) == len(files)
    mine = (folder / "street.csv").read_text().splitlines()
    assert set(mine) <= set((DATA / "street.csv").read_text().splitlines())


def test_sample_is_small_and_whole():
    if not (DATA / "street.csv").is_file():
        pytest.skip("outputs/sites is not there: make it with `make data`")
    files = [p for p in DATA.rglob("*") if p.is_file()]
    of = {name: 0 for name in sites.STORED}
    for path in files:
        site = re.sub(r"-\d\d+$", "", path.stem)
        of[site] = of.get(site, 0) + path.stat().st_size
    assert sum(of[name] for name in sites.STORED) <= 17e6  # what the repository stores
    counts = pd.read_csv(DATA / "street.csv").groupby("site").size()
    assert counts.min() >= 40 and set(sites.STORED) <= set(counts.index)
    assert len(list((DATA / "scenes").glob("*.tif"))) == len(counts)


def test_view_cone_weights():
    cone = learnability.weights((40, 40), 20.0, 20.0, 10, heading=90.0, fov=90.0)
    assert abs(cone.sum() - 1) < 1e-12
    rows, columns = np.nonzero(cone)
    assert columns.min() >= 20 and np.hypot(rows + 0.5 - 20, columns + 0.5 - 20).max() <= 10
    assert cone[20, 21] > cone[20, 28]  # nearer ground weighs more
    disc = learnability.weights((40, 40), 20.0, 20.0, 10)
    assert abs(np.count_nonzero(disc) / (math.pi * 100) - 1) < 0.05
