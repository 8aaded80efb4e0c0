"""Several labels an image: thresholds, and micro F1."""

import numpy as np
from builders import small_published as small

from gairlib.data.dataset import Dataset
from research.evaluation import stats
from research.figures import examples as example_figures
from research.tasks import registry
from research.tasks.published import geobench_multilabel
from research.tasks.task import UNUSED, Options


def test_micro_f1_is_that_of_scikit_learn_and_weights_count():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 2, (2, 40, 5))
    score = stats.micro_f1(truth, guess, np.arange(40))
    assert np.isclose(score(np.ones((1, 40)))[0], f1_score(truth, guess, average="micro"))
    weights = rng.integers(0, 3, (1, 40)).astype(float)
    rows = np.repeat(np.arange(40), weights[0].astype(int))
    assert np.isclose(score(weights)[0], f1_score(truth[rows], guess[rows], average="micro"))


def test_several_labels_are_guessed_and_scored_by_micro_f1(tmp_path, checkpoint):
    small.geobench(tmp_path, "m-bigearthnet", kind="multilabel", count=90)
    weights = {"croma": str(checkpoint / "config.json")}
    result = registry.run(
        "geobench-m-bigearthnet",
        Dataset(tmp_path),
        Options(checkpoint, None, seeds=2, bootstrap=50, weights=weights),
    )
    assert UNUSED in result.notes
    assert result.headline["metric"] == geobench_multilabel.METRIC
    by_colour = result.row("published split", "colour statistics", "micro F1").value
    assert by_colour > result.headline["chance"]
    assert example_figures.example(result)


def test_thresholds_find_a_rare_class():
    rng = np.random.default_rng(0)
    y = (rng.random((400, 2)) < (0.3, 0.5)).astype(int)
    x = y + rng.normal(0, 0.5, (400, 2))
    found = geobench_multilabel.guess(x, y, np.arange(300), np.arange(300, 400), 0)
    f1 = stats.micro_f1(y[300:], found, np.arange(100))(np.ones((1, 100)))[0]
    assert f1 > 0.8
    assert (
        geobench_multilabel.majority(y, np.arange(300), np.arange(3)).tolist()
        == [[False, bool(y[:300, 1].mean() >= y[:300, 0].mean())]] * 3
    )
