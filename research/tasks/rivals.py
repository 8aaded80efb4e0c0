"""Encoders that are too dear for every run, made once and kept: upper bounds and a rival.

Upper bounds are the judged towers trained end to end on labels, from nothing and from our weights
(`encoders.end_to_end`).

The rival learns from images alone: a chip tower and a photo tower of our own architecture learn by
momentum contrast (`research.evaluation.self_supervised`) from the chips and photos of the training
sites, as many views as our pretraining sees, of the same images. Then they are frozen and probed as
ours are: on photo and chip labels, and under the linear head of land-cover segmentation.

It takes minutes, so `make bench-all` does it and keeps what they guess in metrics/rivals/
(`answers`) and, for segmentation, with the networks in metrics/upper_bounds/; the benchmarks' own
stages show them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from torch import Tensor

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR, model_hash
from gairlib.pairs import store
from research.evaluation import features, self_supervised
from research.evaluation.table import FINE_TUNED
from research.tasks import answers, registry
from research.tasks.answers import Kept
from research.tasks.data import TaskData
from research.tasks.encoders import end_to_end, linear, photos_of
from research.tasks.probing import ProbeTask
from research.tasks.segmentation import upper_bounds
from research.tasks.segmentation.landcover import LandCoverSegmentation
from research.tasks.task import Options

NAME = "self-supervised (MoCo v3)"
MODELS = Path("outputs/rivals")


@dataclass(frozen=True)
class Views:
    """How many views are seen in all, each an image changed at random."""

    chips: int
    photos: int

    @classmethod
    def of(cls, pretrain: dict, pairs: str | Path) -> Self:
        """As many as pretraining sees by these parameters (params.yaml, section `pretrain`) of
        these pairs: chips hold fewer photos than there is room for."""
        chips = pretrain["steps"] * pretrain["chips_per_batch"]
        rows = _learnt(store.load(pairs, store.LEARNING))
        held = rows.groupby("chip").size().clip(upper=pretrain["photos_per_chip"])
        return cls(chips, round(chips * float(held.mean())) if len(held) else 0)


def make(
    dataset: Dataset,
    tasks: Sequence[str],
    options: Options,
    views: Views,
    folder: Path = answers.FOLDER,
    segmentation: Path = upper_bounds.FOLDER,
) -> list[str]:
    """Teach the towers and probe them on those of the tasks that lack them, and train the upper
    bounds of `options`; names of the tasks for which anything was made. Tasks on places have none,
    and folders without pairs to learn from no rival."""
    made, rival = [], None
    for name in tasks:
        data = _examples(registry.get(name, dataset), dataset, options)
        if data is None:
            continue
        there = _there(data, options, folder, segmentation)
        if isinstance(data, TaskData):
            for bound in (one for one in options.upper_bounds if one not in there):
                _keep(bounded(bound, data, dataset, options), data, options, folder)
                made.append(name)
        elif options.upper_bounds:
            found = upper_bounds.make(data, options.model, segmentation, options.device)
            made += [name] if {bound.name for bound in found} - there else []
        if NAME in there:
            continue
        rival = rival or taught(dataset, options, views)
        if rival is None:
            continue
        if isinstance(data, TaskData):
            kept = probed(data, dataset, rival, options.device, note(views))
            _keep(kept, data, options, folder)
        else:
            upper_bounds.probe(data, options.model, rival, NAME, segmentation, options.device)
        made.append(name)
    return list(dict.fromkeys(made))


def _keep(kept: Kept, data: TaskData, options: Options, folder: Path) -> None:
    """Write one beside those that the task's file holds and that still belong there."""
    others = [one for one in answers.load(data, options.model, folder) if one.name != kept.name]
    answers.save(data.name, [*others, kept], folder)


def _examples(task, dataset: Dataset, options: Options):
    """What a task loads, None where it has no row for such a tower."""
    probe = isinstance(task, ProbeTask) and task.subject in ("photo", "chip")
    if not probe and not isinstance(task, LandCoverSegmentation):
        return None
    data, _ = task.load_or_reason(dataset, options)
    return None if probe and data is not None and data.kind == "multilabel" else data


def _there(data, options: Options, folder: Path, segmentation: Path) -> set[str]:
    if isinstance(data, TaskData):
        return {kept.name for kept in answers.load(data, options.model, folder)}
    return {bound.name for bound in upper_bounds.of(data, options.model, segmentation)}


def bounded(name: str, data: TaskData, dataset: Dataset, options: Options) -> Kept:
    """Guesses of the judged tower, trained end to end on the labels of each fold's training rows;
    of photos, one network learns all labels that there are, and the tasks share it."""
    encoder = end_to_end(name, data, photos_of(data, dataset, options.model), options)
    guesses = {
        answers.key(data, train, test): encoder.predict(train, test, scheme, seed)
        for scheme, seed, train, test in answers.folds(data, encoder.held_out)
    }
    model, how = options.model, dict(trained=encoder.trained, held_out=encoder.held_out)
    start = model if name == FINE_TUNED else encode.as_started(model, 0)
    row = encoder.probe, encoder.normalisation, encoder.note
    return Kept(name, *row, guesses, model_hash(start), **how)


def taught(dataset: Dataset, options: Options, views: Views, models: Path = MODELS) -> GAIR | None:
    """A model whose chip and photo towers learnt from the training sites' images alone; None where
    there are no two of each. What was taught before from the same images is read back."""
    chips, photos = images(dataset, options)
    if min(len(chips), len(photos)) < 2:  # nothing to tell an image from
        return None
    device, model = options.device, encode.as_started(options.model, 0)
    kind = f"{views} {self_supervised.CHIPS} {self_supervised.PHOTOS}"
    name = features.key(model, [chips, photos], device, kind, self_supervised.__name__)
    if not (models / name).is_dir():
        self_supervised.teach_chips(model, chips, views.chips, device=device)
        self_supervised.teach_photos(model, photos, views.photos, device=device)
        model.cpu().save_pretrained(models / name)
    return GAIR.from_pretrained(models / name)


def images(dataset: Dataset, options: Options) -> tuple[np.ndarray, Tensor]:
    """All chips [n, 10, H, W] in DN and photos uint8 [m, 3, S, S] that pretraining learns from."""
    pairs = store.load(options.pairs, store.LEARNING)
    rows = _learnt(pairs)
    chips = pairs.read_chips(np.unique(rows["chip"].to_numpy()))
    photos = rows.drop_duplicates("photo_id")
    return chips, encode.read_photos(dataset, photos, options.model.config.sv_size)


def _learnt(pairs: store.Pairs) -> pd.DataFrame:
    """The training rows."""
    return pairs.manifest[pairs.manifest["split"] == "train"]


def probed(data: TaskData, dataset: Dataset, model: GAIR, device: str, note: str) -> Kept:
    """Guesses of a probe on the model's frozen features, for every fold that will be asked."""
    x = features.of_task(data, model, photos_of(data, dataset, model), device)
    encoder = linear(NAME, data, x, model.config.preprocessing)
    guesses = {
        answers.key(data, train, test): encoder.predict(train, test, scheme, seed)
        for scheme, seed, train, test in answers.folds(data)
    }
    start = model_hash(encode.as_started(model, 0))
    return Kept(NAME, encoder.probe, encoder.normalisation, note, guesses, start)


def note(views: Views) -> str:
    """What the towers saw, for the task's notes."""
    return (
        f"*{NAME}*: the same towers, taught by `make bench-all` from the training sites' images "
        f"alone ({views.chips:,} views of chips, {views.photos:,} of photos, as many as our "
        "pretraining sees), then frozen and probed; one probe seed"
    )
