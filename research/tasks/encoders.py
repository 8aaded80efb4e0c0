"""What is compared on a probing task: frozen encoders, trained ones, and plain baselines.

A tower is probed at its own features, before they are projected into the shared space, and in the
shared space beside. "random init" is the same architecture untrained, another initialisation for
each probe seed. Where a photo tower holds others' weights and a net learnt beside them, the held
features stand alone, too: what it started from. For location, k nearest neighbours and inverse
distance weighting use the training rows directly, and a ridge on the bare coordinates shows what a
straight line through the globe is worth.

Rivals that `make bench-all` has taught without labels, on the same images as ours, answer by what
it has kept (`research.tasks.answers`).

Upper bounds, no competitors of frozen features: the same tower trained end to end on the labels of
photos or chips, from nothing ("supervised") and from our weights ("fine-tuned").

Other people's published weights are read where their modality fits (`research.tasks.others`). On
places with numbers, GeoCLIP's serve `gairlib.regress.LocationRegressor` beside a plain ridge.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR
from gairlib.regress import LocationRegressor
from gairlib.sv import width
from gairlib.weights.location import load_geoclip
from research.evaluation import features, neighbours, probes, supervised
from research.evaluation.fit import ended
from research.evaluation.supervised import Trained
from research.evaluation.table import (
    END_TO_END,
    HELD,
    OURS,
    RANDOM,
    RANDOM_SHARED,
    SHARED,
    SHARED_UNKNOWN,
    SUPERVISED,
)
from research.tasks import answers, trained
from research.tasks.data import Places, Scheme, TaskData
from research.tasks.others import published
from research.tasks.task import Options

REGRESSOR = "LocationRegressor, GeoCLIP's features"


@dataclass(frozen=True)
class Encoder:
    """A named way to guess labels: predict(train rows, test rows, scheme, seed) -> guesses.
    seeds: on how many assignments of folds it runs (None: on all), fewer where it is dear.
    held_out: whether it is left out where a split holds no place out, and another one does.
    trained: what its trainings were like, for the notes, by scheme. note: another sentence."""

    name: str
    probe: str
    predict: Callable
    bands: str = ""
    normalisation: str = ""
    seeds: int | None = None
    held_out: bool = False
    trained: dict[str, list[Trained]] = field(default_factory=dict)
    note: str = ""

    def answers(self, scheme: Scheme, data: TaskData, seed: int, seeds: int) -> bool:
        """Whether it runs on this assignment of folds, of `seeds` ones."""
        if seed >= (self.seeds or seeds):
            return False
        return scheme.name in {s.name for s in data.asked(self.held_out)}

    def training(self, scheme: Scheme) -> str:
        """How its trainings under a scheme ended, "" for a probe."""
        found = self.trained.get(scheme.name)
        return ended([one.fit for one in found]) if found else ""


def linear(
    name: str,
    data: TaskData,
    x: np.ndarray | list[np.ndarray],
    normalisation: str = "",
    of_inputs: bool = True,
) -> Encoder:
    """A ridge or logistic probe on features x [i, D] of the inputs, or on one such table a seed;
    of_inputs=False: on x [n, D] of the examples, which may have several inputs."""
    known = [data.pooled(one) if of_inputs else one for one in (x if isinstance(x, list) else [x])]

    def predict(train, test, scheme, seed):
        table = known[seed] if isinstance(x, list) else known[0]
        return _probe(data)(
            table[train], data.labels[train], table[test], scheme.groups[train], seed=seed
        )[0]

    return Encoder(name, _name_of_probe(data), predict, data.bands, normalisation)


def _probe(data: TaskData) -> Callable:
    return probes.logistic if data.kind == "classification" else probes.ridge


def _name_of_probe(data: TaskData) -> str:
    return "logistic" if data.kind == "classification" else "ridge"


def photos_of(data: TaskData, dataset: Dataset, model: GAIR) -> Tensor | None:
    """The photos of a task at the size that a model reads; None where others are read."""
    if data.modality != "sv":
        return None
    return encode.read_photos(dataset, data.inputs, model.config.sv_size)


def pretrained(data: TaskData, dataset: Dataset, options: Options) -> np.ndarray:
    """Frozen features [n, D] of the model that is judged."""
    images = photos_of(data, dataset, options.model)
    return data.pooled(features.of_task(data, options.model, images, options.device))


def compared(
    data: TaskData, dataset: Dataset, options: Options
) -> tuple[list[Encoder], Tensor | None]:
    """All that is compared on a task, and the photos that were read for it (None for others)."""
    model, device = options.model, options.device
    images = photos_of(data, dataset, model)
    prep = "" if data.modality == "location" else model.config.preprocessing
    ours = features.of_task(data, model, images, device)
    blank = [encode.random_init(model.config, seed) for seed in range(options.seeds)]
    untrained = [features.of_task(data, one, images, device) for one in blank]
    found = [linear(OURS, data, ours, prep), linear(RANDOM, data, untrained, prep)]
    if not options.baselines:
        return [*found, _constant(data)], images
    if data.modality == "sv" and model.sv.side is not None:
        base = ours[:, : model.sv.width - width(model.sv.side)]
        found.append(linear(HELD, data, base, prep))
    if data.modality != "location":
        shared = [features.in_shared_space(data, one, images, device) for one in blank]
        ours = features.in_shared_space(data, model, images, device)
        found += [linear(SHARED, data, ours, prep), linear(RANDOM_SHARED, data, shared, prep)]
        if features.directed(data, model):
            blind = features.in_shared_space(data, model, images, device, compass=False)
            found.append(linear(SHARED_UNKNOWN, data, blind, prep))
    for name, how, x in published(data, dataset, options):
        found.append(linear(name, data, x, how))
    if data.modality == "location":
        found += _shared_places(data, options)
        found += [*_by_position(data, data.inputs), *_trained(data, options)]
        found += _regressor(data, options)
    else:
        kept = answers.load(data, model)
        found += [_kept(data, one) for one in kept]
        found += _plain(data, images, model, device)
        if data.lonlat is not None:  # neighbours' labels, a rival wherever neighbours are known
            found += _by_position(data, data.lonlat)
        found += [
            end_to_end(name, data, images, options)
            for name in options.upper_bounds
            if name not in {one.name for one in kept}
        ]
    return [*found, _constant(data)], images


def _shared_places(data: TaskData, options: Options) -> list[Encoder]:
    """Places as the shared space has them, trained and untrained: beside the tower's own features,
    on the first assignment of folds."""
    models = {SHARED: options.model, RANDOM_SHARED: encode.random_init(options.model.config, 0)}
    return [
        replace(
            linear(name, data, features.shared_places(model, data.inputs, options.device)), seeds=1
        )
        for name, model in models.items()
    ]


def _plain(data: TaskData, images: Tensor | None, model: GAIR, device: str) -> list[Encoder]:
    """Statistics of the pixels; where positions are read, also our mean over the chip."""
    at = data.inputs
    if isinstance(at, Places):
        chip = features.of_chips(model, at.chips, device)[at.chip]  # [n, D]
        colours = features.local_statistics(at.chips, at.chip, at.xy)
        return [
            linear("chip mean", data, chip, model.config.preprocessing),
            linear("colour statistics", data, colours, "none"),
        ]
    pixels = at if images is None else images.numpy()
    coarse = features.thumbnails(pixels, 4 if data.modality == "rs" else 8)
    return [
        linear("colour statistics", data, features.colour_statistics(pixels), "none"),
        linear("raw pixels", data, coarse, "none"),
    ]


def _trained(data: TaskData, options: Options) -> list[Encoder]:
    """Encoders of the registry, trained end to end (`research.tasks.trained`)."""
    names = trained.names(options.location_encoders)
    predictors = trained.predictors(data.inputs, data.labels, names, options.settings)
    seeds = min(options.seeds, options.trained_seeds)
    return [Encoder(n, trained.PROBE, predict, seeds=seeds) for n, predict in predictors.items()]


def _regressor(data: TaskData, options: Options) -> list[Encoder]:
    """`gairlib.regress` on GeoCLIP's features, of numbers, where its weights are at hand; on the
    first assignment of folds."""
    if data.kind != "regression" or "geoclip" not in options.files:
        return []
    encoder = load_geoclip(options.files["geoclip"])

    def predict(train, test, scheme, seed):
        model = LocationRegressor(encoder, random_state=seed)
        return model.fit(data.inputs[train], data.labels[train]).predict(data.inputs[test])

    return [Encoder(REGRESSOR, "kriging, trees, neighbours", predict, seeds=1)]


def _kept(data: TaskData, kept: answers.Kept) -> Encoder:
    """One that `make bench-all` has made, from its guesses."""

    def predict(train, test, scheme, seed):
        return kept.guesses[answers.key(data, train, test)]

    return Encoder(
        kept.name,
        kept.probe,
        predict,
        data.bands,
        kept.normalisation,
        seeds=answers.SEEDS,
        held_out=kept.held_out,
        trained=kept.trained,
        note=kept.note,
    )


def _constant(data: TaskData) -> Encoder:
    """The commonest label of the training rows, or their mean."""
    labels = data.kind == "classification"

    def predict(train, test, scheme, seed):
        return neighbours.constant(data.labels[train], len(test), labels)

    return Encoder("majority" if labels else "mean", "none", predict)


def end_to_end(name: str, data: TaskData, images: Tensor | None, options: Options) -> Encoder:
    """An upper bound: the tower trained on the labels of its training rows."""
    model, at = options.model, data.inputs
    labels = data.columns or {"label": data.labels}
    own = next(iter(labels))
    labels = {column: data.of_inputs(values) for column, values in labels.items()}
    if isinstance(at, Places):
        read = supervised.Images(at.chips, False, at.chip, at.xy)
    else:
        read = supervised.Images(at if images is None else images, images is not None)
    schedule = supervised.SCRATCH if name == SUPERVISED else supervised.FINE_TUNING
    trained: dict[str, list[Trained]] = {}

    def predict(train, test, scheme, seed):
        start = encode.as_started(model, seed) if name == SUPERVISED else model
        taught, asked = data.inputs_of(train), data.inputs_of(test)
        groups = data.of_inputs(scheme.groups)
        found = supervised.kept(
            lambda: supervised.train(
                deepcopy(start),
                read,
                labels,
                taught,
                asked,
                groups,
                seed=seed,
                schedule=schedule,
                device=options.device,
            ),
            start,
            read,
            labels,
            taught,
            asked,
            groups,
            f"{name} {schedule} {seed}",
            options.device,
        )
        trained.setdefault(scheme.name, []).append(found)
        return data.answered(found.answers[own], asked, test)

    prep = model.config.preprocessing
    return Encoder(name, END_TO_END, predict, data.bands, prep, 1, held_out=True, trained=trained)


def near(data: TaskData, lonlat: np.ndarray, name: str) -> Encoder:
    """One of `neighbours.NEIGHBOURS` on the positions [n, 2] and the training rows' labels."""
    probe, k, power = neighbours.NEIGHBOURS[name]
    y, labels = data.labels, data.kind == "classification"

    def predict(train, test, scheme, seed):
        return neighbours.by_distance(
            lonlat[train], y[train], lonlat[test], k=k, power=power, labels=labels
        )

    return Encoder(name, probe, predict)


def _by_position(data: TaskData, lonlat: np.ndarray) -> list[Encoder]:
    """Guesses from the positions [n, 2] alone."""
    straight = linear("coordinates", data, neighbours.sphere(lonlat), of_inputs=False)
    near_by = [near(data, lonlat, name) for name in neighbours.NEIGHBOURS]
    return [*near_by, replace(straight, bands="")]
