"""One trained model at one benchmark: a process of one thread, started by research.studies.runs.

    python -m research.studies.seeds_run SPEC.json

The benchmark's own code answers, with the model that the spec names, beside the same model
untrained and blind guesses; dearer rivals say nothing of how much a training varies, and are left
out. The result is one JSON file with an entry for each number that the task is judged by.
"""

import math
import sys
from pathlib import Path

from gairlib.data.dataset import Dataset
from research.evaluation.table import OURS, RANDOM
from research.studies import worker
from research.tasks import registry
from research.tasks.result import Result
from research.tasks.task import Options

NUMBERS = ("value", "low", "high", "untrained", "difference", "difference_low", "difference_high")


def run(values: dict, pairs: str | Path) -> dict:
    """values: `data` (as in params.yaml), `model` (folder), `task`, `options` (of `Options`)."""
    data = values["data"]
    dataset = Dataset(data["folder"], layouts=data.get("layouts"))
    how = values["options"] | {"baselines": False, "upper_bounds": ()}
    result = registry.run(values["task"], dataset, Options(values["model"], pairs, **how))
    return {
        "status": result.status,
        "reason": result.reason,
        "dataset": dataset.name,
        "synthetic": bool(dataset.synthetic),
        "numbers": numbers(result),
    }


def numbers(result: Result) -> list[dict]:
    """What a result is judged by: key, split, metric, unit, lower (whether less is better),
    shifted, n, clusters, cluster, NUMBERS (None where there is no interval) and the verdict against
    untrained: "wins", "loses", "tie" or ""."""
    found = []
    for key, split, metric in result.mainline:
        ours, gap = result.row(split, OURS, metric), result.versus(split, RANDOM, metric)
        untrained = result.row(split, RANDOM, metric)
        values = [ours["value"], ours["low"], ours["high"], untrained["value"]]
        values += [gap["difference"], gap["low"], gap["high"]]
        values = [float(v) if math.isfinite(v) else None for v in values]
        found.append(
            {
                "key": key,
                "split": split,
                "metric": metric,
                "unit": ours["unit"] or "",
                "lower": gap["better"] == "lower",
                "shifted": result.splits[split].shifted,
                "n": int(ours["n"]),
                "clusters": int(ours["clusters"]),
                "cluster": ours["cluster"],
                **dict(zip(NUMBERS, values)),
                "verdict": gap["verdict"],
            }
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command of the module's header."""
    return worker.serve(
        "research.studies.seeds_run", lambda spec: run(spec["values"], spec["pairs"]), arguments
    )


if __name__ == "__main__":
    sys.exit(main())
