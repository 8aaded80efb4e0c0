"""The scoreboard: lines with claims and provenance, the parts beside them, and small metrics."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.data.dataset import Dataset
from research.evaluation.verdicts import LOSES, NONE, TIE, WINS
from research.reports.gather import FETCHED, Run, gather
from research.reports.lines import Line, Part, by_data, lines
from research.reports.scoreboard import claims, further, seeds
from research.reports.scoreboard.location_encoders import counts
from research.reports.scoreboard.location_encoders import section as location_encoders
from research.reports.words import number

ROOT = Path(__file__).resolve().parents[3]
COUNTED = {WINS: "wins", TIE: "ties", LOSES: "losses", NONE: "no_interval"}


@dataclass(frozen=True)
class Source:
    """Where a line's number came from: stage, command, its page."""

    stage: str
    command: str
    page: str


@dataclass
class Board:
    """Everything that the page shows. fetched: lines of data that another machine may not have,
    which are shown beside the others and are in no count."""

    run: Run
    lines: list[Line]
    sources: dict[str, Source]  # by stage
    parts: dict[str, list[Part]] = field(default_factory=dict)  # by question
    absent: list[tuple[str, str]] = field(default_factory=list)  # (tasks, what the folder lacks)
    fetched: list[Line] = field(default_factory=list)

    @property
    def dataset(self) -> str:
        return self.run.dataset.name

    @property
    def shown(self) -> list[tuple[str, list[Line]]]:
        """All lines by kind of data, real ones first."""
        return by_data([*self.fetched, *self.lines])

    def ahead(self) -> list[tuple[str, list[str]]]:
        """Baselines that are ahead of ours, in sentences (`claims.losses`), by kind of data."""
        return [(data, [s for x in of for s in claims.losses(x)]) for data, of in self.shown]

    @property
    def losses(self) -> list[str]:
        """`ahead`, all together."""
        return [said for _, of in self.ahead() for said in of]

    def counts(self) -> dict[str, dict[str, int]]:
        """Modality -> wins, ties, losses against untrained, how many have no interval, and on how
        many a baseline is ahead beyond its interval; over all lines."""
        found: dict[str, dict[str, int]] = {}
        for line in self.lines:
            zero = dict.fromkeys((*COUNTED.values(), "baseline_ahead"), 0)
            row = found.setdefault(line.modality, zero)
            row[COUNTED[line.random.verdict if line.random else NONE]] += 1
            row["baseline_ahead"] += any(a.verdict == LOSES for a in line.others)
        return found

    def metrics(self) -> dict:
        """For metrics/scoreboard.json: counts by modality, tasks that ran and were skipped."""
        found = {
            "tasks": len({line.task for line in self.lines}),
            "skipped": len(self.run.skipped),
            "lines": len(self.lines),
            **self.counts(),
        }
        table = self.parts["good"][0].table
        return found | ({"registry_beats_5nn": counts(table)} if len(table) else {})

    def table(self) -> pd.DataFrame:
        """A row a line, as text and numbers, for the notebook."""
        return pd.DataFrame(
            {
                "task": x.task,
                "split": x.split.name,
                "metric": x.metric,
                "value": str(x.amount),
                "random init": number(x.random.value) if x.random else "",
                "verdict": x.random.verdict if x.random else "",
                "best baseline": f"{x.best.name} {number(x.best.value)}" if x.best else "",
                "against best": x.best.verdict if x.best else "",
                "claim": x.status,
                "data": x.data,
            }
            for x in self.lines
        )

    def save(self, folder: str | Path, metrics: str | Path | None = None) -> None:
        """results, comparisons and neighbours as Parquet and CSV, each row with stage and command
        of its number; the counts into the file `metrics`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        run = self.run
        for name, frame in (
            ("results", run.rows),
            ("comparisons", run.comparisons),
            ("neighbours", run.neighbours),
        ):
            stages = [run.tasks[task].stage for task in frame["task"]]
            frame = frame.assign(stage=stages, command=[self.sources[s].command for s in stages])
            frame.to_parquet(folder / f"{name}.parquet", index=False)
            frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        if metrics is not None:
            Path(metrics).parent.mkdir(parents=True, exist_ok=True)
            Path(metrics).write_text(json.dumps(self.metrics(), indent=1) + "\n", encoding="utf-8")

    def summary(self) -> str:
        """What may be claimed of all lines together, in one sentence."""
        if not self.lines:
            return f"No task has run on {self.dataset}, so there is nothing to claim."
        said = pd.Series([x.status for x in self.lines]).value_counts()
        return (
            f"{self.dataset}: {len(self.lines)} judged numbers of "
            f"{len({x.task for x in self.lines})} tasks. That pretraining helps is supported, "
            f"with no baseline level or ahead, by {said.get('supported', 0)}; supported "
            "against untrained encoders, but not against every other baseline, by "
            f"{said.get('partly', 0)}; not decided by "
            f"{said.get('no claim', 0)}; refuted by {said.get('refuted', 0)}."
        )


def build(
    dataset: Dataset,
    *,
    outputs: str | Path = "outputs",
    metrics: str | Path = "metrics",
    reports: str | Path = "reports",
    tasks: list[str] | None = None,
) -> Board:
    """Gather all that there is. tasks: those of this run, None for every folder found."""
    run = gather(dataset, outputs=outputs, metrics=metrics, reports=reports, tasks=tasks)
    found = lines(run)
    apart = gather(
        dataset, outputs=outputs, metrics=metrics, reports=reports, tasks=[], fetched=True
    )
    fetched = [x for x in lines(apart) if x.record.stage in FETCHED]
    ablation, stress, embed = (run.metrics.get(k, {}) for k in ("ablation", "stress", "embed"))
    parts = {
        "good": [
            location_encoders(run.rows, run.neighbours),
            further.upper_bounds(found),
            seeds.section(run.metrics.get("seeds", {}), found),
        ],
        "alignment": [further.readings(found), further.stress(stress), further.ablation(ablation)],
        "space": [further.space(embed)],
    }
    sources = _sources(apart) | _sources(run)
    return Board(run, found, sources, parts, _grouped(run.absent()), fetched)


def _grouped(absent: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Tasks that the folder has no data for, those with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, why in absent:
        by_reason.setdefault(why, []).append(name)
    return [(", ".join(names), why) for why, names in by_reason.items()]


def _sources(run: Run) -> dict[str, Source]:
    here = os.path.relpath(Path.cwd(), ROOT)
    before = "" if here == "." or here.startswith("..") else f"cd {here} && "
    sources = {}
    for task in run.tasks.values():
        page = run.records.get(task.page, {}).get("html", "")
        sources[task.stage] = Source(task.stage, f"{before}dvc repro {task.stage}", page)
    return sources
