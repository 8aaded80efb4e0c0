"""The inventory of a dataset folder: every part counted, absent ones named."""

import numpy as np
import pandas as pd
from builders.small_files import ramp, write_photo, write_scene
from PIL import Image

from gairlib.data.dataset import Dataset
from research.tasks import inventory


def test_of_an_empty_folder_every_part_is_absent(tmp_path):
    parts = inventory.count(Dataset(tmp_path))
    assert (parts["count"] == 0).all() and parts["note"].str.startswith("absent").all()
    assert tmp_path.name in inventory.nothing(Dataset(tmp_path))


def test_usable_and_rejected_rows_are_counted(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/t.csv").write_text("lon,lat,v\n10,20,1\n20,100,2\n,5,3\n200,5,4\n")
    (tmp_path / "eurosat_rgb/Forest").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "eurosat_rgb/Forest/1.jpg")
    (tmp_path / "eurosat_rgb/.ipynb_checkpoints").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "eurosat_rgb/.ipynb_checkpoints/1-checkpoint.jpg")
    parts = inventory.count(Dataset(tmp_path)).set_index("part")
    assert parts.loc["tables/t", ["count", "rejected"]].tolist() == [2, 2]
    assert parts.loc["eurosat_rgb", ["count", "note"]].tolist() == [1, "1 class"]
    assert not inventory.nothing(Dataset(tmp_path))


def test_columns_that_are_no_labels_are_listed_with_their_reason(tmp_path):
    (tmp_path / "tables").mkdir()
    k = np.arange(30)
    columns = {"lon": k % 7, "lat": k % 5, "OBJECTID_1": k, "Shape_Area": k**2, "rent": k**2 % 11}
    pd.DataFrame(columns).to_csv(tmp_path / "tables/t.csv", index=False)
    found = inventory.no_labels(Dataset(tmp_path))
    assert found[["table", "column"]].values.tolist() == [["t", "OBJECTID_1"], ["t", "Shape_Area"]]
    assert "row" in found["reason"][0]


def test_what_lies_outside_the_parts_is_named_with_what_it_holds(tmp_path):
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 32, 32))
    write_photo(tmp_path / "photos/walk/1.jpg")
    (tmp_path / "photos/walk/track.gpx").write_text("x")
    write_photo(tmp_path / "drive/2/1.jpg")
    write_photo(tmp_path / "drive/2/2.jpg")
    (tmp_path / "drive/weights.pt").write_bytes(b"x")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    for note in ("README.md", "sites.csv", "vectors/land.geojson", ".git/config", "Thumbs.db"):
        (tmp_path / note).parent.mkdir(exist_ok=True)
        (tmp_path / note).write_text("x")
    (tmp_path / "street.csv").write_text("photo_id,path,lon,lat\na,./photos/walk/1.jpg,1,2\n")
    dataset = Dataset(tmp_path)
    # drive/2 is no class: benchmarks have their names
    assert inventory.unread(dataset) == ["drive/ (1 other files, 2 pictures)", "photos.zip"]
    (tmp_path / "street.csv").unlink()
    (tmp_path / "drive/2").rename(tmp_path / "drive/batch_2")
    parts = inventory.count(Dataset(tmp_path)).set_index("part")
    assert "drive/ (1 other files, 2 pictures)" in parts.loc["not read", "note"]


def test_a_table_of_photos_that_cannot_be_read_is_no_absent_one(tmp_path):
    (tmp_path / "street.csv").write_text("photo_id,path\na,b.jpg\n")
    dataset = Dataset(tmp_path, tolerant=True)
    parts = inventory.count(dataset).set_index("part")
    assert parts.loc["street", "note"] == (
        "refused: street.csv: lacks the columns lon, lat; it has photo_id, path"
    )
    assert "it holds street.csv (1 rejected, the first: street.csv" in inventory.nothing(dataset)
    (tmp_path / "street.csv").write_text("photo_id,path,lon,lat\na,b.jpg,1,2\n")
    parts = inventory.count(Dataset(tmp_path)).set_index("part")
    assert parts.loc["street", "note"] == "every photo is rejected"


def test_a_part_of_which_all_is_rejected_is_no_absent_one(tmp_path):
    """A map in landcover/ that has no scene's name is named, whether others have one or not."""
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 32, 32))
    for name in ("a", "classes_of_a"):
        cover = np.ones((1, 32, 32), np.uint8)
        write_scene(tmp_path / f"landcover/{name}.tif", cover, names=None)
    (tmp_path / "landcover/classes.csv").write_text("value,name\n1,wood\n")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/t.csv").write_text("a,b\n1,2\n")
    parts = inventory.count(Dataset(tmp_path)).set_index("part")
    assert parts.loc["tables", ["count", "rejected", "note"]].tolist() == [
        0,
        1,
        "every table is rejected",
    ]
    assert parts.loc["landcover", "count"] == 1
    assert parts.loc["landcover", "note"].endswith("must be: classes_of_a.tif")
    (tmp_path / "scenes/a.tif").write_bytes(b"no raster")
    parts = inventory.count(Dataset(tmp_path)).set_index("part")
    assert parts.loc["scenes", "note"] == "every scene is rejected"
    assert parts.loc["landcover", "note"].endswith("a.tif, classes_of_a.tif")


def test_ratings_of_photos_without_a_place_are_named_in_the_library_too(tmp_path):
    write_photo(tmp_path / "photos/1.jpg")
    (tmp_path / "broken.tif").write_text("x")
    (tmp_path / "scores.csv").write_text("photo_id,path,safe\n1,photos/1.jpg,6.2\n")
    dataset = Dataset(tmp_path)
    assert dataset.street().empty
    found = {row["item"]: row["reason"] for row in dataset.rejected}
    assert found.keys() == {"broken", "photos/ (1 pictures)", "scores.csv"}
    assert "street.csv" in found["photos/ (1 pictures)"]
    assert "lon, lat, which this one lacks" in found["scores.csv"]
    assert "scores.csv" in inventory.nothing(dataset)
    (tmp_path / "street.csv").write_text("photo_id,path,lon,lat\na,photos/1.jpg,1,2\n")
    placed = Dataset(tmp_path)
    assert len(placed.street()) == 1 and placed.scenes() == []
    assert [row["item"] for row in placed.rejected] == ["broken"]
