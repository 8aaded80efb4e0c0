"""Towers taught by their own images alone, frozen and probed beside ours: made once, and kept.

A chip tower and a photo tower of our own architecture learn by momentum contrast
(`research.evaluation.self_supervised`) from the chips and photos of the training sites, as many
views as our pretraining sees, of the same images. Then they are frozen and probed as ours are: on
photo and chip labels, and under the linear head of land-cover segmentation. It takes minutes, so
`make bench-all` does it and keeps what they guess in metrics/rivals/ (`answers`) and, for
segmentation, with the networks in metrics/upper_bounds/; the benchmarks' own stages show them.
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
from gairlib.model import GAIR
from gairlib.pairs import store
from research.evaluation import features, self_supervised
from research.tasks import answers, registry
from research.tasks.answers import Kept
from research.tasks.data import TaskData
from research.tasks.encoders import linear
from research.tasks.probing import ProbeTask
from research.tasks.segmentation import upper_bounds
from research.tasks.segmentation.benchmark import SegmentationTask
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
    """Teach the towers and probe them on those of the tasks that lack them; names of what was made.
    Tasks on places, and folders without pairs to learn from, have none."""
    model, made = None, []
    for name in tasks:
        task = registry.get(name, dataset)
        data = _examples(task, dataset, options)
        if data is None or _there(data, options, folder, segmentation):
            continue
        model = taught(dataset, options, views) if model is None else model
        if model is None:
            break
        if isinstance(task, SegmentationTask):
            upper_bounds.probe(data, options.model, model, NAME, segmentation, options.device)
        else:
            found = [kept for kept in answers.load(data, folder) if kept.name != NAME]
            kept = probed(data, dataset, model, options.device, note(views))
            answers.save(data.name, [*found, kept], folder)
        made.append(name)
    return made


def _examples(task, dataset: Dataset, options: Options):
    """What a task loads, None where it has no row for such a tower."""
    probe = isinstance(task, ProbeTask) and task.subject in ("photo", "chip")
    if not probe and not isinstance(task, LandCoverSegmentation):
        return None
    data, _ = task.load_or_reason(dataset, options)
    return None if probe and data is not None and data.kind == "multilabel" else data


def _there(data, options: Options, folder: Path, segmentation: Path) -> bool:
    if isinstance(data, TaskData):
        return NAME in {kept.name for kept in answers.load(data, folder)}
    return NAME in {bound.name for bound in upper_bounds.of(data, options.model, segmentation)}


def taught(dataset: Dataset, options: Options, views: Views, models: Path = MODELS) -> GAIR | None:
    """A model whose chip and photo towers learnt from the training sites' images alone; None where
    there are no two of each. What was taught before from the same images is read back."""
    chips, photos = images(dataset, options)
    if min(len(chips), len(photos)) < 2:  # nothing to tell an image from
        return None
    config, device = options.model.config, options.device
    model = encode.random_init(config, 0)
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
    photos = None
    if data.modality == "sv":
        photos = encode.read_photos(dataset, data.inputs, model.config.sv_size)
    x = features.of_task(data, model, photos, device)
    encoder = linear(NAME, data, x, model.config.preprocessing)
    guesses = {
        answers.key(data, train, test): encoder.predict(train, test, scheme, seed)
        for scheme, seed, train, test in answers.folds(data)
    }
    return Kept(NAME, encoder.probe, encoder.normalisation, note, guesses)


def note(views: Views) -> str:
    """What the towers saw, for the task's notes."""
    return (
        f"*{NAME}*: the same towers, taught by `make bench-all` from the training sites' images "
        f"alone ({views.chips:,} views of chips, {views.photos:,} of photos, as many as our "
        "pretraining sees), then frozen and probed; one probe seed"
    )
