"""EuroSAT: class folders, a wrong file, no folder."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from builders.small_files import ramp, write_scene
from PIL import Image

from gairlib.bands import BANDS
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks import inventory
from research.tasks.eurosat import EuroSAT, EuroSATMultispectral
from research.tasks.registry import available, get

REAL = Path(__file__).resolve().parents[4] / "shared/real-more"


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


def test_a_link_to_an_image_is_no_second_image(folder):
    (folder / "eurosat_rgb/Forest/again.jpg").symlink_to("Forest_0.jpg")
    data = EuroSAT().load(Dataset(folder))
    assert len(data.labels) == 24
    assert any("Forest/again.jpg: a link to Forest/Forest_0.jpg" in note for note in data.notes)


def test_class_folders_one_level_deeper_are_read_and_those_of_a_split_refused(folder):
    (folder / "eurosat_rgb").rename(folder / "2750")
    (folder / "EuroSAT_RGB").mkdir()
    (folder / "2750").rename(folder / "EuroSAT_RGB/2750")
    dataset = Dataset(folder)
    assert available(dataset)["rs-eurosat"] is None
    assert EuroSAT().load(dataset).inputs.shape == (24, 10, 64, 64)
    alone = Dataset(folder / "EuroSAT_RGB")
    assert EuroSAT().load(alone).inputs.shape == (24, 10, 64, 64)
    assert inventory.unread(dataset) == inventory.unread(alone) == []
    (folder / "EuroSAT_RGB/2750").rename(folder / "EuroSAT_RGB/train")
    (folder / "EuroSAT_RGB/test/River").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "EuroSAT_RGB/test/River/1.jpg")
    why = available(Dataset(folder))["rs-eurosat"]
    assert "EuroSAT_RGB/test/River/; move it to EuroSAT_RGB/River/" in why
    parts = inventory.count(Dataset(folder)).set_index("part")
    assert (
        parts.loc["EuroSAT_RGB", "rejected"] == 1 and "move it" in parts.loc["EuroSAT_RGB", "note"]
    )


def test_a_class_of_one_image_is_left_out_by_name(folder):
    (folder / "eurosat_rgb/Sea").mkdir()
    Image.new("RGB", (64, 64)).save(folder / "eurosat_rgb/Sea/Sea_0.jpg")
    data = EuroSAT().load(Dataset(folder))
    assert data.inputs.shape == (24, 10, 64, 64) and set(data.labels) == {"Forest", "River"}
    assert any("Sea: one image" in note for note in data.notes)


def test_two_unicode_forms_of_a_name_are_one_class(folder):
    for form in ("NFC", "NFD"):
        rivers = folder / "eurosat_rgb" / unicodedata.normalize(form, "Flüsse")
        rivers.mkdir()
        for k in range(3):
            Image.new("RGB", (64, 64)).save(rivers / f"{form}_{k}.jpg")
    labels = EuroSAT().load(Dataset(folder)).labels.tolist()
    assert sorted(set(labels)) == ["Flüsse", "Forest", "River"] and labels.count("Flüsse") == 6


def test_eurosat_without_class_folders_is_an_error_and_an_empty_folder_none(tmp_path):
    folder = tmp_path / "eurosat_rgb"
    folder.mkdir()
    assert "no folder" in EuroSAT().available(Dataset(tmp_path))
    Image.new("RGB", (64, 64)).save(folder / "Forest_1.jpg")
    assert EuroSAT().available(Dataset(tmp_path)) is None
    with pytest.raises(BadInput, match="eurosat_rgb: no class folders with images"):
        EuroSAT().load(Dataset(tmp_path))


def test_tiles_of_13_bands_are_read_without_a_table(tmp_path):
    order = [1, 2, 3, 4, 5, 6, 7, 12, 10, 11]  # of B02 ... B12 in EuroSAT's files: B8A is last
    for name, low in (("Forest", 300), ("River", 900)):
        for i in range(12):
            values = ramp(13, 64, 64, low=low + i)
            write_scene(tmp_path / f"eurosat_ms/{name}/{name}_{i}.tif", values, names=None)
    named = tmp_path / "eurosat_ms/River/named.tif"
    write_scene(named, ramp(10, 64, 64, low=900)[::-1].copy(), names=BANDS[::-1])
    write_scene(tmp_path / "eurosat_ms/River/small.tif", ramp(13, 32, 64), names=None)
    (tmp_path / "eurosat_ms/River/cut.tif").write_bytes(b"II*")
    dataset = Dataset(tmp_path)
    assert (
        dataset.scenes() == [] and dataset.rejected == [] and "eurosat_ms" in dataset.benchmarks()
    )
    assert available(dataset)["rs-eurosat-ms"] is None
    data = get("rs-eurosat-ms", dataset).load(dataset)
    assert data.inputs.shape == (25, 10, 64, 64) and data.bands == ",".join(BANDS)
    np.testing.assert_array_equal(data.inputs[0], ramp(13, 64, 64, low=300)[order])
    np.testing.assert_array_equal(data.inputs[-1], ramp(10, 64, 64, low=900))
    (note,) = [n for n in data.notes if "left out" in n]
    assert note.startswith("2 images") and "small.tif: 64 x 32 pixels" in note and "cut.tif" in note


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real-more is not there")
def test_the_real_tiles_are_read_whole():
    data = EuroSATMultispectral().load(Dataset(REAL))
    assert data.inputs.shape == (140, 10, 64, 64) and len(set(data.labels)) == 10
    assert not any("left out" in note for note in data.notes)
