"""One judged number, a task under one split and metric, beside its baselines: a line of the report
and of the scoreboard."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import pandas as pd

from research.evaluation import verdicts
from research.evaluation.table import END_TO_END, LOWER, OURS, RANDOM
from research.reports.gather import Run, TaskRecord
from research.reports.trainings import Trainings, with_trainings
from research.reports.words import Amount, amount
from research.tasks.result import BLIND, Split


@dataclass(frozen=True)
class Against:
    """A baseline: its value, and gair minus it with its 95% interval and verdict."""

    name: str
    value: float
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = verdicts.NONE

    @property
    def amount(self) -> Amount:
        """The difference, as it is written."""
        return amount(self.difference, self.low, self.high)


@dataclass
class Line:
    """Values are as in the long format. `others`: all encoders but ours, best first; those that
    are trained end to end on the labels are bounds, and not among them (`upper`)."""

    record: TaskRecord
    split: Split
    modality: str
    metric: str
    unit: str
    value: float
    low: float
    high: float
    n: int
    clusters: int
    cluster: str
    data: str
    headline: bool = False  # the first of what its task is judged by
    random: Against | None = None
    blind: Against | None = None
    best: Against | None = None  # the best other encoder, blind guesses and untrained ones left out
    others: list[Against] = field(default_factory=list)
    own: list[Against] = field(default_factory=list)  # other readings of our own model
    upper: list[Against] = field(default_factory=list)
    trainings: Trainings | None = None  # other seeds, where `make ablate` has judged them

    @property
    def task(self) -> str:
        return self.record.name

    @property
    def amount(self) -> Amount:
        """The value with its interval and unit, as it is written."""
        return amount(self.value, self.low, self.high, self.unit)

    @property
    def lower(self) -> bool:
        """Whether smaller values are better."""
        return self.metric.startswith(LOWER)

    @property
    def question(self) -> str:
        """ "good", "alignment" or "space": which of the three questions this line answers."""
        if not self.split.query:
            return "good"
        return "alignment" if self.split.gallery in ("chip", "site") else "space"

    @property
    def held_out(self) -> str:
        """What the split says about new places: "new places", "same places", "as published" (which
        may share a place or an event) or "not held out"."""
        known = {"row": "same places", "published split": "as published", None: "not held out"}
        return known.get(self.split.held_out, "new places")

    @property
    def status(self) -> str:
        """What became of "pretraining helps here": "supported" (beyond the interval better than
        untrained and than every other baseline), "partly" (than untrained, and not than every other
        one), "no claim" or "refuted"."""
        verdict = self.random.verdict if self.random else verdicts.NONE
        if verdict != verdicts.WINS:
            return "refuted" if verdict == verdicts.LOSES else "no claim"
        every = all(a.verdict == verdicts.WINS for a in self.others)
        return "supported" if every else "partly"


def at_a_glance(found: list[Line]) -> tuple[list[str], list[tuple[str, list[list[Line]]]]]:
    """Lines by what became of them: heads, and for each kind of data, real ones first, the lines
    under each head."""

    def verdict(x: Line) -> str:
        return x.random.verdict if x.random else verdicts.NONE

    heads = {
        verdicts.WINS: "better than untrained",
        verdicts.TIE: "undecided",
        verdicts.LOSES: "worse than untrained",
    }
    if any(verdict(x) == verdicts.NONE for x in found):
        heads[verdicts.NONE] = verdicts.WORDS[verdicts.NONE]
    rows = []
    for data, of in by_data(found):
        cells = [[x for x in of if verdict(x) == head] for head in heads]
        ahead = [x for x in of if any(a.verdict == verdicts.LOSES for a in x.others)]
        rows.append((data, [*cells, ahead]))
    return [*heads.values(), "another method is ahead"], rows


def by_data(found: list[Line]) -> list[tuple[str, list[Line]]]:
    """Lines of each kind of data in their order, real ones first."""
    return [
        (data, [x for x in found if x.data == data]) for data in sorted({x.data for x in found})
    ]


@dataclass
class Part:
    """A section beside the lines: sentences, a table (or none), and where both come from."""

    title: str
    sentences: list[str] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    source: str = ""  # file, stage, command


def lines(run: Run) -> list[Line]:
    """All judged (task, split, metric), tasks by name, each task's headline first. What does not
    hold with other pretraining seeds is undecided (`research.reports.trainings`)."""
    mean = run.rows[run.rows["seed"].astype(str) == "mean"]
    ours = run.comparisons[run.comparisons["encoder"] == OURS]
    found = []
    for name in mean["task"].unique():
        of_task, gaps = mean[mean["task"] == name], ours[ours["task"] == name]
        for split, metric in _judged(run.tasks[name], of_task):
            rows = of_task[(of_task["split"] == split) & (of_task["metric"] == metric)]
            part = gaps[(gaps["split"] == split) & (gaps["metric"] == metric)]
            headline = not found or found[-1].task != name
            line = _line(run.tasks[name], split, rows, part, headline)
            found.append(with_trainings(line, run.metrics.get("seeds", {})))
    return found


def _judged(record: TaskRecord, rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(split, metric) of what the record is judged by, as far as there is a row of ours."""
    ours = rows[rows["encoder"] == OURS]
    have = set(zip(ours["split"], ours["metric"]))
    return [pair for pair in record.judged if pair in have]


def _line(
    record: TaskRecord, split: str, rows: pd.DataFrame, gaps: pd.DataFrame, headline: bool
) -> Line:
    ours = rows[rows["encoder"] == OURS].iloc[0]
    gaps = gaps.set_index("baseline")
    found = [_against(r, gaps) for r in rows[rows["encoder"] != OURS].to_dict("records")]
    return Line(
        record,
        record.splits.get(split, Split(split, None)),
        ours["modality"],
        ours["metric"],
        ours["unit"] or "",
        *(float(ours[k]) for k in ("value", "low", "high")),
        int(ours["n"]),
        int(ours["clusters"]),
        ours["cluster"],
        ours["data"],
        headline,
        **beside(found, set(rows["encoder"][rows["probe"] == END_TO_END]), ours["metric"]),
    )


def beside(found: list[Against], bounds: Collection[str], metric: str) -> dict:
    """The fields of a `Line` that say who else answered: random, blind, best, others, own, upper.
    bounds: names of those that were trained end to end on the labels."""
    lower = metric.startswith(LOWER)
    found = sorted(found, key=lambda a: (math.isnan(a.value), a.value if lower else -a.value))
    others = [a for a in found if not a.name.startswith(OURS) and a.name not in bounds]
    return dict(
        random=_first(others, lambda a: a.name == RANDOM),
        blind=_first(others, lambda a: a.name in BLIND),
        best=_first(others, lambda a: not a.name.startswith(RANDOM) and a.name not in BLIND),
        others=others,
        own=[a for a in found if a.name.startswith(OURS) and a.name not in bounds],
        upper=[a for a in found if a.name in bounds],
    )


def _against(row: dict, gaps: pd.DataFrame) -> Against:
    name, value = row["encoder"], float(row["value"])
    if name not in gaps.index:
        return Against(name, value)
    gap = gaps.loc[name]
    numbers = (float(gap[k]) for k in ("difference", "low", "high"))
    return Against(name, value, *numbers, verdicts.known(gap["verdict"]))


def _first(others: list[Against], fits) -> Against | None:
    return next(filter(fits, others), None)
