"""Splits that do not leak, labels that are labels, and what a folder can run."""

import shutil

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image

from gairlib import GAIR, GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.pairs.pairing import pair
from research.tasks import data as examples
from research.tasks import labels as columns
from research.tasks import registry
from research.tasks.eurosat import EuroSAT
from research.tasks.street import StreetFromAbove
from research.tasks.task import Options
from research.tasks.tiles import LandCover


@pytest.fixture()
def folder(tiny, tmp_path):
    """The tiny folder with land cover, EuroSAT-like images and text labels added."""
    folder = shutil.copytree(tiny, tmp_path / "rich")
    (folder / "landcover").mkdir()
    for path in (folder / "scenes").glob("*.tif"):
        with rasterio.open(path) as source:
            profile = source.profile | {"count": 1, "dtype": "uint8", "nodata": 9}
        classes = np.ones((1, 96, 96), np.uint8)
        classes[..., 48:] = 2
        classes[0, :20, :] = 9  # nodata, has no name
        with rasterio.open(folder / "landcover" / path.name, "w", **profile) as file:
            file.write(classes)
    (folder / "landcover/classes.csv").write_text("value,name\n1,grass\n2,paved\n")
    rng = np.random.default_rng(0)
    for name, level in (("Forest", 60), ("River", 150)):
        (folder / "eurosat_rgb" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.full((64, 64, 3), level) + rng.integers(-9, 9, (64, 64, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(
                folder / f"eurosat_rgb/{name}/{name}_{i}.jpg"
            )
    return folder


def test_held_out_keeps_the_test_rows_and_draws_training_sites_by_seed():
    sites = np.repeat([f"s{i:02d}" for i in range(22)], 3)
    split = np.where(np.isin(sites, ["s00", "s01"]), "test", "train")
    chosen = []
    for seed in range(3):
        ((train, test),) = examples.site_folds(split, sites, seed)
        assert set(sites[test]) == {"s00", "s01"} and len(test) == 6
        assert len(train) == 18 * 3 and len(set(sites[train])) == 18
        chosen.append(tuple(sorted(set(sites[train]))))
    assert len(set(chosen)) == 3
    assert chosen[0] == tuple(sorted(set(sites[examples.site_folds(split, sites, 0)[0][0]])))


@pytest.mark.parametrize(
    "values, kind, why",
    [
        (np.linspace(0, 1, 30), "regression", ""),
        (["a"] * 25 + ["b"] * 25, "classification", ""),
        ([True, False] * 25, "classification", ""),
        ([1.0] * 30, "", "equal"),
        ([1.0] * 10, "", "fewer than 20"),
        (["a"] * 30, "", "two classes"),
        ([f"https://x/{i}" for i in range(60)] + ["a"] * 20 + ["b"] * 20, "", "no classes"),
    ],
)
def test_label_kinds(values, kind, why):
    found, reason = columns.label_kind(pd.Series(values))
    assert found == kind and why in reason and bool(kind) != bool(reason)


def test_available_says_what_runs_and_why_not(tiny, folder):
    found = registry.available(Dataset(tiny))
    able = ("sv-green_view", "location-warmth-warmth", "retrieval")
    assert all(found[name] is None for name in able)
    assert "landcover" in found["rs-landcover"] and "eurosat" in found["rs-eurosat"]
    assert not any(n in found for n in ("sv-heading", "sv-site", "sv-split", "sv-path"))
    rich = Dataset(folder)
    found = registry.available(rich)
    assert found["rs-landcover"] is None and found["rs-eurosat"] is None
    assert [task.name for task in registry.default_for(rich)] == [
        "rs-landcover",
        "rs-eurosat",
        "sv-green_view",
        "rs-street-green_view",
        "location-warmth-warmth",
        "retrieval-sv-location",
        "retrieval-rs-location",
        "retrieval",
        "segmentation-landcover",
    ]
    assert "no column `mood`" in registry.get("sv-mood", rich).available(rich)
    with pytest.raises(BadInput, match="unknown task 'landcover'"):
        registry.get("landcover", rich).available(rich)


def test_an_empty_folder_runs_nothing(tmp_path):
    assert registry.default_for(Dataset(tmp_path)) == []


def test_landcover_needs_tiles_enough_and_names_them_by_majority(folder, monkeypatch):
    with pytest.raises(BadInput, match="fewer than two land-cover classes"):
        LandCover().load(Dataset(folder))
    monkeypatch.setattr(columns, "MIN_CLASS", 2)
    data = LandCover().load(Dataset(folder))
    assert data.inputs.shape == (12, 10, 64, 64) and data.inputs.dtype == np.uint16
    assert data.labels.tolist() == ["grass", "paved"] * 6  # west tile, east tile, two rows
    assert [s.name for s in data.schemes] == ["random, 5 folds", "sites, 5 folds"]
    (folder / "scenes.csv").write_text(
        "scene_id,path,site\n"
        + "".join(f"{s},scenes/{s}.tif,{s}\n" for s in ("bern", "quito", "perth"))
    )
    (folder / "sites.csv").write_text("site,split\nbern,train\nquito,val\nperth,test\n")
    data = LandCover().load(Dataset(folder))
    assert [s.name for s in data.schemes] == [
        "random rows",
        "held-out sites, 100 labels",
        "held-out sites",
    ]
    ((train, test),) = data.schemes[1].folds(0)
    assert set(data.clusters[test]) == {"perth"} and set(data.clusters[train]) == {"bern", "quito"}


@pytest.mark.parametrize("dtype, value", [("uint8", 7), ("uint16", 300), ("int16", -1)])
@pytest.mark.parametrize("task", ["rs-landcover", "rs-built_up", "segmentation-landcover"])
def test_a_land_cover_value_that_has_no_name_is_an_error(folder, task, dtype, value):
    path = folder / "landcover/bern.tif"
    (folder / "landcover/classes.csv").write_text("value,name\n1,grass\n2,built-up\n")
    with rasterio.open(path) as source:
        values, profile = source.read().astype(dtype), source.profile | {"dtype": dtype}
    values[0, 30, 30] = value
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    with pytest.raises(BadInput, match=f"bern.tif: the value {value} has no name.* lists 1, 2"):
        registry.get(task, Dataset(folder)).load(Dataset(folder))


def test_eurosat_reads_folders_and_names_a_wrong_file(folder):
    data = EuroSAT().load(Dataset(folder))
    assert data.inputs.shape == (24, 10, 64, 64) and set(data.labels) == {"Forest", "River"}
    assert data.bands == "B02,B03,B04" and data.cluster == "image"
    for train, test in data.schemes[0].folds(0):
        assert {"Forest", "River"} == set(data.labels[test]) and not set(train) & set(test)
    Image.new("RGB", (32, 64)).save(folder / "eurosat_rgb/River/odd.jpg")
    with pytest.raises(BadInput, match="odd.jpg: 32 x 64 pixels"):
        EuroSAT().load(Dataset(folder))


def test_eurosat_without_class_folders_is_an_error_and_an_empty_folder_none(tmp_path):
    folder = tmp_path / "eurosat_rgb"
    folder.mkdir()
    assert "no folder" in EuroSAT().available(Dataset(tmp_path))
    Image.new("RGB", (64, 64)).save(folder / "Forest_1.jpg")
    assert EuroSAT().available(Dataset(tmp_path)) is None
    with pytest.raises(BadInput, match="eurosat_rgb: no class folders with images"):
        EuroSAT().load(Dataset(tmp_path))


def test_location_restricts_to_classes_with_enough_rows_and_says_so(folder):
    rng = np.random.default_rng(1)
    country = np.repeat(["Chile", "Ghana", "Fiji"], [40, 35, 6])
    pd.DataFrame(
        {"lon": rng.uniform(-180, 180, 81), "lat": rng.uniform(-60, 60, 81), "country": country}
    ).to_csv(folder / "tables/towns.csv", index=False)
    data = registry.get("location-towns-country", Dataset(folder)).load(Dataset(folder))
    assert set(data.labels) == {"Chile", "Ghana"} and len(data.inputs) == 75
    assert "2 of 3 classes" in data.notes[0] and "75 of 81" in data.notes[0]
    assert [s.name for s in data.schemes] == ["random, 5 folds", "10° blocks, 5 folds"]
    assert data.synthetic  # the tiny dataset says so, and lists no real tables


def test_few_labels_are_a_hundred_rows_of_training_sites(tmp_path):
    split = np.array(["train"] * 300 + ["test"] * 50)
    sites = np.array([f"s{i % 12}" for i in range(300)] + ["t"] * 50)
    rows, few, full = examples.site_schemes(pd.Series(split), sites)
    ((train, test),) = few.folds(0)
    ((everything, _),) = full.folds(0)
    assert len(train) == examples.FEW and len(test) == 50
    assert set(train) <= set(everything) and not set(train) & set(test)
    assert set(few.folds(0)[0][0]) != set(few.folds(1)[0][0])
    # beside them a split over rows, whose test rows have neighbours in training
    assert [s.name for s in (rows, full)] == ["random rows", "held-out sites"]
    ((train, test),) = rows.folds(0)
    assert len(test) == 50 and not set(train) & set(test)
    assert set(sites[test]) & set(sites[train]) and len(set(test) & set(range(300))) > 25
    np.testing.assert_array_equal(test, rows.folds(1)[0][1])  # the same for all seeds
    assert set(train) != set(rows.folds(1)[0][0])


def test_one_text_among_numbers_is_named(folder):
    values = pd.Series([*map(str, range(40)), "n/a"])
    kind, why = columns.label_kind(values)
    assert kind == "" and "row 40 holds 'n/a'" in why
    assert columns.label_kind(values[:40])[1]  # texts all the same: numbers come as numbers


def test_infinite_labels_are_left_out_and_counted():
    notes = []
    table = pd.DataFrame({"x": [1.0, np.inf, 2.0, np.nan]})
    rows, labels = columns.labelled(table, "x", "regression", "rows", notes)
    assert labels.tolist() == [1.0, 2.0] and len(rows) == 2 and notes[0].startswith("1 rows")


@pytest.mark.parametrize("part, labels", [("test", "aaabbbaaa"), ("training", "aaaaaabba")])
def test_a_class_that_a_split_lacks_is_an_error_that_names_it(part, labels):
    split = pd.Series(["train"] * 6 + ["test"] * 3)
    with pytest.raises(BadInput, match=f"street.csv.*class 'b' has no {part} rows"):
        columns.check_split(np.array(list(labels)), split, "street.csv, column `x`")
    columns.check_split(np.array(list("aabbabaab")), split, "street.csv")
    columns.check_split(np.array(list(labels)), None, "street.csv")


def test_a_column_whose_name_makes_no_stage_is_listed_with_the_reason(folder):
    pd.DataFrame({"lon": np.arange(30.0), "lat": 0.0, "mean temp": np.arange(30.0)}).to_csv(
        folder / "tables/t.csv", index=False
    )
    dataset = Dataset(folder)
    assert "rename the column" in registry.available(dataset)["location-t-mean temp"]
    names = [task.name for task in registry.default_for(dataset)]
    assert "location-t-mean temp" not in names


def test_street_labels_are_read_at_the_photos_position(tiny, tmp_path):
    """The tiny world is green in the west: the local read knows, the chip's mean does not."""
    dataset = Dataset(tiny)
    pair(
        dataset.street(),
        dataset.scenes(),
        chip_px=32,
        chip_m=320.0,
        max_photos=6,
        seed=0,
        folder=tmp_path,
        progress=False,
    )
    data = StreetFromAbove("green_view").load(dataset, Options(pairs=tmp_path))
    at = data.inputs
    assert len(at) == len(data.labels) == 36 and at[0].shape == (10, 32, 32)
    model = GAIR(GAIRConfig(rs_size=32, rs_patch=8, rs_depth=1))
    local = encode.local(model, at.chips, at.chip, at.xy)
    chip = encode.local(model, at.chips, at.chip, at.xy, mode="mean")
    for c in np.unique(at.chip):
        rows = at.chip == c
        assert np.allclose(chip[rows], chip[rows][0], atol=1e-5)
    assert np.ptp(local[at.chip == at.chip[0]], axis=0).max() > 1e-4 or (
        (at.chip == at.chip[0]).sum() == 1
    )


def test_attributes_of_global_streetscapes_are_all_tasks_by_default(tiny, tmp_path):
    """Published tables in streetscapes/: each column that was labelled by hand, where it varies."""
    folder = tmp_path / "gs"
    (folder / "streetscapes").mkdir(parents=True)
    shutil.copytree(tiny / "street", folder / "street")
    rows = pd.read_csv(tiny / "street.csv").iloc[:36]
    k, uuid = np.arange(36), rows["photo_id"]
    for name in uuid:
        (folder / f"street/{name}.jpg").rename(folder / f"street/{name}.jpeg")
    pd.DataFrame(
        {
            "uuid": uuid,
            "source": "Mapillary",
            "orig_id": k,
            "lat": rows["lat"],
            "lon": rows["lon"],
            "datetime_local": "2024-07-09 03:24:18+02:00",
            "projection_type": "perspective",
            "sequence_index": k,
            "user_id": np.where(k % 2, "a", "b"),
        }
    ).to_csv(folder / "streetscapes/metadata_common_attributes.csv", index=False)
    two = np.where(k < 14, "first", "second")
    pd.DataFrame(
        {
            "uuid": uuid,
            "source": "Mapillary",
            "orig_id": k,
            "glare": two != "first",
            "lighting_condition": two,
            "pano_status": two,
            "platform": two,
            "quality": two,
            "reflection": two != "first",
            "view_direction": two,
            "weather": "clear",
        }
    ).to_csv(folder / "streetscapes/contextual.csv", index=False)
    dataset = Dataset(folder)
    found = registry.available(dataset)
    attributes = {
        "glare",
        "lighting_condition",
        "pano_status",
        "platform",
        "quality",
        "reflection",
        "view_direction",
        "weather",
    }
    assert {n.removeprefix("sv-") for n in found if n.startswith("sv-")} == attributes
    few = {name: found[f"sv-{name}"] for name in sorted(attributes)}
    assert set(few.values()) == {"fewer than two classes have 20 rows"}
    tables = pd.read_csv(folder / "streetscapes/contextual.csv")
    many = pd.concat([tables.assign(uuid=tables["uuid"] + f"-{i}") for i in range(2)])
    base = pd.read_csv(folder / "streetscapes/metadata_common_attributes.csv")
    more = pd.concat([base.assign(uuid=base["uuid"] + f"-{i}") for i in range(2)])
    for name in uuid:
        for i in range(2):
            shutil.copy(folder / f"street/{name}.jpeg", folder / f"street/{name}-{i}.jpeg")
    many.to_csv(folder / "streetscapes/contextual.csv", index=False)
    more.to_csv(folder / "streetscapes/metadata_common_attributes.csv", index=False)
    chosen = [task.name for task in registry.default_for(Dataset(folder))]
    assert {n.removeprefix("sv-") for n in chosen} == attributes - {"weather"}
    data = registry.get("sv-platform", Dataset(folder)).load(Dataset(folder))
    assert data.kind == "classification" and set(data.labels) == {"first", "second"}


def test_attributes_and_places_of_location_tables_are_default_other_texts_are_not(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "labels")
    k = np.arange(120)
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "lon": rng.uniform(-90, 90, 120),
            "lat": rng.uniform(-50, 50, 120),
            "country": np.where(k % 2, "A", "B"),
            "city": np.where(k % 3, "C", "D"),
            "weather": np.where(k % 2, "clear", "cloudy"),
            "quality": "good",
            "owner": np.where(k % 2, "x", "y"),
            "a": 1,
            "b": 1,
            "c": 1,
        }
    ).to_csv(folder / "tables/labels.csv", index=False)
    names = [task.name for task in registry.default_for(Dataset(folder))]
    chosen = [name for name in names if name.startswith("location-labels")]
    assert chosen == ["location-labels-country", "location-labels-weather"]
