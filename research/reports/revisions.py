"""Judged numbers of another revision's metrics beside today's, for pages of the log."""

import json
import math
import subprocess
from pathlib import Path

from research.evaluation import verdicts
from research.reports.quoted import Metrics, show, table

ROOT = Path(__file__).resolve().parents[2]


def moved(metrics: Metrics, revision: str) -> str:
    """Every judged number of another revision's metrics beside today's."""
    rows = []
    for (task, key), x in metrics.lines.items():
        path = f"{revision}:metrics/benchmark/{task}.json"
        git = ["git", "-C", str(ROOT), "show", path]
        old = json.loads(subprocess.run(git, capture_output=True, text=True).stdout or "{}")
        if key in old:
            ends = (old.get(f"{key}{end}", math.nan) for end in ("", "_low", "_high"))
            gain = [old.get(k) for k in ("gain_low", "gain_high")] if x.headline else [None, None]
            verdict = verdicts.WORDS[verdicts.of(*gain, x.lower)] if x.headline else ""
            now = verdicts.WORDS[x.random.verdict]
            rows.append(
                (
                    f"`{task}` {x.metric}, {x.split.name}",
                    x.data,
                    show(x, *ends),
                    show(x, x.value, x.low, x.high),
                    show(x, old[f"{key}_random_init"]),
                    show(x, x.random.value),
                    f"{verdict} to {now}" if x.headline else now,
                )
            )
    heads = (
        "`task` and measure",
        "data",
        f"old ({revision})",
        "new",
        "untrained, old",
        "untrained, new",
        "against untrained",
    )
    return table(heads, rows)
