"""The sample's segmentation task from end to end."""

import numpy as np
import pytest
from builders import small_files

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR
from research.figures import benchmarks
from research.figures import examples as example_figures
from research.tasks import registry, tiles
from research.tasks.segmentation import benchmark, train, upper_bounds
from research.tasks.segmentation.data import load
from research.tasks.segmentation.landcover import LandCoverSegmentation
from research.tasks.task import Options


def test_the_samples_task_from_end_to_end(mapped, embedded, monkeypatch, tmp_path):
    fast = train.Schedule(steps=3, batch=2, every=1)
    monkeypatch.setattr(train, "UPERNETS", {"narrow": (32, fast)})
    monkeypatch.setattr(upper_bounds, "SCHEDULES", dict.fromkeys(upper_bounds.SCHEDULES, fast))
    monkeypatch.setattr(upper_bounds, "FEW", 4)
    monkeypatch.chdir(tmp_path)
    model = GAIR.from_pretrained(embedded[2] / "model")
    data = LandCoverSegmentation().load(mapped)
    made = upper_bounds.make(data, model)
    result = registry.run(
        LandCoverSegmentation.name,
        mapped,
        Options(embedded[2] / "model", None, seeds=2, bootstrap=20),
    )
    assert result.status == "ran"
    mean = result.rows[result.rows.seed == "mean"].set_index(["encoder", "metric"])["value"]
    assert mean["pixel bands", "mIoU"] > 0.95  # the two classes differ in every band
    assert mean["majority", "mIoU"] < 0.5
    bounds = {name + few for name in upper_bounds.SCHEDULES for few in ("", ", 4 tiles")}
    assert {"gair, UPerNet", "random init, UPerNet", *bounds} <= set(result.rows["encoder"])
    assert {b.name for b in made} == bounds
    # what was kept is read back as it was; of other weights, what began with them is left out
    (_, masks), (_, truth) = (load(data, split) for split in ("train", "test"))
    again = upper_bounds.kept(data, model, truth, masks)
    assert [(b.name, b.fit, b.n_train) for b in again] == [(b.name, b.fit, b.n_train) for b in made]
    assert all((a.matrices == b.matrices).all() for a, b in zip(again, made))
    other = upper_bounds.kept(data, encode.random_init(model.config, 5), truth, masks)
    assert {b.name for b in other} == {b for b in bounds if "fine-tuned" not in b}
    assert not upper_bounds.kept(data, model, 1 - truth, masks)
    # trainings that were cut short say so, the solver came to its end
    at_limit = {name for name, fit in result.fits.items() if fit.at_limit}
    assert at_limit <= bounds | {"gair, UPerNet", "random init, UPerNet"} and at_limit
    assert {"gair, linear head", "random init, linear head"} <= set(result.fits)
    assert result.metrics()["trainings_at_limit"] == len(at_limit)
    assert any("ENDED AT ITS LIMIT" in note for note in result.notes)
    assert benchmarks.trainings(result).axes
    assert "supervised" not in result.headline["best_baseline"]
    assert len(example_figures.example(result).axes) >= 6
    # all heads are judged, each against the same one on the untrained encoder, and the first is
    # the one that was best on validation tiles
    split, numbers = "held-out sites", result.metrics()
    judged = [row[0] for row in result.mainline]
    assert set(judged) == {
        f"{key}{head}" for key in ("miou", "pixel_accuracy") for head in ("", "_bands", "_upernet")
    }
    (said,) = (note for note in result.notes if "mIoU of ours on validation tiles" in note)
    heads, shares = said.split("on validation tiles: ")
    shares = dict(pair.rsplit(" ", 1) for pair in shares.split(", "))
    assert set(shares) == set(benchmark.HEADS)
    chosen = max(shares, key=lambda head: float(shares[head]))
    assert f"of the {chosen} head" in heads and judged[0] == "miou" + benchmark.HEADS[chosen][1]
    assert {row[1] for row in result.mainline} == {split} and numbers["ran"] == 1
    for metric, ours, untrained in (
        ("mIoU", "gair", "random init"),
        ("mIoU, UPerNet", "gair, UPerNet", "random init, UPerNet"),
        ("mIoU, with bands", "gair, with bands", "random init, with bands"),
    ):
        gap = result.versus(split, "random init", metric).difference
        assert gap == pytest.approx(mean[ours, "mIoU"] - mean[untrained, "mIoU"])
    assert mean["gair, linear head", "mIoU, UPerNet"] == mean["gair", "mIoU"]
    assert numbers["miou_upernet"] == pytest.approx(mean["gair, UPerNet", "mIoU"], rel=1e-5)
    assert {
        "gair, UPerNet",
        "gair, with bands",
        "random init",
        "random init, UPerNet",
        "random init, with bands",
        "pixels and around",
        "pixel bands",
        "majority",
    } == set(numbers["others"]["miou"])
    assert bounds == set(numbers["upper_bounds"]["miou"])


def test_tiles_lie_on_their_map(mapped):
    data = LandCoverSegmentation().load(mapped)
    assert data.classes == ("grass", "low buildings")
    assert set(data.splits["test"].clusters) == {"perth"}
    image, mask = data.splits["train"].read(0)
    assert image.shape == (10, 64, 64) and mask.shape == (64, 64)
    assert (image[0] < 1000).mean() == pytest.approx((mask == 0).mean(), abs=0.02)


def test_a_folder_without_maps_says_so(tiny, embedded):
    result = registry.run(
        LandCoverSegmentation.name, Dataset(tiny), Options(embedded[2] / "model", None)
    )
    assert result.status == "skipped" and "landcover/ holds maps for 0 scenes" in result.reason


def test_of_a_single_scene_blocks_of_ground_are_held_out(tmp_path):
    side = 64 * 8
    values = np.random.default_rng(0).integers(200, 4000, (10, side, side))
    for part in ("scenes", "landcover"):
        (tmp_path / part).mkdir()
    small_files.write_scene(tmp_path / "scenes/one.tif", values.astype(np.uint16))
    cover = np.where(values[:1] < 2000, 1, 2).astype(np.uint8)
    small_files.write_scene(tmp_path / "landcover/one.tif", cover, names=None)
    (tmp_path / "landcover/classes.csv").write_text("value,name\n1,dark\n2,bright\n")
    dataset = Dataset(tmp_path)
    assert LandCoverSegmentation().available(dataset) is None
    data = LandCoverSegmentation().load(dataset)
    train_blocks, held = (set(data.splits[s].clusters) for s in ("train", "test"))
    assert not train_blocks & held and len(held) >= 5 and data.cluster == "block"
    assert sum(map(len, data.splits.values())) == 64 and data.split_name == "held-out blocks"


def test_shifted_sites_are_scored_by_the_same_heads(mapped, embedded, monkeypatch):
    fast = train.Schedule(steps=3, batch=2)
    monkeypatch.setattr(train, "UPERNETS", {"narrow": (32, fast)})
    monkeypatch.setattr(
        benchmark, "by_pixel", lambda chips, masks, asked, n: asked[:, 0].astype("uint8") * 0
    )
    known = {"bern": "train", "quito": "shifted", "perth": "test"}
    monkeypatch.setattr(tiles, "scene_sites", lambda dataset: ({s: s for s in known}, known))
    data = LandCoverSegmentation().load(mapped)
    assert {s: set(part.clusters) for s, part in data.splits.items()} == {
        "train": {"bern"},
        "test": {"perth"},
        "shifted": {"quito"},
    }
    options = Options(embedded[2] / "model", None, seeds=1, bootstrap=20)
    result = registry.run(LandCoverSegmentation.name, mapped, options)
    rows = result.rows[result.rows.seed == "mean"].set_index(["split", "encoder", "metric"])
    apart, held = rows.loc["shifted sites"], rows.loc["held-out sites"]
    assert set(apart.index) == set(held.index)
    assert set(apart["n"]) == {len(data.splits["shifted"])}
    assert ("miou_shifted", "shifted sites", "mIoU") in result.mainline
    assert ("miou_bands_shifted", "shifted sites", "mIoU, with bands") in result.mainline
    assert result.mainline[0][1] == "held-out sites"
    assert result.splits["shifted sites"].shifted and not result.splits["held-out sites"].shifted
