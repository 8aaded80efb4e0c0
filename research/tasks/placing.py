"""Where in its chip was a photo taken? A map of similarities over the cells of its chip, judged.

Three judges of one map: how likely it makes the true cell (-log p), how far off one guess of it is,
and what share of the guesses is within so many metres. The temperature that makes shares of
similarities is fitted, and the guess chosen, for each encoder on validation sites
(`reading.ESTIMATORS`). A field of directions is read twice: in the direction that the photo's
compass tells, and with none known.

Against: the same model untrained, canonical correlation between colours of photos and of RS windows
(and, where our model has a compass, of windows ahead of the camera), a point at random, the chip's
centre, and the best constant guess by where training photos stand.
"""

from collections.abc import Callable

import numpy as np

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from research.evaluation import localisation, stats
from research.evaluation.table import OURS, RANDOM, UNKNOWN, Table
from research.tasks.directions import AHEAD, ColoursAhead, reads, told
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
from research.tasks.retrieval import COLOURS, GUESSES
from research.tasks.scoring import Scorer
from research.tasks.task import DEFAULTS, Measured, Options

ERROR, SURPRISE = "localisation error", "-log p of the true cell"
WITHIN_M = (25, 50, 100, 150, 200, 300)


class Localisation(PairTask):
    """A photo and the cells of its chip."""

    name = "localisation"
    question = "Where in its chip was a photo taken?"
    claim = "finding where in its chip a photo was taken"
    subject = "pair"
    kind = "localisation"

    @classmethod
    def worth_running(cls, tasks: list, dataset: Dataset) -> list:
        """Only where it is named: the task `retrieval` has the median error, too."""
        return []

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> Query:
        """The held-out pairs."""
        return FieldQuery(**vars(super().load(dataset, options)))

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        model, config, device = options.model, options.model.config, options.device
        query, outside, train = ask(dataset, options.pairs, config.sv_size)
        other = ask_shifted(dataset, options.pairs, config.sv_size)
        check = calibration(options.pairs, dataset, config.sv_size)
        table = Table(self.name, "sv-rs", "site", dataset.name, dataset.synthetic)
        scores = [PlaceScorer(table, q, len(outside)) for q in (query, other) if q is not None]
        how = dict(bands="10; RGB", normalisation=config.preprocessing)
        notes = [
            f"{len(query.rows):,} photos in {len(query.chips):,} chips at {scores[0].clusters} "
            f"sites ({query.label}); {query.cells} x {query.cells} cells a chip",
            f"temperatures are fitted and guesses chosen on {len(check.rows):,} photos of the "
            "validation split"
            if check
            else "no validation split: maps are read at the model's own temperature, and the guess "
            f"is the {ESTIMATORS['disc']}",
        ]

        def judge(encoder: str, reading_of: Callable[[Query], Reading], **about) -> Reading:
            temperature, chosen = model.temperatures()["incl"].item(), "disc"
            if check:
                temperature, chosen = reading_of(check).calibrate(check)
            probe = "a guess a seed" if encoder == RANDOM else ESTIMATORS[chosen]
            found = [reading_of(score.query) for score in scores]
            for score, one in zip(scores, found):
                one.shown = one.guesses(temperature)[chosen]
                score.map(encoder, one, temperature, probe=probe, **about)
            return found[0]

        def by(encoder, **looks) -> Callable[[Query], Reading]:
            return lambda q: read(encoder, q, device=device, **looks)

        def ahead(q: Query) -> Reading:
            grid = localisation.cell_centres(q.cells)
            maps = rival.maps(q, grid)
            return Reading(maps, maps, maps, grid)

        ours = judge(OURS, by(model), **how)
        if reads(model):
            judge(UNKNOWN, by(model, compass=False), **how)
            notes.append(told(query))
        for seed in range(options.seeds):
            judge(RANDOM, by(encode.random_init(config, seed)), **how)
        plain = dict(bands="10; RGB", normalisation="none")
        if train is not None and options.baselines:
            judge(COLOURS, lambda q: colour_reading(train, q), **plain)
            if reads(model):
                rival = ColoursAhead(train)
                judge(AHEAD, ahead, **plain)
        elif train is None:
            notes.append(
                f"{len(outside)} training pairs: no colour baseline ({MIN_TRAIN} are needed)"
            )
        for score in scores:
            score.constants(outside[["x", "y"]].to_numpy(np.float64))
        judged = [
            ("localisation_error_m", ERROR),
            ("neg_log_p", SURPRISE),
            *((f"within_{m}_m", f"within {m} m") for m in WITHIN_M),
        ]
        judged = [(key, scores[0].split, metric) for key, metric in judged]
        if other is not None:
            judged += [(f"{key}_shifted", scores[1].split, m) for key, _, m in judged[:2]]
        return Measured(
            table,
            judged,
            [score.asked(self.claim, "position") for score in scores],
            notes,
            {"query": query, "reading": ours},
        )


class PlaceScorer(Scorer):
    """Scores of maps of similarity, and of guesses that look at nothing."""

    @property
    def split(self) -> str:
        return f"{self.query.label}, within chip"

    def asked(self, claim: str, target: str) -> Split:
        """What the split asks."""
        about = dict(held_out=self.query.held_out, shifted=self.query.shifted, claim=claim)
        return Split(self.split, query="photo", target=target, gallery="chip", **about)

    def map(self, encoder: str, found: Reading, temperature: float, **how) -> None:
        """The scores of maps and of the guesses `found.shown`."""
        cells = localisation.cell_of(self.query.xy, self.query.cells)
        self.surprise(encoder, localisation.surprise(found.maps, cells, temperature), how)
        self.guess(encoder, found.shown[:, None], **how)

    def surprise(self, encoder: str, values, how: dict) -> None:
        """-log p of the true cells [n]."""
        self.add(self.split, encoder, SURPRISE, stats.mean, values, how)

    def guess(self, encoder: str, at: np.ndarray, **how) -> None:
        """Scores of G guesses a photo, [n, G, 2]."""
        off = [
            localisation.errors_m(at[:, g], self.query.xy, self.query.size_m)
            for g in range(at.shape[1])
        ]
        off = np.stack(off, 1)
        self.add(self.split, encoder, ERROR, stats.median, off, how, unit="m")
        for metres in WITHIN_M:
            self.add(self.split, encoder, f"within {metres} m", stats.mean, off <= metres, how)

    def constants(self, training: np.ndarray) -> None:
        """A point at random, the centre, and the best constant by training positions [m, 2]."""
        n, how = len(self.query.rows), dict(probe="none")
        uniform = np.random.default_rng(0).uniform(-1, 1, (n, GUESSES, 2))
        self.surprise("random point", np.full(n, np.log(self.query.cells**2)), how)
        self.guess("random point", uniform, **how)
        self.guess("chip centre", np.zeros((n, 1, 2)), **how)
        if len(training) >= 10:
            best = localisation.best_constant(training)
            self.guess("best constant", np.tile(best, (n, 1, 1)), **how)
