"""The CoordBench-like evaluation: splits, scores and references on tables made here."""

import numpy as np
import pandas as pd
import pytest
import torch
from builders.small_models import TINY

from gairlib import GAIR
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.torchgeo_adapter import CoordBenchEncoder, LocationEncoderLike
from research.evaluation import neighbours
from research.figures import coordbench as figures
from research.studies import coordbench


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GAIR(TINY).eval()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """`smooth` is linear on the sphere; `block` is a number of each 10-degree cell; and a class."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 600), rng.uniform(-60, 60, 600)
    lon[:300], lat[:300] = lon[300:] + rng.normal(0, 0.01, 300), lat[300:]  # near neighbours
    xyz = neighbours.sphere(np.stack([lon, lat], 1))
    cell = np.floor(lon / 10) * 50 + np.floor(lat / 10)
    numbers = dict(zip(np.unique(cell), rng.normal(size=len(np.unique(cell)))))
    (folder / "tables").mkdir()
    pd.DataFrame(
        {
            "lon": lon,
            "lat": lat,
            "smooth": xyz @ [1.0, -2.0, 0.5],
            "block": [numbers[c] for c in cell],
            "country": np.where(lat > 0, "north", "south"),
        }
    ).to_csv(folder / "tables" / "made.csv", index=False)
    return Dataset(folder)


class Cells(LocationEncoderLike):
    """Knows each place by heart, as a sum of many waves: no neighbour is like another."""

    def _encode(self, lon, lat, _year):
        rng = np.random.default_rng(1)
        angles = np.stack([lon, lat], 1) @ rng.normal(0, 2.0, (2, 60))
        return np.concatenate([np.sin(angles), np.cos(angles)], 1)


@pytest.fixture(scope="module")
def rows(dataset, model):
    encoders = {
        "GAIR": CoordBenchEncoder(model),
        "cells": Cells(),
        "xyz": coordbench.SphereEncoder(),
    }
    return coordbench.evaluate(dataset, encoders, bootstrap=50)


def value(rows, task, encoder, split):
    found = rows[(rows.task == f"made-{task}") & (rows.encoder == encoder) & (rows.split == split)]
    return float(found["value"].iloc[0])


def test_every_encoder_answers_every_task_in_both_splits(rows, dataset):
    assert [task.name for task in coordbench.questions(dataset)] == [
        f"location-made-{t}" for t in ("smooth", "block", "country")
    ]
    assert len(rows) == 3 * 4 * 2 and rows["value"].notna().all()
    assert set(rows["encoder"]) == {"GAIR", "cells", "xyz", coordbench.NEAREST}
    assert set(rows.loc[rows.target == "country", "metric"]) == {"accuracy"}
    assert set(rows.loc[rows.target == "smooth", "metric"]) == {"R2"}
    assert (rows["n"] == 600).all() and (rows["cluster"] == "10° block").all()


def test_what_is_linear_in_the_features_is_found(rows):
    assert value(rows, "smooth", "xyz", "random") > 0.999
    assert value(rows, "smooth", "xyz", "blocked") > 0.999
    assert value(rows, "country", "xyz", "random") > 0.95


def test_blocks_tell_neighbourhood_from_knowledge(rows):
    """Labels that belong to cells can be copied from next door, and cannot be known."""
    assert value(rows, "block", coordbench.NEAREST, "random") > 0.5
    assert value(rows, "block", coordbench.NEAREST, "blocked") < 0.1
    assert value(rows, "block", "cells", "random") > 0.1 + value(rows, "block", "cells", "blocked")


def test_sphere_encoder_is_the_position():
    made = coordbench.SphereEncoder(batch_size=2).encode([0, 90, 180], [0, 0, 90])
    np.testing.assert_allclose(made, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-6)


def test_scenes_read_by_name_and_by_position(model):
    dn = np.random.default_rng(0).integers(1, 6000, (4, 10, 16, 16)).astype(np.uint16)
    images = coordbench.as_level_1c(dn)
    assert images.shape == (4, 13, 16, 16) and (images[:, [0, 9, 10]] == 0).all()
    np.testing.assert_array_equal(images[:, 12], dn[:, 9])
    found = coordbench.by_name_or_count(model, dn)
    np.testing.assert_allclose(found["by_name"], 0, atol=1e-5)
    # By hand: at the twelve-band positions stand B02 to B8A, then cirrus (0 here), then B11.
    wrong = np.concatenate([dn[:, :8], np.zeros_like(dn[:, :1]), dn[:, 8:9]], 1)
    a, b = (torch.from_numpy(encode.chips(model, x)) for x in (dn, wrong))
    want = (a - b).norm(dim=1) / torch.pdist(a).median()
    np.testing.assert_allclose(found["by_count"], want, rtol=1e-4)
    assert (want > 0.05).all()
    assert np.isnan(coordbench.by_name_or_count(model, dn[:1])["by_count"]).all()


def test_summary_and_what_each_task_says(rows):
    readings = pd.DataFrame({"by_name": [0.0, 0.0], "by_count": [0.5, 1.5]})
    numbers = coordbench.summary(rows, readings, "GAIR")
    assert numbers["tasks"] == 3 and numbers["wrong_order_in_scene_distances"] == 1.0
    assert numbers["made-smooth_r2_blocked"] == round(value(rows, "smooth", "GAIR", "blocked"), 4)
    tasks = {x["task"]: x for x in coordbench.by_task(rows, "GAIR", "cells")}
    assert set(tasks) == set(rows["task"]) and "made-block" in tasks
    smooth = tasks["made-smooth"]
    assert smooth["best"] == "xyz" and smooth["best_blocked"] == pytest.approx(1, abs=0.005)
    assert smooth["blocked"] == value(rows, "smooth", "GAIR", "blocked")
    assert smooth["untrained_random"] == value(rows, "smooth", "cells", "random")


def test_a_folder_without_tables_or_scenes(tmp_path, model):
    empty = Dataset(tmp_path)
    rows = coordbench.evaluate(empty, {"xyz": coordbench.SphereEncoder()})
    ids, dn = coordbench.centre_chips(empty, 6, 16, 160.0)
    readings = coordbench.by_name_or_count(model, dn)
    assert not len(rows) and not ids and dn.shape == (0, 10, 16, 16) and not len(readings)
    assert coordbench.by_task(rows, "GAIR", "cells") == []
    assert coordbench.summary(rows, readings, "GAIR") == {"tasks": 0, "scenes": 0}
    figures.splits(rows, "GAIR").savefig(tmp_path / "a.png")
    figures.readings(ids, dn, readings).savefig(tmp_path / "b.png")


def test_figures_show_every_task(rows, tmp_path):
    figure = figures.splits(rows, "GAIR")
    titles = [ax.get_title(loc="left").split("\n")[0] for ax in figure.axes]
    assert [t for t in titles if t] == ["made-smooth", "made-block", "made-country"]
    figure.savefig(tmp_path / "a.png", dpi=40)
    dn = np.random.default_rng(0).integers(1, 6000, (2, 10, 16, 16))
    readings = pd.DataFrame({"by_name": [0.0, 0.0], "by_count": [0.5, np.nan]})
    assert len(figures.readings(["a", "b" * 40], dn, readings).axes) == 3


def test_copies_of_one_scene_have_no_distance_to_compare_with(model):
    dn = np.full((2, 10, 16, 16), 1500, np.uint16)
    found = coordbench.by_name_or_count(model, dn)
    assert found.isna().all(axis=None)
    assert len(figures.readings(["a", "copy"], dn, found).axes) == 3
    rows = pd.DataFrame(columns=["encoder", "task", "metric", "split", "value"])
    assert coordbench.summary(rows, found, "GAIR") == {"tasks": 0, "scenes": 2}
