"""Where a class is to be expected: priors P(y | place) that stand beside an image classifier.

With P(y | image) of a classifier that saw no place, P(y | image, place) is proportional to the
product P(y | image) P(y | place) (Mac Aodha, Cole & Perona 2019, ICCV, equations 2-5; TorchSpatial,
Wu et al. 2024, arXiv 2406.15658, evaluates location encoders so). A prior here is a function of
places [m, 2] that gives [m, K] numbers above 0; only their ratios matter.

- `Head`: one sigmoid for each class on features of the place, trained with the published loss for
  presences (equation 7, without photographers): a photo says that its class is there, that other
  classes are not, and places drawn evenly from the sphere hold nothing. At most `MOST` photos of a
  class are seen in one pass, as there.
- `Neighbours`, `Grid`: how often the classes occur among the k nearest training photos, or in the
  same cell, with a number of imagined photos of each class added, so that no class is excluded.
  How many neighbours, how large a cell and how many imagined photos is chosen by the likelihood of
  training photos that are left out; the published baselines fix them for each data set.
- `frequencies`: how often the classes occur at all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn.functional import softplus

from gairlib import ranks
from gairlib.ranks import Ranks
from research.evaluation import neighbours, splits
from research.evaluation.fit import Fit, fit_network

MOST = 100  # photos of a class in one pass
HELD_OUT, MOST_HELD_OUT = 0.1, 5_000  # of the training photos, for choices
COUNTS = (5, 15, 50, 150, 500, 1500)  # neighbours
CELLS = (20.0, 10.0, 4.0, 2.0, 1.0, 0.5, 0.2)  # degrees
IMAGINED = (1.0, 0.1, 0.01, 0.001)  # photos of each class
CHUNK = 1024  # places at once


@dataclass(frozen=True)
class Schedule:
    """How a head is trained: the rate waits until photos that are left out are predicted no better
    for `patience` looks, falls, and after `plateaus` falls training ends; `steps` is a limit."""

    steps: int = 20_000
    batch: int = 1024
    lr: float = 1e-2
    weight_decay: float = 1e-4
    every: int = 25
    patience: int = 8
    plateaus: int = 2
    gain: float = 1e-4


def left_out(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows that teach, rows left out) of n training photos, drawn at random as test photos are."""
    order = np.random.default_rng(seed).permutation(n)
    count = min(max(1, round(HELD_OUT * n)), MOST_HELD_OUT)
    return np.sort(order[count:]), np.sort(order[:count])


def even_places(n: int, seed: int) -> np.ndarray:
    """(lon, lat) [n, 2] in degrees, evenly over the sphere."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [rng.uniform(-180, 180, n), np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))], axis=1
    )


# ----------------------------------------------------------------------------------- linear heads


def presence_loss(photos: Tensor, labels: Tensor, background: Tensor) -> Tensor:
    """The published loss of logits [b, K] of photos with classes [b], and [c, K] of drawn places.

    Means over photos (places) and classes of -log(1 - p), but K (-log p) for a photo's own class.
    """
    own = photos.gather(1, labels[:, None])[:, 0]  # [b]
    absent = softplus(photos).sum(1) - softplus(own)
    classes = photos.shape[1]
    return (classes * softplus(-own) + absent).mean() / classes + softplus(background).mean()


def surprise(logits: Tensor, labels: Tensor) -> Tensor:
    """-log of the true class's share of the prior: mean over logits [b, K] with classes [b]."""
    log = nn.functional.logsigmoid(logits)
    return (log.logsumexp(1) - log.gather(1, labels[:, None])[:, 0]).mean()


def capped_batches(labels: np.ndarray, size: int, order: np.random.Generator) -> Iterator[Tensor]:
    """Rows [at most size] without end: pass after pass, each with at most MOST rows of a class."""
    while True:
        rows = order.permutation(len(labels))
        rows = rows[np.argsort(labels[rows], kind="stable")]  # by class, at random within
        found = labels[rows]
        first = np.searchsorted(found, found)  # where each row's class begins
        rows = order.permutation(rows[np.arange(len(rows)) - first < MOST])
        for start in range(0, max(len(rows) - size + 1, 1), size):
            yield torch.from_numpy(rows[start : start + size])


def fit_head(
    network: nn.Module,
    read: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: np.ndarray,
    background: Tensor,
    *,
    seed: int = 0,
    schedule: Schedule = Schedule(),
) -> Fit:
    """Trains `network` in place on features x [..., n, F] of photos with classes [n] and on those
    of drawn places [..., c, F]. read: features [..., b, F] -> logits [b, K]."""
    train, held = left_out(len(labels), seed)
    order = np.random.default_rng(seed)
    rows, truth = capped_batches(labels[train], schedule.batch, order), torch.from_numpy(labels)
    taught = torch.from_numpy(train)

    def loss() -> Tensor:
        batch = taught[next(rows)]
        drawn = torch.from_numpy(order.integers(background.shape[-2], size=len(batch)))
        both = torch.cat([x[..., batch, :], background[..., drawn, :]], dim=-2)
        photos, places = read(both).split(len(batch))
        return presence_loss(photos, truth[batch].to(photos.device), places)

    kept = x[..., torch.from_numpy(held), :]
    return fit_network(
        network,
        loss,
        steps=schedule.steps,
        lr=schedule.lr,
        weight_decay=schedule.weight_decay,
        judge=lambda: float(surprise(read(kept), truth[held].to(kept.device))),
        every=schedule.every,
        patience=schedule.patience,
        plateaus=schedule.plateaus,
        gain=schedule.gain,
    )


# ------------------------------------------------------------------------------------ by counting


@dataclass
class Counting:
    """A prior made of counts of training photos, lonlat [n, 2] with classes [n] of K."""

    lonlat: np.ndarray
    labels: np.ndarray
    classes: int
    imagined: float = 1.0  # photos of each class that are added

    def counts(self, places: ArrayLike) -> np.ndarray:
        """How many training photos of each class [m, K] speak for places [m, 2]."""
        raise NotImplementedError

    def __call__(self, places: ArrayLike) -> np.ndarray:
        counts = self.counts(places) + self.imagined
        return counts / counts.sum(1, keepdims=True)


@dataclass
class Neighbours(Counting):
    """The k nearest training photos, along great circles."""

    size: int = 5

    def counts(self, places):
        _, rows = neighbours.nearest(self.lonlat, places, self.size)
        found = np.zeros((len(rows), self.classes))
        np.add.at(found, (np.arange(len(rows))[:, None], self.labels[rows]), 1.0)
        return found


@dataclass
class Grid(Counting):
    """Training photos of the same cell, of equal angle on each side."""

    size: float = 10.0  # degrees
    cells: dict[str, int] = field(init=False, repr=False)
    table: csr_matrix = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names, codes = np.unique(splits.blocks(self.lonlat, self.size), return_inverse=True)
        self.cells = {name: code for code, name in enumerate(names)}
        ones = np.ones(len(codes))
        self.table = csr_matrix((ones, (codes, self.labels)), (len(names), self.classes))

    def counts(self, places):
        codes = [self.cells.get(name, -1) for name in splits.blocks(places, self.size)]
        known = np.flatnonzero(np.asarray(codes) >= 0)
        found = np.zeros((len(codes), self.classes))
        found[known] = self.table[np.asarray(codes)[known]].toarray()
        return found


def chosen(
    kind: type[Counting], lonlat, labels, classes: int, sizes: Sequence, seed: int = 0
) -> Counting:
    """The prior of that kind under which left-out training photos are least surprising: its size,
    of `sizes`, and imagined photos, of IMAGINED; then made of all training photos."""
    train, held = left_out(len(labels), seed)
    score = {}
    for size in sizes:
        prior = kind(lonlat[train], labels[train], classes, size=size)
        own, total = np.zeros(len(held)), np.zeros(len(held))
        for start in range(0, len(held), CHUNK):
            part = held[start : start + CHUNK]
            counts = prior.counts(lonlat[part])
            at = slice(start, start + len(part))
            own[at] = counts[np.arange(len(part)), labels[part]]
            total[at] = counts.sum(1)
        for extra in IMAGINED:
            score[size, extra] = np.log((own + extra) / (total + extra * classes)).mean()
    size, extra = max(product(sizes, IMAGINED), key=score.get)
    return kind(lonlat, labels, classes, extra, size=size)


def frequencies(labels: np.ndarray, classes: int) -> np.ndarray:
    """Share of each class [K] among training photos [n], one photo of each added."""
    counts = np.bincount(labels, minlength=classes) + 1.0
    return counts / counts.sum()


# ---------------------------------------------------------------------------------------- product


def judge(
    image: Callable[[slice], np.ndarray] | None,
    prior: Callable[[slice], np.ndarray],
    labels: np.ndarray,
) -> tuple[Ranks, np.ndarray]:
    """Ranks of the true classes [m] by P(y | image) P(y | place), and the first of the classes [m].

    image: P(y | image) [c, K] of a slice of the test photos, None for the place alone; prior: the
    same of P(y | place). Equal products are broken at random, by expectation (`gairlib.ranks`).
    """
    parts, guesses = [], []
    for start in range(0, len(labels), CHUNK):
        at = slice(start, min(start + CHUNK, len(labels)))
        score = np.asarray(prior(at), np.float64)
        if image is not None:
            score = score * image(at)
        parts.append(ranks.ranks(score, labels[at], tie=0.0))
        guesses.append(score.argmax(1))
    whole = (np.concatenate([getattr(p, k) for p in parts]) for k in ("better", "tied", "size"))
    return Ranks(*whole), np.concatenate(guesses)
