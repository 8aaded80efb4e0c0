"""Tasks `locbench-<set>`: does the place help to tell what is in a picture? (LocBench)

Geo-aware image classification of LocBench (TorchSpatial, Wu et al. 2024, NeurIPS, arXiv
2406.15658) by the protocol of Mac Aodha, Cole & Perona (2019, ICCV): a published classifier gives
P(y | image), a prior over the classes gives P(y | place), and the classes of highest product are
the answer; top-1 and top-3 accuracy on the published split, with and without a prior. Files are
read by `locbench_files`.

Priors: a linear head with the published loss on the frozen location encoder, on the same one
untrained, on coordinates, and on others' published encoders; encoders of the registry trained end
to end with the same loss (`benchmark.location_encoders`); training photos counted near by or in the
same cell (`research.evaluation.geo_prior`). "image alone" has no prior, "majority" the classes'
frequencies. A second split shows what the place alone tells.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from research.evaluation import features, geo_prior, geographic_bias, probes, splits, stats
from research.evaluation.fit import Fit, ended, seeded
from research.evaluation.geo_prior import Grid, Neighbours, Schedule
from research.evaluation.location_training import Network
from research.evaluation.neighbours import NEAREST, sphere
from research.evaluation.table import OURS, RANDOM, RANDOM_SHARED, SHARED, Table
from research.tasks import trained
from research.tasks.data import TaskData
from research.tasks.location import BLOCK_DEGREES, block_sizes
from research.tasks.others import published
from research.tasks.published import folders
from research.tasks.published.locbench_files import SETS, Observations, load
from research.tasks.result import Split
from research.tasks.task import DEFAULTS, Measured, Options, Task

WITH, ALONE = "published split", "published split, place alone"
IMAGE, MAJORITY = "image alone", "majority"
HEAD = "linear head"
TOP = (1, 3)
BACKGROUND = 20_000  # places drawn evenly, for the loss
SCHEDULE = Schedule()
Prior = Callable[[slice], np.ndarray]  # slice of the test places -> [c, K]


@dataclass(frozen=True)
class LocBench(Task):
    """A set of LocBench's geo-aware image classification."""

    set: str
    subject = "place"
    held_out = "published split"
    kind = "probe"

    @property
    def name(self) -> str:
        return f"locbench-{self.set}"

    @property
    def question(self) -> str:
        return f"Does a place help to tell what a picture of {self.set} shows?"

    @property
    def claim(self) -> str:
        return f"telling classes of pictures with the help of their place (LocBench's {self.set})"

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Self]:
        return [cls(name) for name in SETS]

    def available(self, dataset: Dataset) -> str | None:
        """None where the folder has the set. No file is read."""
        there = SETS[self.set].folder in folders.locbench(dataset.folder)
        return None if there else f"no folder locbench/{SETS[self.set].folder}"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> Observations:
        layout = SETS[self.set]
        return load(folders.locbench(dataset.folder)[layout.folder], layout)

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        return measure(self.name, self.load(dataset, options), dataset, options)


def measure(name: str, data: Observations, dataset: Dataset, options: Options) -> Measured:
    """All priors on one set: with the classifier's answers, and alone."""
    placed = np.flatnonzero(np.isfinite(data.test_lonlat).all(1))
    places = data.test_lonlat[placed]
    degrees = block_sizes(places, BLOCK_DEGREES[:1])[0]
    clusters = np.array([f"no place {row}" for row in range(len(data.test_labels))], dtype=object)
    clusters[placed] = splits.blocks(places, degrees)
    table = Table(name, "location", f"{degrees:g}° block", dataset.name, dataset.synthetic)
    regions, fits = [], {}

    def add(split: str, encoder: str, prior: Prior, about: dict, seed: int) -> None:
        rows = np.arange(len(clusters)) if split == WITH else placed
        image = data.image if split == WITH else None
        found, guess = geo_prior.judge(image, prior, data.test_labels[rows])
        codes, count = stats.encode_clusters(clusters[rows])
        about = about | {"n": len(rows), "clusters": count, "n_train": len(data.labels)}
        for k in (k for k in TOP if k < data.classes):
            table.add(split, encoder, accuracy(k), stats.mean(found.recall_at(k), codes), **about)
        if seed == 0 and split == WITH:
            truth, guess = (v[placed].astype(str) for v in (data.test_labels, guess))
            regions.append(
                geographic_bias.by_region(split, encoder, truth, guess, clusters[placed], places)
            )

    for encoder, seed, answer, probe, fit in priors(data, places, dataset, options):
        about = {"probe": probe, "training": ended([fit]) if fit else ""}
        add(WITH, encoder, everywhere(answer, placed, len(clusters)), about, seed)
        if encoder != IMAGE:
            add(ALONE, encoder, answer, about, seed)
        if fit is not None:
            fits[f"{encoder}, seed {seed}"] = fit
    shown = TaskData(
        name,
        "location",
        "classification",
        "class",
        places,
        data.test_labels[placed].astype(str),
        clusters[placed],
        table.cluster,
        [],
        dataset.synthetic,
    )
    notes = [
        *data.notes,
        f"{len(placed):,} of {len(clusters):,} test images have a place; the others keep the "
        "classifier's answer",
    ]
    kept = [Split(WITH, "published split"), Split(ALONE, "published split")]
    judged = [
        (f"top{k}{key}", split, accuracy(k))
        for split, key in ((WITH, ""), (ALONE, "_place_alone"))
        for k in TOP
    ]
    return Measured(
        table,
        judged,
        kept,
        notes,
        {"data": shown},
        pd.concat(regions, ignore_index=True),
        fits=fits,
    )


def accuracy(k: int) -> str:
    """The metric's name."""
    return f"top-{k} accuracy"


def everywhere(prior: Prior, placed: np.ndarray, count: int) -> Prior:
    """A prior of the test places [p] as one of all test images [count], the same for every class
    where no place is known. placed [p]: their rows."""
    number = np.full(count, -1)
    number[placed] = np.arange(len(placed))

    def of(at: slice) -> np.ndarray:
        rows = number[at]
        known = rows[rows >= 0]
        if not len(known):
            return np.ones((len(rows), 1))
        found = prior(slice(known[0], known[-1] + 1))  # rows with a place are in order
        out = np.ones((len(rows), found.shape[1]))
        out[rows >= 0] = found
        return out

    return of


Found = tuple[str, int, Prior, str, Fit | None]  # encoder, seed, prior, probe, its training


def priors(
    data: Observations, places: np.ndarray, dataset: Dataset, options: Options
) -> Iterator[Found]:
    """Every prior, as a function of slices of the test places [p, 2], seed by seed."""
    yield IMAGE, 0, lambda at: np.ones((len(places[at]), data.classes)), "none", None
    often = geo_prior.frequencies(data.labels, data.classes)
    yield MAJORITY, 0, lambda at: np.repeat(often[None], len(places[at]), 0), "none", None
    counted = {
        NEAREST: (Neighbours, (5,)),
        "nearest neighbours, number chosen": (Neighbours, geo_prior.COUNTS),
        "grid, cells chosen": (Grid, geo_prior.CELLS),
    }
    for name, (kind, sizes) in counted.items():
        prior = geo_prior.chosen(kind, data.lonlat, data.labels, data.classes, sizes)
        what = f"{prior.size:g}°" if kind is Grid else f"{prior.size} photos"
        yield name, 0, lambda at, prior=prior: prior(places[at]), f"counts, {what}", None
    drawn = geo_prior.even_places(BACKGROUND, 0)
    lonlat = np.concatenate([data.lonlat, drawn, places])
    parts = np.cumsum([len(data.lonlat), len(drawn)])
    for name, seed, x in read(lonlat, dataset, options):
        scaled = probes.standardise(x[: parts[0]], x)[1].astype(np.float32)
        linear = seeded(partial(nn.Linear, scaled.shape[1], data.classes), seed)
        yield _headed(name, seed, linear, linear, torch.from_numpy(scaled), parts, data, options)
    for name in trained.names(options.location_encoders):
        for seed in range(min(options.seeds, options.trained_seeds)):
            one = trained.options(name, None)[-1]
            network = seeded(partial(Network, name, one, 64, data.classes), seed)
            with torch.no_grad():
                x = network.features(lonlat)
            found = _headed(name, seed, network, network.read, x, parts, data, options)
            yield (*found[:3], trained.PROBE, found[4])


def read(
    lonlat: np.ndarray, dataset: Dataset, options: Options
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(encoder, seed, features [n, D]) of everything frozen that reads places [n, 2]."""
    task = TaskData("", "location", "classification", "", lonlat, None, None, "", [], False)
    ours = features.of_task(task, options.model, None, options.device)
    shared = features.shared_places(options.model, lonlat, options.device)
    others = published(task, dataset, options)
    bare = sphere(lonlat)
    for seed in range(options.seeds):
        untrained = encode.random_init(options.model.config, seed)
        yield OURS, seed, ours
        yield RANDOM, seed, features.of_task(task, untrained, None, options.device)
        if seed == 0:
            yield SHARED, seed, shared
            yield RANDOM_SHARED, seed, features.shared_places(untrained, lonlat, options.device)
            yield "coordinates", seed, bare
            yield from ((name, seed, x) for name, _, x in others)


def _headed(
    name: str,
    seed: int,
    network: nn.Module,
    answers: Callable[[Tensor], Tensor],
    x: Tensor,
    parts: np.ndarray,
    data: Observations,
    options: Options,
) -> Found:
    """A network trained on features x [..., n, F] of training, drawn and test places in a row,
    which `parts` divides, as a prior of the test places."""
    network.to(options.device)
    known, drawn, asked = (
        part.to(options.device) for part in x.tensor_split(parts.tolist(), dim=-2)
    )
    fit = geo_prior.fit_head(
        network, answers, known, data.labels, drawn, seed=seed, schedule=SCHEDULE
    )

    def prior(at: slice) -> np.ndarray:
        with torch.inference_mode():
            return answers(asked[..., at, :]).sigmoid().double().cpu().numpy()

    return name, seed, prior, HEAD, fit
