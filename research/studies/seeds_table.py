"""What several trainings of the same settings say: a number's spread over pretraining seeds beside
its interval over places, and whether a claim against the untrained model holds in every one.

The spread is of few trainings: their standard deviation (n - 1 in the denominator) and their range,
no interval. A claim stands only where each training makes it by its own paired interval.
"""

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gairlib.errors import BadInput
from gairlib.files import atomic_write
from research.evaluation.verdicts import LOSES, NONE, TIE, WINS, WORDS
from research.studies.runs import Run
from research.studies.seeds_run import NUMBERS

ABOUT = ("split", "metric", "unit", "lower", "shifted", "n", "clusters", "cluster")


@dataclass
class Result:
    """rows: a row a (task, key, seed), with NUMBERS and `verdict`; table: a row a (task, key), with
    ABOUT, mean, sd, least, most, hold (trainings that give the first one's verdict) and `verdict`.
    """

    rows: pd.DataFrame
    table: pd.DataFrame
    facts: dict  # data, dataset, steps, seeds, runs, failed, skipped

    def save(self, folder: str | Path, metrics: str | Path) -> None:
        """rows.csv and table.csv, and the small JSON that git keeps: task -> key -> numbers."""
        folder, metrics = Path(folder), Path(metrics)
        folder.mkdir(parents=True, exist_ok=True)
        metrics.parent.mkdir(parents=True, exist_ok=True)
        self.rows.to_csv(folder / "rows.csv", index=False, float_format="%.6g")
        self.table.to_csv(folder / "table.csv", index=False, float_format="%.6g")
        with atomic_write(metrics) as part:
            part.write_text(_text(self.numbers()) + "\n", encoding="utf-8")

    def numbers(self) -> dict:
        """`facts`, and `tasks`: task -> key -> ABOUT, lists over seeds (`values`, and the others of
        NUMBERS), mean, sd, least, most, verdicts and verdict."""
        tasks: dict[str, dict] = {}
        for line in self.table.to_dict("records"):
            own = self.rows[(self.rows.task == line["task"]) & (self.rows.key == line["key"])]
            lists = {name: [_short(v) for v in own[name]] for name in NUMBERS}
            found = {name: line[name] for name in ABOUT}
            found |= {"seeds": own["seed"].tolist(), "values": lists.pop("value"), **lists}
            found |= {name: _short(line[name]) for name in ("mean", "sd", "least", "most")}
            found |= {"verdicts": own["verdict"].tolist(), "verdict": line["verdict"]}
            tasks.setdefault(line["task"], {})[line["key"]] = found
        return self.facts | {"tasks": tasks}


def spread(values: Sequence[float]) -> dict[str, float]:
    """mean, sd (NaN of a single value), least and most."""
    sd = statistics.stdev(values) if len(values) > 1 else float("nan")
    return {"mean": statistics.fmean(values), "sd": sd, "least": min(values), "most": max(values)}


def agreed(verdicts: Sequence[str], trainings: int) -> str:
    """The verdict that all `trainings` give. "tie" (undecided) where they differ, or where one of
    them is missing; "" where one has no interval."""
    if NONE in verdicts:
        return NONE
    same = len(set(verdicts)) == 1 and len(verdicts) == trainings
    return verdicts[0] if same else TIE


def summarise(
    seeds: Sequence[int], steps: int, runs: Sequence[Run], outcomes: Sequence[dict]
) -> Result:
    """seeds: of all trainings, the published one first. runs, outcomes: of judging, as
    `runs.run_all` gives them. A run that failed leaves its seed out of its task's numbers, which
    then claim nothing. BadInput where none has finished."""
    done = [(run, found) for run, found in zip(runs, outcomes) if "failed" not in found]
    if not done:
        why = outcomes[0]["failed"] if outcomes else "none ran"
        raise BadInput(f"no model has been judged, so there is nothing to compare: {why}")
    rows = pd.DataFrame(
        [{"task": run.variant, "seed": run.seed} | x for run, out in done for x in out["numbers"]],
        columns=["task", "key", "seed", *ABOUT, *NUMBERS, "verdict"],
    )
    rows["order"] = rows["seed"].map({seed: i for i, seed in enumerate(seeds)})
    table = []
    for (task, key), own in rows.groupby(["task", "key"], sort=False):
        own = own.sort_values("order")
        verdicts = own["verdict"].tolist()
        table.append(
            {"task": task, "key": key}
            | own.iloc[0][list(ABOUT)].to_dict()
            | spread(own["value"].tolist())
            | {
                "trainings": len(own),
                "hold": verdicts.count(verdicts[0]),
                "verdict": agreed(verdicts, len(seeds)),
            }
        )
    rows = rows.sort_values(["task", "order"], kind="stable").drop(columns="order")
    columns = ["task", "key", *ABOUT, "mean", "sd", "least", "most", "trainings", "hold", "verdict"]
    first = done[0][1]
    skipped = {run.variant: out["reason"] for run, out in done if out["status"] != "ran"}
    facts = {
        "data": "synthetic" if first["synthetic"] else "real",
        "dataset": first["dataset"],
        "steps": steps,
        "seeds": list(seeds),
        "runs": len(runs),
        "failed": len(runs) - len(done),
        "skipped": skipped,
    }
    return Result(rows.reset_index(drop=True), pd.DataFrame(table, columns=columns), facts)


def readable(result: Result) -> pd.DataFrame:
    """A row a number: its value in every training, their spread, the first training's interval over
    places, and whether its verdict against untrained holds in all."""
    seeds, lines = result.facts["seeds"], []
    for line in result.table.itertuples():
        own = result.rows[(result.rows.task == line.task) & (result.rows.key == line.key)]
        value = dict(zip(own["seed"], own["value"]))
        first = own.iloc[0]
        lines.append(
            {"task": line.task, "split": line.split, "metric": line.metric}
            | {f"seed {s}": f"{value[s]:.3g}" if s in value else "failed" for s in seeds}
            | {
                "standard deviation": f"{line.sd:.2g}",
                f"over places, seed {first.seed}": f"[{first.low:.3g}, {first.high:.3g}]",
                "against untrained": WORDS[line.verdict],
                "in trainings": f"{line.hold} of {len(seeds)}",
            }
        )
    return pd.DataFrame(lines)


def sentences(result: Result) -> list[str]:
    """What the trainings say together, for a person."""
    facts, table = result.facts, result.table
    listed, count = ", ".join(map(str, facts["seeds"])), len(facts["seeds"])
    said = [
        "On {data} data ({dataset}): {n} judged numbers, {steps} steps, seeds {listed}.".format(
            n=len(table), listed=listed, **facts
        )
    ]
    for verdict, word in WORDS.items():
        part = table[table["verdict"] == verdict]
        if len(part):
            said.append(f"**{word.capitalize()}** against untrained: {len(part)} numbers.")
    sure = result.rows.groupby(["task", "key"], sort=False)["verdict"].first()
    lost = [
        f"`{x.task}` {x.metric}, {x.split} ({x.hold} of {count})"
        for x in table.itertuples()
        if sure[x.task, x.key] in (WINS, LOSES) and x.verdict != sure[x.task, x.key]
    ]
    if lost:
        said.append("**Not in every training, so undecided:** " + "; ".join(lost) + ".")
    if facts["failed"]:
        said.append("{failed} of {runs} runs failed, and claim nothing.".format(**facts))
    said += [f"`{task}` was skipped: {why}." for task, why in facts["skipped"].items()]
    return said


def _short(value) -> float | None:
    return None if value is None or value != value else float(f"{float(value):.6g}")


def _text(numbers: dict) -> str:
    """JSON with each list on one line."""
    text = json.dumps(numbers, indent=1)
    return re.sub(r"\[[^\[\]{}]+\]", lambda m: re.sub(r"\s+", " ", m[0]), text)
