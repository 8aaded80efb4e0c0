"""Ranks of true matches, recall at k, and localisation of a photo inside the field of its chip.

Retrieval: query i (a photo's embedding) is compared with a gallery of candidates, of which number i
is its match (the RS embedding at the photo's own position). Two galleries answer two questions:
all held-out photos ("which place is this?") and the photos of the same site ("where in this
neighbourhood?", the harder one, because climate and season no longer help).

Ties are resolved by expectation: a match that is tied with t others counts as if the tie were
broken at random, so recall is the expected one and the rank is the mean rank. That is what keeps a
chip's mean vector, equal for all photos in the chip, from being flattered or punished.

Localisation: slide the photo's embedding over the decoded field of its chip, turn the similarities
into one guess, and measure the distance to where the photo was taken. Ranks are 1-based, `xy` is in
[-1, 1] with y to the south, distances are metres on the ground.
"""

from dataclasses import dataclass

import numpy as np

from gairlib.errors import BadInput

TEMPERATURES = np.geomspace(0.01, 1.0, 33)
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


def recall_at_k(found: Ranks, k: int) -> float:
    """Share of queries whose match is among the best k (ties by expectation)."""
    return float(found.recall_at(k).mean())


def median_rank(found: Ranks) -> float:
    """Median over queries of the mean rank of the match, from 1."""
    return float(np.median(found.rank()))


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
    n = len(query)
    groups = np.zeros(n, int) if groups is None else np.asarray(groups)
    if len(groups) != n:
        raise BadInput(f"{len(groups)} group labels for {n} queries; give one a query")
    better, tied, size = np.zeros(n, int), np.zeros(n, int), np.zeros(n, int)
    for label in np.unique(groups):
        rows = np.flatnonzero(groups == label)  # m members of this group
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            similarity = query[part] @ gallery[rows].T  # [c, m]
            found = ranks(similarity, start + np.arange(len(part)), tie=tie)
            better[part], tied[part] = found.better, found.tied
            size[part] = len(rows)
    return Ranks(better, tied, size)


# ---------------------------------------------------------------------------------- localisation


def cell_centres(cells: int) -> np.ndarray:
    """Centres of cells x cells over a chip, row by row from the north-west: [cells**2, 2]."""
    steps = (np.arange(cells) + 0.5) / cells * 2 - 1
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel()], 1)


def best_cell(similarity, xy) -> np.ndarray:
    """Position of the highest similarity: [n, P] over positions xy [P, 2] -> [n, 2]."""
    return np.asarray(xy)[np.asarray(similarity).argmax(1)]


def _shares(similarity, temperature: float) -> np.ndarray:
    """softmax(similarity / temperature) over the cells: [n, P]."""
    similarity = np.asarray(similarity, dtype=np.float64)
    share = np.exp((similarity - similarity.max(1, keepdims=True)) / temperature)
    return share / share.sum(1, keepdims=True)


def least_expected_error(similarity, xy, temperature: float) -> np.ndarray:
    """Position with the least expected distance if softmax(similarity / temperature) is right.

    A single best cell throws away that a photo of a park could be in any park of the chip; the
    spatial median of the whole map is the better bet. similarity [n, P], xy [P, 2] -> [n, 2].
    """
    xy = np.asarray(xy)
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2)  # [P, P]
    return xy[(_shares(similarity, temperature) @ distance).argmin(1)]


def likeliest_disc(similarity, xy, temperature: float, radius: float = 0.5) -> np.ndarray:
    """Centre of the disc that most probably holds the photo, if the softmax is right.

    The guess that is within `radius` of the truth as often as can be: where half of the photos are
    to be found within some distance, a sharp peak counts for less than a broad hill beside it.
    similarity [n, P], xy [P, 2], radius in units of xy (0.5 is a quarter of the chip's width) ->
    [n, 2], one of xy. The disc's rim is soft, so that equal discs are told apart by how central
    they are.
    """
    xy = np.asarray(xy)
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2)  # [P, P]
    disc = np.maximum(0, 1 - (distance / radius) ** 8)
    return xy[(_shares(similarity, temperature) @ disc).argmax(1)]


def fit_temperature(similarity, cell, choices=TEMPERATURES) -> float:
    """The temperature of `choices` under which the true cells are most likely.

    similarity [n, P], cell [n]: which cell holds the photo. To be asked of photos that are not
    judged: it says how far an encoder's similarities are to be trusted.
    """
    similarity, rows = np.asarray(similarity, dtype=np.float64), np.arange(len(similarity))
    loss = [-np.log(_shares(similarity, t)[rows, cell] + 1e-300).mean() for t in choices]
    return float(choices[int(np.argmin(loss))])


def cell_of(xy, cells: int) -> np.ndarray:
    """Which of `cell_centres(cells)` is the nearest to positions [n, 2] -> [n]."""
    steps = np.clip(((np.asarray(xy) + 1) / 2 * cells).astype(int), 0, cells - 1)  # [n, 2]
    return steps[:, 1] * cells + steps[:, 0]


def errors_m(guess, truth, size_m) -> np.ndarray:
    """Metres between positions [n, 2] in chips that are size_m (one, [n] or [n, 2]) wide: [n]."""
    half = np.broadcast_to(np.asarray(size_m, float), np.shape(size_m) or (1,)) / 2
    half = half[:, None] if half.ndim == 1 else half  # [n or 1, 1 or 2]
    return np.linalg.norm((np.asarray(guess) - np.asarray(truth)) * half, axis=1)


def best_constant(xy_train, cells: int = 32) -> np.ndarray:
    """The one guess with the least median distance to the training positions: [m, 2] -> [2]."""
    grid = cell_centres(cells)
    distance = np.linalg.norm(grid[:, None] - np.asarray(xy_train)[None], axis=2)  # [P, m]
    return grid[np.median(distance, axis=1).argmin()]
