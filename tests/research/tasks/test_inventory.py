"""The inventory of a dataset folder: every part counted, absent ones named."""

import numpy as np
import pandas as pd
from PIL import Image

from gairlib.data.dataset import Dataset
from research.tasks import inventory


def test_of_an_empty_folder_every_part_is_absent(tmp_path):
    parts = inventory.count(Dataset(tmp_path))
    assert (parts["count"] == 0).all() and parts["note"].str.startswith("absent").all()
    assert str(tmp_path) in inventory.nothing(Dataset(tmp_path))


def test_usable_and_rejected_rows_are_counted(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/t.csv").write_text("lon,lat,v\n10,20,1\n20,100,2\n,5,3\n200,5,4\n")
    (tmp_path / "eurosat_rgb/Forest").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "eurosat_rgb/Forest/1.jpg")
    (tmp_path / "eurosat_rgb/.ipynb_checkpoints").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "eurosat_rgb/.ipynb_checkpoints/1-checkpoint.jpg")
    parts = inventory.count(Dataset(tmp_path)).set_index("part")
    assert parts.loc["tables/t", ["count", "rejected"]].tolist() == [2, 2]
    assert parts.loc["eurosat_rgb", ["count", "note"]].tolist() == [1, "1 classes"]
    assert not inventory.nothing(Dataset(tmp_path))


def test_columns_that_are_no_labels_are_listed_with_their_reason(tmp_path):
    (tmp_path / "tables").mkdir()
    k = np.arange(30)
    columns = {"lon": k % 7, "lat": k % 5, "OBJECTID_1": k, "Shape_Area": k**2, "rent": k**2 % 11}
    pd.DataFrame(columns).to_csv(tmp_path / "tables/t.csv", index=False)
    found = inventory.no_labels(Dataset(tmp_path))
    assert found[["table", "column"]].values.tolist() == [["t", "OBJECTID_1"], ["t", "Shape_Area"]]
    assert "row" in found["reason"][0]
