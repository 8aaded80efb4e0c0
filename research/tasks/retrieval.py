"""Cross-modal retrieval: a photo looks for the localised RS embedding of its own place, and back.

Three questions to the held-out pairs, from easy to hard:
- all photos: whose place is it, among every held-out photo of the world?
- within site: where in its own neighbourhood, where climate and season no longer help?
  Both also from RS to photo: which of the photos was taken at this position?
- within chip: slide the photo over the decoded field of its chip (cells of 20 m or finer), make
  one guess of the map, and measure how far it is from where the photo was taken. How a map is
  turned into a guess is chosen, for each encoder, on the validation sites (`reading.ESTIMATORS`).

Against: chance, the same model untrained, the chip's mean (does *local* alignment matter?), the raw
tokens read bilinearly (a mode the model was not trained in, and labelled so), and canonical
correlation between colour statistics of photos and of local RS windows, fitted on training pairs.
For positions also the chip's centre, and guesses from where training photos stand in their chips.
A field that reads directions is read twice: as each photo's compass says, and with none known.
Coordinates, the third modality, are the tasks of `research.tasks.geolocalisation`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from research.evaluation import localisation, stats
from research.evaluation.table import OURS, RANDOM, UNKNOWN, Table
from research.tasks.directions import reads, told
from research.tasks.query import (
    MIN_TRAIN,
    FieldQuery,
    PairTask,
    Query,
    ask,
    ask_shifted,
    calibration,
)
from research.tasks.reading import ESTIMATORS, Reading, colour_reading, read
from research.tasks.result import Split
from research.tasks.scoring import MARGIN, Scorer
from research.tasks.task import DEFAULTS, Measured, Options

GUESSES = 32  # random points a photo
SITE, ALL, CHIP = "within site", "all photos", "within chip"  # what splits are called
BACK = ", RS to photo"  # splits of the opposite direction end so
MEAN, RAW = "gair, chip mean", "gair, raw tokens bilinear (not its training mode)"
COLOURS = "colour statistics"
# judged on the second test set as well
SHIFTED_TOO = ("recall_at_1_site", "recall_at_10_site", "localisation_error_m")


class Retrieval(PairTask):
    """Photo and RS field."""

    name = "retrieval"
    question = "Do a photo and the RS field find each other?"
    claim = "finding a photo's place"
    subject = "pair"
    kind = "retrieval"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> Query:
        """The held-out pairs."""
        query = super().load(dataset, options)
        return FieldQuery(**vars(query)) if reads(options.model) else query

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        model, config, device = options.model, options.model.config, options.device
        query, outside, train = ask(dataset, options.pairs, config.sv_size)
        table = Table(self.name, "sv-rs", "site", dataset.name, dataset.synthetic)
        score = PairScorer(table, query, len(outside))
        other = ask_shifted(dataset, options.pairs, config.sv_size)
        scores = [score] if other is None else [score, PairScorer(table, other, len(outside))]
        how = dict(bands="10; RGB", normalisation=config.preprocessing)
        notes = [
            f"{len(query.rows):,} photos in {len(query.chips):,} chips at {score.clusters} sites "
            f"({query.label}); dense field of {query.cells} x {query.cells} cells a chip"
        ]
        if lonely := int((~score.company).sum()):
            notes.append(f"{lonely} photos are alone at their site and not ranked within it")
        check, mode = calibration(options.pairs, dataset, config.sv_size), config.query_mode
        notes.append(
            "temperatures of the maps are fitted and the guess is chosen, for each encoder, on "
            f"{len(check.rows):,} photos of the validation split"
            if check
            else "no validation split: maps are read at the model's own temperature, and the guess "
            f"is the {ESTIMATORS['disc']}"
        )

        def judge(
            encoder: str, reading_of: Callable[[Query], Reading], probe: str, more=False, **about
        ) -> Reading:
            """Ranks and positions of one encoder; more: also by the estimators not chosen. Returns
            its reading of the first set of queries."""
            readings = [reading_of(score.query) for score in scores]
            for score, found in zip(scores, readings):
                score.both_ways(encoder, found, probe=f"cosine, {probe}", **about)
            if readings[0].maps is None:
                return readings[0]
            temperature, chosen = (
                reading_of(check).calibrate(check)
                if check
                else (model.temperatures()["incl"].item(), "disc")
            )
            # untrained encoders choose each for itself, and are one row of the table
            how_guessed = "a guess a seed" if encoder == RANDOM else ESTIMATORS[chosen]
            guessed = [(encoder, chosen, how_guessed)]
            if more:
                rest = [name for name in ESTIMATORS if name != chosen]
                guessed += [(f"{encoder}, {ESTIMATORS[x]}", x, ESTIMATORS[x]) for x in rest]
            for score, found in zip(scores, readings):
                at = found.guesses(temperature)
                found.shown = at[chosen] if more else None
                for name, by, what in guessed:
                    score.positions(name, at[by], probe=f"{what}, {probe}", **about)
            return readings[0]

        def by(encoder, mode_read=None, **looks) -> Callable[[Query], Reading]:
            return lambda q: read(encoder, q, mode=mode_read, device=device, **looks)

        ours = judge(OURS, by(model), mode, more=True, **how)
        if reads(model):
            judge(UNKNOWN, by(model, compass=False), mode, **how)
            notes.append(told(query))
        for seed in range(options.seeds):
            judge(RANDOM, by(encode.random_init(config, seed)), mode, **how)
        if options.baselines and mode == "nili":
            judge(RAW, by(model, "bilinear"), "bilinear", **how)
        if options.baselines and mode != "mean":
            judge(MEAN, by(model, "mean"), "mean", **how)
        if train is not None and options.baselines:
            plain = dict(bands="10; RGB", normalisation="none")
            judge(COLOURS, lambda q: colour_reading(train, q), "CCA", **plain)
        elif train is None:
            notes.append(
                f"{len(outside)} training pairs: no colour baseline ({MIN_TRAIN} are needed)"
            )
        for each in scores:
            # equal vectors are all tied, and ties count as broken at random: chance, exactly
            same = np.ones((len(each.query.rows), 2))
            each.both_ways("chance", Reading(same, same), probe="none")
            _constants(each, each.query, outside)
        example = {"query": query, "reading": ours}
        known, found = judged(query.label, table), splits(query)
        if other is not None:
            shifted = [r for r in judged(other.label, table) if r[0] in SHIFTED_TOO]
            known += [(f"{key}_shifted", *rest) for key, *rest in shifted]
            found += splits(other)
        return Measured(table, known, found, notes, example)


class PairScorer(Scorer):
    """Scores of photos and places in every gallery, and of guessed positions."""

    def __init__(self, table: Table, query: Query, n_train: int):
        super().__init__(table, query, n_train)
        sizes = np.bincount(self.codes)[self.codes]
        self.company = sizes > 1  # a photo alone at its site has nobody to be confused with
        self.galleries = {ALL: np.ones(len(sizes), bool)}
        if self.company.any():
            self.galleries = {SITE: self.company} | self.galleries

    def both_ways(self, encoder: str, reading: Reading, **how) -> None:
        """Recall and median rank in every gallery, both directions."""
        for gallery, rows in self.galleries.items():
            groups = self.query.sites[rows] if gallery == SITE else None
            split = f"{self.query.label}, {gallery}"
            for name, back in ((split, False), (split + BACK, True)):
                self.ranks(name, encoder, reading.ranks(rows, groups, back), how, rows)
            if gallery == ALL:  # other sites' rows are what does not match
                self.margin(split, encoder, reading.photos[rows], reading.local[rows], how)

    def positions(self, encoder: str, guesses, **how) -> None:
        """Median distance in metres between guessed positions [n, 2] or [n, G, 2] and the truth."""
        guesses = np.asarray(guesses)
        several = guesses[:, None] if guesses.ndim == 2 else guesses
        xy, size_m = self.query.xy, self.query.size_m
        errors = [localisation.errors_m(several[:, g], xy, size_m) for g in range(several.shape[1])]
        split = f"{self.query.label}, {CHIP}"
        metric, errors = "localisation error", np.stack(errors, 1)
        self.add(split, encoder, metric, stats.median, errors, how, unit="m")


def splits(query: Query) -> list[Split]:
    """What each split of the task asks."""
    places = {
        SITE: ("site", "finding a photo's place among those of its site"),
        ALL: ("held out", "finding a photo's place among all held-out places"),
    }
    found = []
    for name, (gallery, claim) in places.items():
        about = dict(held_out=query.held_out, gallery=gallery, shifted=query.shifted)
        name = f"{query.label}, {name}"
        found += [
            Split(name, query="photo", target="chip", claim=claim, **about),
            Split(name + BACK, query="chip", target="photo", claim=Retrieval.claim, **about),
        ]
    claim = "finding where in its chip a photo was taken"
    where = f"{query.label}, {CHIP}"
    about = dict(held_out=query.held_out, gallery="chip", shifted=query.shifted)
    return [*found, Split(where, query="photo", target="position", claim=claim, **about)]


def _constants(score: PairScorer, query: Query, training: pd.DataFrame) -> None:
    """Positions guessed without looking: random, the centre, and from the training positions."""
    n, rng = len(query.rows), np.random.default_rng(0)
    score.positions("random point", rng.uniform(-1, 1, (n, GUESSES, 2)), probe="none")
    score.positions("chip centre", np.zeros((n, 2)), probe="none")
    if len(training) >= 10:
        xy = training[["x", "y"]].to_numpy(np.float64)
        score.positions(
            "a training position", xy[rng.integers(0, len(xy), (n, GUESSES))], probe="none"
        )
        score.positions(
            "best constant", np.tile(localisation.best_constant(xy), (n, 1)), probe="none"
        )


def judged(label: str, table: Table) -> list[tuple[str, str, str]]:
    """(key, split, metric) of what the task is judged by; the first is the headline."""
    wanted = [
        ("recall_at_1_site", SITE, "recall@1"),
        ("recall_at_10_site", SITE, "recall@10"),
        ("recall_at_1_all", ALL, "recall@1"),
        ("recall_at_10_all", ALL, "recall@10"),
        ("median_rank_all", ALL, "median rank"),
        ("localisation_error_m", CHIP, "localisation error"),
        ("recall_at_1_site_back", SITE + BACK, "recall@1"),
        ("recall_at_10_all_back", ALL + BACK, "recall@10"),
        ("cosine_margin", ALL, MARGIN),
    ]
    known = {(split, metric) for split, metric, _ in table.entries}
    found = [(key, f"{label}, {gallery}", metric) for key, gallery, metric in wanted]
    return [row for row in found if row[1:] in known]
