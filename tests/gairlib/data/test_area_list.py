"""areas.csv: ids as texts, numbers, and what is rejected row by row."""

import numpy as np

from gairlib.data import area_list
from gairlib.data.dataset import Dataset


def test_ids_are_texts_and_what_cannot_be_used_is_named(tmp_path):
    lines = [f"0{600 + k},{1000 + k},{k % 2},ward {k}" for k in range(20)]
    lines[3] = "0603,much,1,ward 3"
    lines[4] = "0600,1,1,again"
    lines[5] = ",5,1,nameless"
    lines[6] = "0606,,1,ward 6"
    (tmp_path / "areas.csv").write_text("area_id,income,poor,name\n" + "\n".join(lines) + "\n")
    dataset = Dataset(tmp_path)
    frame = dataset.areas()
    assert len(frame) == 18 and frame["area_id"][0] == "0600"
    assert frame["income"].dtype == np.float64 and frame["poor"].dtype == np.float64
    assert np.isnan(frame.set_index("area_id")["income"][["0603", "0606"]]).all()
    assert frame["name"][0] == "ward 0"
    found = {row["item"]: row["reason"] for row in dataset.rejected if row["kind"] == "area"}
    assert set(found) == {"0603", "0600", "row 7"}
    assert "income 'much' is no number" in found["0603"] and "first row kept" in found["0600"]
    assert found["row 7"] == "no area_id"


def test_a_table_without_ids_is_rejected_as_a_whole_and_none_is_none(tmp_path):
    assert len(area_list.read(tmp_path)[0]) == 0 and area_list.read(tmp_path)[1] == []
    (tmp_path / "areas.csv").write_text("tract,income\n1,2\n")
    frame, rejected = area_list.read(tmp_path)
    assert len(frame) == 0 and list(frame) == ["area_id"]
    ((kind, item, why),) = rejected
    assert (kind, item) == ("table", "areas.csv") and "area_id" in str(why)
