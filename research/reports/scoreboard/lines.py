"""One line of the scoreboard: a task under one split and metric, beside its baselines."""

import math
from dataclasses import dataclass, field

import pandas as pd

from research.evaluation.table import LOWER, OURS, RANDOM
from research.reports.scoreboard.tables import COORDBENCH, Tables
from research.tasks.result import BLIND

WINS, TIE, LOSES, NONE = "wins", "tie", "loses", ""


@dataclass(frozen=True)
class Against:
    """A baseline: its value, and gair minus it with its 95% interval; verdict "" without one."""

    name: str
    value: float
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = NONE


@dataclass
class Line:
    """Values are as in the long format. `others`: all encoders but ours, best first."""

    task: str
    modality: str
    split: str
    metric: str
    unit: str
    value: float
    low: float
    high: float
    n: int
    clusters: int
    cluster: str
    dataset: str
    data: str
    headline: bool  # the first of what its task is judged by
    random: Against | None
    blind: Against | None
    best: Against | None  # the best other encoder, blind guesses and untrained ones left out
    others: list[Against] = field(default_factory=list)
    own: list[Against] = field(default_factory=list)  # other readings of our own model

    @property
    def lower(self) -> bool:
        return self.metric.startswith(LOWER)

    @property
    def question(self) -> str:
        """ "good", "alignment" or "space": which of the three questions this line answers."""
        if "-" not in self.modality:
            return "good"
        # "localisation error, great circle" is over the whole world
        near = "within" in self.split or self.metric == "localisation error"
        return "alignment" if near else "space"

    @property
    def stage(self) -> str:
        """The DVC stage that made it."""
        return "coordbench" if self.task.startswith(COORDBENCH) else f"benchmark@{self.task}"

    @property
    def held_out(self) -> str:
        """What the split says about new places: "new places", "same places", "as published" or
        "not held out"."""
        if "none held out" in self.split:
            return "not held out"
        if self.split.startswith("published split"):
            return "as published"  # which may share a place or an event
        return "same places" if self.split.startswith("random") else "new places"


@dataclass
class Part:
    """A section beside the lines: sentences, a table (or none), and where both come from."""

    title: str
    sentences: list[str] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    source: str = ""  # file, stage, command, commit


def lines(tables: Tables) -> list[Line]:
    """All judged (task, split, metric), tasks by name, each task's headline first."""
    mean = tables.rows[tables.rows["seed"].astype(str) == "mean"]
    found = []
    for task in mean["task"].unique():
        of_task = mean[mean["task"] == task]
        gaps = tables.comparisons[
            (tables.comparisons["task"] == task) & (tables.comparisons["encoder"] == OURS)
        ]
        for i, (split, metric) in enumerate(_judged(of_task, tables.results.get(task, {}))):
            rows = of_task[(of_task["split"] == split) & (of_task["metric"] == metric)]
            part = gaps[(gaps["split"] == split) & (gaps["metric"] == metric)]
            found.append(_line(rows, part, headline=i == 0))
    return found


def _judged(rows: pd.DataFrame, result: dict) -> list[tuple[str, str]]:
    """(split, metric) as result.json names them; where it does not, the headline's metric in every
    split that ours has, the headline first."""
    ours = rows[rows["encoder"] == OURS]
    have = list(dict.fromkeys(zip(ours["split"], ours["metric"])))
    named = [(split, metric) for _, split, metric in result.get("mainline", [])]
    if named:
        return [pair for pair in named if pair in have]
    head = result.get("headline") or {}
    first = (head.get("split"), head.get("metric"))
    metric = head.get("metric") or (have[0][1] if have else "")
    return sorted((h for h in have if h[1] == metric), key=lambda pair: pair != first)


def _line(rows: pd.DataFrame, gaps: pd.DataFrame, headline: bool) -> Line:
    ours = rows[rows["encoder"] == OURS].iloc[0]
    by_name = {g["baseline"]: g for g in gaps.to_dict("records")}
    found = []
    for r in rows[rows["encoder"] != OURS].to_dict("records"):
        g = by_name.get(r["encoder"], {})
        verdict = g.get("verdict")
        found.append(
            Against(
                r["encoder"],
                float(r["value"]),
                _number(g.get("difference")),
                _number(g.get("low")),
                _number(g.get("high")),
                verdict if verdict in (WINS, TIE, LOSES) else NONE,
            )
        )
    lower = str(ours["metric"]).startswith(LOWER)
    found.sort(key=lambda a: (math.isnan(a.value), a.value if lower else -a.value))
    own = [a for a in found if a.name.startswith(OURS)]
    others = [a for a in found if not a.name.startswith(OURS)]
    trained = [a for a in others if a.name != RANDOM and a.name not in BLIND]
    first = {
        name: next((a for a in others if a.name in names), None)
        for name, names in (("random", (RANDOM,)), ("blind", BLIND))
    }
    text = {
        k: _text(ours[k])
        for k in ("task", "modality", "split", "metric", "unit", "cluster", "dataset", "data")
    }
    return Line(
        **text,
        value=float(ours["value"]),
        low=_number(ours["low"]),
        high=_number(ours["high"]),
        n=int(ours["n"]),
        clusters=int(ours["clusters"]),
        headline=headline,
        **first,
        best=trained[0] if trained else None,
        others=others,
        own=own,
    )


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _text(value) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
