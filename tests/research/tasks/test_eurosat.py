"""EuroSAT: class folders, a wrong file, no folder."""

import pytest
from PIL import Image

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks.eurosat import EuroSAT


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
