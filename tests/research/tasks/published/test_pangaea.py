"""PANGAEA's sets in their published layouts, what is refused, and one end to end."""

import numpy as np
import pytest
from builders import small_published as small
from sklearn.model_selection import train_test_split

from gairlib import bands
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks import registry
from research.tasks.published.pangaea import Pangaea
from research.tasks.segmentation import train
from research.tasks.segmentation.data import IGNORE
from research.tasks.segmentation.data import load as placed
from research.tasks.task import UNUSED, Options


def load(folder, name: str, size: int = 16):
    getattr(small, name)(folder)
    return Pangaea(name).tiles(Dataset(folder), size)


def test_sen1floods11_picks_ten_of_thirteen_bands_and_the_published_split(tmp_path):
    data = load(tmp_path, "sen1floods11")
    chips, masks = placed(data, "test")
    assert len(data.splits["train"].ids) == 3 * 9 and len(chips) == 3 * 9
    land = chips.transpose(0, 2, 3, 1)[masks == 0]
    positions = np.array(bands.LAYOUTS["l1c"][0])
    assert (land == 4000 + 10 * (positions - 1)).all()
    assert set(np.unique(masks)) == {IGNORE, 0, 1} and data.classes == ("Not Water", "Water")
    assert set(data.splits["test"].clusters) == {"Spain", "Ghana"}
    assert data.bands == bands.BANDS and any("L1C" in note for note in data.notes)


def test_hls_reflectance_becomes_dn_and_missing_bands_the_training_mean(tmp_path):
    data = load(tmp_path, "hlsburnscars")
    chips, masks = placed(data, "train")
    here = [bands.BANDS.index(b) for b in ("B02", "B03", "B04", "B8A", "B11", "B12")]
    rest = [i for i in range(10) if i not in here]
    pixels = chips.transpose(0, 2, 3, 1)
    burnt = pixels[masks == 1]
    assert np.allclose(burnt[:, here], 4000, atol=0.5) and len(burnt)
    assert np.allclose(burnt[:, rest], bands.MEAN[rest])
    unburnt = pixels[masks == 0][:, here]  # 9999 is no reflectance and becomes 0
    assert set(np.round(np.unique(unburnt))) == {0, 1000}
    assert data.bands == ("B02", "B03", "B04", "B8A", "B11", "B12")


def test_hls_split_is_the_one_of_pangaea(tmp_path):
    data = load(tmp_path, "hlsburnscars")
    folder = tmp_path / "pangaea/hlsburnscars/training"
    names = [p.stem for p in sorted(folder.glob("*merged.tif"))]
    train, val = train_test_split(np.arange(10), test_size=0.1, random_state=23)
    first = [i.split(" row")[0] for i in data.splits["train"].ids]
    assert list(dict.fromkeys(first)) == [names[i] for i in train]
    assert {i.split(" row")[0] for i in data.splits["val"].ids} == {names[i] for i in val}
    assert len({i.split(" row")[0] for i in data.splits["test"].ids}) == 2


def test_mados_finds_bands_of_both_satellites_and_enlarges_the_coarse_ones(tmp_path):
    data = load(tmp_path, "mados", size=24)
    chips, masks = placed(data, "val")
    assert chips.shape == (2, 10, 24, 24)
    for chip, row in zip(
        chips,
        (
            (492, 560, 665, 704, 740, 783, 833, 865, 1614, 2202),
            (492, 559, 665, 704, 739, 780, 833, 864, 1610, 2186),
        ),
    ):
        assert np.allclose(chip[:, 10, 10], row, atol=0.5)
    assert (chips[:, 3, :2, :2] == 1).all()  # below zero in a 20-m band: four pixels of 10 m
    assert (chips[:, 0, 0, 0] == 0).all() and (chips[:, 0, 0, 1] > 0).all()  # NaN: no data
    assert (masks[:, 2, :15] == np.arange(15)).all() and (masks != IGNORE).sum() == 2 * 15
    assert set(data.splits["val"].clusters) == {"Scene_1"} and len(data.classes) == 15


def test_ai4smallfarms_places_four_bands_and_reads_masks_of_255(tmp_path):
    data = load(tmp_path, "ai4smallfarms")
    chips, masks = placed(data, "test")
    field = chips.transpose(0, 2, 3, 1)[masks == 1]
    where = [bands.BANDS.index(b) for b in ("B02", "B03", "B04", "B08")]
    assert (field[:, where] == [2200, 2500, 2600, 3900]).all() and len(field)
    assert np.allclose(field[:, 4], bands.MEAN[4])
    assert len({i.split(" row")[0] for i in data.splits["train"].ids}) == 3


def test_ai4smallfarms_pairs_masks_by_number_and_takes_the_name_val(tmp_path):
    root = small.ai4smallfarms(tmp_path)
    (root / "validate").rename(root / "val")
    for path in (root / "train/masks").glob("*.tif"):
        path.rename(path.with_name(path.stem + "_mask.tif"))
    data = Pangaea("ai4smallfarms").tiles(Dataset(tmp_path), 16)
    chips, masks = small.read(data.splits["train"])
    assert ((chips[:, 0] == 2200) == (masks == 1))[masks != IGNORE].all()
    (root / "train/masks/1_vietnam_mask.tif").unlink()
    with pytest.raises(BadInput, match="mask of 1_vietnam.tif"):
        Pangaea("ai4smallfarms").tiles(Dataset(tmp_path), 16)


@pytest.mark.parametrize(
    "name, path, label",
    [
        ("sen1floods11", "v1.1/data/flood_events/HandLabeled/LabelHand/Spain_5_LabelHand.tif", 2),
        ("hlsburnscars", "training/subsetted_512x512_HLS.S30.T10SEG.2018100.v1.4.mask.tif", 3),
        ("mados", "Scene_0/10/Scene_0_L2R_cl_1.tif", 16),
        ("ai4smallfarms", "sentinel-2-asia/train/masks/0_vietnam.tif", 7),
    ],
)
def test_a_label_out_of_range_names_its_file(tmp_path, name, path, label):
    getattr(small, name)(tmp_path)
    mask = np.zeros((40, 40), np.int16)
    mask[3, 3] = label
    small.write(tmp_path / "pangaea" / name / path, mask)
    with pytest.raises(BadInput, match=f"{path.split('/')[-1]}.*label {label} is out of range"):
        Pangaea(name).tiles(Dataset(tmp_path), 16)


@pytest.mark.parametrize(
    "name, lost, why",
    [
        (
            "sen1floods11",
            "v1.1/splits/flood_handlabeled/flood_valid_data.csv",
            "flood_valid_data.csv",
        ),
        (
            "sen1floods11",
            "v1.1/data/flood_events/HandLabeled/S2Hand/Ghana_1_S2Hand.tif",
            "flood_train_data.csv row 1",
        ),
        ("hlsburnscars", "training/subsetted_512x512_HLS.S30.T10SEG.2018100.v1.4.mask.tif", "mask"),
        ("mados", "splits/val_X.txt", "val_X.txt"),
        ("mados", "Scene_2/10/Scene_2_L2R_cl_2.tif", "test_X.txt line 2"),
        ("mados", "Scene_2/20/Scene_2_L2R_rhorc_1610_2.tif", "crop 2 has no file.*B11"),
    ],
)
def test_a_missing_file_is_named(tmp_path, name, lost, why):
    getattr(small, name)(tmp_path)
    (tmp_path / "pangaea" / name / lost).unlink()
    with pytest.raises(BadInput, match=why):
        Pangaea(name).tiles(Dataset(tmp_path), 16)


def test_a_class_that_a_split_lacks_is_an_error(tmp_path):
    root = small.sen1floods11(tmp_path)
    small.write(
        root / "data/flood_events/HandLabeled/LabelHand/Ghana_4_LabelHand.tif",
        np.zeros((40, 40), np.int16),
    )
    with pytest.raises(BadInput, match="flood_handlabeled: class 'Water' has no pixel .*'val'"):
        Pangaea("sen1floods11").tiles(Dataset(tmp_path), 16)


def test_other_bands_scales_and_rows_are_refused(tmp_path):
    root = small.sen1floods11(tmp_path)
    hand = root / "data/flood_events/HandLabeled"
    small.write(hand / "S2Hand/Ghana_1_S2Hand.tif", np.zeros((12, 40, 40), np.int16))
    with pytest.raises(BadInput, match="Ghana_1_S2Hand.tif: 12 bands"):
        small.read(Pangaea("sen1floods11").tiles(Dataset(tmp_path), 16).splits["train"])
    small.write(hand / "S2Hand/Ghana_1_S2Hand.tif", np.zeros((13, 20, 40), np.int16))
    with pytest.raises(BadInput, match="Ghana_1_LabelHand.tif: 40 x 40 px, but its image"):
        small.read(Pangaea("sen1floods11").tiles(Dataset(tmp_path), 16).splits["train"])
    table = root / "splits/flood_handlabeled/flood_test_data.csv"
    table.write_text("Spain_5_S1Hand.tif\n")
    with pytest.raises(BadInput, match="flood_test_data.csv row 1"):
        Pangaea("sen1floods11").tiles(Dataset(tmp_path), 16)
    root = small.hlsburnscars(tmp_path)
    path = next((root / "training").glob("*merged.tif"))
    small.write(path, np.full((6, 40, 40), 2300, np.int16))
    with pytest.raises(BadInput, match="values up to 2300.*reflectance"):
        small.read(Pangaea("hlsburnscars").tiles(Dataset(tmp_path), 16).splits["train"])


def test_a_set_of_pangaea_runs_and_reports_miou_by_cluster(tmp_path, monkeypatch, checkpoint):
    short = {"narrow": (8, train.Schedule(steps=2)), "pangaea": (16, train.Schedule(epochs=1))}
    monkeypatch.setattr(train, "UPERNETS", short)
    small.ai4smallfarms(tmp_path)
    weights = {"croma": str(checkpoint / "config.json")}  # any file: it is not read
    result = registry.run(
        "pangaea-ai4smallfarms",
        Dataset(tmp_path),
        Options(checkpoint, None, seeds=1, bootstrap=20, weights=weights),
    )
    assert result.status == "ran" and result.headline["metric"] == "mIoU, UPerNet"
    assert result.headline["split"] == "published split" and UNUSED in result.notes
    assert result.mainline[0][0] == "miou_upernet"
    assert result.headline["cluster"] == "tile" and result.headline["clusters"] == 2
    assert result.row(result.headline["split"], "pixel bands", "mIoU").value > 0.95
    assert not result.synthetic and any("six of the ten" in note for note in result.notes)
    assert any("8 channels, narrower than PANGAEA's" in note for note in result.notes)
    options = Options(checkpoint, None, seeds=1, bootstrap=20, upernet="pangaea")
    monkeypatch.setattr(train, "PANGAEA", short["pangaea"][1])
    published = registry.run("pangaea-ai4smallfarms", Dataset(tmp_path), options)
    assert any("16 channels, trained as published" in note for note in published.notes)
    assert not published.fits["gair, UPerNet"].at_limit
