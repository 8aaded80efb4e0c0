"""What a benchmark found: rows, paired differences, a headline number, and what its task is.

All intervals are 95% bootstraps over sites, blocks or images (`research.evaluation.stats`), never
over rows.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from research.evaluation import geographic_bias
from research.evaluation.fit import Fit
from research.evaluation.geographic_bias import COLUMNS as REGIONS
from research.evaluation.table import (
    COMPARISON_COLUMNS,
    END_TO_END,
    LOWER,
    OURS,
    RANDOM,
    ROW_COLUMNS,
)

TEST, SHIFTED = "test", "shifted"  # held out: places like the others, and places unlike them
HELD_OUT = (TEST, SHIFTED)
BLIND = ("majority", "mean", "chance", "random point")  # what knows nothing of the input


@dataclass(frozen=True)
class Split:
    """What one split of a task asks; `name` is the column `split` of the rows.

    held_out: what test rows do not share with training rows: "site", "block", "city", "row" (drawn
    at random: neighbours may be on both sides), "published split" (whatever its authors held out),
    or None where nothing was held out. labels: how many training labels were used, None for all.
    The others are of retrieval alone. query looks for target ("photo", "chip": the RS field at a
    position, "coordinates", "position": where in its chip, "direction": in which its camera looked)
    in gallery ("chip", "site", "held out", "world"). claim: what the encoder then does, as the
    subject of a sentence. shifted: whether the test rows are of places unlike all others (the
    second test set).
    """

    name: str
    held_out: str | None
    labels: int | None = None
    query: str = ""
    target: str = ""
    gallery: str = ""
    claim: str = ""
    shifted: bool = False


@dataclass
class Result:
    """What a benchmark found, with what its task is, so that nobody has to read its name.

    `question`, `claim`, `subject`, `kind`: see `research.tasks.task.Task`; `splits`: by name, the
    strictest first. `rows`: one line a (split, encoder, metric, seed or "mean").
    `comparison`: gair minus each baseline, paired. `neighbours`: on location tasks, gair and the
    encoders trained end to end minus 5 nearest neighbours. `regions`: errors by region
    (`geographic_bias`). `fits`: trainings behind the rows, by name.
    `headline`: the number to quote, as a dict."""

    task: str
    dataset: str
    synthetic: bool
    question: str = ""
    claim: str = ""
    subject: str = ""
    kind: str = ""
    splits: dict[str, Split] = field(default_factory=dict)
    status: str = "ran"
    reason: str = ""
    rows: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ROW_COLUMNS))
    comparison: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=COMPARISON_COLUMNS)
    )
    mainline: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    example: dict = field(default_factory=dict, repr=False)
    regions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=REGIONS))
    neighbours: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=COMPARISON_COLUMNS)
    )
    fits: dict[str, Fit] = field(default_factory=dict)

    @property
    def data(self) -> str:
        return "synthetic" if self.synthetic else "real"

    @property
    def held_out(self) -> str | None:
        """What the headline's split holds out (`Split.held_out`)."""
        split = self.splits.get(self.mainline[0][1]) if self.mainline else None
        return split.held_out if split else None

    def row(
        self, split: str, encoder: str, metric: str, seed: int | None = None
    ) -> pd.Series | None:
        """The mean row of an encoder, or that of one seed (what has a single seed has one row, its
        mean); None where there is none."""
        r = self.rows
        found = r[(r.split == split) & (r.encoder == encoder) & (r.metric == metric)]
        for name in ("mean",) if seed is None else (str(seed), "mean"):
            if (found.seed == name).any():
                return found[found.seed == name].iloc[0]
        return None

    def _means(self, split: str, metric: str) -> pd.DataFrame:
        """The mean row of every encoder."""
        r = self.rows
        return r[(r.split == split) & (r.metric == metric) & (r.seed == "mean")]

    def versus(self, split: str, baseline: str, metric: str) -> pd.Series | None:
        """The paired comparison of gair with a baseline, None where there is none."""
        c = self.comparison
        found = c[(c.split == split) & (c.baseline == baseline) & (c.metric == metric)]
        return found.iloc[0] if len(found) else None

    def blind(self, split: str, metric: str) -> pd.Series | None:
        """The row of what guesses without looking."""
        rows = (self.row(split, name, metric) for name in BLIND)
        return next((r for r in rows if r is not None), None)

    @property
    def headline(self) -> dict:
        """metric, split, unit, value, low, high; baseline (the same encoder untrained) with
        difference, its interval and verdict; chance; best_baseline; n, clusters, cluster, better.
        Empty for a skipped task."""
        if not self.mainline:
            return {}
        _, split, metric = self.mainline[0]
        ours, chance = self.row(split, OURS, metric), self.blind(split, metric)
        found = ours["metric split unit value low high n clusters cluster".split()].to_dict()
        lower = metric.startswith(LOWER)
        found["better"] = "lower" if lower else "higher"
        untrained, gap = self.row(split, RANDOM, metric), self.versus(split, RANDOM, metric)
        found |= {
            "baseline": RANDOM,
            "baseline_value": untrained["value"],
            **_difference(gap),
            "verdict": gap["verdict"],
            "chance": chance["value"],
            "chance_name": chance["encoder"],
        }
        others = self._means(split, metric)
        others = others[~others.encoder.str.startswith(OURS)]
        others = others[others.probe != END_TO_END]  # upper bounds, no competitors
        best = others.sort_values("value", ascending=lower, kind="stable").iloc[0]  # gaps last
        found |= {"best_baseline": best["encoder"], "best_baseline_value": best["value"]}
        return _plain(found)

    def others(self, split: str, metric: str, bounds: bool = False) -> dict[str, dict[str, float]]:
        """All other encoders of a split and metric, in the table's order: value, low, high, and
        gair minus it, paired: difference, difference_low, difference_high. Numbers that do not
        exist, such as an interval from few sites, are left out. bounds: the supervised upper
        bounds, which are not among the others."""
        means, found = self._means(split, metric), {}
        means = means[(means.probe == END_TO_END) == bounds]
        for row in means[means.encoder != OURS].to_dict("records"):
            numbers = {k: row[k] for k in ("value", "low", "high")}
            gap = self.versus(split, row["encoder"], metric)
            if gap is not None:
                numbers |= _difference(gap)
            found[row["encoder"]] = {k: _short(v) for k, v in numbers.items() if math.isfinite(v)}
        return found

    def metrics(self) -> dict[str, float | dict]:
        """Numbers for DVC: `ran`, and for each judged metric its value, interval and the same
        encoder untrained; for the first also the paired difference, chance and the counts.

        Beside them, by judged metric: `others` and `upper_bounds`. `about`: question, claim,
        subject, data, and what each judged metric is. README and the docs' results are written
        from these files alone (`research.reports.pages`)."""
        found: dict[str, float] = {"ran": int(self.status == "ran")}
        for key, split, metric in self.mainline:
            ours, untrained = self.row(split, OURS, metric), self.row(split, RANDOM, metric)
            found |= {
                key: ours["value"],
                f"{key}_low": ours["low"],
                f"{key}_high": ours["high"],
                f"{key}_random_init": untrained["value"],
            }
        head = self.headline
        names = {
            "difference": "gain",
            "difference_low": "gain_low",
            "difference_high": "gain_high",
            "chance": "chance",
            "best_baseline_value": "best_baseline",
            "n": "n",
            "clusters": "clusters",
        }
        found |= {new: head[old] for old, new in names.items() if head}
        short = {k: _short(v) for k, v in found.items() if math.isfinite(v)}
        if self.fits:
            short["trainings_at_limit"] = sum(fit.at_limit for fit in self.fits.values())
        if not self.mainline:
            return short
        judged = {key: pair for key, *pair in self.mainline}
        bounds = {key: self.others(*pair, bounds=True) for key, pair in judged.items()}
        return short | {
            "about": {k: getattr(self, k) for k in ("question", "claim", "subject", "data")}
            | {"judged": {key: self._judged(*pair) for key, pair in judged.items()}},
            "others": {key: self.others(*pair) for key, pair in judged.items()},
            "upper_bounds": {key: found for key, found in bounds.items() if found},
        }

    def _judged(self, split: str, metric: str) -> dict:
        """What a judged metric is: split, metric, unit, and over how many places."""
        return _plain(self.row(split, OURS, metric)["split metric unit n clusters cluster".split()])

    def judgements(self) -> list[dict]:
        """The judged metrics, for sentences: metric, split, n, clusters, cluster, verdict and blind
        (who guesses without looking); value, blind_value, untrained and difference as text, with
        unit and interval. Empty for a skipped task."""
        found = []
        for _, split, metric in self.mainline:
            ours, blind = self.row(split, OURS, metric), self.blind(split, metric)
            gap, untrained = self.versus(split, RANDOM, metric), self.row(split, RANDOM, metric)
            unit = f" {ours.unit}" if ours.unit else ""
            about = {k: ours[k] for k in ("metric", "split", "n", "clusters", "cluster")}
            about |= {
                "value": _interval(ours.value, ours.low, ours.high) + unit,
                "blind": blind.encoder,
                "blind_value": f"{blind.value:.3g}{unit}",
                "untrained": f"{untrained.value:.3g}{unit}",
                "difference": _interval(gap.difference, gap.low, gap.high) + unit,
                "verdict": {
                    "wins": "better, beyond the interval",
                    "loses": "worse, beyond the interval",
                    "tie": "no difference beyond the interval",
                    "": f"no interval from {ours.clusters} {ours.cluster}(s)",
                }[gap.verdict],
            }
            found.append(about)
        return found

    def losses(self) -> list[dict]:
        """Baselines that are ahead of gair in a judged metric, for sentences: baseline, metric,
        split, and by how much, as text. Upper bounds are none."""
        bounds = set(self.rows.encoder[self.rows.probe == END_TO_END])
        judged = [(split, metric) for _, split, metric in self.mainline]
        return [
            {
                "baseline": c.baseline,
                "metric": c.metric,
                "split": c.split,
                "gap": _interval(abs(c.difference), *sorted((abs(c.low), abs(c.high))))
                + (f" {c.unit}" if c.unit else ""),
            }
            for c in self.comparison[self.comparison.verdict == "loses"].itertuples()
            if (c.split, c.metric) in judged and c.baseline not in bounds
        ]

    def save(self, folder: str | Path, metrics: str | Path | None = None) -> None:
        """rows.parquet, rows.csv, comparison.csv, neighbours.csv, regions.csv, bias.csv
        (`geographic_bias.summary`) and result.json into `folder`; `metrics()` into the file
        `metrics`.

        result.json says what the task is (question, claim, subject, kind, held_out; splits: name ->
        the fields of `Split`) and what came out (status, reason, data, headline, mainline, notes;
        trainings: how each ended, and its validation curve).
        Reports, scoreboard and figures read these fields.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.rows.to_parquet(folder / "rows.parquet", index=False)
        tables = {k: getattr(self, k) for k in ("rows", "comparison", "neighbours", "regions")}
        tables["bias"] = geographic_bias.summary(self.regions)
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        head = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in self.headline.items()
        }
        about = {
            **{k: getattr(self, k) for k in "task question claim subject kind held_out".split()},
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            **{k: getattr(self, k) for k in "status reason dataset data".split()},
            "headline": head,
            "mainline": [list(row) for row in self.mainline],
            "notes": self.notes,
            "trainings": {name: asdict(fit) for name, fit in self.fits.items()},
        }
        (folder / "result.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        if metrics is not None:
            Path(metrics).parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.metrics(), indent=1) + "\n"
            Path(metrics).write_text(text, encoding="utf-8")


def _plain(found) -> dict:
    """Numbers as Python's own."""
    return {k: v.item() if hasattr(v, "item") else v for k, v in found.items()}


def _difference(gap: pd.Series) -> dict[str, float]:
    """A row of the comparison as `headline` and `others` name its numbers."""
    return {
        "difference": gap["difference"],
        "difference_low": gap["low"],
        "difference_high": gap["high"],
    }


def _short(value) -> float | int:
    """Six digits: enough to compare, few enough that a committed file changes for a reason."""
    number = float(f"{float(value):.6g}")
    return int(number) if number.is_integer() and isinstance(value, int) else number


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3g}" + (f" [{low:.3g}, {high:.3g}]" if math.isfinite(low) else "")
