"""Photos and chips paired: geometry, splits, reasons, what is saved."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
from affine import Affine
from builders.small_files import ORIGIN, ramp, write_photo, write_scene
from builders.small_photos import SMALL, TO_LONLAT, chip_outline, random_table, table

from gairlib import geo
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.pairs import store
from gairlib.pairs.cut import expand_views
from gairlib.pairs.pairing import pair

ROOT = Path(__file__).resolve().parents[3]


REAL = ROOT.parent / "shared/real"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "a.tif"
    return scenes.open_scene(write_scene(path, ramp(10, 128, 128), baseline="3.0"))


def test_every_photo_lies_where_its_xy_says(scene):
    street = random_table(split="train")
    pairs = pair(street, [scene], repeats_train=2, max_photos=5, **SMALL)
    manifest, chips = pairs.manifest, pairs.chips
    assert len(manifest) == 120 and (manifest.groupby("photo_id")["repeat"].nunique() == 2).all()
    assert manifest.groupby("chip").size().max() <= 5
    assert (manifest.groupby("chip").size().to_numpy() == chips["photos"].values).all()
    everything = scenes.read(scene)
    for row in manifest.itertuples():
        t = Affine(*chips["transform"].values[row.chip])
        # Oracle: the photo's UTM position, by pyproj, inside the chip's square.
        x, y = TO_LONLAT.transform(row.lon, row.lat, direction="INVERSE")
        assert row.x == pytest.approx((x - t.c) / 320 * 2 - 1, abs=1e-6)
        assert row.y == pytest.approx((t.f - y) / 320 * 2 - 1, abs=1e-6)
        column, line = round((t.c - ORIGIN[0]) / 10), round((ORIGIN[1] - t.f) / 10)
        window = everything[:, line : line + 32, column : column + 32]
        np.testing.assert_array_equal(chips["chips"].values[row.chip], window)


def test_margin_holds_except_where_the_chip_touches_the_scenes_edge(scene):
    pairs = pair(random_table(200), [scene], margin=0.2, **SMALL)
    assert pairs.report["paired"] == 200
    relaxed = 0
    for row in pairs.manifest.itertuples():
        t = Affine(*pairs.chips["transform"].values[row.chip])
        column, line = (t.c - ORIGIN[0]) / 10, (ORIGIN[1] - t.f) / 10
        for at, start in ((row.x, column), (row.y, line)):
            low = -1 if start < 0.5 else -0.6
            high = 1 if start > 128 - 32.5 else 0.6
            assert low - 1e-9 <= at <= high + 1e-9
            relaxed += abs(at) > 0.6
    assert relaxed > 0  # some photos are that near to the edge


def test_positions_spread_over_the_chip(scene):
    rng = np.random.default_rng(1)
    street = table(rng.uniform(45, 80, 300), rng.uniform(45, 80, 300), split="train")
    manifest = pair(street, [scene], max_photos=1, repeats_train=2, **SMALL).manifest
    for axis in ("x", "y"):
        assert abs(manifest[axis].mean()) < 0.08
        assert 0.45 < manifest[axis].std() < 0.58  # uniform on [-0.9, 0.9]: 0.52
    assert manifest.groupby("photo_id")["x"].apply(lambda v: abs(np.diff(v)[0])).mean() > 0.3


def test_seed_decides_and_order_of_rows_does_not(scene):
    street = random_table()
    one = pair(street, [scene], **SMALL)
    again = pair(street.sample(frac=1, random_state=3), [scene], **SMALL)
    other = pair(street, [scene], seed=1, **SMALL)
    pd.testing.assert_frame_equal(one.manifest, again.manifest)
    assert one.chips.identical(again.chips)
    assert not one.manifest[["x", "y"]].equals(other.manifest[["x", "y"]])


def test_all_are_accounted_for_with_reasons(tmp_path):
    origin = (ORIGIN[0] + 50_000, ORIGIN[1])
    values = ramp(10, 64, 64)
    scl = np.full((64, 64), 4)
    scl[:, 32:] = 9
    holes = values.copy()
    holes[:, :, 32:] = 0
    found = [
        scenes.open_scene(write_scene(tmp_path / "cloudy.tif", values, baseline="3.0", scl=scl)),
        scenes.open_scene(write_scene(tmp_path / "holes.tif", holes, origin=origin, baseline="3")),
        scenes.open_scene(
            write_scene(
                tmp_path / "tiny.tif",
                values[:, :8, :8],
                baseline="3.0",
                origin=(ORIGIN[0], ORIGIN[1] + 50_000),
            )
        ),
    ]
    street = pd.concat(
        [
            table([8, 60, 200], [8, 60, 8]),
            table([8, 60], [8, 60], origin),
            table([4], [4], (ORIGIN[0], ORIGIN[1] + 50_000)),
        ]
    )
    swapped = table([8], [9])
    swapped[["lon", "lat"]] = swapped[["lat", "lon"]].to_numpy()
    street = pd.concat([street, table([8], [8])], ignore_index=True)
    street["photo_id"] = list("abcdefg")
    street["split"] = ["train"] * 6 + ["exam"]
    pairs = pair(street, found, max_cloud=0.3, max_nodata=0.3, **SMALL)
    why = pairs.rejected.set_index("photo_id")["reason"].to_dict()
    assert why == {
        "b": "no chip with at most 30% cloud",
        "c": "outside every scene",
        "e": "no chip with at most 30% of pixels without data",
        "f": "its scene is smaller than a chip of 320 m",
        "g": "split is 'exam', not train, val or test, nor shifted",
    }
    report = pairs.report
    assert (report["photos_in"], report["paired"], report["chips"]) == (7, 2, 2)
    assert sum(report["rejected"].values()) == 5
    assert pairs.chips["cloud_share"].values[0] <= 0.3
    assert np.isnan(pairs.chips["cloud_share"].values[1])  # no classification: not known


def test_swapped_coordinates_are_recognised(tmp_path):
    transform = Affine(1e-4, 0, 10.0, 0, -1e-4, 50.0)
    path = write_scene(
        tmp_path / "a.tif", ramp(10, 80, 80), crs="EPSG:4326", transform=transform, baseline="3.0"
    )
    street = pd.DataFrame(
        {
            "photo_id": ["good", "swap", "away"],
            "path": "a.jpg",
            "lon": [10.004, 49.996, 80.0],
            "lat": [49.996, 10.004, 10.0],
        }
    )
    pairs = pair(street, [scenes.open_scene(path)], **(SMALL | {"chip_m": 160.0}))
    why = pairs.rejected.set_index("photo_id")["reason"]
    assert "swapped" in why["swap"]
    assert why["away"] == "outside every scene" and pairs.report["paired"] == 1


def test_a_photo_in_two_scenes_uses_the_clearer_then_the_other(tmp_path):
    def make(name, cloud, scl=None):
        path = write_scene(tmp_path / f"{name}.tif", ramp(10, 64, 64), scl=scl)
        row = {"processing_baseline": "3.0", "cloud_cover": cloud}
        return scenes.open_scene(path, row=row)

    covered = np.full((64, 64), 9)
    street = table([30], [30])
    good = [make("x", "40"), make("y", "5"), make("z", None)]
    assert pair(street, good, **SMALL).manifest["scene_id"].tolist() == ["y"]
    # The product as a whole is the clearer one, but not there: the next scene serves.
    bad = [make("x", "40"), make("w", "1", covered)]
    assert pair(street, bad, **SMALL).manifest["scene_id"].tolist() == ["x"]


def test_a_scene_cut_short_loses_its_own_photos_only(tmp_path, scene):
    path = write_scene(
        tmp_path / "b.tif", ramp(10, 128, 128), origin=(ORIGIN[0] + 9000, ORIGIN[1]), baseline="3.0"
    )
    broken = scenes.open_scene(path)
    path.write_bytes(path.read_bytes()[:20_000])
    street = table([20, 920], [20, 20])
    pairs = pair(street, [scene, broken], **SMALL)
    assert pairs.manifest["photo_id"].tolist() == ["p000"]
    assert pairs.rejected["reason"][0].startswith("scene b (b.tif): can no longer be opened")


def test_chips_of_different_splits_never_overlap(scene):
    street = random_table(150)
    column, _ = scene.to_pixels(street["lon"].to_numpy(), street["lat"].to_numpy())
    street["split"] = np.array(["test", "val", "train"])[np.digitize(column, [35, 75])]
    pairs = pair(street, [scene], repeats_train=2, split_buffer_m=0.0, **SMALL)
    assert set(pairs.chips["split"].values) == {"train", "val", "test"}
    reasons = pairs.report["rejected"]
    assert set(reasons) == {"no chip that keeps clear of another split's chips"}
    assert pairs.report["paired"] + sum(reasons.values()) == 150
    shapes = [chip_outline(pairs.chips, i) for i in range(pairs.chips.sizes["chip"])]
    names = pairs.chips["split"].values
    for i, a in enumerate(shapes):
        for j in range(i):
            if names[i] != names[j]:
                assert a.intersection(shapes[j]).area < 1e-6


def test_spherical_photos_become_four_views(scene):
    street = table(
        [60, 62, 64], [60, 62, 64], is_spherical=[False, True, True], heading=[10.0, 350.0, np.nan]
    )
    pairs = pair(street, [scene], max_photos=5, **SMALL)
    manifest = pairs.manifest
    assert len(manifest) == 9 and pairs.report["paired"] == 3
    assert manifest.groupby("chip").size().max() <= 5
    views = manifest[manifest["source_photo_id"] == "p001"].sort_values("view_yaw")
    assert views["photo_id"].tolist() == ["p001@000", "p001@090", "p001@180", "p001@270"]
    assert views["heading"].tolist() == [350, 80, 170, 260]
    assert views["chip"].nunique() == 1 and views[["x", "y"]].drop_duplicates().shape[0] == 1
    assert (
        manifest.sort_values(["chip", "slot"])
        .groupby("chip")["slot"]
        .apply(lambda s: (s.to_numpy() == np.arange(len(s))).all())
        .all()
    )
    assert manifest[manifest["source_photo_id"] == "p002"]["heading"].isna().all()
    skipped = pair(street, [scene], spherical="skip", **SMALL)
    assert skipped.report["rejected"] == {"spherical photo, skipped by option": 2}
    with pytest.raises(BadInput, match="max_photos=3"):
        pair(street, [scene], max_photos=3, **SMALL)
    assert len(expand_views(street[:0].assign(heading=1.0))) == 0


def test_wrong_settings_are_refused(scene):
    street = table([60], [60])
    for wrong, match in [
        ({"chip_px": 0}, "chip_px=0"),
        ({"chip_m": -1.0}, "chip_m=-1"),
        ({"margin": 0.5}, "margin"),
        ({"max_photos": 0}, "max_photos"),
        ({"spherical": "crop"}, "spherical"),
    ]:
        with pytest.raises(BadInput, match=match):
            pair(street, [scene], **(SMALL | wrong))
    with pytest.raises(BadInput, match="lon"):
        pair(street.drop(columns="lon"), [scene], **SMALL)
    with pytest.raises(BadInput, match="'p000'"):
        pair(pd.concat([street, street]), [scene], **SMALL)


def test_extra_columns_stay_and_do_not_collide(scene):
    street = table([60, 20], [60, 20], weather=["rain", "sun"], chip=[7, 8], site=["s", "s"])
    manifest = pair(street, [scene], **SMALL).manifest.set_index("photo_id")
    assert manifest.loc["p001", "weather"] == "sun" and manifest.loc["p001", "street_chip"] == 8
    assert set(manifest["chip"]) <= {0, 1}


@pytest.mark.parametrize("photos", [40, 0])
def test_saved_pairs_come_back(tmp_path, scene, photos):
    street = pd.concat([random_table(40, weather="rain"), table([900], [9]).assign(photo_id="far")])
    street = street[:photos] if photos == 0 else street
    pairs = pair(street, [scene], folder=tmp_path / "pairs", **SMALL)
    back = store.load(tmp_path / "pairs")
    assert back.report == pairs.report
    np.testing.assert_array_equal(back.chips["chips"].values, pairs.chips["chips"].values)
    for name in ("scene_id", "split", "crs", "transform", "lon", "lat", "photos", "repeat"):
        np.testing.assert_array_equal(back.chips[name].values, pairs.chips[name].values)
    assert back.chips["chips"].dtype == np.uint16
    pd.testing.assert_frame_equal(back.manifest, pairs.manifest, check_dtype=False)
    assert back.rejected["photo_id"].tolist() == pairs.rejected["photo_id"].tolist()
    (tmp_path / "pairs/manifest.parquet").unlink()
    with pytest.raises(Missing, match="manifest.parquet"):
        store.load(tmp_path / "pairs")


def test_no_scenes_and_no_photos_are_reported_not_raised(scene):
    assert pair(table([60], [60]), [], **SMALL).report["rejected"] == {"outside every scene": 1}
    empty = pair(table([60], [60])[:0], [scene], **SMALL)
    assert empty.report["photos_in"] == 0 and empty.chips.sizes["chip"] == 0


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real is not there")
@pytest.mark.filterwarnings("ignore:.*processing baseline")
def test_the_three_real_pairs(tmp_path):
    dataset = Dataset(REAL, layouts={"eurosatms_*": "eurosat-ms"}, check_photos=False)
    pairs = pair(dataset.street(), dataset.scenes(), progress=False)
    manifest = pairs.manifest.set_index("photo_id")
    assert set(manifest.index) == {"gair_detroit", "gair_sacramento", "gair_tokyo"}
    assert (manifest["scene_id"] == manifest.index).all()
    assert pairs.report["rejected"] == {"outside every scene": 54}
    given = pd.read_csv(REAL / "pairs.csv").set_index("photo_id")
    for name, row in manifest.iterrows():
        chip = pairs.chips.isel(chip=row["chip"])
        t = Affine(*chip["transform"].values)
        scene = dataset.scene(name)
        # The chip lies inside the scene and covers 640 m.
        column, line = ~scene.transform @ (t.c, t.f)
        right, bottom = ~scene.transform @ (t @ (64, 64))
        assert min(column, line) > -1e-6
        assert right <= scene.width + 1e-6 and bottom <= scene.height + 1e-6
        west, south = t @ (0, 64)
        east, north = t @ (64, 0)
        middle = (south + north) / 2
        across = pyproj.Geod(ellps="WGS84").inv(west, middle, east, middle)[2]
        assert across == pytest.approx(640, rel=0.006)
        # The published footprint, interpolated in degrees, is the same place: the chip's share of
        # it, expressed in the scene's own xy (these scenes are in EPSG:4326, where both agree).
        g = given.loc[name]
        box = (g["lon_min"], g["lat_min"], g["lon_max"], g["lat_max"])
        x, y = geo.relative_xy(np.array([[g["lon"], g["lat"]]]), box)[0]
        expected = ((x + 1) / 2 * scene.width, (y + 1) / 2 * scene.height)
        place = ~scene.transform @ (t @ ((row["x"] + 1) * 32, (row["y"] + 1) * 32))
        np.testing.assert_allclose(place, expected, atol=1e-6)


@pytest.mark.skipif(not (ROOT / "data/street.csv").is_file(), reason="the sample is not there")
def test_the_sample_pairs_completely_and_fast():
    dataset = Dataset(ROOT / "data", check_photos=False)
    street = dataset.street()
    street = street[street["site"].isin(sorted(street["site"].unique())[:8])]
    pairs = pair(street, dataset.scenes(), progress=False)
    assert pairs.report["paired"] >= 0.97 * len(street)
    assert (pairs.manifest["site"] == pairs.manifest["scene_id"]).all()
    splits = dict(zip(street["photo_id"], street["split"]))
    assert all(splits[r.photo_id] == r.split for r in pairs.manifest.itertuples())


def test_photo_of_a_manifest_row(tmp_path, scene):
    write_photo(tmp_path / "a.jpg", (64, 32))
    dataset = Dataset(tmp_path)
    manifest = pair(table([60], [60], is_spherical=True), [scene], **SMALL).manifest
    assert dataset.photo(manifest.iloc[0]).shape == (16, 16, 3)  # 90 of 360 degrees


@pytest.mark.parametrize("photos", [6, 0])
def test_figures_are_drawn_with_and_without_pairs(tmp_path, scene, photos):
    from research.figures import pairing as pictures

    for i in range(3):
        write_photo(tmp_path / f"{i}.jpg", (64, 32), seed=i)
    street = random_table(6, heading=[0.0, 90.0, np.nan] * 2)[:photos]
    street["path"] = [f"{i % 3}.jpg" for i in range(len(street))]
    dataset = Dataset(tmp_path)
    pairs = pair(street, [scene], **SMALL)
    shown = pictures.scenes_to_show([scene], street, 3)
    assert shown == [scene]
    figures = [
        pictures.scene_sheet(dataset, shown, street),
        pictures.photo_sheet(dataset, street),
        pictures.counts(pairs.report),
        pictures.pairs_map(pairs, dataset),
        pictures.pair_sheet(dataset, pairs, pictures.examples(pairs)),
        pictures.distributions(pairs, synthetic=True),
    ]
    for i, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{i}.png", dpi=40)
    assert "6 photos in: 6 paired" in figures[2].axes[0].get_title("left") or not photos


def test_columns_of_any_name_and_ids_like_those_of_views_do_no_harm(tiny):
    dataset = Dataset(tiny)
    street, scenes = dataset.street().head(3), dataset.scenes()
    odd = ["_candidates", "_scene", "_tile", "_row", "_day", "_why", "x", "street_x", "\0reason"]
    street = street.assign(**dict.fromkeys(odd, 7), photo_id=["p", "p@090", "q"])
    street["is_spherical"] = [True, False, False]
    how = {"chip_px": 32, "chip_m": 320.0, "scheduler": "synchronous", "progress": False}
    pairs = pair(street, scenes, **how)
    assert pairs.manifest["photo_id"].is_unique and len(pairs.manifest) == 5
    assert pairs.rejected["photo_id"].tolist() == ["p@090"]
    for name in ("table__candidates", "table__row", "street_x", "table_street_x", "\0reason"):
        assert (pairs.manifest[name] == 7).all()
