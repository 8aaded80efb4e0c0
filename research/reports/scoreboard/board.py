"""The scoreboard: lines with claims and provenance, the parts beside them, and small metrics."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.data.dataset import Dataset
from research.pipeline.records import read
from research.reports.scoreboard import claims, further
from research.reports.scoreboard.lines import LOSES, TIE, WINS, Line, Part, lines
from research.reports.scoreboard.location_encoders import counts
from research.reports.scoreboard.location_encoders import section as trained_encoders
from research.reports.scoreboard.tables import COORDBENCH, Tables, gather
from research.reports.words import number, with_interval
from research.tasks import registry as benchmark_tasks

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Source:
    """Where a line's number came from: stage, command, its page."""

    stage: str
    command: str
    page: str


@dataclass
class Board:
    """Everything that the page shows."""

    dataset: str
    synthetic: bool
    tables: Tables
    lines: list[Line]
    sources: dict[str, Source]  # by stage
    parts: dict[str, list[Part]] = field(default_factory=dict)  # by question
    absent: list[tuple[str, str]] = field(default_factory=list)  # (tasks, what the folder lacks)

    @property
    def losses(self) -> list[str]:
        """Every baseline that is ahead of ours, in a sentence (`claims.losses`)."""
        return [said for line in self.lines for said in claims.losses(line)]

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(task, reason)."""
        return [
            (name, str(r.get("reason", "")))
            for name, r in self.tables.results.items()
            if r.get("status") == "skipped"
        ]

    def counts(self) -> dict[str, dict[str, int]]:
        """Modality -> wins, ties, losses against untrained, how many have no interval, and on how
        many a baseline is ahead beyond its interval; over all lines."""
        found: dict[str, dict[str, int]] = {}
        for line in self.lines:
            row = found.setdefault(
                line.modality,
                dict.fromkeys(("wins", "ties", "losses", "no_interval", "baseline_ahead"), 0),
            )
            verdict = line.random.verdict if line.random else ""
            row[{WINS: "wins", TIE: "ties", LOSES: "losses"}.get(verdict, "no_interval")] += 1
            row["baseline_ahead"] += any(a.verdict == LOSES for a in line.others)
        return found

    def metrics(self) -> dict:
        """For metrics/scoreboard.json: counts by modality, tasks that ran and were skipped."""
        table = next((p.table for p in self.parts.get("good", []) if "5-NN" in p.table), None)
        found = {
            "tasks": len({line.task for line in self.lines}),
            "skipped": len(self.skipped),
            "lines": len(self.lines),
            **self.counts(),
        }
        if table is not None:
            found["registry_beats_5nn"] = counts(table)
        return found

    def table(self) -> pd.DataFrame:
        """A row a line, as text and numbers, for the notebook."""
        return pd.DataFrame(
            [
                {
                    "task": x.task,
                    "split": x.split,
                    "metric": x.metric,
                    "value": with_interval(x.value, x.low, x.high),
                    "random init": number(x.random.value) if x.random else "",
                    "verdict": x.random.verdict if x.random else "",
                    "best baseline": f"{x.best.name} {number(x.best.value)}" if x.best else "",
                    "against best": x.best.verdict if x.best else "",
                    "claim": claims.status(x),
                    "data": x.data,
                }
                for x in self.lines
            ]
        )

    def save(self, folder: str | Path, metrics: str | Path | None = None) -> None:
        """results, comparisons and neighbours as Parquet and CSV, each row with stage and command
        of its number; the counts into the file `metrics`."""
        stages = {
            task: (f"benchmark@{task}" if not task.startswith(COORDBENCH) else "coordbench")
            for task in self.tables.rows["task"].unique()
        }
        frames = []
        for frame in (self.tables.rows, self.tables.comparisons, self.tables.neighbours):
            stage = frame["task"].map(stages)
            about = {
                k: [getattr(self.sources[s], k) if s in self.sources else "" for s in stage]
                for k in ("command",)
            }
            frames.append(frame.assign(stage=stage, **about))
        Tables(frames[0], frames[1], self.tables.results, frames[2]).save(folder)
        if metrics is not None:
            Path(metrics).parent.mkdir(parents=True, exist_ok=True)
            Path(metrics).write_text(json.dumps(self.metrics(), indent=1) + "\n", encoding="utf-8")

    def conclusions(self) -> str:
        """Markdown sentences, true for whatever ran."""
        if not self.lines:
            return f"No task has run on `{self.dataset}`, so there is nothing to claim."
        said = pd.Series([claims.status(x) for x in self.lines]).value_counts()
        text = [
            f"`{self.dataset}`: {len(self.lines)} judged numbers of "
            f"{len({x.task for x in self.lines})} tasks. That pretraining helps is supported, "
            f"with no baseline level or ahead, by {said.get('supported', 0)}; supported "
            "against untrained encoders, but not against every other baseline, by "
            f"{said.get('partly', 0)}; not decided by "
            f"{said.get('no claim', 0)}; refuted by {said.get('refuted', 0)}."
        ]
        text += [f"- {s}" for s in self.losses] or ["No baseline is ahead."]
        if self.skipped:
            text.append(f"\nSkipped: {', '.join(f'`{n}` ({why})' for n, why in self.skipped)}.")
        if self.absent:
            text.append(
                f"\nNot in this folder: {', '.join(f'`{n}` ({why})' for n, why in self.absent)}."
            )
        return "\n".join(text)


def build(
    dataset: Dataset,
    *,
    outputs: str | Path = "outputs",
    metrics: str | Path = "metrics",
    reports: str | Path = "reports",
    tasks: list[str] | None = None,
) -> Board:
    """Gather all that there is. tasks: those of this run, None for every folder found."""
    metrics = Path(metrics)
    tables = gather(outputs, tasks)
    found = lines(tables)
    parts = {
        "good": [trained_encoders(tables.rows, tables.neighbours)],
        "alignment": [
            further.readings(found),
            further.stress(read(metrics / "stress.json")),
            further.ablation(read(metrics / "ablation.json")),
        ],
        "space": [further.space(read(metrics / "embed.json"))],
    }
    return Board(
        dataset.name,
        dataset.synthetic,
        tables,
        found,
        _sources(found, Path(reports)),
        parts,
        _absent(dataset, tables.results),
    )


def _absent(dataset: Dataset, results: dict) -> list[tuple[str, str]]:
    """Tasks that the folder has no data for, those of one family and reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, why in benchmark_tasks.available(dataset).items():
        family, _, rest = name.partition("-")
        if why and name not in results:
            found.setdefault(
                (family, why.replace(f"/{rest}", "/<set>") if rest else why), []
            ).append(name)
    return [
        (", ".join(names) if len(names) <= 3 else f"{family}-*, {len(names)} tasks", why)
        for (family, why), names in found.items()
    ]


def _sources(found: list[Line], reports: Path) -> dict[str, Source]:
    here = os.path.relpath(Path.cwd(), ROOT)
    before = "" if here == "." or here.startswith("..") else f"cd {here} && "
    sources = {}
    for stage in dict.fromkeys(line.stage for line in found):
        name = "65-coordbench" if stage == "coordbench" else f"60-{stage.partition('@')[2]}"
        record = read(reports / f"{name}.json")
        sources[stage] = Source(stage, f"{before}dvc repro {stage}", record.get("html", ""))
    return sources
