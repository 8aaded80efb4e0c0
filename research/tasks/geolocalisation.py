"""Where on Earth? Photos, localised RS embeddings and coordinates look for each other.

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
from typing import ClassVar

import numpy as np
import pandas as pd

from gairlib import ranks
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR
from research.evaluation import probes, stats
from research.evaluation.neighbours import sphere
from research.evaluation.splits import sites_of
from research.evaluation.table import OURS, RANDOM, UNKNOWN, Table
from research.tasks.directions import reads, told
from research.tasks.query import (
    MIN_TRAIN,
    PairTask,
    Query,
    ask,
    ask_shifted,
    photo_colours,
    place_colours,
)
from research.tasks.result import Split
from research.tasks.retrieval import COLOURS, MEAN
from research.tasks.scoring import MARGIN, Scorer
from research.tasks.search import SPHERE_TIE, WITHIN_KM, Found, gap, medoid, search
from research.tasks.task import Measured, Options

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
    model: GAIR,
    query: Query,
    modality: str,
    device: str = "auto",
    mode: str | None = None,
    compass: bool = True,
) -> np.ndarray:
    """Unit vectors [n, D] of the photos ("sv"), of the RS field where they stand ("rs"), or of
    their coordinates ("location"). compass: as `reading.read` has it."""
    if modality == "location":
        lonlat = query.rows[["lon", "lat"]].to_numpy(np.float64)
        return ranks.unit(encode.locations(model, lonlat, device=device))
    if modality == "sv":
        return ranks.unit(encode.encode_photos(model, query.images, device=device))
    looks = query.heading if compass and reads(model, mode) else None
    how = dict(mode=mode, heading=looks, side_m=query.sides_m, device=device)
    return ranks.unit(encode.local(model, query.chips, query.chip_of, query.xy, **how))


def detour(asking, between) -> np.ndarray:
    """For each row of `asking` [n, D] the most similar row of `between` [m, D], the first of
    equals: [n, D]."""
    nearest = [(asking[i : i + 1024] @ between.T).argmax(1) for i in range(0, len(asking), 1024)]
    return between[np.concatenate(nearest)]


def nearest_colours(query: Query, training: Query, modality: str) -> np.ndarray:
    """(lon, lat) [n, 2] of the training row with the nearest standardised colour statistics."""
    read = photo_colours if modality == "sv" else place_colours
    known, asked = probes.standardise(read(training), read(query))
    square = (known**2).sum(1)
    best = [
        (square - 2 * asked[i : i + 512] @ known.T).argmin(1) for i in range(0, len(asked), 512)
    ]
    return training.rows[["lon", "lat"]].to_numpy(np.float64)[np.concatenate(best)]


class PlaceScorer(Scorer):
    """Scores in both directions and both galleries. word: what the other side is called."""

    def __init__(self, table: Table, query: Query, word: str, where: Galleries, n_train: int):
        super().__init__(table, query, n_train)
        self.where = where
        self.forward = f"{query.label}, {word} to location"
        self.back = f"{query.label}, location to {word}"
        self.world = f"{self.forward}, world gallery"

    def _found(self, split: str, encoder: str, found: Found, how: dict) -> None:
        self.ranks(split, encoder, found.ranks, how)
        for d, limit in enumerate(WITHIN_KM):
            self.add(split, encoder, f"hit within {limit:,} km", stats.mean, found.hits[:, d], how)
        self.add(split, encoder, ERROR, stats.median, found.km, how, unit="km")

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


class Geolocalisation(PairTask):
    """One modality ("sv" or "rs") against coordinates."""

    claim = "looking for a place"
    kind = "geolocalisation"
    modality: ClassVar[str]
    other: ClassVar[str]  # the modality of the detour
    word: ClassVar[str]  # what splits call the modality
    by_way: ClassVar[str]  # what the detour is called
    claims: ClassVar[tuple[str, str]]  # towards and from coordinates

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        modality, config = self.modality, options.model.config
        query, outside, train = ask(dataset, options.pairs, config.sv_size)
        table = Table(self.name, f"{modality}-location", "site", dataset.name, dataset.synthetic)
        score, notes, example = self.compare(table, query, outside, train, dataset, options)
        known, found = judged(score), self.splits(score)
        if other := ask_shifted(dataset, options.pairs, config.sv_size):
            score, *_ = self.compare(table, other, outside, train, dataset, options)
            known += [(f"{key}_shifted", *rest) for key, *rest in judged(score)[:1]]
            found += self.splits(score)
        return Measured(table, known, found, notes, example)

    def compare(
        self, table: Table, query: Query, outside, train: Query | None, dataset, options: Options
    ) -> tuple[PlaceScorer, list[str], dict]:
        """Adds all scores of one set of queries to the table; what is said of them, and shown."""
        modality, model, device = self.modality, options.model, options.device
        config = model.config
        where = galleries(dataset, query.rows, outside)
        score = PlaceScorer(table, query, self.word, where, len(outside))
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

        def one(name, encoder, *, hop=False, mean=False, compass=True):
            asking = vectors(encoder, query, modality, device, compass=compass)
            places = ranks.unit(encode.locations(encoder, where.lonlat, device=device))
            score.both_ways(name, asking, places, **how)
            score.margin(score.forward, name, asking, places[: where.n], how)
            if hop:
                between = vectors(encoder, query, self.other, device)
                score.both_ways(self.by_way, detour(asking, between), places, back=False, **how)
            if mean:
                chip = vectors(encoder, query, "rs", device, mode="mean")
                score.both_ways(MEAN, chip, places, **how)
            return asking, places

        asking, places = one(
            OURS, model, hop=True, mean=modality == "rs" and config.query_mode != "mean"
        )
        if modality == "rs" and reads(model):
            one(UNKNOWN, model, compass=False)
            notes.append(told(query))
        notes.append(
            f"modality gap {gap(asking, places[: where.n]):.2f} between the centres of "
            f"{self.word} and location embeddings (0: none, at most 2)"
        )
        for seed in range(options.seeds):
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
                f"{len(outside)} training pairs: no colour baseline ({MIN_TRAIN} are needed)"
            )
        if len(outside):
            sites = outside.groupby(sites_of(outside))[["lon", "lat"]].first()
            middle = np.repeat(sphere(medoid(sites.to_numpy(np.float64))[None]), where.n, 0)
            score.both_ways(MEDOID, middle, on_sphere, probe="none", **plain)
        same = np.ones((len(where.lonlat), 1))
        score.both_ways(CHANCE, same[: where.n], same, probe="none")
        score.margin(score.forward, CHANCE, same[: where.n], same[: where.n], dict(probe="none"))
        example = {
            "query": query,
            "modality": modality,
            "where": where,
            "asking": asking,
            "places": places,
        }
        return score, notes, example

    def splits(self, score: PlaceScorer) -> list[Split]:
        """What each split of the task asks."""
        to, back = self.claims
        among, world = "among all held-out places", "among places all over the world"
        asked = [
            (score.forward, self.subject, "coordinates", "held out", f"{to}, {among}"),
            (score.back, "coordinates", self.subject, "held out", f"{back}, {among}"),
            (score.world, self.subject, "coordinates", "world", f"{to}, {world}"),
        ]
        about = {"held_out": score.query.held_out, "shifted": score.query.shifted}
        keys = "query", "target", "gallery", "claim"
        return [Split(name, **about, **dict(zip(keys, rest))) for name, *rest in asked]


class PhotoLocation(Geolocalisation):
    """Photo and coordinates."""

    name = "retrieval-sv-location"
    question = "Do a photo and its coordinates find each other?"
    subject = "photo"
    modality, other, word = "sv", "rs", "photo"
    by_way = "gair, by way of RS"
    claims = (
        "finding the coordinates that belong to a photo",
        "finding the photo that belongs to coordinates",
    )


class ChipLocation(Geolocalisation):
    """The RS field at a photo's position, and coordinates."""

    name = "retrieval-rs-location"
    question = "Do the RS field and its coordinates find each other?"
    subject = "chip"
    modality, other, word = "rs", "sv", "RS"
    by_way = "gair, by way of photos"
    claims = (
        "finding the coordinates that belong to a chip read at a photo's position",
        "finding the chip and the position in it that belongs to coordinates",
    )


def judged(score: PlaceScorer) -> list[tuple[str, str, str]]:
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
