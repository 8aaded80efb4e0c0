"""Numbers of areas from their photos: known answers, tables, and what is left out."""

import numpy as np
import pandas as pd
import pytest
from builders import small_areas as small
from matplotlib.figure import Figure

from gairlib.data.dataset import Dataset
from gairlib.errors import Skipped
from research.figures import examples as example_figures
from research.tasks import inventory, registry
from research.tasks.areas import Area, middles
from research.tasks.task import Options


@pytest.fixture(scope="module")
def areas(tmp_path_factory):
    root = tmp_path_factory.mktemp("areas")
    return root, small.folder(root)


def test_an_areas_photos_are_averaged_and_counted_once(areas):
    root, table = areas
    data = Area("income").load(Dataset(root))
    assert len(data.labels) == small.AREAS and len(data.inputs) == small.AREAS * small.PHOTOS
    np.testing.assert_array_equal(data.labels, table["income"])  # ids are in order
    assert data.inputs["area_id"][0][0] == "0" and "3 in the median area" in data.notes[0]
    x = np.stack([np.arange(len(data.inputs)), data.example], 1).astype(np.float32)
    pooled = data.pooled(x)
    for k in range(small.AREAS):
        rows = np.flatnonzero(data.example == k)
        assert set(data.inputs["area_id"][rows]) == {table["area_id"][k]}
        np.testing.assert_allclose(pooled[k], [rows.mean(), k])
    photos = np.arange(6)[::-1]  # answers for photos become those for areas, in the order asked
    rows = data.example[photos]
    asked = data.inputs_of(np.unique(rows))
    found = data.answered(10.0 * data.example[asked], asked, rows)
    np.testing.assert_allclose(found, 10.0 * rows)
    assert len(asked) == small.PHOTOS * len(np.unique(rows)) and set(data.columns) == {
        "income",
        "noise",
        "north",
    }
    north = data.lonlat[:, 1] - table["north"].to_numpy()
    assert np.abs(north).max() < 1e-4  # the middle of three points on a line
    assert data.cluster == "0.5° block" and [s.held_out for s in data.schemes] == ["row", "block"]
    for train, test in data.schemes[-1].folds(0):
        assert not set(data.clusters[train]) & set(data.clusters[test])


def test_the_middle_of_places_knows_no_seam():
    found = middles([[179.0, 0.0], [-179.0, 0.0], [10.0, 40.0]], np.array([0, 0, 1]))
    np.testing.assert_allclose(found, [[180.0, 0.0], [10.0, 40.0]], atol=1e-9)


def test_what_the_photos_tell_is_found_and_noise_is_not(areas, checkpoint):
    root, _ = areas
    options = Options(checkpoint, None, seeds=2, bootstrap=200, upper_bounds=("supervised",))
    dataset = Dataset(root)
    result = registry.run("area-income", dataset, options)
    split = result.headline["split"]
    assert split == "blocks, 5 folds" and result.headline["n"] == small.AREAS
    assert result.row(split, "colour statistics", "R2").value > 0.99  # a straight line of the red
    assert result.row(split, "coordinates", "R2").value < 0.2
    bound = result.row(split, "supervised", "R2")  # of each photo, and the mean over an area's
    assert bound.n == small.AREAS and bound.value > 0.6 and len(result.fits) == 5
    assert isinstance(example_figures.example(result), Figure)
    options = Options(checkpoint, None, seeds=2, bootstrap=200, upper_bounds=())
    noise = registry.run("area-noise", dataset, options)
    for encoder in ("gair", "colour statistics", "coordinates", "5 nearest neighbours"):
        row = noise.row(split, encoder, "R2")
        assert row.value < 0.15 and not row.low > 0, encoder
    north = registry.run("area-north", dataset, options)
    assert north.row(split, "coordinates", "R2").value > 0.95
    assert north.row(split, "colour statistics", "R2").value < 0.2


def test_tasks_are_the_numbers_of_areas(areas, tmp_path):
    root, table = areas
    found = registry.available(Dataset(root))
    assert {name: why for name, why in found.items() if name.startswith("area-")} == {
        "area-income": None,
        "area-noise": None,
        "area-north": None,
    }
    assert "sv-area_id" not in found
    assert inventory.count(Dataset(root)).set_index("part")["count"]["areas"] == small.AREAS
    assert inventory.unread(Dataset(root)) == []
    small.folder(tmp_path / "few", income=[1.0] * 10 + [np.nan] * 50, kind="urban")
    few = registry.available(Dataset(tmp_path / "few"))
    assert "10 labelled areas, fewer than 20" in few["area-income"]
    assert "area-kind" not in few
    street = pd.read_csv(tmp_path / "few/street.csv", dtype=str)
    street.drop(columns="area_id").to_csv(tmp_path / "few/street.csv", index=False)
    few = registry.available(Dataset(tmp_path / "few"))
    assert "no flat photo of street.csv names its area" in few["area-noise"]


def test_a_number_of_the_photos_that_is_one_in_each_area_is_the_areas(areas, tmp_path):
    small.folder(tmp_path / "one")
    street = pd.read_csv(tmp_path / "one/street.csv", dtype={"area_id": str})
    table = pd.read_csv(tmp_path / "one/areas.csv", dtype={"area_id": str})
    street = street.merge(table[["area_id", "income"]]).assign(green=np.arange(180) % 7)
    street.to_csv(tmp_path / "one/street.csv", index=False)
    (tmp_path / "one/areas.csv").unlink()
    dataset = Dataset(tmp_path / "one")
    names = [name for name in registry.available(dataset) if name.startswith("area-")]
    assert names == ["area-income"]  # green differs between the photos of an area
    np.testing.assert_allclose(Area("income").load(dataset).labels, areas[1]["income"])
    assert "neither areas.csv nor street.csv" in Area("green").available(dataset)


def test_areas_of_two_splits_are_left_out_and_held_out_areas_are_those_of_the_data(tmp_path):
    small.folder(tmp_path / "split")
    path = tmp_path / "split/street.csv"
    street = pd.read_csv(path, dtype={"area_id": str})
    number = street["area_id"].astype(int) - 600
    street["split"] = np.where(number >= 50, "test", "train")
    street.loc[street["photo_id"] == "0655-0", "split"] = "train"
    street.to_csv(path, index=False)
    data = Area("income").load(Dataset(tmp_path / "split"))
    assert len(data.labels) == 59 and "1 areas whose photos are of several splits" in data.notes[0]
    ((train, test),) = data.schemes[-1].folds(0)
    assert len(test) == 9 and set(data.inputs["split"][np.isin(data.example, test)]) == {"test"}
    assert set(data.inputs["split"][np.isin(data.example, train)]) == {"train"}
    street.assign(lon=10.0, lat=45.0, split="train").to_csv(path, index=False)
    with pytest.raises(Skipped, match="nothing can be held out"):
        Area("income").load(Dataset(tmp_path / "split"))
