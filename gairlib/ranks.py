"""Ranks of true matches and recall at k.

Retrieval: query i (a photo's embedding) is compared with a gallery of candidates, of which number i
is its match (the RS embedding at the photo's own position). Two galleries answer two questions:
all held-out photos ("which place is this?") and the photos of the same site ("where in this
neighbourhood?", the harder one, because climate and season no longer help).

Ties are resolved by expectation: a match that is tied with t others counts as if the tie were
broken at random, so recall is the expected one and the rank is the mean rank. That is what keeps a
chip's mean vector, equal for all photos in the chip, from being flattered or punished. Ranks are
1-based.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gairlib.errors import BadInput

TIE = 1e-6  # float32 dot products of unit vectors closer than this are equal


@dataclass(frozen=True)
class Ranks:
    """For each of n queries: candidates strictly better, others tied, and candidates in all."""

    better: np.ndarray
    tied: np.ndarray
    size: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    def recall_at(self, k: int) -> np.ndarray:
        """Chance in [0, 1], ties broken at random, that the match is among the best k: [n]."""
        return np.clip((k - self.better) / (self.tied + 1), 0.0, 1.0)

    def rank(self) -> np.ndarray:
        """Mean rank of the match over its ties, from 1 (best): [n]."""
        return 1.0 + self.better + self.tied / 2

    def chance_at(self, k: int) -> np.ndarray:
        """What a random order reaches: min(k, size) / size, [n]."""
        return np.minimum(k, self.size) / self.size

    def chance_rank(self) -> np.ndarray:
        """Mean rank under a random order, [n]."""
        return (self.size + 1) / 2


def unit(vectors) -> np.ndarray:
    """Rows [n, D] scaled to unit length (a zero row stays zero), float32."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def ranks(similarity, match=None, *, tie: float = TIE) -> Ranks:
    """Ranks from a matrix [n, m] of similarities; query i's match is column match[i], else i."""
    similarity = np.asarray(similarity)
    match = np.arange(len(similarity)) if match is None else np.asarray(match)
    own = similarity[np.arange(len(similarity)), match][:, None]  # [n, 1]
    better = (similarity > own + tie).sum(1)
    tied = (np.abs(similarity - own) <= tie).sum(1) - 1  # not itself
    return Ranks(better, tied, np.full(len(similarity), similarity.shape[1]))


def recall_at_k(ranking: Ranks, k: int) -> float:
    """Share of queries whose match is among the best k (ties by expectation)."""
    return float(ranking.recall_at(k).mean())


def median_rank(ranking: Ranks) -> float:
    """Median over queries of the mean rank of the match, from 1."""
    return float(np.median(ranking.rank()))


def match_ranks(query, gallery, groups=None, *, chunk: int = 1024, tie: float = TIE) -> Ranks:
    """Rank of gallery row i for query row i, by cosine similarity, in bounded memory.

    query, gallery: [n, D]. groups: labels [n]; with them, a query sees the candidates of its own
    group only.
    """
    query, gallery = unit(query), unit(gallery)
    if query.shape != gallery.shape:
        raise BadInput(
            f"query has shape {query.shape} and gallery {gallery.shape}; row i of one must match "
            "row i of the other"
        )
    for name, vectors in (("query", query), ("gallery", gallery)):
        bad = np.flatnonzero(~np.isfinite(vectors).all(1))
        if len(bad):
            raise BadInput(f"row {bad[0]} of the {name} embeddings is not finite; check the model")
    return ranks_within(
        len(query), lambda part, among: query[part] @ gallery[among].T, groups, chunk=chunk, tie=tie
    )


def ranks_within(
    n: int,
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray],
    groups=None,
    *,
    chunk: int = 1024,
    tie: float = TIE,
) -> Ranks:
    """`match_ranks` of any similarity(queries [c], candidates [m]) -> [c, m] of their numbers."""
    groups = np.zeros(n, int) if groups is None else np.asarray(groups)
    if len(groups) != n:
        raise BadInput(f"{len(groups)} group labels for {n} queries; give one a query")
    better, tied, size = np.zeros(n, int), np.zeros(n, int), np.zeros(n, int)
    for label in np.unique(groups):
        rows = np.flatnonzero(groups == label)  # m members of this group
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            ranking = ranks(similarity(part, rows), start + np.arange(len(part)), tie=tie)
            better[part], tied[part] = ranking.better, ranking.tied
            size[part] = len(rows)
    return Ranks(better, tied, size)
