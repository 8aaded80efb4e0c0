"""Probing tasks (rs-*, sv-*, location-*): frozen features, cheap probes, plain baselines.

Features are computed once per encoder (`research.tasks.encoders`). Every probe sees the same
training rows; its regularisation is chosen inside them.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from gairlib.data.dataset import Dataset
from research.evaluation import geographic_bias, stats
from research.evaluation.fit import Fit, ended
from research.evaluation.table import Table
from research.tasks.data import Scheme, TaskData
from research.tasks.encoders import Encoder, compared
from research.tasks.result import Split
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


@dataclass(frozen=True)
class ColumnTask(ProbeTask):
    """A probe of one column of a table: `<prefix><column>`."""

    column: str
    prefix: ClassVar[str]

    @property
    def name(self) -> str:
        return f"{self.prefix}{self.column}"

    @property
    def label(self) -> str:
        """The column in words."""
        return self.column.replace("_", " ")

    @classmethod
    def named(cls, name: str) -> Self | None:
        return cls(name.removeprefix(cls.prefix)) if name.startswith(cls.prefix) else None


def measure(
    data: TaskData, dataset: Dataset, options: Options, further: Sequence[Encoder] = ()
) -> Measured:
    """All scores of a probing task, and its errors by region (`geographic_bias`, of the first
    assignment of folds). further: a task's own rivals, beside those of every task."""
    table = Table(data.name, data.modality, data.cluster, dataset.name, data.synthetic)
    encoders, images = compared(data, dataset, options)
    encoders = [*encoders, *further]
    regions = []
    for scheme in data.schemes:
        count = max(encoder.seeds or options.seeds for encoder in encoders)
        for seed in range(count):  # seeds outside, so that one fold's fits serve "chosen encoder"
            for encoder in encoders:
                if not encoder.answers(scheme, data, seed, options.seeds):
                    continue
                for split, rows, guess, n_train in asked(data, encoder, scheme, seed):
                    about = dict(
                        probe=encoder.probe,
                        n=len(rows),
                        n_train=n_train,
                        bands=encoder.bands,
                        normalisation=encoder.normalisation,
                        cluster=scheme.cluster,
                        training=encoder.training(scheme),
                    )
                    found, clusters = scores(data, scheme, rows, guess)
                    for metric, score, support in found:
                        about |= dict(clusters=clusters, independent=support)
                        table.add(split, encoder.name, metric, score, **about)
                    if seed == 0:
                        places = data.inputs[rows] if data.modality == "location" else None
                        truth, groups = data.labels[rows], data.clusters[rows]
                        regions.append(
                            geographic_bias.by_region(
                                split, encoder.name, truth, guess, groups, places
                            )
                        )
    return Measured(
        table,
        judged(data),
        splits(data),
        [*data.notes, *upper_bounds(encoders), *(e.note for e in encoders if e.note)],
        {"data": data, "images": images},
        pd.concat(regions, ignore_index=True),
        fits=fits(encoders),
    )


def upper_bounds(encoders: list[Encoder]) -> list[str]:
    """A sentence on each training end to end: its steps, and whether it ended by itself."""
    said = []
    for encoder in encoders:
        for scheme, found in encoder.trained.items():
            labels = {name for one in found for name in one.best}
            together = f", {len(labels)} labels together" if len(labels) > 1 else ""
            steps = ended([one.fit for one in found])
            said.append(f"*{encoder.name}* ({scheme}){together}: trained end to end, {steps}")
    return said


def fits(encoders: list[Encoder]) -> dict[str, Fit]:
    """How every training end to end went, by its name, split and fold."""
    return {
        f"{encoder.name}, {scheme}" + (f", fold {fold + 1}" if len(found) > 1 else ""): one.fit
        for encoder in encoders
        for scheme, found in encoder.trained.items()
        for fold, one in enumerate(found)
    }


def splits(data: TaskData) -> list[Split]:
    """The splits of a task's results, the strictest first, and last the shifted places."""
    found = [scheme.split for scheme in data.schemes[::-1]]
    return found + [s.shifted_split for s in data.schemes if s.shifted is not None]


def asked(
    data: TaskData, encoder: Encoder, scheme: Scheme, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """(split, rows [m], guesses [m], training rows a fold) of what a scheme's folds test, and of
    its shifted rows, by the same fits."""
    rows, found, size = guesses(data, encoder, scheme, seed, shifted=True)
    if scheme.shifted is None:
        yield scheme.name, rows, found, size
        return
    apart = np.isin(rows, scheme.shifted)
    yield scheme.name, rows[~apart], found[~apart], size
    yield scheme.shifted_split.name, rows[apart], found[apart], size


def guesses(data: TaskData, encoder: Encoder, scheme: Scheme, seed: int, shifted: bool = False):
    """Guesses for all rows that the scheme tests: (rows [m], guesses [m], training rows a fold).
    shifted: for those rows too, which belong to a scheme of one fold."""
    rows, found, sizes = [], [], []
    for train, test in scheme.folds(seed):
        if shifted and scheme.shifted is not None:
            test = np.concatenate([test, scheme.shifted])
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
    for scheme in (scheme for scheme in data.schemes if scheme.shifted is not None):
        found.append((f"{metric.lower()}_shifted", scheme.shifted_split.name, metric))
    return found
