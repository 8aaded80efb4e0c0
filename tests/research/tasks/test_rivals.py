"""Towers taught without labels: made once, kept, and shown beside ours wherever they belong."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from builders.small_models import SMALL
from builders.small_run import small_pairs

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR, model_hash
from gairlib.pairs import store
from research.evaluation import features
from research.evaluation.table import OURS, SUPERVISED, UPPER_BOUNDS
from research.tasks import answers, encoders, registry, rivals
from research.tasks.answers import Kept
from research.tasks.data import TaskData, random_folds
from research.tasks.rivals import NAME, Views
from research.tasks.segmentation import train
from research.tasks.street import Street, StreetFromAbove
from research.tasks.task import Options


def example(labels) -> TaskData:
    n = len(labels)
    schemes = [random_folds(np.arange(n))]
    return TaskData(
        "t", "sv", "regression", "y", None, labels, np.arange(n) // 3, "site", schemes, True
    )


@pytest.mark.parametrize("text", [False, True])
def test_guesses_come_back_for_the_same_examples_alone(tmp_path, text):
    rng = np.random.default_rng(0)
    labels = rng.choice(["rain", "clear", "snow"], 30) if text else rng.normal(0, 40, 30)
    data = example(labels)
    guesses = {
        answers.key(data, train, test): rng.permutation(labels)[: len(test)]
        for _, _, train, test in answers.folds(data)
    }
    model = encode.random_init(SMALL, 3)
    start = model_hash(encode.random_init(model.config, 0))
    kept = Kept("other", "logistic", "gairlib", "a note", guesses, start)
    answers.save("t", [kept], tmp_path)
    (found,) = answers.load(data, model, tmp_path)
    assert (found.name, found.probe, found.note) == ("other", "logistic", "a note")
    assert found.guesses.keys() == guesses.keys() and len(guesses) == 5
    for key, values in guesses.items():
        if text:
            assert found.guesses[key].tolist() == values.tolist()
        else:
            np.testing.assert_allclose(found.guesses[key], values, rtol=5e-4)
    changed = labels.copy()
    changed[7] = labels[labels != labels[7]][0]
    assert answers.load(example(changed), model, tmp_path) == []
    assert answers.load(replace(data, name="another"), model, tmp_path) == []
    wider = GAIR(replace(SMALL, rs_depth=SMALL.rs_depth + 1))
    assert answers.load(data, wider, tmp_path) == []  # another architecture
    answers.save("t", [replace(kept, start=model_hash(model))], tmp_path)  # fine-tuned from these
    assert answers.load(data, model, tmp_path) and not answers.load(data, wider, tmp_path)
    assert answers.load(data, encode.random_init(model.config, 5), tmp_path) == []


def test_as_many_views_as_pretraining_sees(pairs):
    rows = store.load(pairs, store.LEARNING).manifest.query("split == 'train'")
    asked = {"steps": 100, "chips_per_batch": 4, "photos_per_chip": 2}
    held = [min(2, n) for n in rows["chip"].value_counts()]
    assert Views.of(asked, pairs) == Views(400, round(400 * sum(held) / len(held)))


def test_a_rival_is_taught_once_and_probed_as_ours_are(
    mapped, embedded, pairs, tmp_path, monkeypatch
):
    """A label of photos and segmentation, through the benchmarks' own tables."""
    monkeypatch.chdir(tmp_path)
    fast = train.Schedule(steps=3, batch=2, every=1)
    monkeypatch.setattr(train, "UPERNETS", {"narrow": (32, fast)})
    options = Options(embedded[2] / "model", pairs, seeds=2, bootstrap=20)
    tasks, views = ["sv-green_view", "segmentation-landcover", "retrieval"], Views(64, 64)
    assert rivals.make(mapped, tasks, options, views) == tasks[:2]
    assert rivals.make(mapped, tasks, options, views) == []  # all is there
    assert len(list(rivals.MODELS.iterdir())) == 1
    model = rivals.taught(mapped, options, views)
    chips, photos = rivals.images(mapped, options)
    held = store.load(pairs).manifest.query("split != 'train'")["photo_id"]
    assert len(chips) and len(photos) == len(
        set(store.load(pairs).manifest["photo_id"]) - set(held)
    )

    result = registry.run("sv-green_view", mapped, options)
    assert result.status == "ran" and any(NAME in note for note in result.notes)
    data = Street("green_view").load(mapped)
    images = encode.read_photos(mapped, data.inputs, model.config.sv_size)
    x = features.of_task(data, model, images, "cpu")
    probe = encoders.linear(NAME, data, x)
    for scheme in data.schemes:
        row = result.row(scheme.name, NAME, "rmse", seed="mean")
        error = [
            (probe.predict(train_rows, test, scheme, 0) - data.labels[test]) ** 2
            for train_rows, test in scheme.folds(0)
        ]
        assert row["value"] == pytest.approx(np.sqrt(np.concatenate(error).mean()), rel=2e-3)
        gap = result.versus(scheme.name, NAME, "rmse")  # paired, on the seed that both have
        ours = result.row(scheme.name, OURS, "rmse", seed=0)
        assert gap["seeds"] == 1
        assert gap["difference"] == pytest.approx(ours["value"] - row["value"], rel=1e-6, abs=1e-9)

    result = registry.run("segmentation-landcover", mapped, options)
    rows = result.rows[result.rows.seed == "mean"].set_index(["encoder", "metric"])
    assert rows.loc[(NAME, "mIoU"), "probe"] == "linear"
    assert (f"{NAME}, linear head", "mIoU, UPerNet") in rows.index
    assert any("not there for these tiles" in note for note in result.notes)  # no upper bounds
    record = json.loads((tmp_path / "metrics/upper_bounds/segmentation-landcover.json").read_text())
    assert list(record["networks"]) == [NAME]


def test_upper_bounds_that_are_kept_are_those_that_a_task_would_train(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = small_pairs(tiny, tmp_path / "pairs", max_photos=6)
    encode.random_init(SMALL, 3).save_pretrained("model")
    asked = Options("model", "pairs", seeds=1, bootstrap=20, upper_bounds=UPPER_BOUNDS)
    trained = StreetFromAbove("green_view").run(dataset, asked)
    name, views = StreetFromAbove("green_view").name, Views(8, 8)
    assert rivals.make(dataset, [name], asked, views) == [name]
    assert rivals.make(dataset, [name], asked, views) == []
    monkeypatch.setattr(encoders, "end_to_end", None)  # nothing is trained any more
    shown = StreetFromAbove("green_view").run(dataset, replace(asked, upper_bounds=()))
    assert shown.fits == trained.fits and shown.headline["best_baseline"] not in UPPER_BOUNDS
    of_bounds = [
        result.rows[result.rows.encoder.isin(UPPER_BOUNDS)].reset_index(drop=True)
        for result in (trained, shown)
    ]
    assert len(of_bounds[0])
    pd.testing.assert_frame_equal(*of_bounds, rtol=5e-3)
    # with other weights, what began with ours is gone, what began with nothing stays
    encode.random_init(SMALL, 7).save_pretrained("model")
    data = StreetFromAbove("green_view").load(dataset, asked)
    left = {one.name for one in answers.load(data, GAIR.from_pretrained("model"))}
    assert left == {SUPERVISED, NAME}


def test_a_folder_without_pairs_to_learn_from_has_no_rival(tiny, checkpoint, pairs, tmp_path):
    options = Options(checkpoint, pairs)
    found = store.load(pairs, ())
    assert len(found.manifest) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rivals.store, "load", lambda folder, splits: found)
        assert Views.of({"steps": 1, "chips_per_batch": 1, "photos_per_chip": 1}, pairs).photos == 0
        made = rivals.make(
            Dataset(tiny), ["sv-green_view"], options, Views(1, 0), tmp_path, tmp_path
        )
    assert made == []
