"""What a folder can run, what it runs by default, and why it cannot run the rest."""

import shutil

import numpy as np
import pandas as pd
import pytest
from builders import small_published as small

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks import geolocalisation as places
from research.tasks import inventory, registry
from research.tasks.retrieval import Retrieval

SETS = ("sen1floods11", "hlsburnscars", "mados", "ai4smallfarms")


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


def test_a_column_whose_name_makes_no_stage_is_listed_with_the_reason(folder):
    pd.DataFrame({"lon": np.arange(30.0), "lat": 0.0, "mean temp": np.arange(30.0) ** 2}).to_csv(
        folder / "tables/t.csv", index=False
    )
    dataset = Dataset(folder)
    assert "rename the column" in registry.available(dataset)["location-t-mean temp"]
    names = [task.name for task in registry.default_for(dataset)]
    assert "location-t-mean temp" not in names


def test_a_column_whose_name_is_too_long_for_a_file_is_listed_with_the_reason(folder):
    long = "l" * 240
    pd.DataFrame({"lon": np.arange(30.0), "lat": 0.0, long: np.arange(30.0) ** 2}).to_csv(
        folder / "tables/t.csv", index=False
    )
    dataset = Dataset(folder)
    assert "251 bytes" in registry.available(dataset)[f"location-t-{long}"]
    assert not [t for t in registry.default_for(dataset) if long in t.name]


def test_two_columns_of_one_name_are_one_stage(folder):
    numbers = {"lon": np.arange(30.0), "lat": np.arange(30.0)}
    for table, column in (("a", "b-c"), ("a-b", "c")):
        pd.DataFrame(numbers | {column: np.arange(30.0) ** 2}).to_csv(
            folder / f"tables/{table}.csv", index=False
        )
    dataset = Dataset(folder)
    chosen = registry.default_for(dataset)
    assert [task.name for task in chosen].count("location-a-b-c") == 1
    assert registry.get("location-a-b-c", dataset) in chosen
    assert "rename one" in registry.available(dataset)["location-a-b-c (again)"]


def test_task_names_reach_their_module(dataset, tmp_path):
    assert isinstance(registry.get("retrieval", dataset), Retrieval)
    assert isinstance(registry.get("retrieval-rs-location", dataset), places.ChipLocation)
    assert registry.available(dataset)["retrieval-sv-location"] is None
    assert "needs scenes" in places.PhotoLocation().available(Dataset(tmp_path))
    with pytest.raises(BadInput, match="retrieval-sv-location, retrieval-rs-location"):
        registry.get("retrieval-x", dataset)


def test_missing_folders_are_reasons_and_present_ones_are_listed(tmp_path):
    found = registry.available(Dataset(tmp_path))
    assert {n: found[f"pangaea-{n}"] for n in SETS} == {n: f"no folder pangaea/{n}" for n in SETS}
    assert "geobench" in found["geobench-m-eurosat"] and "placepulse" in found["placepulse-safe"]
    small.mados(tmp_path)
    small.geobench(tmp_path, "m-cashew-plant", kind="segmentation")
    small.place_pulse(tmp_path)
    dataset = Dataset(tmp_path)
    found = registry.available(dataset)
    runs = ("pangaea-mados", "geobench-m-cashew-plant", "placepulse-safe")
    assert [found[name] for name in runs] == [None, None, None]
    assert found["pangaea-sen1floods11"] and dataset.benchmarks() == {}
    for empty in ("pangaea/sen1floods11", "geobench/classification_v1.0", "geobench/x/m-eurosat"):
        (tmp_path / empty).mkdir(parents=True)
    assert registry.available(dataset) == found
    parts = inventory.count(dataset).set_index("part")["count"]
    assert parts["pangaea/mados"] == 6 and parts["geobench/m-cashew-plant"] == 36
    assert parts["placepulse"] == 40
    assert not inventory.nothing(dataset)


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
