"""The long format of all tasks: one row an encoder, split, metric and seed, in one table.

Columns: `benchmark_table.ROW_COLUMNS` and COMPARISON_COLUMNS. CoordBench's rows come from a stage
of their own and are told by their task names, `coordbench-...`; they have one probe seed.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.errors import BadInput
from research.evaluation.table import COMPARISON_COLUMNS, OURS, RANDOM, ROW_COLUMNS

COORDBENCH = "coordbench-"
_NAMES = {
    "GAIR": OURS,
    "GAIR, untrained": RANDOM,
    "xyz": "coordinates",
    "5 nearest rows": "5 nearest neighbours",
}
_SPLITS = {"random": "random, 5 folds", "blocked": "blocks, 5 folds"}


@dataclass
class Tables:
    """rows; comparisons: gair minus each baseline; results: task -> its result.json (skipped tasks
    too); neighbours: gair and trained location encoders minus 5 nearest neighbours."""

    rows: pd.DataFrame
    comparisons: pd.DataFrame
    results: dict[str, dict]
    neighbours: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=COMPARISON_COLUMNS)
    )

    def save(self, folder: str | Path) -> None:
        """results, comparisons and neighbours, each as .parquet and .csv."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in (
            ("results", self.rows),
            ("comparisons", self.comparisons),
            ("neighbours", self.neighbours),
        ):
            frame.to_parquet(folder / f"{name}.parquet", index=False)
            frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def gather(outputs: str | Path, tasks: list[str] | None = None) -> Tables:
    """Read outputs/benchmark/*/ and outputs/coordbench/; what is absent adds nothing.

    tasks: those of this run; folders of others, left by an earlier run, are not read (None: all).
    """
    outputs = Path(outputs)
    rows, comparisons, neighbours, results = [], [], [], {}
    for path in sorted((outputs / "benchmark").glob("*/result.json")):
        name = path.parent.name
        if tasks is not None and name not in tasks:
            continue
        try:
            results[name] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise BadInput(
                f"{path}: not readable as JSON ({problem}); run `dvc repro benchmark@{name}` again"
            ) from None
        rows.append(_read(path.parent / "rows.parquet"))
        comparisons.append(_read(path.parent / "comparison.csv"))
        neighbours.append(_read(path.parent / "neighbours.csv"))
    rows.append(_coordbench(outputs / "coordbench/rows.csv", results))
    return Tables(
        _stack(rows, ROW_COLUMNS),
        _stack(comparisons, COMPARISON_COLUMNS),
        results,
        _stack(neighbours, COMPARISON_COLUMNS),
    )


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(
        path, keep_default_na=False, na_values={"difference": [""], "low": [""], "high": [""]}
    )


def _stack(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    frames = [f for f in frames if len(f)]
    if not frames:
        return pd.DataFrame(columns=columns)
    found = pd.concat(frames, ignore_index=True)
    rest = [c for c in found.columns if c not in columns]  # what a family adds of its own
    return found.reindex(columns=[*columns, *rest])


def _coordbench(path: Path, results: dict) -> pd.DataFrame:
    """CoordBench's rows in our columns."""
    try:
        found = _read(path)
    except pd.errors.EmptyDataError:
        found = pd.DataFrame()
    if not len(found):
        return pd.DataFrame()
    names = {r.get("dataset") for r in results.values()}
    synthetic = found["synthetic"].astype(str).str.lower() == "true"
    return pd.DataFrame(
        {
            "task": COORDBENCH + found["task"],
            "modality": "location",
            "split": found["split"].replace(_SPLITS),
            "encoder": found["encoder"].replace(_NAMES),
            "probe": found["metric"].map({"R2": "ridge", "accuracy": "5-NN of features"}),
            "n": found["n"],
            "seed": "mean",
            "bands": "",
            "normalisation": "",
            "metric": found["metric"],
            "unit": "",
            "value": pd.to_numeric(found["value"]),
            "low": pd.to_numeric(found["low"]),
            "high": pd.to_numeric(found["high"]),
            "clusters": found["clusters"],
            "cluster": found["cluster"],
            "n_train": found["n"] * 4 // 5,
            "dataset": names.pop() if len(names) == 1 else "",
            "data": synthetic.map({True: "synthetic", False: "real"}),
        }
    )
