"""Guesses of encoders that are too dear for every run, kept under version control.

`make bench-all` makes them (`research.tasks.rivals`), one file a task in metrics/rivals/. The
benchmark's own stage reads what belongs to its examples, and scores it as it scores the others: the
same rows, sites and draws, so that differences are paired. A fold is known by its rows and all
their labels, an encoder by the weights that it began with: those with which a training of the
judged model's kind begins, or the judged ones. Where any of them is another, nothing is shown.
Pixels do not count: another machine may render them a digital number off. Guesses are of the first
probe seed, and numbers have four digits.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from gairlib.embed import encode
from gairlib.files import atomic_write
from gairlib.model import GAIR, model_hash
from research.evaluation.fit import Fit
from research.evaluation.supervised import Trained
from research.tasks.data import Scheme, TaskData

FOLDER = Path("metrics/rivals")
SEEDS = 1


@dataclass(frozen=True)
class Kept:
    """One encoder's guesses by fold, and what its row says: name, probe, normalisation, a note.
    start: `model_hash` of the weights that it began with. trained: how its trainings on the labels
    went, by scheme (their answers are `guesses`); held_out: as in `encoders.Encoder`."""

    name: str
    probe: str
    normalisation: str
    note: str
    guesses: dict[str, np.ndarray]
    start: str
    trained: dict[str, list[Trained]] = field(default_factory=dict)
    held_out: bool = False


def key(data: TaskData, train: np.ndarray, test: np.ndarray) -> str:
    """Of a fold: 16 hex digits."""
    found = hashlib.sha256()
    for values in (train, test, data.labels[train].astype(str), data.labels[test].astype(str)):
        found.update(f"{values.dtype.str} {values.shape}".encode())
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()[:16]


def folds(
    data: TaskData, held_out: bool = False
) -> Iterator[tuple[Scheme, int, np.ndarray, np.ndarray]]:
    """(scheme, seed, training rows, test rows) of all that is asked of a kept encoder, the shifted
    rows behind those that a fold tests."""
    for scheme in data.asked(held_out):
        for seed in range(SEEDS):
            for train, test in scheme.folds(seed):
                if scheme.shifted is not None:
                    test = np.concatenate([test, scheme.shifted])
                yield scheme, seed, train, test


def load(data: TaskData, model: GAIR, folder: Path = FOLDER) -> list[Kept]:
    """The encoders whose guesses are there for every fold of a task's examples, and that began with
    this model's weights, or as a training of its kind begins with seed 0."""
    path = folder / f"{data.name}.json"
    if not path.is_file():
        return []
    asked = {
        held_out: {key(data, train, test) for _, _, train, test in folds(data, held_out)}
        for held_out in (False, True)
    }
    starts = {model_hash(model), model_hash(encode.as_started(model, 0))}
    found = []
    for name, about in json.loads(path.read_text(encoding="utf-8")).items():
        if about["start"] in starts and asked[about["held_out"]] <= about["guesses"].keys():
            classes = about["classes"]
            guesses = {
                fold: np.array(values) if classes is None else np.array(classes)[values]
                for fold, values in about["guesses"].items()
            }
            row = {k: about[k] for k in ("probe", "normalisation", "note", "start", "held_out")}
            trained = {
                scheme: [Trained({}, Fit.of(one["fit"]), one["best"]) for one in trainings]
                for scheme, trainings in about["trained"].items()
            }
            found.append(Kept(name, guesses=guesses, trained=trained, **row))
    return found


def save(task: str, found: Sequence[Kept], folder: Path = FOLDER) -> None:
    """Write a task's file: classes once, and their numbers or four digits for each row."""
    record = {}
    for kept in found:
        together = np.concatenate(list(kept.guesses.values()))
        numbers = together.dtype.kind in "fiu"
        classes = None if numbers else np.unique(together).tolist()
        record[kept.name] = {
            "probe": kept.probe,
            "normalisation": kept.normalisation,
            "note": kept.note,
            "start": kept.start,
            "held_out": kept.held_out,
            "trained": {
                scheme: [{"fit": asdict(one.fit), "best": one.best} for one in trainings]
                for scheme, trainings in kept.trained.items()
            },
            "classes": classes,
            "guesses": {
                fold: [float(f"{v:.4g}") for v in values.tolist()]
                if numbers
                else np.searchsorted(classes, values).tolist()
                for fold, values in kept.guesses.items()
            },
        }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / f"{task}.json") as part:
        Path(part).write_text(json.dumps(record) + "\n", encoding="utf-8")
