"""In which direction does a photo look? Its similarity with the field at its place, all round.

The field of a chip is read where the photo stands in 36 directions, and the likeliest one is the
guess. Judged are its error in degrees (chance: 90), the shares within so many degrees, and how
likely the true direction was made (-log p), at a temperature fitted on validation sites. For models
whose field reads directions (`decoder: cone`), and photos whose direction is known: whole spheres
have none, views cut out of them do.

Against: the same model untrained, canonical correlation between colours of photos and of RS windows
ahead of the camera, the constant direction that is best for training photos, and chance.
"""

import numpy as np

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.model import GAIR
from research.evaluation import localisation, stats
from research.evaluation.table import OURS, RANDOM, Table
from research.tasks.directions import AHEAD, DIRECTIONS, ColoursAhead, look_around, nearest, reads
from research.tasks.query import FieldQuery, PairTask, Query, ask, ask_shifted, calibration
from research.tasks.result import Split
from research.tasks.retrieval import GUESSES
from research.tasks.scoring import Scorer
from research.tasks.task import DEFAULTS, Measured, Options

ERROR, SURPRISE = "heading error", "-log p of the true direction"
WITHIN = (15, 30, 45, 60, 90, 135)  # degrees
TIE = 1e-6  # similarities that differ by less are equal


class Heading(PairTask):
    """A photo and the directions at its place."""

    name = "heading"
    question = "In which direction does a photo look?"
    claim = "finding the direction in which a photo looks"
    subject = "pair"
    kind = "heading"

    @classmethod
    def worth_running(cls, tasks: list, dataset: Dataset) -> list:
        """Only where it is named: most models read no directions."""
        return []

    def available(self, dataset: Dataset) -> str | None:
        if why := super().available(dataset):
            return why
        street = dataset.street()
        known = street["heading"].notna() if "heading" in street else np.zeros(len(street), bool)
        if known.sum() >= 2:
            return None
        spheres = int(street["is_spherical"].sum()) if "is_spherical" in street else 0
        whole = f" ({spheres} look everywhere: spherical)" if spheres else ""
        return f"{int(known.sum())} photos{whole} say where they look, two are needed"

    def why_not(self, dataset: Dataset, options: Options = DEFAULTS) -> str:
        if why := super().why_not(dataset, options):
            return why
        config = options.model.config
        return (
            ""
            if reads(options.model)
            else f"the model's field reads no direction of view (query_mode {config.query_mode}, "
            f"decoder {config.decoder}); one of decoder cone does"
        )

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> Query:
        """The held-out photos whose direction is known."""
        return FieldQuery(
            **vars(ask(dataset, options.pairs, options.model.config.sv_size, compass=True)[0])
        )

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        model, config, device = options.model, options.model.config, options.device
        asked = dataset, options.pairs, config.sv_size
        query, outside, train = ask(*asked, compass=True)
        other = ask_shifted(*asked, compass=True)
        check = calibration(options.pairs, dataset, config.sv_size, compass=True)
        table = Table(self.name, "sv-rs", "site", dataset.name, dataset.synthetic)
        scores = [DirectionScorer(table, q, len(outside)) for q in (query, other) if q is not None]
        how = dict(bands="10; RGB", normalisation=config.preprocessing)
        notes = [
            f"{len(query.rows):,} photos whose direction is known, at {scores[0].clusters} sites "
            f"({query.label}); {len(DIRECTIONS)} directions at each place",
            f"temperatures are fitted on {len(check.rows):,} photos of the validation split"
            if check
            else "no validation split: similarities are read at the model's own temperature",
        ]

        def judge(encoder: str, around, **about) -> np.ndarray:
            """around: from a query the similarities [n, K]."""
            temperature = model.temperatures()["incl"].item()
            if check:
                temperature = localisation.fit_temperature(around(check), nearest(check.heading))
            found = [around(score.query) for score in scores]
            for score, similarity in zip(scores, found):
                score.directions(encoder, similarity, temperature, **about)
            return found[0]

        def by(encoder: GAIR):
            photos = lambda q: encode.encode_photos(encoder, q.images, device=device)  # noqa: E731
            places = lambda q: look_around(encoder, q, device)[:, : len(DIRECTIONS)]  # noqa: E731
            return lambda q: np.einsum("nd,nkd->nk", photos(q), places(q))

        ours = judge(OURS, by(model), probe="most similar direction", **how)
        for seed in range(options.seeds):
            blank = by(encode.random_init(config, seed))
            judge(RANDOM, blank, probe="most similar direction", **how)
        if train is not None and options.baselines:
            plain = dict(bands="10; RGB", normalisation="none")
            judge(AHEAD, ColoursAhead(train).around, probe="CCA", **plain)
        for score in scores:
            score.constants(outside["heading"].to_numpy(np.float64))
        judged = [
            ("heading_error_deg", ERROR),
            ("neg_log_p", SURPRISE),
            *((f"within_{d}_deg", f"within {d}°") for d in WITHIN),
        ]
        judged = [(key, scores[0].split, metric) for key, metric in judged]
        if other is not None:
            judged += [(f"{key}_shifted", scores[1].split, m) for key, _, m in judged[:2]]
        splits = [
            Split(
                score.split,
                query="photo",
                target="direction",
                gallery="chip",
                held_out=score.query.held_out,
                shifted=score.query.shifted,
                claim=self.claim,
            )
            for score in scores
        ]
        return Measured(table, judged, splits, notes, {"query": query, "around": ours})


class DirectionScorer(Scorer):
    """Scores of similarities with DIRECTIONS, and of directions that are guessed blindly."""

    @property
    def split(self) -> str:
        return f"{self.query.label}, at the place"

    def directions(self, encoder: str, similarity: np.ndarray, temperature: float, **how) -> None:
        """similarity [n, K]; equally good directions are drawn from."""
        true = nearest(self.query.heading)
        surprise = localisation.surprise(similarity, true, temperature)
        self.add(self.split, encoder, SURPRISE, stats.mean, surprise, how)
        best = similarity >= similarity.max(1, keepdims=True) - TIE
        order = np.random.default_rng(0).random((*best.shape, GUESSES))
        several = (best[..., None] * (1 + order)).argmax(1)  # [n, G]
        self.guess(encoder, DIRECTIONS[several if best.sum() > len(best) else several[:, :1]], how)

    def guess(self, encoder: str, degrees: np.ndarray, how: dict) -> None:
        """Scores of G guesses a photo, [n, G] degrees."""
        off = np.abs((degrees - self.query.heading[:, None] + 180) % 360 - 180)
        self.add(self.split, encoder, ERROR, stats.median, off, how, unit="°")
        for d in WITHIN:
            self.add(self.split, encoder, f"within {d}°", stats.mean, off <= d, how)

    def constants(self, training: np.ndarray) -> None:
        """Chance, and the one direction that is off by least for training photos [m]."""
        n, how = len(self.query.rows), dict(probe="none")
        self.add(
            self.split, "chance", SURPRISE, stats.mean, np.full(n, np.log(len(DIRECTIONS))), how
        )
        self.guess("chance", np.random.default_rng(0).uniform(0, 360, (n, GUESSES)), how)
        if len(training) >= 10:
            off = np.abs((DIRECTIONS[:, None] - training + 180) % 360 - 180)
            best = DIRECTIONS[np.median(off, 1).argmin()]
            self.guess("best constant", np.full((n, 1), best), how)
