"""Photos, or localised RS embeddings, and coordinates look for each other.

Tasks `retrieval-sv-location` and `retrieval-rs-location`. Queries are the held-out photos, or the
RS field at their positions. Towards coordinates there are two galleries: the coordinates of the
held-out photos, and a world gallery that adds those of the training photos and of cities (the rows
of the folder's location tables, where it has no table `cities`). Ranks say whether the exact place
is found, hits within d km how far off the best candidate is (see `search`).

Against: chance; the same model untrained; the place of the training photo (or RS window) with the
nearest colour statistics; the medoid of the training sites; the mean of the chip instead of the
field at the position; and a detour, where the photo first finds an RS embedding, which then looks
for the coordinate (or the other way round). In one shared space the detour would cost little.

Within a site nothing is asked: the location encoder hardly tells 100 m apart, and km hits say so.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gairlib import ranks
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.model import GAIR
from research.evaluation import probes, stats
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks import retrieval as pairs_task
from research.tasks.retrieval import COLOURS, KS, MARGIN, MEAN, Query
from research.tasks.search import SPHERE_TIE, WITHIN_KM, Found, gap, margins, medoid, search, sphere

TASKS = {"retrieval-sv-location": "sv", "retrieval-rs-location": "rs"}
WORDS = {"sv": "photo", "rs": "RS"}
DETOUR = {"sv": "gair, by way of RS", "rs": "gair, by way of photos"}
MEDOID, CHANCE = "medoid of the training sites", "chance"
ERROR = "localisation error, great circle"
MAX_TABLE = 5_000  # places taken from location tables
MAX_TRAIN = 20_000  # places of training photos


@dataclass
class Galleries:
    """Places [m, 2] in (lon, lat); the first n are those of the queries, the next `train` those of
    training photos. Small gallery: the first n."""

    lonlat: np.ndarray
    n: int
    train: int


def available(dataset: Dataset) -> dict[str, str]:
    """Both tasks: "" where the folder has scenes and photos, else what they need."""
    why = next(iter(pairs_task.available(dataset).values()))
    return dict.fromkeys(TASKS, why)


def galleries(dataset: Dataset, rows: pd.DataFrame, training: pd.DataFrame) -> Galleries:
    """Coordinates of queries, training photos, and cities or other location tables."""
    tables, rng = dataset.tables(), np.random.default_rng(0)
    chosen = [tables["cities"]] if "cities" in tables else list(tables.values())
    parts = [t[["lon", "lat"]].to_numpy(np.float64) for t in [rows, training, *chosen]]
    own, train, extra = parts[0], parts[1], np.concatenate([np.zeros((0, 2)), *parts[2:]])
    train, extra = (
        p if len(p) <= most else p[np.sort(rng.choice(len(p), most, replace=False))]
        for p, most in ((train, MAX_TRAIN), (extra, MAX_TABLE))
    )
    return Galleries(np.concatenate([own, train, extra]), len(own), len(train))


def vectors(
    model: GAIR, query: Query, modality: str, device: str = "cpu", mode: str | None = None
) -> np.ndarray:
    """Unit vectors [n, D] of the photos ("sv") or of the RS field where they stand ("rs")."""
    if modality == "sv":
        return ranks.unit(encode.encode_photos(model, query.images, device=device))
    return ranks.unit(
        encode.local(model, query.chips, query.chip_of, query.xy, mode=mode, device=device)
    )


def detour(asking, between) -> np.ndarray:
    """For each row of `asking` [n, D] the most similar row of `between` [m, D], the first of
    equals: [n, D]."""
    nearest = [(asking[i : i + 1024] @ between.T).argmax(1) for i in range(0, len(asking), 1024)]
    return between[np.concatenate(nearest)]


def nearest_colours(query: Query, training: Query, modality: str) -> np.ndarray:
    """(lon, lat) [n, 2] of the training row with the nearest standardised colour statistics."""
    read = pairs_task.photo_colours if modality == "sv" else pairs_task.place_colours
    known, asked = probes.standardise(read(training), read(query))
    square = (known**2).sum(1)
    best = [
        (square - 2 * asked[i : i + 512] @ known.T).argmin(1) for i in range(0, len(asked), 512)
    ]
    return training.rows[["lon", "lat"]].to_numpy(np.float64)[np.concatenate(best)]


class _Scorer:
    """Adds the scores of one encoder after another: both directions, both galleries."""

    def __init__(self, table: Table, query: Query, modality: str, where: Galleries, n_train: int):
        self.table, self.query, self.where, self.n_train = table, query, where, n_train
        self.codes, self.clusters = stats.encode_clusters(query.sites)
        word, label = WORDS[modality], query.label
        self.forward, self.back = f"{label}, {word} to location", f"{label}, location to {word}"
        self.world = f"{self.forward}, world gallery"

    def _add(self, split, encoder, metric, make, values, how, unit=""):
        self.table.add(
            split,
            encoder,
            metric,
            make(values, self.codes),
            n=len(values),
            clusters=self.clusters,
            n_train=self.n_train,
            unit=unit,
            **how,
        )

    def _found(self, split: str, encoder: str, found: Found, how: dict) -> None:
        for k in (k for k in KS if k < found.ranks.size.max()):
            self._add(split, encoder, f"recall@{k}", stats.mean, found.ranks.recall_at(k), how)
        self._add(split, encoder, "median rank", stats.median, found.ranks.rank(), how)
        for d, limit in enumerate(WITHIN_KM):
            self._add(split, encoder, f"hit within {limit:,} km", stats.mean, found.hits[:, d], how)
        self._add(split, encoder, ERROR, stats.median, found.km, how, unit="km")

    def both_ways(
        self, encoder: str, asking, places, *, tie: float = ranks.TIE, back=True, **how
    ) -> None:
        """asking [n, D] against places [m, D] of the galleries, rows of unit length."""
        n, all_places = self.where.n, self.where.lonlat
        own = all_places[:n]
        for split, m in ((self.forward, n), (self.world, len(all_places))):
            self._found(
                split, encoder, search(asking, places[:m], own, all_places[:m], tie=tie), how
            )
        if back:
            self._found(self.back, encoder, search(places[:n], asking, own, own, tie=tie), how)

    def margin(self, encoder: str, left, right, **how) -> None:
        """How much nearer its match is than other sites' rows; needs two sites."""
        values = margins(left, right, self.query.sites)
        if np.isfinite(values).all():
            self._add(self.forward, encoder, MARGIN, stats.mean, values, how)


def run(task: str, dataset: Dataset, model: GAIR, *, pairs_folder, seeds: int, device: str):
    """Scores of one modality against coordinates, what they are judged by, notes, one example."""
    if task not in TASKS:
        raise BadInput(f"unknown task {task!r}: tasks towards places are {', '.join(TASKS)}")
    modality, config = TASKS[task], model.config
    query, outside, train = pairs_task.ask(dataset, pairs_folder, config.sv_size)
    where = galleries(dataset, query.rows, outside)
    table = Table(task, f"{modality}-location", "site", dataset.name, dataset.synthetic)
    score = _Scorer(table, query, modality, where, len(outside))
    extra = len(where.lonlat) - where.n - where.train
    notes = [
        f"{where.n:,} photos at {score.clusters} sites ({query.label}); world gallery: their "
        f"places, {where.train:,} of training photos and {extra:,} of location tables"
    ]
    how = dict(
        bands="10" if modality == "rs" else "RGB",
        normalisation=config.preprocessing,
        probe="cosine",
    )

    def one(name, encoder, *, hop=False, mean=False):
        asking = vectors(encoder, query, modality, device)
        places = ranks.unit(encode.locations(encoder, where.lonlat, device=device))
        score.both_ways(name, asking, places, **how)
        score.margin(name, asking, places[: where.n], **how)
        if hop:
            other = vectors(encoder, query, "rs" if modality == "sv" else "sv", device)
            score.both_ways(DETOUR[modality], detour(asking, other), places, back=False, **how)
        if mean:
            chip = vectors(encoder, query, "rs", device, mode="mean")
            score.both_ways(MEAN, chip, places, **how)
        return asking, places

    asking, places = one(
        OURS, model, hop=True, mean=modality == "rs" and config.query_mode != "mean"
    )
    notes.append(
        f"modality gap {gap(asking, places[: where.n]):.2f} between the centres of "
        f"{WORDS[modality]} and location embeddings (0: none, at most 2)"
    )
    for seed in range(seeds):
        one(RANDOM, encode.random_init(config, seed))
    plain = dict(bands=how["bands"], normalisation="none", tie=SPHERE_TIE)
    on_sphere = sphere(where.lonlat)
    if train is not None:
        guess = sphere(nearest_colours(query, train, modality))
        score.both_ways(
            COLOURS, guess, on_sphere, probe="place of the nearest in training", **plain
        )
    else:
        notes.append(
            f"{len(outside)} training pairs: no colour baseline ({pairs_task.MIN_TRAIN} are needed)"
        )
    if len(outside):
        key = "site" if "site" in outside and outside["site"].notna().all() else "scene_id"
        sites = outside.groupby(key)[["lon", "lat"]].first().to_numpy(np.float64)
        middle = np.repeat(sphere(medoid(sites)[None]), where.n, 0)
        score.both_ways(MEDOID, middle, on_sphere, probe="none", **plain)
    same = np.ones((len(where.lonlat), 1))
    score.both_ways(CHANCE, same[: where.n], same, probe="none")
    if score.clusters > 1:
        score.margin(CHANCE, same[: where.n], same[: where.n], probe="none")
    example = {
        "query": query,
        "modality": modality,
        "where": where,
        "asking": asking,
        "places": places,
    }
    return table, mainline(score), notes, example


def mainline(score: _Scorer) -> list[tuple[str, str, str]]:
    """(key, split, metric) of what the task is judged by; the first is the headline."""
    wanted = [
        ("recall_at_10_to_location", score.forward, "recall@10"),
        ("recall_at_10_from_location", score.back, "recall@10"),
    ]
    wanted += [
        (f"hit_within_{km}_km", score.world, f"hit within {km:,} km")
        for km in (200, 2500, 1, 25, 750)
    ]
    for way, split in (("to", score.forward), ("from", score.back)):
        wanted += [(f"recall_at_{k}_{way}_location", split, f"recall@{k}") for k in (1, 5)]
        wanted.append((f"median_rank_{way}_location", split, "median rank"))
    wanted += [("error_km", score.world, ERROR), ("cosine_margin", score.forward, MARGIN)]
    known = {(split, metric) for split, metric, _ in score.table.entries}
    return [row for row in wanted if row[1:] in known]
