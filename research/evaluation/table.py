"""Scores of several encoders on one task, gathered, then turned into rows and paired comparisons.

A score is added once per (split, encoder, metric, seed). Within one (split, metric) all encoders
answer for the same rows, and are drawn together by the bootstrap; that is checked.
"""

from dataclasses import dataclass, field

import pandas as pd

from gairlib.errors import BadInput
from research.evaluation import stats, verdicts
from research.evaluation.stats import Score

ROW_COLUMNS = (
    "task modality split encoder probe n seed bands normalisation metric unit value low high "
    "clusters cluster n_train training dataset data"
).split()
COMPARISON_COLUMNS = (
    "task split metric unit encoder baseline difference low high better verdict clusters seeds"
).split()
OURS, RANDOM = "gair", "random init"
HELD = "held part alone"  # of a photo tower: what it started from, without the net that learnt
SHARED, RANDOM_SHARED = f"{OURS}, shared space", f"{RANDOM}, shared space"
# the same model, its field read as if no photo said where it looks
UNKNOWN, SHARED_UNKNOWN = f"{OURS}, compass unknown", f"{SHARED}, compass unknown"
# The "probe" of networks trained end to end on a task's labels, from nothing or from our weights:
# bounds for frozen features, and no competitors of theirs
END_TO_END = "end to end"
UPPER_BOUNDS = SUPERVISED, FINE_TUNED = "supervised", "fine-tuned"
# smaller is better
LOWER = ("median rank", "localisation error", "heading error", "-log p", "rmse")


@dataclass
class Entry:
    """Scores by probe seed of one encoder in one split and metric.

    n, n_train: rows that are judged, and that teach. training: how one that is no probe ended
    (`research.evaluation.fit.ended`). cluster: what one of `clusters` is called.
    independent: how many of them support an interval, None for all.
    """

    probe: str
    n: int
    clusters: int
    cluster: str
    n_train: int = 0
    training: str = ""
    bands: str = ""
    normalisation: str = ""
    unit: str = ""
    independent: int | None = None
    scores: list[Score] = field(default_factory=list)

    @property
    def least(self) -> int:
        """`min_clusters` for the bootstrap: out of reach where the support is too small."""
        support = self.clusters if self.independent is None else self.independent
        return stats.MIN_CLUSTERS if support >= stats.MIN_CLUSTERS else self.clusters + 1


@dataclass
class Table:
    """All scores of one task."""

    task: str
    modality: str
    cluster: str
    dataset: str
    synthetic: bool  # whether the labels are
    entries: dict[tuple[str, str, str], Entry] = field(default_factory=dict)

    def add(
        self,
        split: str,
        encoder: str,
        metric: str,
        score: Score,
        *,
        clusters: int,
        cluster: str = "",
        **about,
    ) -> None:
        """One seed's score; seeds are added in order. cluster: where it is not the table's; about:
        the other fields of `Entry`."""
        same = [e for (s, m, _), e in self.entries.items() if (s, m) == (split, metric)]
        if same and same[0].clusters != clusters:
            raise BadInput(
                f"{self.task}, {split}, {metric}: {encoder} answers for {clusters} "
                f"{self.cluster}s, the others for {same[0].clusters}"
            )
        key = (split, metric, encoder)
        if key not in self.entries:
            cluster = cluster or self.cluster
            self.entries[key] = Entry(clusters=clusters, cluster=cluster, **about)
        self.entries[key].scores.append(score)

    def rows(self, draws: int) -> pd.DataFrame:
        """Long format: one row a seed (text "0", "1", ...) and one for their "mean"."""
        same = {k: getattr(self, k) for k in ("task", "modality", "dataset")}
        same["data"], found = "synthetic" if self.synthetic else "real", []
        for (split, metric, encoder), e in self.entries.items():
            kinds = [("mean", e.scores)]
            if len(e.scores) > 1:
                kinds += [(str(s), [score]) for s, score in enumerate(e.scores)]
            for seed, scores in kinds:
                got = stats.cluster_bootstrap(scores, e.clusters, draws=draws, min_clusters=e.least)
                about = {"split": split, "encoder": encoder, "metric": metric, "seed": seed}
                numbers = {k: getattr(got, k) for k in ("value", "low", "high")}
                found.append(same | vars(e) | about | numbers)
        return pd.DataFrame(found, columns=ROW_COLUMNS)

    def difference(
        self,
        split: str,
        metric: str,
        encoder: str,
        baseline: str,
        draws: int,
        seeds: int | None = None,
    ) -> dict:
        """`encoder` minus `baseline` on the same draws: a row of COMPARISON_COLUMNS. seeds: take
        the first so many of both (default: all, and one score serves all seeds). The verdict is
        "wins" or "loses" where the interval excludes zero, "tie" where it does not, "" without an
        interval. `seeds` of the row: how many probe seeds the difference stands on."""
        ours, e = (self.entries[split, metric, name] for name in (encoder, baseline))
        got = stats.paired_difference(
            ours.scores[:seeds], e.scores[:seeds], e.clusters, draws=draws, min_clusters=e.least
        )
        lower = metric.startswith(LOWER)
        return dict(
            task=self.task,
            split=split,
            metric=metric,
            unit=e.unit,
            encoder=encoder,
            baseline=baseline,
            difference=got.value,
            low=got.low,
            high=got.high,
            better="lower" if lower else "higher",
            verdict=verdicts.of(got.low, got.high, lower),
            clusters=e.clusters,
            seeds=max(len(ours.scores[:seeds]), len(e.scores[:seeds])),
        )

    def comparison(self, draws: int) -> pd.DataFrame:
        """`gair` minus each other encoder. One that is too dear for all seeds is compared on those
        that it has: seed s of both saw the same folds, other seeds did not."""
        found = [
            self.difference(
                split, metric, OURS, baseline, draws, seeds=self._shared(split, metric, e)
            )
            for (split, metric, baseline), e in self.entries.items()
            if baseline != OURS and (split, metric, OURS) in self.entries
        ]
        return pd.DataFrame(found, columns=COMPARISON_COLUMNS)

    def _shared(self, split: str, metric: str, other: Entry) -> int | None:
        ours = self.entries[split, metric, OURS]
        return len(other.scores) if len(other.scores) < len(ours.scores) else None
