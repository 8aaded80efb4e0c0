"""Land cover of tiles: majorities, shares, and values without a name."""

import re

import numpy as np
import pytest
import rasterio

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks import labels as columns
from research.tasks import registry, tiles
from research.tasks.tiles import LandCover


def test_landcover_needs_tiles_enough_and_names_them_by_majority(folder, monkeypatch):
    with pytest.raises(BadInput, match="fewer than two land-cover classes"):
        LandCover().load(Dataset(folder))
    monkeypatch.setattr(columns, "MIN_CLASS", 2)
    data = LandCover().load(Dataset(folder))
    assert data.inputs.shape == (12, 10, 64, 64) and data.inputs.dtype == np.uint16
    assert data.labels.tolist() == ["grass", "paved"] * 6  # west tile, east tile, two rows
    assert [s.name for s in data.schemes] == ["random, 5 folds", "sites, 5 folds"]
    (folder / "scenes.csv").write_text(
        "scene_id,path,site\n"
        + "".join(f"{s},scenes/{s}.tif,{s}\n" for s in ("bern", "quito", "perth"))
    )
    (folder / "sites.csv").write_text("site,split\nbern,train\nquito,val\nperth,test\n")
    data = LandCover().load(Dataset(folder))
    assert [s.name for s in data.schemes] == [
        "random rows",
        "held-out sites, 100 labels",
        "held-out sites",
    ]
    ((train, test),) = data.schemes[1].folds(0)
    assert set(data.clusters[test]) == {"perth"} and set(data.clusters[train]) == {"bern", "quito"}


@pytest.mark.parametrize("dtype, value", [("uint8", 7), ("uint16", 300), ("int16", -1)])
def test_a_map_with_a_value_that_has_no_name_is_rejected_by_itself(folder, dtype, value):
    path = folder / "landcover/bern.tif"
    (folder / "landcover/classes.csv").write_text("value,name\n1,grass\n2,built-up\n")
    with rasterio.open(path) as source:
        values, profile = source.read().astype(dtype), source.profile | {"dtype": dtype}
    values[0, 30, 30] = value
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    dataset = Dataset(folder)
    assert {tile.site for tile in tiles.mapped(dataset, 64)} == {"quito", "perth"}
    (row,) = [row for row in dataset.rejected if row["kind"] == "land cover"]
    assert re.search(f"bern.tif: the value {value} has no name.* lists 1, 2", row["reason"])
    with pytest.raises(BadInput, match="has no name"):
        dataset.landcover("bern")


def test_the_share_that_is_built_up(mapped):
    assert registry.get("rs-built_up", mapped).available(mapped) is None
    data = registry.get("rs-built_up", mapped).load(mapped)
    assert data.kind == "regression" and 0 <= data.labels.min() < data.labels.max() <= 1
    image = data.inputs[0]
    assert data.labels[0] == pytest.approx((image[0] > 1000).mean(), abs=0.02)
