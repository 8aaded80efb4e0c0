"""Images with several labels (m-bigearthnet): one ridge a class on frozen features, micro F1.

GEO-Bench reports F1 for this set. A class is guessed where its ridge exceeds a threshold, one for
all classes, chosen on a fifth of the training images that the first fit does not see. "majority"
guesses the classes that more than half of the training images have, or the most frequent one.
"""

from dataclasses import replace

import numpy as np

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from research.evaluation import features, probes, stats
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks.data import TaskData
from research.tasks.task import Measured, Options

METRIC = "micro F1"
THRESHOLDS = np.linspace(0.1, 0.6, 11)
HELD_OUT = 0.2


def _ridge(x, y, train, test, seed) -> np.ndarray:
    """Scores [m, K] of the test rows; a class that no training row has scores 0."""
    found = np.zeros((len(test), y.shape[1]))
    for k in np.flatnonzero(y[train].any(0)):
        found[:, k] = probes.ridge(x[train], y[train, k], x[test], train, seed=seed)[0]
    return found


def guess(x: np.ndarray, y: np.ndarray, train, test, seed: int) -> np.ndarray:
    """0/1 [m, K] for the test rows. x [n, D] features, y [n, K] of 0/1, train and test rows."""
    order = np.random.default_rng(seed).permutation(train)
    held = max(1, int(HELD_OUT * len(order)))
    inner = _ridge(x, y, order[held:], order[:held], seed)
    truth, rows = y[order[:held]], np.arange(held)
    one = np.ones((1, held))
    quality = [stats.micro_f1(truth, inner > t, rows)(one)[0] for t in THRESHOLDS]
    return _ridge(x, y, train, test, seed) > THRESHOLDS[int(np.nanargmax(quality))]


def majority(y: np.ndarray, train, test) -> np.ndarray:
    share = y[train].mean(0)
    return np.repeat([(share > 0.5) | (share == share.max())], len(test), axis=0)


def measure(data: TaskData, dataset: Dataset, options: Options) -> Measured:
    """All scores of such a set."""
    model, device = options.model, options.device
    table = Table(data.name, data.modality, data.cluster, dataset.name, data.synthetic)
    (scheme,) = data.schemes
    ((train, test),) = scheme.folds(0)
    y, prep = data.labels, model.config.preprocessing
    ours = features.of_chips(model, data.inputs, device, data.present)
    colours = features.colour_statistics(data.inputs)
    coarse = features.thumbnails(data.inputs, 4)
    codes, clusters = stats.encode_clusters(data.clusters[test])

    def add(encoder: str, found: np.ndarray, probe: str, normalisation: str) -> None:
        table.add(
            scheme.name,
            encoder,
            METRIC,
            stats.micro_f1(y[test], found, codes),
            probe=probe,
            n=len(test),
            clusters=clusters,
            n_train=len(train),
            bands=data.bands,
            normalisation=normalisation,
        )

    for seed in range(options.seeds):
        blank = encode.random_init(model.config, seed)
        untrained = features.of_chips(blank, data.inputs, device, data.present)
        for encoder, x, normalisation in (
            (OURS, ours, prep),
            (RANDOM, untrained, prep),
            ("colour statistics", colours, "none"),
            ("raw pixels", coarse, "none"),
        ):
            add(encoder, guess(x, y, train, test, seed), "ridge", normalisation)
        add("majority", majority(y, train, test), "none", "none")
    text = np.array(["+".join(map(str, np.flatnonzero(row))) for row in y], dtype=str)
    example = {"data": replace(data, kind="classification", labels=text), "images": None}
    judged = [("micro_f1", scheme.name, METRIC)]
    return Measured(table, judged, [scheme.split], data.notes, example)
