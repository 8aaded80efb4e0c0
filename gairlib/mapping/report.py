"""What a fitted map is worth: scores on ground that was held out, beside a rival's."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from gairlib.mapping import blocks

RIVAL = "pixels"  # the same head on the pixel's bands and their 3 x 3 means alone


@dataclass(frozen=True)
class Report:
    """Scores of pixels whose block had no part in what answered: by name, each with the ends of an
    interval over blocks (NaN where blocks are too few).

    scores: of the map; rival: of the same head on bands and 3 x 3 means; difference: first minus
    second, on the same draws. table [K, K]: pixels by class mapped (rows) and guessed. stated,
    found: of classes the mean probability that is given to what is guessed, and the share that is
    right; of numbers 0.9, and the share inside that interval.
    """

    kind: str
    classes: list[str]
    pixels: int
    objects: int
    blocks: int
    block_m: float
    scores: dict[str, tuple[float, float, float]]
    rival: dict[str, tuple[float, float, float]]
    difference: dict[str, tuple[float, float, float]]
    table: list[list[int]]
    stated: float
    found: float

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Report:
        ends = ("scores", "rival", "difference")
        return cls(**values | {k: {n: tuple(v) for n, v in values[k].items()} for k in ends})

    def better(self, score: str | None = None) -> bool:
        """Whether the interval of the difference lies on the better side of zero and, where a guess
        that looks at nothing has a known score, that of the map above it; score: the first unless
        named."""
        score = score or next(iter(self.difference))
        _, low, high = self.difference[score]
        # Two maps of noise differ by chance, too
        guess = {"R2": 0.0, "balanced accuracy": 1 / max(1, len(self.classes))}
        if not self.scores[score][1] > guess.get(score, -np.inf):
            return False
        return high < 0 if score == "rmse" else low > 0

    def __str__(self) -> str:
        """Some lines, for people."""
        lines = [
            f"{self.pixels:,} pixels of {self.objects:,} objects in {self.blocks} blocks of "
            f"{self.block_m:,.0f} m; each answered by what other blocks taught"
        ]
        for name in self.scores:
            lines.append(
                f"{name}: {_said(self.scores[name])}; {RIVAL} with 3 x 3 means "
                f"{_said(self.rival[name])}; difference {_said(self.difference[name], '+')}"
            )
        what = "probability" if self.classes else "interval"
        lines.append(f"{what}: {self.stated:.2f} stated, {self.found:.2f} found")
        for name, row in zip(self.classes, self.table):
            at = row[self.classes.index(name)]
            lines.append(f"  {name}: {at:,} of {sum(row):,} found")
        return "\n".join(lines)


def judged(
    truth: np.ndarray,
    ours: np.ndarray,
    rival: np.ndarray,
    groups: np.ndarray,
    *,
    classes: list[str],
    **about,
) -> Report:
    """truth [n], calibrated answers [n, K or 2] of both, blocks [n]; about: other fields."""
    codes = np.unique(groups, return_inverse=True)[1]
    count, k = int(codes.max()) + 1, len(classes)
    if k:
        guess, other = ours.argmax(1), rival.argmax(1)
        scores, others = (blocks.class_scores(truth, g, codes, k) for g in (guess, other))
        table = np.zeros((k, k), int)
        np.add.at(table, (truth, guess), 1)
        stated, found = ours.max(1).mean(), (guess == truth).mean()
    else:
        scores, others = (blocks.number_scores(truth, x[:, 0], codes) for x in (ours, rival))
        table = np.zeros((0, 0), int)
        stated, found = 0.9, (np.abs(truth - ours[:, 0]) <= 1.645 * ours[:, 1]).mean()

    def gaps(name):
        return lambda weights: scores[name](weights) - others[name](weights)

    return Report(
        kind="classes" if k else "numbers",
        classes=classes,
        pixels=len(truth),
        blocks=count,
        scores={name: blocks.interval(score, count) for name, score in scores.items()},
        rival={name: blocks.interval(score, count) for name, score in others.items()},
        difference={name: blocks.interval(gaps(name), count) for name in scores},
        table=table.tolist(),
        stated=float(stated),
        found=float(found),
        **about,
    )


def _said(ends: tuple[float, float, float], sign: str = "") -> str:
    value, low, high = ends
    if np.isnan(low):
        return f"{value:{sign}.3f} (no interval)"
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"
