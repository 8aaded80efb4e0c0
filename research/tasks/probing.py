"""Probing tasks (rs-*, sv-*, location-*): frozen features, cheap probes, plain baselines.

Features are computed once per encoder. Every probe sees the same training rows; its regularisation
is chosen inside them. "random init" is the same architecture untrained, another initialisation for
each probe seed. For location, k nearest neighbours and inverse distance weighting use the training
rows directly, and a ridge on the bare coordinates shows what a straight line through the globe is
worth. For photos and chips, "ViT, supervised" learns from the same labels with no pretraining.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR
from research.evaluation import features, geographic_bias, probes, stats, supervised
from research.evaluation import neighbours as location_baselines
from research.evaluation.location_training import Settings
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks import benchmark_location, published_weights
from research.tasks.registry import FEW, TaskData
from research.tasks.tiles import Places
from research.tasks.trained import PROBE

SUPERVISED = "ViT, supervised"
Predict = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # train, test rows, seed -> guesses


class Encoder:
    """A named way to guess labels: predict(train rows, test rows, scheme, seed) -> guesses.
    seeds: on how many assignments of folds it runs (None: on all), fewer where it is dear."""

    def __init__(
        self,
        name: str,
        probe: str,
        predict: Callable,
        bands="",
        normalisation="",
        seeds: int | None = None,
    ):
        self.name, self.probe, self.predict, self.seeds = name, probe, predict, seeds
        self.bands, self.normalisation = bands, normalisation


@dataclass(frozen=True)
class Options:
    """What a task is compared with beyond the plain baselines. location_encoders: names of the
    registry, trained end to end on location tasks, or "all"; trained_seeds: on how many assignments
    of folds; weights: published weights by project (`published_weights`)."""

    location_encoders: Sequence[str] | str = ()
    trained_seeds: int = benchmark_location.TRAINED_SEEDS
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: Settings = benchmark_location.QUICK


def _linear(data: TaskData, table_of: Callable[[int], np.ndarray]) -> Callable:
    return _probe(table_of, data.labels, data.kind == "classification")


def _probe(table_of: Callable[[int], np.ndarray], y: np.ndarray, labels: bool) -> Callable:
    """A ridge or logistic probe on the features [n, D] that belong to a seed."""
    fit = probes.logistic if labels else probes.ridge

    def predict(train, test, scheme, seed):
        x = table_of(seed)
        return fit(x[train], y[train], x[test], scheme.groups[train], seed=seed)[0]

    return predict


def encoders(
    data: TaskData, dataset: Dataset, model: GAIR, seeds: int, device: str, extra: Options
):
    """All that is compared on a task, and the images that were read for it (None for others)."""
    labels = data.kind == "classification"
    linear = "logistic" if labels else "ridge"
    images = None
    if data.modality == "sv":
        images = encode.read_photos(dataset, data.inputs, model.config.sv_size)
    how = dict(bands=data.bands, normalisation=model.config.preprocessing)
    if data.modality == "location":
        how["normalisation"] = ""
    ours = features.of_task(data, model, images, device)
    untrained = [
        features.of_task(data, encode.random_init(model.config, s), images, device)
        for s in range(seeds)
    ]
    found = [
        Encoder(OURS, linear, _linear(data, lambda seed: ours), **how),
        Encoder(RANDOM, linear, _linear(data, lambda seed: untrained[seed]), **how),
    ]
    further = published_weights.tables(
        data, extra.weights, lambda size: encode.read_photos(dataset, data.inputs, size), device
    )
    for name, prep, x in further:
        found.append(Encoder(name, linear, _linear(data, lambda seed, x=x: x), data.bands, prep))
    if data.modality == "location":
        found += _location_baselines(data.inputs, data.labels, labels)
        trained = benchmark_location.predictors(
            data.inputs,
            data.labels,
            benchmark_location.names(extra.location_encoders),
            extra.settings,
        )
        found += [
            Encoder(name, PROBE, predict, seeds=min(seeds, extra.trained_seeds))
            for name, predict in trained.items()
        ]
    elif isinstance(data.inputs, Places):
        at = data.inputs
        chip = features.of_chips(model, at.chips, device)[at.chip]  # [n, D]
        colours = features.local_statistics(at.chips, at.chip, at.xy)
        found += [
            Encoder("chip mean", linear, _linear(data, lambda seed: chip), **how),
            Encoder(
                "colour statistics",
                linear,
                _linear(data, lambda seed: colours),
                bands=data.bands,
                normalisation="none",
            ),
        ]
    else:
        pixels = data.inputs if images is None else images.numpy()
        plain = dict(bands=data.bands, normalisation="none")
        colours = features.colour_statistics(pixels)
        coarse = features.thumbnails(pixels, 4 if data.modality == "rs" else 8)
        found += [
            Encoder("colour statistics", linear, _linear(data, lambda seed: colours), **plain),
            Encoder("raw pixels", linear, _linear(data, lambda seed: coarse), **plain),
        ]
    if data.modality != "location":
        if data.lonlat is not None:  # neighbours' labels, a rival wherever neighbours are known
            found += _location_baselines(data.lonlat, data.labels, labels)
        found.append(_supervised(data, images, device))
    name = "majority" if labels else "mean"
    constant = location_baselines.constant
    found.append(
        Encoder(
            name,
            "none",
            lambda train, test, scheme, seed: constant(data.labels[train], len(test), labels),
        )
    )
    return found, images


def _supervised(data: TaskData, images, device: str) -> Encoder:
    """A small network from scratch on the photos, chips, or surroundings of positions in chips."""
    at = data.inputs
    if images is not None:
        pixels = images
    else:
        pixels = supervised.crops(at.chips, at.chip, at.xy) if isinstance(at, Places) else at
    shrunk = supervised.shrunk(pixels)

    def predict(train, test, scheme, seed):
        return supervised.fit_predict(
            shrunk,
            data.labels,
            train,
            test,
            scheme.groups,
            kind=data.kind,
            upright=data.modality == "sv",
            seed=seed,
            device=device,
        )

    return Encoder(
        SUPERVISED,
        "end to end",
        predict,
        bands=data.bands,
        normalisation="training mean and spread",
        seeds=1,
    )


def _location_baselines(lonlat: np.ndarray, y: np.ndarray, labels: bool) -> list[Encoder]:
    sphere = location_baselines.sphere(lonlat)

    def near(k, power):
        return lambda train, test, scheme, seed: location_baselines.by_distance(
            lonlat[train], y[train], lonlat[test], k=k, power=power, labels=labels
        )

    neighbours = location_baselines.NEIGHBOURS
    return [
        *(
            Encoder(name, neighbours[name][0], near(*neighbours[name][1:]))
            for name in (location_baselines.NEAREST, "inverse distance")
        ),
        Encoder(
            "coordinates", "logistic" if labels else "ridge", _probe(lambda seed: sphere, y, labels)
        ),
    ]


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


def run(
    data: TaskData,
    dataset: Dataset,
    model: GAIR,
    *,
    seeds: int,
    device: str,
    extra: Options = Options(),
):  # noqa: B008 (it is frozen)
    """All scores of a probing task, the images read for it, and its errors by region
    (`geographic_bias`, of the first assignment of folds)."""
    table = Table(data.name, data.modality, data.cluster, dataset.name, data.synthetic)
    found, images = encoders(data, dataset, model, seeds, device, extra)
    regions = []
    for scheme in data.schemes:
        groups = data.clusters if scheme.clusters is None else scheme.clusters
        count = max(encoder.seeds or seeds for encoder in found)
        for seed in range(count):  # seeds outside, so that one fold's fits serve "chosen encoder"
            for encoder in (e for e in found if seed < (e.seeds or seeds)):
                rows, guess, n_train = guesses(data, encoder, scheme, seed)
                codes, clusters = stats.encode_clusters(groups[rows])
                about = dict(
                    probe=encoder.probe,
                    n=len(rows),
                    clusters=clusters,
                    n_train=n_train,
                    bands=encoder.bands,
                    normalisation=encoder.normalisation,
                    cluster=scheme.cluster,
                )
                for metric, score, support in _scores(data, data.labels[rows], guess, codes):
                    table.add(
                        scheme.name, encoder.name, metric, score, independent=support, **about
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
    return table, images, pd.concat(regions, ignore_index=True)


def _scores(data: TaskData, truth, guess, codes):
    """(metric, score, clusters that support an interval) of one set of guesses."""
    clusters = codes.max() + 1
    if data.kind == "regression":
        return [
            ("R2", stats.r2(truth, guess, codes), clusters),
            ("rmse", stats.rmse(truth, guess, codes), clusters),
        ]
    return [
        ("accuracy", stats.mean(truth == guess, codes), clusters),
        (
            "balanced accuracy",
            stats.balanced_accuracy(truth, guess, codes),
            stats.class_clusters(truth, codes),
        ),
    ]


def mainline(data: TaskData) -> list[tuple[str, str, str]]:
    """(key, split, metric) of what a task is judged by, the strictest split first."""
    metric = "R2" if data.kind == "regression" else "accuracy"
    first, *others = data.schemes[::-1]  # blocks after rows, all labels after few
    found = [(metric.lower(), first.name, metric)]
    for scheme in others:
        what = (
            f"{FEW}_labels"
            if "labels" in scheme.name
            else "random_folds"
            if scheme.degrees is None
            else f"{scheme.degrees:g}_degree_blocks"
        )
        found.append((f"{metric.lower()}_{what}", scheme.name, metric))
    return found
