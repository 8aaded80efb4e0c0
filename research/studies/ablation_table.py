"""What the runs of an ablation say: means over seeds, and each variant's difference to the base.

Intervals are 95%, over sites and training seeds (`research.evaluation.stats`); a variant and the
base are read on the same draws of sites, seed by seed. Three seeds are few, which is in the
intervals: where trainings differ more than sites do, they are wide.
A field of directions has metrics of its own for when no compass is known, compared with the base's
of the same kind, or, where the base reads no directions, with its only ones.
Each of many comparisons may be wrong one time in twenty, so verdicts are given for the `judged`
metrics only, and the conclusion says how many of them chance alone would make.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from gairlib.errors import BadInput
from research.evaluation import stats
from research.studies.ablation import BASE, Variant
from research.studies.runs import Run, finished, need, rounded, save


@dataclass(frozen=True)
class Metric:
    """A column of a run's photos and how it becomes a number."""

    name: str
    column: str
    label: str
    lower: bool = False  # lower is better
    unit: str = ""
    judged: bool = False
    of: str = ""  # the metric that this one is with no compass known

    @property
    def make(self):
        """`stats.mean` for shares, `stats.median` for ranks and metres."""
        return stats.mean if "_hit" in self.column else stats.median

    def show(self, value: float, sign: bool = False) -> str:
        """A value as text: shares in per cent, differences (`sign`) in percentage points."""
        plus = "+" if sign else ""
        if "_hit" in self.column:
            return f"{100 * value:{plus}.1f}{' pp' if sign else '%'}"
        return f"{value:{plus}.1f}" + (f" {self.unit}" if self.unit else "")


PLAIN = (
    Metric("place_recall_at_1", "place_hit1", "photo to place, recall@1"),
    Metric("place_recall_at_10", "place_hit10", "photo to place, recall@10", judged=True),
    Metric("place_median_rank", "place_rank", "photo to place, median rank", lower=True),
    Metric("site_recall_at_1", "site_hit1", "within its site, recall@1"),
    Metric("site_recall_at_10", "site_hit10", "within its site, recall@10", judged=True),
    Metric("site_median_rank", "site_rank", "within its site, median rank", lower=True),
    Metric("coordinates_recall_at_10", "coordinates_hit10", "photo to coordinates, recall@10"),
    Metric(
        "coordinates_median_rank",
        "coordinates_rank",
        "photo to coordinates, median rank",
        lower=True,
        judged=True,
    ),
    Metric(
        "field_coordinates_median_rank",
        "field_coordinates_rank",
        "RS field to coordinates, median rank",
        lower=True,
    ),
    Metric(
        "localisation_error_m",
        "error_m",
        "median localisation error in the chip",
        lower=True,
        unit="m",
        judged=True,
    ),
)
UNKNOWN = tuple(
    replace(
        m,
        name=f"{m.name}_compass_unknown",
        column=f"unknown_{m.column}",
        label=f"{m.label}, compass unknown",
        of=m.name,
    )
    for m in PLAIN
    if not m.column.startswith("coordinates")  # which read no field
)
METRICS = PLAIN + UNKNOWN
BY_NAME = {m.name: m for m in METRICS}
JUDGED = {m.name: m for m in METRICS if m.judged}


@dataclass
class Result:
    """rows: (variant, seed, metric, value), failures too; table: a row a variant and metric."""

    rows: pd.DataFrame
    table: pd.DataFrame
    chance: dict[str, float]  # by metric
    facts: dict  # data, dataset, split, steps, seeds, photos, sites, runs, failed
    speed: dict[str, float]  # variant -> median seconds a step: differs from run to run

    def save(self, folder: str | Path, metrics: str | Path) -> None:
        """rows.parquet, table.csv, and the small JSON that git keeps; the speed goes to
        logs/ beside the folder of metrics, out of DVC's sight."""
        variants: dict[str, dict] = {}
        for row in self.table[self.table["metric"].isin(JUDGED)].itertuples():
            numbers = rounded(row, ("mean", "difference", "low", "high"))
            variants.setdefault(row.variant, {"seeds": row.seeds})[row.metric] = numbers
        frames = {"rows": self.rows, "table": self.table}
        save(frames, self.facts | {"variants": variants}, folder, metrics)
        log = Path(metrics).parent.parent / "logs" / f"{Path(metrics).stem}-speed.json"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(json.dumps(self.speed, indent=1) + "\n")


# ------------------------------------------------------------------------------------- the numbers


def summarise(runs: Sequence[Run], outcomes: Sequence[dict], *, bootstrap: int = 2000) -> Result:
    """From what `runs.run_all` returned. BadInput where no run of the base has finished."""
    need(BASE, runs, outcomes)
    done = finished(runs, outcomes)
    photos = {key: pd.DataFrame(o["photos"]) for key, o in done.items()}
    first = next(iter(photos.values()))
    for (variant, seed), frame in photos.items():
        if list(frame["photo_id"]) != list(first["photo_id"]):
            raise BadInput(f"{variant}, seed {seed} answers for other photos than the runs before")
    codes, sites = stats.encode_clusters(first["site"])
    scores = {
        (key, m.name): m.make(frame[m.column].to_numpy(), codes)
        for key, frame in photos.items()
        for m in METRICS
        if m.column in frame
    }
    whole_set = np.ones((1, sites))
    rows = []
    for run, outcome in zip(runs, outcomes):
        key = (run.variant, run.seed)
        head = {"variant": run.variant, "seed": run.seed}
        if "failed" in outcome:
            rows.append(
                head | {"metric": "", "value": np.nan, "status": f"failed: {outcome['failed']}"}
            )
            continue
        rows += [
            head | {"metric": m.name, "value": scores[key, m.name](whole_set)[0], "status": "done"}
            for m in METRICS
            if (key, m.name) in scores
        ]
    columns = ["variant", "seed", "metric", "value", "status"]
    result = next(iter(done.values()))
    sizes = np.bincount(codes)[codes]
    facts = {
        "data": "synthetic" if result["synthetic"] else "real",
        "dataset": result["dataset"],
        "split": result["split"],
        "steps": result["steps"],
        "seeds": sorted({r.seed for r in runs}),
        "photos": len(first),
        "sites": sites,
        "runs": len(runs),
        "failed": len(runs) - len(done),
    }
    table = _table(runs, done, scores, sites, bootstrap)
    chance = _chance(result, sizes)
    return Result(pd.DataFrame(rows, columns=columns), table, chance, facts, _speed(done))


def _speed(done: dict[tuple[str, int], dict]) -> dict[str, float]:
    """Median seconds a step of each variant's runs, of the steps that were taken in one go."""
    rows = [
        (variant, o["seconds"] / (o["steps"] - o["resumed_from_step"]))
        for (variant, _), o in done.items()
        if o["steps"] > o["resumed_from_step"]
    ]
    frame = pd.DataFrame(rows, columns=["variant", "seconds"])
    return frame.groupby("variant", sort=False)["seconds"].median().round(3).to_dict()


def _table(runs, done, scores, sites, draws) -> pd.DataFrame:
    found = []
    for variant in dict.fromkeys(r.variant for r in runs):
        seeds = [s for v, s in done if v == variant]
        shared = [s for s in seeds if (BASE, s) in done]
        for m in METRICS:
            own = [scores[(variant, s), m.name] for s in seeds if ((variant, s), m.name) in scores]
            if not own:
                continue
            mean = stats.cluster_bootstrap(own, sites, draws=draws)
            gap, base = None, m.name
            if shared and ((BASE, shared[0]), base) not in scores:
                base = m.of
            if variant != BASE and shared and ((BASE, shared[0]), base) in scores:
                gap = stats.paired_difference(
                    [scores[(variant, s), m.name] for s in shared],
                    [scores[(BASE, s), base] for s in shared],
                    sites,
                    draws=draws,
                )
            found.append(
                {
                    "variant": variant,
                    "metric": m.name,
                    "mean": mean.value,
                    "mean_low": mean.low,
                    "mean_high": mean.high,
                    "difference": gap.value if gap else np.nan,
                    "low": gap.low if gap else np.nan,
                    "high": gap.high if gap else np.nan,
                    "verdict": _verdict(m, gap) if gap else "",
                    "seeds": len(seeds),
                }
            )
    return pd.DataFrame(found)


def _verdict(metric: Metric, gap: stats.Estimate) -> str:
    """ "better" or "worse" than the base, "tie", or "" without an interval."""
    if np.isnan(gap.low):
        return ""
    if not gap.excludes_zero():
        return "tie"
    return "better" if (gap.value < 0) == metric.lower else "worse"


def _chance(result: dict, sizes: np.ndarray) -> dict[str, float]:
    """What a random order reaches; sizes: photos at each photo's site."""
    found = {"localisation_error_m": result["chance_error_m"]}
    for m in PLAIN:
        among = sizes if m.column.startswith("site") else np.full(len(sizes), len(sizes))
        if "_hit" in m.column:
            k = int(m.column.split("_hit")[1])
            found[m.name] = float((np.minimum(k, among) / among).mean())
        elif m.column.endswith("_rank"):
            found[m.name] = float(np.median((among + 1) / 2))
    return found | {m.name: found[m.of] for m in UNKNOWN}


# ---------------------------------------------------------------------------- what a person reads


def readable(result: Result, variants: Sequence[Variant]) -> pd.DataFrame:
    """The judged metrics as text, a row a variant: the base's mean, others' difference to it."""
    lines = {}
    for v in variants:
        part = result.table[result.table["variant"] == v.name].set_index("metric")
        cells = {"asks": v.asks}
        for m in JUDGED.values():
            if m.of and not (result.table["metric"] == m.name).any():
                continue  # no variant reads directions
            if m.name not in part.index:
                cells[m.label] = "-" if len(part) else "failed"
                continue
            row = part.loc[m.name]
            span = f"[{m.show(row['mean_low'])}, {m.show(row['mean_high'])}]"
            text = f"{m.show(row['mean'])} {span}"
            if v.name != BASE:
                text = (
                    f"{m.show(row['difference'], True)} [{m.show(row['low'], True)}, "
                    f"{m.show(row['high'], True)}] {row['verdict']}"
                )
            cells[m.label] = text
        lines[v.name] = cells
    return pd.DataFrame(lines).T


def base_against_chance(result: Result) -> list[str]:
    """The base's mean of each judged metric as text, with what chance gives."""
    base = result.table[result.table["variant"] == BASE].set_index("metric")["mean"]
    return [
        f"{m.label} {m.show(base[name])} (chance {m.show(result.chance[name])})"
        for name, m in BY_NAME.items()
        if name in JUDGED and name in base.index
    ]


def by_verdict(result: Result, variants: Sequence[Variant]) -> dict[str, list[str]]:
    """ "worse", "better", "mixed" or "tie" -> the variants that are shown to be so against the base
    in the judged metrics, each as text with the differences that show it."""
    groups = {"worse": [], "better": [], "mixed": [], "tie": []}
    for v in variants[1:]:
        part = result.table[result.table["variant"] == v.name]
        part = part[part["metric"].isin(JUDGED)]
        shown = part[part["verdict"].isin(["better", "worse"])]
        verdicts = set(shown["verdict"])
        said = [
            f"{m.label} {m.show(r.difference, True)} "
            f"[{m.show(r.low, True)}, {m.show(r.high, True)}]"
            for r in shown.itertuples()
            for m in [JUDGED[r.metric]]
        ]
        if len(part):
            kind = "mixed" if len(verdicts) == 2 else next(iter(verdicts), "tie")
            groups[kind].append(f"`{v.name}` ({'; '.join(said)})" if said else f"`{v.name}`")
    return groups
