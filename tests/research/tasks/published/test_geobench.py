"""GEO-Bench: published splits, masks and classes; a probe end to end."""

import json

import h5py
import numpy as np
import pytest
import torch
from builders import small_published as small
from builders.small_weights import croma_shapes, random_state

from gairlib import bands
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import data as examples
from research.tasks import registry
from research.tasks.published import geobench
from research.tasks.segmentation.data import IGNORE
from research.tasks.segmentation.data import load as placed
from research.tasks.task import UNUSED, Options


def test_a_set_without_its_partition_is_named_and_ends_no_run(tmp_path, checkpoint):
    (small.geobench(tmp_path, "m-eurosat") / "default_partition.json").unlink()
    assert geobench.GeoBench("m-eurosat").available(Dataset(tmp_path)) is None
    with pytest.raises(BadInput, match="m-eurosat/default_partition.json: this file"):
        geobench.GeoBench("m-eurosat").load(Dataset(tmp_path), Options(checkpoint, None))
    result = registry.run("geobench-m-eurosat", Dataset(tmp_path), Options(checkpoint, None))
    assert result.status == "skipped"
    assert "m-eurosat/default_partition.json" in result.reason


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda p: p.pop("valid"), "'valid'"),
        (lambda p: p["test"].append(p["train"][0]), "id_0000 is in two splits"),
        (lambda p: p["test"].append("nowhere"), "nowhere.hdf5 is not in the folder"),
        (lambda p: p.update(test=p["test"][::2]), "class 1 has no image in the split 'test'"),
    ],
)
def test_wrong_partitions_name_their_file(tmp_path, change, why):
    root = small.geobench(tmp_path, "m-eurosat")
    parts = json.loads((root / "default_partition.json").read_text())
    change(parts)
    (root / "default_partition.json").write_text(json.dumps(parts))
    with pytest.raises(BadInput, match=f"default_partition.json.*{why}"):
        geobench.probing("m-eurosat", Dataset(tmp_path))


def test_split_is_the_published_one_and_few_labels_come_from_its_training_part(tmp_path):
    small.geobench(tmp_path, "m-eurosat", count=330)
    data = geobench.probing("m-eurosat", Dataset(tmp_path))
    few, whole = data.schemes
    ((train, test),) = whole.folds(0)
    assert len(train) == 165 and len(test) == 110
    assert [data.inputs.ids[i] for i in test[:2]] == ["id_0220", "id_0221"]
    ((some, same),) = few.folds(1)
    assert len(some) == examples.FEW and set(some) < set(train) and (same == test).all()
    assert not np.array_equal(some, few.folds(2)[0][0])


def test_classification_runs_end_to_end_and_is_solved_by_its_brightness(tmp_path, checkpoint):
    small.geobench(tmp_path, "m-eurosat")
    torch.save(random_state(croma_shapes(16, 1)), tmp_path / "croma.pt")
    weights = {"croma": str(tmp_path / "croma.pt")}
    result = registry.run(
        "geobench-m-eurosat",
        Dataset(tmp_path),
        Options(checkpoint, None, seeds=2, bootstrap=50, weights=weights),
    )
    assert result.row("published split", "CROMA", "accuracy") is not None
    assert UNUSED not in result.notes
    assert result.status == "ran" and result.headline["metric"] == "accuracy"
    assert result.row("published split", "colour statistics", "accuracy").value == 1.0
    assert result.headline["n"] == 12 and result.headline["chance"] == 0.5
    assert example_figures.example(result) and figures.rows(result)


def test_geobench_segmentation_reads_masks_bands_and_scale(tmp_path):
    root = small.geobench(tmp_path, "m-cashew-plant", kind="segmentation", side=24)
    data = geobench.segmentation("m-cashew-plant", Dataset(tmp_path), 16)
    chips, masks = placed(data, "test")
    assert len(chips) == 12 * 4 and data.bands == bands.BANDS and len(data.classes) == 7
    inside = chips[:, bands.BANDS.index("B8A")][masks == 1]
    assert (inside >= 3080).all() and (inside < 3085).all()
    assert any("no pixel of poorly-managed plantation" in note for note in data.notes)
    assert not (root / "opened").exists()


def test_geobench_without_a_scale_is_brought_onto_the_training_statistics(tmp_path):
    small.geobench(tmp_path, "m-SA-crop-type", kind="segmentation", scale=0.01)
    data = geobench.segmentation("m-SA-crop-type", Dataset(tmp_path), 16)
    chips, masks = small.read(data.splits["train"])
    red = chips[:, 2]  # 10 and 30 around a mean of 20 with a spread of 10
    assert np.allclose(red[masks == 1], bands.MEAN[2] + bands.STD[2], atol=5)
    assert np.allclose(red[masks == 0], bands.MEAN[2] - bands.STD[2], atol=5)


def test_geobench_masks_out_of_range_and_missing_classes_are_named(tmp_path):
    root = small.geobench(tmp_path, "m-cashew-plant", kind="segmentation")
    with h5py.File(root / "id_0003.hdf5", "a") as file:
        file["label"][0, 0] = 9
    with pytest.raises(BadInput, match="id_0003.hdf5: label 9 is out of range"):
        geobench.segmentation("m-cashew-plant", Dataset(tmp_path), 16)
    with h5py.File(root / "id_0003.hdf5", "a") as file:
        file["label"][0, 0] = 4
    with pytest.raises(BadInput, match="default_partition.json: class 'residential' has no pixel"):
        geobench.segmentation("m-cashew-plant", Dataset(tmp_path), 16)
    parts = json.loads((root / "default_partition.json").read_text())
    parts["valid"] = []
    (root / "default_partition.json").write_text(json.dumps(parts))
    with pytest.raises(BadInput, match="default_partition.json.*'valid'"):
        geobench.segmentation("m-cashew-plant", Dataset(tmp_path), 16)


@pytest.mark.parametrize("name", ["m-nz-cattle", "m-of-ours"])
def test_255_is_ignored_and_no_class(tmp_path, name):
    root = small.geobench(tmp_path, name, kind="segmentation")
    with h5py.File(root / "id_0003.hdf5", "a") as file:
        file["label"][0, 0] = 255
    data = geobench.segmentation(name, Dataset(tmp_path), 16)
    assert data.classes == ("class 0", "class 1")
    assert (small.read(data.splits["train"])[1] == IGNORE).sum() == 1


def test_a_label_beyond_the_published_number_of_classes_is_refused(tmp_path):
    root = small.geobench(tmp_path, "m-nz-cattle", kind="segmentation")
    for name in root.glob("*.hdf5"):
        with h5py.File(name, "a") as file:
            file["label"][0, 0] = 2
    with pytest.raises(BadInput, match="id_0000.hdf5: label 2 is out of range; .* 0..1"):
        geobench.segmentation("m-nz-cattle", Dataset(tmp_path), 16)
