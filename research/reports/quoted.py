"""Judged numbers as metrics/ holds them, and how a cell of a page's table writes them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from research.evaluation import verdicts
from research.evaluation.table import LOWER, RANDOM, RANDOM_SHARED
from research.pipeline.records import read
from research.reports.gather import FETCHED, TaskRecord
from research.reports.lines import Against, Line, beside
from research.reports.scoreboard.further import CONSTANTS
from research.reports.trainings import with_trainings
from research.reports.words import number
from research.tasks.geolocalisation import MEDOID
from research.tasks.result import BLIND, Split

LOOKS_AT_NOTHING = (*BLIND, *CONSTANTS, MEDOID)


@dataclass(frozen=True)
class Metrics:
    """The metrics files of a folder, by name ("pretrain", "benchmark/retrieval")."""

    folder: Path
    files: dict[str, dict]

    @classmethod
    def read(cls, folder: Path) -> "Metrics":
        names = {p: p.relative_to(folder).with_suffix("") for p in sorted(folder.rglob("*.json"))}
        return cls(folder, {name.as_posix(): read(path) for path, name in names.items()})

    @cached_property
    def lines(self) -> dict[tuple[str, str], Line]:
        """(task, key) -> what is judged; each task's headline first. Tasks on real data come first,
        in each part by name."""
        found, tasks = {}, {stage: task for stage, (task, _) in FETCHED.items()}
        tasks |= {n: n.removeprefix("benchmark/") for n in self.files if n.startswith("benchmark/")}
        told = {n: self.files[n] for n in tasks if "about" in self.files.get(n, {})}
        for name, numbers in sorted(told.items(), key=lambda x: x[1]["about"]["data"]):
            task = tasks[name]
            for key in numbers["about"]["judged"]:
                judged = line(task, key, numbers)
                found[task, key] = with_trainings(judged, self.files.get("seeds", {}))
        return found


def line(task: str, key: str, numbers: dict) -> Line:
    """What `key` of a task's metrics file holds (`research.tasks.result.Result.metrics`)."""
    about, others = numbers["about"], numbers["others"][key]
    what, bounds = about["judged"][key], numbers["upper_bounds"].get(key, {})
    found = [_against(name, v, what["metric"]) for name, v in (others | bounds).items()]
    return Line(
        TaskRecord(task, f"benchmark@{task}", "", about["question"], about["claim"]),
        Split(what["split"], None),
        about["subject"],
        what["metric"],
        what["unit"],
        *(numbers.get(f"{key}{end}", math.nan) for end in ("", "_low", "_high")),
        what["n"],
        what["clusters"],
        what["cluster"],
        about["data"],
        key == next(iter(about["judged"])),
        **beside(found, bounds, what["metric"]),
    )


def _against(name: str, v: dict, metric: str) -> Against:
    value, gap, low, high = (
        v.get(k, math.nan) for k in ("value", "difference", "difference_low", "difference_high")
    )
    verdict = verdicts.of(low, high, metric.startswith(LOWER))
    return Against(name, value, gap, low, high, verdict)


# ------------------------------------------------------------------------------ how it is written


def show(x: Line, value: float, low: float = math.nan, high: float = math.nan) -> str:
    """A value of a line's metric with its interval: shares of searches in percent."""
    share = x.metric.startswith(("recall", "hit"))
    text, *ends = (f"{v:.1%}" if share else number(v) for v in (value, low, high))
    unit = f" {x.unit}" if x.unit else ""
    return text + unit + (f" [{', '.join(ends)}]" if math.isfinite(low) else "")


def ours(x: Line) -> str:
    """Bold where it is better than untrained and than every other method, beyond the interval; the
    standard deviation over pretraining seeds beside it, where there are several."""
    text = show(x, x.value, x.low, x.high)
    text = f"**{text}**" if x.status == "supported" else text
    return text + (f" (sd over seeds {show(x, x.trainings.sd)})" if x.trainings else "")


def other(x: Line, a: Against | None, named: bool = True) -> str:
    """Bold where it is better than ours beyond the interval."""
    if a is None or not math.isfinite(a.value):
        return ""
    text = f"{a.name} {show(x, a.value)}" if named else show(x, a.value)
    return f"**{text}**" if a.verdict == verdicts.LOSES else text


def blind(x: Line) -> Against | None:
    """The best guess that looks at nothing."""
    return next((a for a in x.others if a.name in LOOKS_AT_NOTHING), None)


def rival(x: Line) -> Against | None:
    """The best other method."""
    known = (*LOOKS_AT_NOTHING, RANDOM, RANDOM_SHARED)
    return next((a for a in x.others if a.name not in known), None)


def bound(x: Line) -> str:
    """The best network that was trained end to end on the labels."""
    return f"{show(x, x.upper[0].value)} {x.upper[0].name}" if x.upper else ""


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(heads), *map(list, rows)]
    used = [i for i in range(len(cells[0])) if any(row[i] for row in cells[1:])]
    found = ["| " + " | ".join(row[i] for i in used) + " |" for row in cells]
    return "\n".join([found[0], "|" + "---|" * len(used), *found[1:]])
