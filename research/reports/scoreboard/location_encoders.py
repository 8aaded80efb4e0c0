"""Location encoders of the registry, trained end to end, against 5 nearest neighbours.

Differences and verdicts are those of each task's neighbours.csv: paired, on the same assignments of
folds and the same draws of blocks. Regressions (R2) and classifications (accuracy) are counted
apart, and each kind of split by itself.
"""

import math

import pandas as pd

from gairlib.location import registry
from research.evaluation import verdicts
from research.evaluation.neighbours import NEAREST
from research.evaluation.verdicts import LOSES, WINS
from research.reports.lines import Part
from research.reports.words import number, with_interval
from research.tasks.trained import CHOSEN, PROBE

KINDS = {"R2": "regression", "accuracy": "classification"}  # metric -> what its tables are


def section(rows: pd.DataFrame, neighbours: pd.DataFrame) -> Part:
    """A row a task and split; sentences by split and kind of table.

    rows, neighbours: in the columns of `benchmark_table`, ROW_COLUMNS and COMPARISON_COLUMNS. The
    encoder is "chosen encoder" (by inner folds) where the task has it. Without it, it is the best
    by test score, which flatters, and a sentence says so.
    """
    mean = rows[rows["seed"].astype(str) == "mean"]
    trained = mean[(mean["probe"] == PROBE) & mean["metric"].isin(list(KINDS))]
    found = []
    for where, part in trained.groupby(["task", "split", "metric"], sort=False):
        same = rows[(rows[["task", "split", "metric"]] == list(where)).all(axis=1)]
        if len(same[same["encoder"] == NEAREST]):
            gaps = neighbours[
                (neighbours[["task", "split", "metric"]] == list(where)).all(axis=1)
                & (neighbours["baseline"] == NEAREST)
            ]
            found.append(dict(zip(("task", "split", "metric"), where)) | _row(part, same, gaps))
    part = Part(
        "Location encoders trained end to end",
        table=pd.DataFrame(found),
        source="rows.parquet and neighbours.csv of each benchmark stage",
    )
    if not found:
        part.sentences = [
            "No location encoder was trained end to end in this run "
            "(`benchmark.location_encoders`; `make bench-all` trains all)."
        ]
        return part
    for (split, metric), tables in part.table.groupby(["split", "metric"], sort=False):
        part.sentences += _beats(split, metric, tables.to_dict("records"))
    if ((part.table["encoder"] != CHOSEN) & (part.table["trained"] > 1)).any():
        part.sentences.append(
            "Where no encoder was chosen by inner folds, the one with the best "
            "test score stands for the registry, which flatters it."
        )
    return part


def counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """For metrics/scoreboard.json: "<split>, <kind>" -> tables, ahead by value, ahead beyond the
    interval, behind beyond it."""
    return {
        f"{split}, {KINDS[metric]}": {
            "tasks": len(part),
            "ahead": int((part["difference"] > 0).sum()),
            "beyond_interval": int((part["verdict"] == WINS).sum()),
            "behind_beyond_interval": int((part["verdict"] == LOSES).sum()),
        }
        for (split, metric), part in table.groupby(["split", "metric"], sort=False)
    }


def _row(part: pd.DataFrame, same: pd.DataFrame, gaps: pd.DataFrame) -> dict:
    """part: mean rows of the trained encoders; same: all rows of this task, split and metric."""
    chosen, single = part[part["encoder"] == CHOSEN], part[part["encoder"] != CHOSEN]
    row = chosen.iloc[0] if len(chosen) else part.loc[part["value"].idxmax()]
    near = _on_the_same(same, row["encoder"])
    c = gaps[gaps["encoder"] == row["encoder"]]
    gap = c.iloc[0] if len(c) else {}
    return {
        "encoder": row["encoder"],
        "trained": len(single),
        "value": row["value"],
        "low": row["low"],
        "high": row["high"],
        "5-NN": near["value"],
        "5-NN low": near["low"],
        "5-NN high": near["high"],
        "difference": gap.get("difference", row["value"] - near["value"]),
        "difference low": gap.get("low", math.nan),
        "difference high": gap.get("high", math.nan),
        "verdict": verdicts.known(gap.get("verdict")),
        "best by test score": single.loc[single["value"].idxmax(), "encoder"]
        if len(single)
        else "",
        "data": row["data"],
    }


def _on_the_same(same: pd.DataFrame, encoder: str) -> pd.Series:
    """5-NN on the assignments of folds that the encoder was trained on: often the first only."""
    near = same[same["encoder"] == NEAREST]
    seeds = (same[same["encoder"] == encoder]["seed"].astype(str) != "mean").sum()
    first = near[near["seed"].astype(str) == "0"]
    return first.iloc[0] if seeds <= 1 and len(first) else near[near["seed"] == "mean"].iloc[0]


def _beats(split: str, metric: str, rows: list[dict]) -> list[str]:
    """Sentences of one kind of table under one split; the first one counts."""
    by = (
        "chosen by inner folds"
        if all(r["encoder"] == CHOSEN for r in rows)
        else "chosen by inner folds or, without them, by test score"
    )
    numbers = sorted({r["trained"] for r in rows})
    many = " to ".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))
    who = (
        f"the best of {many} trained encoders, of {len(registry.names())} in the registry ({by}),"
        if numbers[-1] > 1
        else f"the one trained encoder, of {len(registry.names())} in the registry,"
    )
    ahead, sure = (sum(r["difference"] > 0 for r in rows), sum(r["verdict"] == WINS for r in rows))
    tables = "table" if len(rows) == 1 else "tables"
    said = (
        f"{split}, {len(rows)} {KINDS[metric]} {tables}: {who} is ahead of distance-weighted "
        f"5-NN by value on {ahead}, beyond the interval on {sure}."
    )
    rest = [
        f"{r['task']} ({number(r['value'])} against {number(r['5-NN'])}, "
        + with_interval(r["difference"], r["difference low"], r["difference high"])
        + f", {verdicts.WORDS[r['verdict']]})"
        for r in rows
        if r["verdict"] != WINS
    ]
    if rest:
        said += f" It does not beat 5-NN on {'; '.join(rest)}."
    return [
        said,
        *(
            f"{split}: {r['task']} holds hardly any signal for neighbours: 5-NN's own R2 is "
            f"{with_interval(r['5-NN'], r['5-NN low'], r['5-NN high'])}, not above 0 beyond its "
            "interval."
            for r in rows
            if metric == "R2" and r["5-NN low"] <= 0
        ),
    ]
