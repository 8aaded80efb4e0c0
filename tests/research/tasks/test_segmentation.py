"""Segmentation: mIoU against a count by hand, heads' shapes, learning, the sample's task."""

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.evaluation import stats
from research.figures import examples as example_figures
from research.figures import style
from research.tasks import registry
from research.tasks.segmentation import benchmark, heads, train
from research.tasks.segmentation.data import IGNORE, SegmentationData, Tiles, check_classes, load
from research.tasks.segmentation.landcover import LandCoverSegmentation
from research.tasks.task import Options
from tests.conftest import write_tiny


def tiles_of(masks, images=None, clusters=None):
    images = np.zeros((len(masks), 3, *masks.shape[1:]), np.float32) if images is None else images
    names = [f"tile-{i}" for i in range(len(masks))]
    return Tiles(
        names,
        lambda i: (images[i], masks[i].astype(np.int64)),
        np.array(names if clusters is None else clusters),
    )


def data_of(train_masks, test_masks):
    return SegmentationData(
        "made-up",
        ("B02", "B03", "B04"),
        ("a", "b", "c"),
        "image",
        {"train": tiles_of(train_masks), "test": tiles_of(test_masks)},
    )


# ------------------------------------------------------------------------------------------ score


def test_miou_is_what_counting_by_hand_gives():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, (6, 5, 5)), rng.integers(0, 3, (6, 5, 5))
    truth[rng.random(truth.shape) < 0.2] = IGNORE
    codes = np.array([0, 0, 1, 1, 2, 2])
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]], float)
    matrices = benchmark.confusion(truth, guess, codes, 3)
    for w, miou, accuracy in zip(
        weights, benchmark.miou(matrices)(weights), benchmark.accuracy(matrices)(weights)
    ):
        t = np.concatenate([truth[codes == k].ravel() for k in range(3) for _ in range(int(w[k]))])
        g = np.concatenate([guess[codes == k].ravel() for k in range(3) for _ in range(int(w[k]))])
        t, g = t[t != IGNORE], g[t != IGNORE]
        ious = [((t == k) & (g == k)).sum() / ((t == k) | (g == k)).sum() for k in range(3)]
        assert miou == pytest.approx(np.mean(ious)) and accuracy == pytest.approx((t == g).mean())


def test_a_class_that_is_nowhere_is_left_out_and_ignored_pixels_do_not_count():
    truth = np.array([[[0, 1], [IGNORE, 1]]])
    matrices = benchmark.confusion(truth, np.array([[[0, 1], [2, 1]]]), np.array([0]), 3)
    assert benchmark.miou(matrices)(np.ones((1, 1)))[0] == 1.0
    matrices = benchmark.confusion(truth, np.array([[[2, 1], [0, 1]]]), np.array([0]), 3)
    assert benchmark.miou(matrices)(np.ones((1, 1)))[0] == pytest.approx(
        1 / 3
    )  # 0, 1 and a false 2


# ------------------------------------------------------------------------------------------- data


def test_bad_masks_are_refused_by_name():
    good = np.array([[[0, 1], [2, 0]]])
    with pytest.raises(BadInput, match="tile-0: label 7"):
        load(data_of(np.where(good == 2, 7, good), good), "train")
    with pytest.raises(BadInput, match="class 'c' is in the test split"):
        data = data_of(np.minimum(good, 1), good)
        check_classes(data, {s: load(data, s)[1] for s in data.splits})
    with pytest.raises(BadInput, match="hold 1 class"):
        check_classes(data, {"train": good * 0, "test": good})
    with pytest.raises(BadInput, match="hold no label"):
        check_classes(data, {"train": good, "test": good * 0 + IGNORE})


def test_absent_bands_are_filled_with_the_training_mean():
    masks = np.array([[[0, 1], [1, 0]]])
    images = np.full((1, 3, 2, 2), 77.0, np.float32)
    data = SegmentationData(
        "x", ("B04", "B03", "B02"), ("a", "b"), "image", {"train": tiles_of(masks, images)}
    )
    chips = load(data, "train")[0]
    assert (chips[0, :3] == 77).all() and chips[0, 6, 0, 0] == pytest.approx(2245.1629)


# ------------------------------------------------------------------------------------------ heads


@pytest.mark.parametrize("tokens, size", [(4, 16), (16, 64), (12, 96), (3, 24)])
def test_heads_answer_for_every_pixel(tokens, size):
    layers = [torch.randn(2, tokens, tokens, 6) for _ in range(4)]
    assert heads.UPerNet(6, 5, size, channels=4)(layers).shape == (2, 5, size, size)
    assert heads.LinearHead(6, 5, size)(layers).shape == (2, 5, size, size)


def test_upernet_reads_all_four_layers():
    head = heads.UPerNet(6, 3, 32, channels=4).eval()
    layers = [torch.randn(1, 8, 8, 6, requires_grad=True) for _ in range(4)]
    head(layers).square().sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in layers)


def test_heads_learn_what_the_tokens_say_and_the_seed_decides():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 3, (12, 4, 4))
    tokens = torch.eye(3)[torch.from_numpy(coarse)]
    masks = coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)
    masks[0, :8] = IGNORE
    schedule = train.Schedule(steps=60, batch=6, lr=0.05)
    for make, layers in (
        (lambda: heads.LinearHead(3, 3, 16), [tokens]),
        (lambda: heads.UPerNet(3, 3, 16, channels=8), [tokens] * 4),
    ):
        first, again = (train.fit(make, layers, masks, seed=1, schedule=schedule) for _ in range(2))
        found = train.predict(first, layers)
        known = masks != IGNORE
        assert (found == masks)[known].mean() > 0.8
        np.testing.assert_array_equal(found, train.predict(again, layers))


def test_the_u_net_turns_images_and_masks_together():
    """What is to be learnt is one band's sign at each pixel: turned apart, nothing is."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (8, 2, 8, 8)).repeat(2, 2).repeat(2, 3)
    masks = (images[:, 0] > 0).astype(np.uint8)
    net = train.fit(
        lambda: heads.UNet(2, 2, channels=8),
        [torch.from_numpy(images)],
        masks,
        seed=0,
        schedule=train.Schedule(steps=60, batch=4, lr=0.02),
        pixels=True,
    )
    found = train.predict(net, [torch.from_numpy(images)], pixels=True)
    assert (found == masks).mean() > 0.9


# ------------------------------------------------------------------------------------ whole task


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The tiny folder with a map: green land in the west is class 3, grey in the east class 5."""
    folder = write_tiny(tmp_path_factory.mktemp("mapped") / "tiny")
    (folder / "landcover").mkdir()
    for path in (folder / "scenes").glob("*.tif"):
        with rasterio.open(path) as scene:
            profile = dict(scene.profile, count=1, dtype="uint8")
        with rasterio.open(folder / "landcover" / path.name, "w", **profile) as file:
            file.write(np.where(np.arange(96) < 48, 3, 5)[None].repeat(96, 0).astype("uint8"), 1)
    pd.DataFrame({"value": [3, 5, 9], "name": ["grass", "low buildings", "water"]}).to_csv(
        folder / "landcover/classes.csv", index=False
    )
    rows = [{"scene_id": s, "path": f"scenes/{s}.tif", "site": s} for s in ("bern", "quito")]
    rows.append({"scene_id": "perth", "path": "scenes/perth.tif", "site": "perth"})
    pd.DataFrame(rows).to_csv(folder / "scenes.csv", index=False)
    splits = {"bern": "train", "quito": "val", "perth": "test"}
    pd.DataFrame({"site": splits.keys(), "split": splits.values()}).to_csv(
        folder / "sites.csv", index=False
    )
    return Dataset(folder)


def test_the_samples_task_from_end_to_end(mapped, embedded, monkeypatch):
    fast = train.Schedule(steps=3, batch=2)
    monkeypatch.setattr(benchmark, "QUICK", fast)
    monkeypatch.setattr(benchmark, "DEEP", fast)
    result = registry.run(
        LandCoverSegmentation.name,
        mapped,
        Options(embedded[2] / "model", None, seeds=2, bootstrap=20),
    )
    assert result.status == "ran" and result.headline["metric"] == "mIoU"
    mean = result.rows[result.rows.seed == "mean"].set_index(["encoder", "metric"])["value"]
    assert mean["pixel bands", "mIoU"] > 0.95  # the two classes differ in every band
    assert mean["majority", "mIoU"] < 0.5
    assert {"gair, UPerNet", "random init, UPerNet", "U-Net, supervised"} <= set(
        result.rows["encoder"]
    )
    assert len(example_figures.example(result).axes) >= 6
    # both heads are judged, each against the same one on the untrained encoder
    split, numbers = "held-out sites", result.metrics()
    assert [row[0] for row in result.mainline] == [
        "miou",
        "pixel_accuracy",
        "miou_upernet",
        "pixel_accuracy_upernet",
    ]
    assert {row[1] for row in result.mainline} == {split} and numbers["ran"] == 1
    for metric, ours, untrained in (
        ("mIoU", "gair", "random init"),
        ("mIoU, UPerNet", "gair, UPerNet", "random init, UPerNet"),
    ):
        gap = result.versus(split, "random init", metric).difference
        assert gap == pytest.approx(mean[ours, "mIoU"] - mean[untrained, "mIoU"])
    assert mean["gair, linear head", "mIoU, UPerNet"] == mean["gair", "mIoU"]
    assert numbers["miou_upernet"] == pytest.approx(mean["gair, UPerNet", "mIoU"], rel=1e-5)
    assert {
        "gair, UPerNet",
        "random init",
        "random init, UPerNet",
        "U-Net, supervised",
        "pixel bands",
        "majority",
    } == set(numbers["others"])


def test_tiles_lie_on_their_map(mapped):
    data = LandCoverSegmentation().load(mapped)
    assert data.classes == ("grass", "low buildings")
    assert set(data.splits["test"].clusters) == {"perth"}
    image, mask = data.splits["train"].read(0)
    assert image.shape == (10, 64, 64) and mask.shape == (64, 64)
    assert (image[0] < 1000).mean() == pytest.approx((mask == 0).mean(), abs=0.02)


def test_the_share_that_is_built_up(mapped):
    assert registry.get("rs-built_up", mapped).available(mapped) is None
    data = registry.get("rs-built_up", mapped).load(mapped)
    assert data.kind == "regression" and 0 <= data.labels.min() < data.labels.max() <= 1
    image = data.inputs[0]
    assert data.labels[0] == pytest.approx((image[0] > 1000).mean(), abs=0.02)


def test_a_folder_without_maps_says_so(tiny, embedded):
    result = registry.run(
        LandCoverSegmentation.name, Dataset(tiny), Options(embedded[2] / "model", None)
    )
    assert result.status == "skipped" and "landcover/ holds maps for 0 scenes" in result.reason


def test_every_class_has_a_colour_of_its_own():
    names = (
        "water",
        "trees",
        "grass",
        "cropland",
        "bare ground",
        "paved",
        "low buildings",
        "high buildings",
        "industrial buildings",
        "thing",
        "other",
        "cloud",
    )
    assert len(set(style.cover_colours(names))) == len(names)


def test_stats_take_the_scores():
    matrices = np.stack([np.eye(2) * 3, np.ones((2, 2)), np.eye(2), np.eye(2), np.eye(2)])
    got = stats.cluster_bootstrap([benchmark.miou(matrices)], 5, draws=50)
    assert 0 <= got.low <= got.value <= got.high <= 1
