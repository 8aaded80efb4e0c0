"""UPerNet, low-rank corrections and whole towers learn maps, and leave the model alone."""

import numpy as np
import pytest
import rasterio
import torch
from builders.mapped import KINDS

import gairlib
from gairlib.errors import BadInput
from gairlib.mapping import fitting, network
from gairlib.mapping.features import Chips
from gairlib.mapping.lessons import joined, lessons
from gairlib.mapping.mapper import Mapper
from gairlib.model import model_hash

CHIPS = dict(chip_px=32, chip_m=320.0)
pytestmark = pytest.mark.filterwarnings("ignore::gairlib.scale.OtherScale")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(network, "STEPS", 60)
    monkeypatch.setattr(fitting, "FOLDS", 2)


@pytest.mark.parametrize("head, tower", [("upernet", "frozen"), ("linear", "lora")])
def test_a_map_is_right_where_no_label_was(model, land, quick, tmp_path, head, tower):
    before, known = model_hash(model), np.flatnonzero(land.plots["use"] != "lake")
    how = dict(column="use", head=head, tower=tower, each=8, **CHIPS)
    fitted = gairlib.fit(model, land.scene, land.plots.iloc[known], **how)
    assert model_hash(model) == before and fitted.classes == ["field", "town"]
    assert fitted.report.scores["accuracy"][0] > 0.9 and fitted.report.pixels == 8 * len(known)
    again = Mapper.load(fitted.save(tmp_path / "map.safetensors"), model)
    written = again.predict(land.scene, tmp_path / "map.tif", progress=False)
    with rasterio.open(written.map) as file:
        found = np.array(["", *again.classes])[file.read(1)]
    truth = np.array(KINDS)[land.kinds]
    assert (found == truth)[truth != "lake"].mean() > 0.9


def test_a_label_is_answered_as_the_map_is_written(model, land, quick, tmp_path):
    how = dict(column="height", head="linear", tower="full", each=6, **CHIPS)
    fitted = gairlib.fit(model, land.scene, land.plots, **how)
    assert fitted.report.kind == "numbers" and fitted.report.scores["R2"][0] > 0.5
    written = fitted.predict(land.scene, tmp_path / "n.tif", progress=False)
    pixels = np.array([[0, 0], [159, 143], [30, 31], [64, 80]])
    held = lessons(land.scene, Chips("bilinear", 32, 320.0, 0.25), pixels)
    answers = fitted.head.at(model, held, np.array([True, True, False, True]))
    with rasterio.open(written.map) as file, rasterio.open(written.uncertainty) as doubt:
        values, deviation = file.read(1), doubt.read(1)
    rows = pixels[[0, 1, 3]].T[::-1]
    np.testing.assert_allclose(values[*rows], answers[:, 0], atol=1e-4)
    np.testing.assert_allclose(deviation[*rows], answers[:, 1] * fitted.factor, rtol=1e-5)


def test_a_correction_starts_at_nothing_and_keeps_little(model):
    images = torch.randn(2, 10, 32, 32)
    grids = []
    for tower in network.TOWERS:
        torch.manual_seed(0)
        made = network.Network(model, "upernet", tower, 3).eval()
        grids.append(made.rs.layers(images, 4)[-1])
        learnt = {k for k in made.learnt() if k.startswith("rs.")}
        ours = {f"rs.{k}" for k, _ in model.rs.named_parameters()}
        assert learnt == {"frozen": set(), "full": ours}.get(tower, learnt)
        if tower == "lora":
            assert learnt and all(k.endswith(("weight.0.up", "weight.0.down")) for k in learnt)
    for grid in grids[1:]:
        torch.testing.assert_close(grid, grids[0])


def test_lessons_of_scenes_are_joined(land):
    chips = Chips("bilinear", 32, 320.0, 0.25)
    one, other = np.array([[3, 4], [100, 90]]), np.array([[150, 20], [7, 8], [60, 60]])
    both = joined([lessons(land.scene, chips, pixels) for pixels in (one, other)])
    assert set(both.label) == set(range(5))
    with rasterio.open(land.scene.path) as file:
        raw = file.read()
    for pair, label in enumerate(both.label):
        column, row = np.concatenate([one, other])[label]
        y, x = (network.cell_of(v[pair : pair + 1], 32)[0] for v in (both.y, both.x))
        np.testing.assert_array_equal(both.chips[both.chip[pair]][:, y, x], raw[:, row, column])


@pytest.mark.parametrize(
    "how", [dict(tower="half"), dict(head="trees"), dict(head="neighbours", tower="lora")]
)
def test_what_does_not_go_together_is_said(model, land, how):
    with pytest.raises(BadInput, match=next(iter(how.values()))):
        gairlib.fit(model, land.scene, land.plots, column="use", **how, **CHIPS)
