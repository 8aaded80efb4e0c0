"""EuroSAT: class folders, a wrong file, no folder."""

import pytest
from PIL import Image

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks.eurosat import EuroSAT


def test_eurosat_reads_folders_as_classes(folder):
    data = EuroSAT().load(Dataset(folder))
    assert data.inputs.shape == (24, 10, 64, 64) and set(data.labels) == {"Forest", "River"}
    assert data.bands == "B02,B03,B04" and data.cluster == "image"
    for train, test in data.schemes[0].folds(0):
        assert {"Forest", "River"} == set(data.labels[test]) and not set(train) & set(test)


def test_an_odd_image_is_left_out_by_name_and_hidden_ones_are_none(folder):
    rivers = folder / "eurosat_rgb/River"
    Image.new("RGB", (32, 64)).save(rivers / "odd.jpg")
    (rivers / "cut.jpg").write_bytes((rivers / "River_0.jpg").read_bytes()[:300])
    (rivers / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (rivers / "._River_0.jpg").write_bytes(b"\x00\x05\x16\x07" + bytes(64))
    for hidden in (folder / "eurosat_rgb/.ipynb_checkpoints", rivers / ".ipynb_checkpoints"):
        hidden.mkdir()
        Image.new("RGB", (64, 64)).save(hidden / "River_0-checkpoint.jpg")
    (rivers / "River_1.jpg").rename(rivers / "River_1.JPG")
    with Image.open(rivers / "River_2.jpg") as image:
        image.save(rivers / "River_2.png")
    (rivers / "River_2.jpg").unlink()
    data = EuroSAT().load(Dataset(folder))
    assert data.inputs.shape == (24, 10, 64, 64) and set(data.labels) == {"Forest", "River"}
    (note,) = [n for n in data.notes if "left out" in n]
    assert note.startswith("3 images") and "River/odd.jpg: 32 x 64 pixels" in note
    assert "River/cut.jpg" in note and "River/gone.jpg" in note


def test_eurosat_without_class_folders_is_an_error_and_an_empty_folder_none(tmp_path):
    folder = tmp_path / "eurosat_rgb"
    folder.mkdir()
    assert "no folder" in EuroSAT().available(Dataset(tmp_path))
    Image.new("RGB", (64, 64)).save(folder / "Forest_1.jpg")
    assert EuroSAT().available(Dataset(tmp_path)) is None
    with pytest.raises(BadInput, match="eurosat_rgb: no class folders with images"):
        EuroSAT().load(Dataset(tmp_path))
