"""Scores of a search, gathered encoder by encoder: recall, rank, how far matches stand out."""

import numpy as np

from gairlib import ranks
from gairlib.ranks import Ranks
from research.evaluation import stats
from research.evaluation.table import Table
from research.tasks.query import Query

KS = (1, 5, 10)
MARGIN = "cosine margin"


class Scorer:
    """Adds scores of one set of queries to a table. All intervals are over the queries' sites."""

    def __init__(self, table: Table, query: Query, n_train: int):
        self.table, self.query, self.n_train = table, query, n_train
        self.codes, self.clusters = stats.encode_clusters(query.sites)

    def add(self, split, encoder, metric, make, values, how, *, rows=None, unit="") -> None:
        """One score of values [n], or [n, G] for several guesses a query. make: of
        `research.evaluation.stats`. rows: which queries [N] bool these are, None for all."""
        sites = self.query.sites if rows is None else self.query.sites[rows]
        codes, clusters = stats.encode_clusters(sites)
        values = np.asarray(values)
        n = len(values)
        if values.ndim == 2:
            codes = np.repeat(codes, values.shape[1])
        self.table.add(
            split,
            encoder,
            metric,
            make(values.ravel(), codes),
            n=n,
            clusters=clusters,
            n_train=self.n_train,
            unit=unit,
            **how,
        )

    def ranks(self, split: str, encoder: str, found: Ranks, how: dict, rows=None) -> None:
        """Recall and median rank."""
        for k in (k for k in KS if k < found.size.max()):  # all of a gallery is no finding
            self.add(split, encoder, f"recall@{k}", stats.mean, found.recall_at(k), how, rows=rows)
        self.add(split, encoder, "median rank", stats.median, found.rank(), how, rows=rows)

    def margin(self, split: str, encoder: str, left, right, how: dict) -> None:
        """How much nearer its match is than other sites' rows; nothing where there is one site."""
        if self.clusters > 1:
            values = margins(left, right, self.query.sites)
            self.add(split, encoder, MARGIN, stats.mean, values, how)


def margins(left, right, groups) -> np.ndarray:
    """Cosine with the match minus mean cosine with the rows of other groups: [n].

    left, right [n, D], row i matches row i. NaN throughout where there is one group only.
    """
    left, right = ranks.unit(left), ranks.unit(right)
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), right.shape[1]))
    np.add.at(sums, codes, right)
    counts = np.bincount(codes)
    others = (len(right) - counts)[codes]
    own = (left * right).sum(1)
    rest = (left * (sums.sum(0) - sums[codes])).sum(1)  # sum of cosines, without a matrix [n, n]
    return np.where(others > 0, own - rest / np.maximum(others, 1), np.nan)
