"""What is compared on a probing task: published weights, and neighbours as rivals."""

import numpy as np
import pytest
import torch
from builders.small_models import SMALL
from builders.small_weights import croma_shapes, random_state

from gairlib import GAIR
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from research.evaluation.neighbours import NEAREST
from research.tasks import encoders
from research.tasks.data import Places, TaskData
from research.tasks.street import Street
from research.tasks.task import Options


def test_croma_reads_chips_and_positions(tmp_path):
    path = tmp_path / "croma.pt"
    torch.save(random_state(croma_shapes(16, 1)), path)
    croma = Options(weights={"croma": str(path)})
    rng = np.random.default_rng(0)
    chips = rng.integers(200, 4000, (3, 10, 32, 32)).astype(np.uint16)
    xy = rng.uniform(-1, 1, (5, 2))

    def data(inputs, n):
        return TaskData(
            "t", "rs", "regression", "y", inputs, np.zeros(n), np.arange(n), "site", [], True
        )

    (row,) = encoders.published(data(chips, 3), None, croma)
    assert row[:2] == ("CROMA", "published") and row[2].shape == (3, 16)
    chip = np.array([2, 0, 0, 1, 2])
    (row,) = encoders.published(data(Places(chips, chip, xy), 5), None, croma)
    one = Places(chips[[2]], np.zeros(1, int), xy[:1])
    (alone,) = encoders.published(data(one, 1), None, croma)
    np.testing.assert_allclose(row[2][0], alone[2][0], atol=1e-5)
    location = TaskData(
        "t", "location", "regression", "y", xy, np.zeros(5), np.arange(5), "block", [], True
    )
    assert encoders.published(location, None, croma) == []


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(Missing, match="benchmark.weights.geoclip"):
        Options(weights={"geoclip": str(tmp_path / "absent.pt")})
    with pytest.raises(BadInput, match="'dinov9'"):
        Options(weights={"dinov9": "x"})


def test_photos_and_chips_have_their_neighbours_labels_as_a_rival(tiny, tmp_path):
    """The tiny world is green in the west: over rows, neighbours know it; over sites nobody does"""
    data = Street("green_view").load(Dataset(tiny))
    assert data.lonlat.shape == (len(data.labels), 2)
    GAIR(SMALL).save_pretrained(tmp_path)
    found, _ = encoders.compared(data, Dataset(tiny), Options(tmp_path, seeds=1))
    assert {NEAREST, "inverse distance", "coordinates"} <= {e.name for e in found}
