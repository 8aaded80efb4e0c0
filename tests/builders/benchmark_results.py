"""Folders of finished benchmarks, for the tests of what reads them."""

import json
from dataclasses import asdict

import pandas as pd

from research.evaluation.neighbours import NEAREST
from research.evaluation.table import COMPARISON_COLUMNS, OURS, ROW_COLUMNS
from research.tasks.result import Split

NAN = float("nan")
SITES = Split("held-out sites", "site")


def put(folder, task, modality, metric, encoders, *, split=SITES, neighbours=()):
    """A benchmark's folder as its stage leaves it, below `folder`/benchmark.

    encoders: name -> (value, verdict of ours against it, probe). neighbours: (encoder, difference
    to 5-NN, low, high, verdict).
    """
    rows, gaps = [], []
    for name, (value, verdict, probe) in encoders.items():
        sure = verdict != ""
        for seed in ("mean", "0"):
            rows.append(
                dict.fromkeys(ROW_COLUMNS, "")
                | {
                    "task": task,
                    "modality": modality,
                    "split": split.name,
                    "encoder": name,
                    "probe": probe,
                    "n": 40,
                    "seed": seed,
                    "metric": metric,
                    "value": value,
                    "low": value - 0.1 if sure else NAN,
                    "high": value + 0.1 if sure else NAN,
                    "clusters": 9,
                    "cluster": "site",
                    "n_train": 100,
                    "dataset": "d",
                    "data": "synthetic",
                }
            )
        if name != OURS:
            gap = encoders[OURS][0] - value
            gaps.append(
                dict(
                    zip(
                        COMPARISON_COLUMNS,
                        (
                            task,
                            split.name,
                            metric,
                            "",
                            OURS,
                            name,
                            gap,
                            gap - 0.01 if sure else NAN,
                            gap + 0.01 if sure else NAN,
                            "higher",
                            verdict,
                            9,
                            1,
                        ),
                    )
                )
            )
    folder = folder / "benchmark" / task
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / "rows.parquet")
    pd.DataFrame(gaps, columns=COMPARISON_COLUMNS).to_csv(folder / "comparison.csv", index=False)
    near = [
        (task, split.name, metric, "", name, NEAREST, gap, low, high, "higher", verdict, 9, 1)
        for name, gap, low, high, verdict in neighbours
    ]
    pd.DataFrame(near, columns=COMPARISON_COLUMNS).to_csv(folder / "neighbours.csv", index=False)
    about = {
        "status": "ran",
        "question": f"What of {task}?",
        "claim": f"telling {task}",
        "data": "synthetic",
        "splits": {split.name: asdict(split)},
        "mainline": [["key", split.name, metric]],
    }
    (folder / "result.json").write_text(json.dumps(about))


def skip(folder, task, reason):
    """The same for a task that could not run."""
    folder = folder / "benchmark" / task
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps({"status": "skipped", "reason": reason}))
