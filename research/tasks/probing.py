"""Probing tasks (rs-*, sv-*, location-*): frozen features, cheap probes, plain baselines.

Features are computed once per encoder (`research.tasks.encoders`). Every probe sees the same
training rows; its regularisation is chosen inside them.
"""

from abc import abstractmethod

import numpy as np
import pandas as pd

from gairlib.data.dataset import Dataset
from research.evaluation import geographic_bias, stats
from research.evaluation.table import Table
from research.tasks.data import Scheme, TaskData
from research.tasks.encoders import Encoder, compared
from research.tasks.task import DEFAULTS, Measured, Options, Task

# subject of a task -> (modality of its inputs, what results call the bands)
READ = {"photo": ("sv", "RGB"), "chip": ("rs", "10"), "place": ("location", "")}


class ProbeTask(Task):
    """A probe on labelled rows: `load` says all that is particular."""

    kind = "probe"

    def data(self, dataset: Dataset, **found) -> TaskData:
        """The task's examples: fields of `TaskData`; what the subject settles is filled in."""
        modality, bands = READ[self.subject]
        known = {"modality": modality, "bands": bands, "synthetic": dataset.synthetic}
        return TaskData(self.name, **(known | found))

    @abstractmethod
    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Examples, labels and schemes."""

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        return measure(self.load(dataset, options), dataset, options)


def measure(data: TaskData, dataset: Dataset, options: Options) -> Measured:
    """All scores of a probing task, and its errors by region (`geographic_bias`, of the first
    assignment of folds)."""
    table = Table(data.name, data.modality, data.cluster, dataset.name, data.synthetic)
    encoders, images = compared(data, dataset, options)
    regions = []
    for scheme in data.schemes:
        count = max(encoder.seeds or options.seeds for encoder in encoders)
        for seed in range(count):  # seeds outside, so that one fold's fits serve "chosen encoder"
            for encoder in (e for e in encoders if seed < (e.seeds or options.seeds)):
                rows, guess, n_train = guesses(data, encoder, scheme, seed)
                about = dict(
                    probe=encoder.probe,
                    n=len(rows),
                    n_train=n_train,
                    bands=encoder.bands,
                    normalisation=encoder.normalisation,
                    cluster=scheme.cluster,
                )
                found, clusters = scores(data, scheme, rows, guess)
                for metric, score, support in found:
                    table.add(
                        scheme.name,
                        encoder.name,
                        metric,
                        score,
                        clusters=clusters,
                        independent=support,
                        **about,
                    )
                if seed == 0:
                    places = data.inputs[rows] if data.modality == "location" else None
                    regions.append(
                        geographic_bias.by_region(
                            scheme.name,
                            encoder.name,
                            data.labels[rows],
                            guess,
                            data.clusters[rows],
                            places,
                        )
                    )
    return Measured(
        table,
        judged(data),
        [scheme.split for scheme in data.schemes[::-1]],
        data.notes,
        {"data": data, "images": images},
        pd.concat(regions, ignore_index=True),
    )


def guesses(data: TaskData, encoder: Encoder, scheme, seed: int):
    """Guesses for all rows that the scheme tests: (rows [m], guesses [m], training rows a fold)."""
    rows, found, sizes = [], [], []
    for train, test in scheme.folds(seed):
        rows.append(test)
        found.append(encoder.predict(train, test, scheme, seed))
        sizes.append(len(train))
    rows, found = np.concatenate(rows), np.concatenate(found)
    order = np.argsort(rows)
    return rows[order], found[order], int(np.mean(sizes))


def scores(data: TaskData, scheme: Scheme, rows: np.ndarray, guess: np.ndarray):
    """Scores of one set of guesses for rows [m]: [(metric, score, clusters that support an
    interval)], and the number of clusters that the bootstrap draws."""
    truth, groups = data.labels[rows], data.clusters if scheme.clusters is None else scheme.clusters
    codes, clusters = stats.encode_clusters(groups[rows])
    if data.kind == "regression":
        return [
            ("R2", stats.r2(truth, guess, codes), clusters),
            ("rmse", stats.rmse(truth, guess, codes), clusters),
        ], clusters
    return [
        ("accuracy", stats.mean(truth == guess, codes), clusters),
        (
            "balanced accuracy",
            stats.balanced_accuracy(truth, guess, codes),
            stats.class_clusters(truth, codes),
        ),
    ], clusters


def judged(data: TaskData) -> list[tuple[str, str, str]]:
    """(key, split, metric) of what a task is judged by, the strictest split first."""
    metric = "R2" if data.kind == "regression" else "accuracy"
    first, *others = data.schemes[::-1]  # blocks after rows, all labels after few
    found = [(metric.lower(), first.name, metric)]
    for scheme in others:
        what = (
            f"{scheme.labels}_labels"
            if scheme.labels
            else "random_folds"
            if scheme.degrees is None
            else f"{scheme.degrees:g}_degree_blocks"
        )
        found.append((f"{metric.lower()}_{what}", scheme.name, metric))
    return found
