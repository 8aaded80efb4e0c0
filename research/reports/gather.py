"""What a run's stages left behind, read once for the report and the scoreboard.

Results come from outputs/benchmark/<task>/ (`research.tasks.result.Result.save`) and from
outputs/coordbench/rows.csv, put into the same columns; numbers from metrics/, titles and parameters
from the runner's records in reports/. What is absent is empty, so that a page can be made at any
time.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.data.dataset import Dataset
from research.evaluation.table import COMPARISON_COLUMNS, OURS, RANDOM, ROW_COLUMNS
from research.pipeline.records import read
from research.tasks import registry
from research.tasks.result import Split

# Stages whose data are fetched: stage -> (its task, its page). What they found stands apart from
# the rest, and is in no count: another machine may have no network
FETCHED = {"brandenburg": ("rs-landuse", "67-brandenburg")}
# CoordBench's names of encoders and splits in the words of the other tasks
_ENCODERS = {
    "GAIR": OURS,
    "GAIR, untrained": RANDOM,
    "xyz": "coordinates",
    "5 nearest rows": "5 nearest neighbours",
}
_SPLITS = {"random": Split("random, 5 folds", "row"), "blocked": Split("blocks, 5 folds", "block")}


@dataclass(frozen=True)
class TaskRecord:
    """A task as its record says: none of this is read out of a name.

    stage: of DVC; page: name of the runner's record ("60-rs-landcover"); judged: (split, metric) of
    what it is judged by, the headline first ([] for a record that does not say); notes: sentences
    on data and result.
    """

    name: str
    stage: str
    page: str
    question: str = ""
    claim: str = ""
    status: str = "ran"
    reason: str = ""
    data: str = ""
    splits: dict[str, Split] = field(default_factory=dict)
    judged: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Run:
    """rows, comparisons (gair minus each baseline), neighbours (gair and trained location encoders
    minus 5 nearest neighbours): the long formats of all tasks. metrics: stage, or
    "benchmark/<task>" -> its numbers; records: page -> the runner's record."""

    dataset: Dataset
    outputs: Path
    reports: Path
    metrics: dict[str, dict]
    records: dict[str, dict]
    tasks: dict[str, TaskRecord]
    rows: pd.DataFrame
    comparisons: pd.DataFrame
    neighbours: pd.DataFrame

    @property
    def benchmarks(self) -> list[TaskRecord]:
        """The tasks that have a stage of their own, skipped ones among them."""
        return [t for t in self.tasks.values() if t.stage != "coordbench"]

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(task, reason) of the tasks that were to run and could not."""
        return [(t.name, t.reason) for t in self.benchmarks if t.status == "skipped"]

    def absent(self) -> list[tuple[str, str]]:
        """(task, what the folder lacks) of the tasks that this run did not try."""
        known = registry.available(self.dataset).items()
        return [(name, why) for name, why in known if why and name not in self.tasks]

    def not_listed(self) -> list[str]:
        """Tasks that the folder can run and that are not in this run's list."""
        known = registry.available(self.dataset).items()
        return [name for name, why in known if not why and name not in self.tasks]

    def rejected(self) -> pd.DataFrame:
        """Rows of the folder that were left out; of photos pairing has the last word, if it has
        run."""
        columns = ["kind", "item", "reason"]
        found = pd.DataFrame(self.dataset.rejected, columns=columns)
        path = self.outputs / "pair/rejected.parquet"
        if not path.is_file():
            return found
        photos = pd.read_parquet(path).rename(columns={"photo_id": "item"}).assign(kind="photo")
        return pd.concat([found[found["kind"] != "photo"], photos[columns]], ignore_index=True)


def gather(
    dataset: Dataset,
    *,
    outputs: str | Path = "outputs",
    metrics: str | Path = "metrics",
    reports: str | Path = "reports",
    tasks: list[str] | None = None,
    fetched: bool = False,
) -> Run:
    """Read everything that there is.

    tasks: those of this run; folders of others, left by an earlier run, are not read (None: all).
    fetched: also the tasks of FETCHED.
    Raises BadInput, with the file's name, for a file that is torn.
    """
    outputs, metrics, reports = Path(outputs), Path(metrics), Path(reports)
    found: dict[str, TaskRecord] = {}
    folders = [p.parent for p in sorted((outputs / "benchmark").glob("*/result.json"))]
    folders = [f for f in folders if tasks is None or f.name in tasks]
    for folder in folders:
        found[folder.name] = _task(folder.name, read(folder / "result.json"))
    for stage, (name, page) in FETCHED.items() if fetched else ():
        if record := read(outputs / stage / "result.json"):
            found[name] = _task(name, record, stage, page)
            folders.append(outputs / stage)
    coordbench = _table(outputs / "coordbench/rows.csv")
    found |= {name: _coordbench_task(name, of) for name, of in _by_task(coordbench)}
    frames = {
        name: [_table(folder / name) for folder in folders]
        for name in ("rows.parquet", "comparison.csv", "neighbours.csv")
    }
    return Run(
        dataset,
        outputs,
        reports,
        {
            p.relative_to(metrics).with_suffix("").as_posix(): read(p)
            for p in sorted(metrics.rglob("*.json"))
        },
        {p.stem: read(p) for p in sorted(reports.glob("*.json"))},
        found,
        _stack([*frames["rows.parquet"], _coordbench_rows(coordbench, dataset)], ROW_COLUMNS),
        _stack(frames["comparison.csv"], COMPARISON_COLUMNS),
        _stack(frames["neighbours.csv"], COMPARISON_COLUMNS),
    )


def _task(name: str, record: dict, stage: str = "", page: str = "") -> TaskRecord:
    splits = {n: Split(**split) for n, split in record.get("splits", {}).items()}
    judged = [(split, metric) for _, split, metric in record.get("mainline", [])]
    known = ("question", "claim", "status", "reason", "data", "notes")
    about = {k: record[k] for k in known if k in record}
    stage, page = stage or f"benchmark@{name}", page or f"60-{name}"
    return TaskRecord(name, stage, page, **about, splits=splits, judged=judged)


def _table(path: Path) -> pd.DataFrame:
    """A table of a stage, empty where there is none; only what is empty in it is no number."""
    if not path.is_file():
        return pd.DataFrame()
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    numbers = ("difference", "value", "low", "high")
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(numbers, [""]))
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _stack(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    frames = [f for f in frames if len(f)]
    if not frames:
        return pd.DataFrame(columns=columns)
    found = pd.concat(frames, ignore_index=True)
    rest = [c for c in found.columns if c not in columns]  # what a task adds of its own
    return found.reindex(columns=[*columns, *rest])


# ---------------------------------------------------------------------------------- CoordBench


def _by_task(rows: pd.DataFrame):
    return (
        [(f"coordbench-{n}", of) for n, of in rows.groupby("task", sort=False)] if len(rows) else []
    )


def _coordbench_task(name: str, rows: pd.DataFrame) -> TaskRecord:
    target, table = rows["target"].iloc[0].replace("_", " "), rows["task"].iloc[0]
    splits = {split.name: split for split in _SPLITS.values()}
    metric = rows["metric"].iloc[0]
    return TaskRecord(
        name,
        "coordbench",
        "65-coordbench",
        f"Do coordinates alone tell {target}, by CoordBench's probe?",
        f"telling {target} from coordinates ({table}, CoordBench's probe)",
        data="synthetic" if _synthetic(rows).iloc[0] else "real",
        splits=splits,
        judged=[(split, metric) for split in splits],
    )


def _synthetic(rows: pd.DataFrame) -> pd.Series:
    return rows["synthetic"].astype(str).str.lower() == "true"


def _coordbench_rows(rows: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """CoordBench's rows in our columns; they have one probe seed."""
    if not len(rows):
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "task": "coordbench-" + rows["task"],
            "modality": "location",
            "split": rows["split"].map({k: split.name for k, split in _SPLITS.items()}),
            "encoder": rows["encoder"].replace(_ENCODERS),
            "probe": rows["metric"].map({"R2": "ridge", "accuracy": "5-NN of features"}),
            "n": rows["n"],
            "seed": "mean",
            "bands": "",
            "normalisation": "",
            "metric": rows["metric"],
            "unit": "",
            "value": pd.to_numeric(rows["value"]),
            "low": pd.to_numeric(rows["low"]),
            "high": pd.to_numeric(rows["high"]),
            "clusters": rows["clusters"],
            "cluster": rows["cluster"],
            "n_train": rows["n"] * 4 // 5,
            "dataset": dataset.name,
            "data": _synthetic(rows).map({True: "synthetic", False: "real"}),
        }
    )
