"""Curves of the stress tests: a metric at every level, with 95% intervals, of every trained mode.

Intervals are over sites and training seeds (`research.evaluation.stats`); a level is compared with
the neutral one on the same draws of sites and the same photos: `difference` says what the stress
costs. A field read in a mode that it was not trained in is a row of its own, `own` False.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from gairlib.errors import BadInput
from gairlib.ranks import Ranks
from research.evaluation import stats
from research.studies.runs import Run, finished, need, rounded, save
from research.studies.stress.evaluate import GALLERIES, UNKNOWN
from research.studies.stress.levels import NEUTRAL, NONE

METRICS = {"recall@1": 1, "recall@10": 10, "median rank": None}  # k
LOWER = ("median rank",)
HEADLINE = ("site", "recall@10")
KEPT = {
    "noise": (25.0, 50.0, 100.0, 500.0),
    "shift_east": (-100.0, 100.0),
    "shift_north": (-100.0, 100.0),
    "scale": (0.5, 2.0),
    "position": (0.9,),
    "heading": (-100.0, 50.0, 100.0, 200.0),
    "compass": (20.0, 45.0, 90.0, 180.0),
}  # levels in the small metrics file
LINEAR, MLP, BILINEAR = "linear NILI", "MLP NILI", "bilinear"  # as `stress.trained` names them


@dataclass
class Result:
    """curves: a row a (trained, read, stress, level, gallery, metric); gaps: pairs of modes;
    compass: of modes that read directions, a row a (trained, degrees, gallery, metric): a compass
    that is so far off minus none."""

    curves: pd.DataFrame
    gaps: pd.DataFrame
    facts: dict
    compass: pd.DataFrame = field(default_factory=pd.DataFrame)

    def of(
        self, stress: str, gallery: str = HEADLINE[0], metric: str = HEADLINE[1], own: bool = True
    ) -> pd.DataFrame:
        """The rows of one stress, ordered by trained mode and level."""
        t = self.curves
        return t[
            (t["stress"] == stress)
            & (t["gallery"] == gallery)
            & (t["metric"] == metric)
            & (t["own"] == own)
        ]

    def save(self, folder: str | Path, metrics: str | Path) -> None:
        """curves.parquet, gaps.csv, and the small JSON that git keeps."""
        small: dict = {name: {} for name in dict.fromkeys(self.curves["trained"])}
        for row in self.of(NONE).itertuples():
            small[row.trained]["unstressed"] = rounded(row, ("mean", "low", "high"))
        for stress, kept in KEPT.items():
            for row in self.of(stress).itertuples():
                if row.level in kept:
                    small[row.trained][f"{stress} {row.level:g}"] = rounded(
                        row, ("difference", "difference_low", "difference_high")
                    )
        numbers = self.facts | {"trained": small, "gaps": self._headline_gaps()}
        frames = {"curves": self.curves, "gaps": self.gaps}
        if len(self.compass):
            frames["compass"] = self.compass
            numbers["compass"] = [
                {"trained": row.trained, "degrees": row.degrees}
                | rounded(row, ("difference", "low", "high"))
                for row in self.compass.itertuples()
                if (row.gallery, row.metric) == HEADLINE
            ]
        save(frames, numbers, folder, metrics)

    def _headline_gaps(self) -> list[dict]:
        """first, second, difference, low, high: modes against one another, unstressed, HEADLINE."""
        return [
            {"first": row.first, "second": row.second} | rounded(row, ("difference", "low", "high"))
            for row in self.gaps.itertuples()
            if (row.gallery, row.metric) == HEADLINE
        ]


def _remembered(score: stats.Score) -> stats.Score:
    """The same score, computed once for each array of weights."""
    known: list[tuple] = []

    def again(weights):
        for seen, values in known:
            if seen is weights:
                return values
        known.append((weights, score(weights)))
        return known[-1][1]

    return replace(score, of=again)


def _score(metric: str, found: Ranks, codes: np.ndarray) -> stats.Score:
    k = METRICS[metric]
    return _remembered(
        stats.median(found.rank(), codes) if k is None else stats.mean(found.recall_at(k), codes)
    )


def summarise(
    trained: Mapping[str, str], runs: Sequence[Run], outcomes: Sequence[dict], *, draws: int = 1000
) -> Result:
    """trained: label -> variant; runs and outcomes as `runs.run_all` has them.

    A run that failed is left out and counted; BadInput where none of a label's runs has finished.
    """
    for variant in trained.values():
        need(variant, runs, outcomes)
    done = finished(runs, outcomes)
    labels = {
        label: [done[k] for k in done if k[0] == variant] for label, variant in trained.items()
    }
    first = next(iter(done.values()))
    if any(o["photos"] != first["photos"] or o["usable"] != first["usable"] for o in done.values()):
        raise BadInput(
            "stress test: the runs answer for different photos; the levels, or the "
            "pairs, changed between them"
        )
    scores, sizes = _scores(labels, first)
    facts = {
        "data": "synthetic" if first["synthetic"] else "real",
        "dataset": first["dataset"],
        "split": first["split"],
        "photos": len(first["photos"]),
        "sites": len(set(first["sites"])),
        "seeds": sorted({r.seed for r in runs}),
        "runs": len(runs),
        "failed": len(runs) - len(done),
    }
    rows = []
    for key, own in tqdm(scores.items(), desc="curves", mininterval=5):
        label, read, stress, level, gallery, metric = key
        n, clusters, chance = sizes[stress, gallery, metric]
        mean = stats.cluster_bootstrap(own, clusters, draws=draws)
        neutral = scores.get((label, read, stress, NEUTRAL.get(stress), gallery, metric))
        gap = None
        if neutral is not None and level != NEUTRAL[stress]:
            gap = stats.paired_difference(own, neutral, clusters, draws=draws)
        rows.append(
            {
                "trained": label,
                "read": read,
                "own": read == labels[label][0]["own"],
                "stress": stress,
                "level": level,
                "gallery": gallery,
                "metric": metric,
                "n": n,
                "sites": clusters,
                "seeds": len(own),
                "mean": mean.value,
                "low": mean.low,
                "high": mean.high,
                "difference": gap.value if gap else np.nan,
                "difference_low": gap.low if gap else np.nan,
                "difference_high": gap.high if gap else np.nan,
                "chance": chance,
            }
        )
    gaps, compass = _gaps(labels, scores, sizes, draws), _compass(labels, scores, sizes, draws)
    return Result(pd.DataFrame(rows), gaps, facts, compass)


def _scores(labels: Mapping[str, list[dict]], first: dict) -> tuple[dict, dict]:
    """Scores of all seeds by (label, read, stress, level, gallery, metric); and by (stress,
    gallery, metric) the number of photos, of sites, and what a random order reaches."""
    scores: dict[tuple, list] = {}
    sizes: dict[tuple, tuple] = {}
    sites, company = np.array(first["sites"]), {}
    for stress, take in first["usable"].items():
        codes, _ = stats.encode_clusters(sites[np.array(take)]) if any(take) else ([], 0)
        many = np.bincount(codes)[codes] if len(codes) else np.array([], int)
        for gallery in GALLERIES:
            # a photo alone at its site has nobody to be confused with
            rows = many > 1 if gallery == "site" else np.ones(len(many), bool)
            if not rows.any():
                continue
            among = many if gallery == "site" else np.full(len(many), len(many))
            company[stress, gallery] = (
                rows,
                among,
                stats.encode_clusters(sites[np.array(take)][rows]),
            )
    for label, outcomes in labels.items():
        for outcome in outcomes:
            for found in outcome["ranks"]:
                where = (found["stress"], found["gallery"])
                if where not in company:
                    continue
                rows, among, (codes, clusters) = company[where]
                got = Ranks(
                    np.array(found["better"])[rows], np.array(found["tied"])[rows], among[rows]
                )
                for metric, k in METRICS.items():
                    chance = np.median(got.chance_rank()) if k is None else got.chance_at(k).mean()
                    sizes[*where, metric] = (int(rows.sum()), clusters, float(chance))
                    key = (
                        label,
                        found["mode"],
                        found["stress"],
                        found["level"],
                        found["gallery"],
                        metric,
                    )
                    scores.setdefault(key, []).append(_score(metric, got, codes))
    return scores, sizes


def _gaps(labels, scores, sizes, draws) -> pd.DataFrame:
    """Unstressed: each trained mode against bilinear, and MLP against linear, where they are."""
    rows = []
    against = [(x, BILINEAR) for x in labels if x != BILINEAR] + [(MLP, LINEAR)]
    for first, second in (p for p in against if set(p) <= set(labels)):
        if len(labels[first]) != len(labels[second]):
            continue  # a seed has failed: not paired
        for gallery in GALLERIES:
            for metric in METRICS:
                keys = [
                    (x, labels[x][0]["own"], NONE, 0.0, gallery, metric) for x in (first, second)
                ]
                if keys[0] not in scores:
                    continue
                gap = stats.paired_difference(
                    scores[keys[0]], scores[keys[1]], sizes[NONE, gallery, metric][1], draws=draws
                )
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "gallery": gallery,
                        "metric": metric,
                        "difference": gap.value,
                        "low": gap.low,
                        "high": gap.high,
                    }
                )
    return pd.DataFrame(rows)


def _compass(labels, scores, sizes, draws) -> pd.DataFrame:
    """`Result.compass`: the field read in a direction that is so far off, minus read with none."""
    rows = []
    for (label, read, stress, level, gallery, metric), wrong in scores.items():
        if stress != "compass" or read != labels[label][0]["own"]:
            continue
        none = scores[label, read + UNKNOWN, stress, NEUTRAL[stress], gallery, metric]
        gap = stats.paired_difference(wrong, none, sizes[stress, gallery, metric][1], draws=draws)
        head = {"trained": label, "degrees": level, "gallery": gallery, "metric": metric}
        numbers = {"difference": gap.value, "low": gap.low, "high": gap.high}
        rows.append(head | numbers)
    return pd.DataFrame(rows)
