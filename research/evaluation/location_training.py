"""Location encoders of the registry, trained end to end on one table: an encoder and a head.

A network sees (lon, lat) and learns one target, by AdamW on the squared error of the standardised
target (no other transform: R2 is in the table's own unit, and skewed targets come as logs already),
or on the cross-entropy of classes. What keeps some thousand points from being learned by heart:

- **Early stopping on an inner part that is split like the outer one.** The training rows of an
  outer fold are cut into inner folds with the same groups (blocks within blocks), never with rows
  of the outer test fold. Each inner fold stops one network; step 0, the mean of its target, is
  among the candidates, so that a target without signal is answered with the mean.
- **The networks of all inner folds are one ensemble**: each row trains all but one of them, and
  what they disagree on averages out. An encoder may be given at several scales; their networks join
  the same ensemble (choosing one scale by its inner score was within 0.02 of that on the tables
  that were tried).
- **The inner folds' own predictions choose the encoder**: each training row is predicted by the
  network that did not train on it. Test rows are met once, by the choice. (Stopping and choosing
  on the same inner rows flatters the inner score a little, all encoders alike.)

Features of a registry encoder are fixed functions of the place, so they are computed once in
float64 and only its network is run in training; the result is the encoder's own forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gairlib.errors import BadInput
from gairlib.location import registry
from gairlib.location.base import LocationEncoder
from research.evaluation import splits
from research.evaluation.fit import Target, batches, fit_network, seeded


@dataclass(frozen=True)
class Settings:
    """How one network is trained; the same for every encoder and table."""

    dim: int = 64  # D of the encoder
    folds: int = 4  # inner folds, and networks of the ensemble
    steps: int = 240  # at most; the learning rate falls to 0 along a half cosine
    batch: int = 512
    lr: float = 5e-3
    weight_decay: float = 1e-2
    check_every: int = 15  # steps between two looks at the inner validation part
    patience: int = 4  # looks without a new best before training ends


DEFAULTS = Settings()


class Network(nn.Module):
    """An encoder of the registry and a linear head on its activated output."""

    def __init__(self, name: str, options: dict[str, Any], dim: int, outputs: int) -> None:
        super().__init__()
        self.encoder: LocationEncoder = registry.create(name, dim, **options)
        self.head = nn.Linear(dim, outputs)
        nn.init.zeros_(self.head.weight)  # step 0 answers with the mean, or even odds
        nn.init.zeros_(self.head.bias)

    def features(self, lonlat: ArrayLike) -> Tensor:
        """Fixed features [..., n, F] of places [n, 2], in the network's own dtype."""
        points = self.encoder.points(np.asarray(lonlat, dtype=np.float64))
        return self.encoder.features(points).to(self.head.weight.dtype)

    def read(self, features: Tensor) -> Tensor:
        """Features [..., n, F] -> outputs [n, T]."""
        return self.head(nn.functional.gelu(self.encoder.network(features)))

    def forward(self, lonlat: ArrayLike) -> Tensor:
        """(lon, lat) [n, 2] in degrees -> outputs [n, T]."""
        return self.read(self.features(lonlat))


@dataclass
class Fitted:
    """The ensemble of one encoder. inner [n]: predictions of the training rows, each by networks
    that did not train on it; inner_score: their R2 or accuracy; steps: where each one stopped."""

    name: str
    networks: list[Network]
    target: Target = field(repr=False)
    inner: np.ndarray = field(repr=False)
    inner_score: float = float("nan")
    steps: list[int] = field(default_factory=list)

    @torch.inference_mode()
    def predict(self, lonlat: ArrayLike) -> np.ndarray:
        """Guesses [m] for places [m, 2]: the mean of the networks (of their probabilities)."""
        found = torch.stack([self._soft(net(lonlat)) for net in self.networks]).mean(0)
        return self.target.answer(found)

    def _soft(self, outputs: Tensor) -> Tensor:
        return outputs if self.target.classes is None else outputs.softmax(-1)


def fit(
    name: str,
    lonlat: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike,
    *,
    options: Sequence[dict[str, Any]] = ({},),
    settings: Settings = DEFAULTS,
    seed: int = 0,
) -> Fitted:
    """Train one encoder on places [n, 2] with targets [n], numbers or texts.

    groups [n]: what the inner folds keep together. options: the encoder's, one set for each scale
    that joins the ensemble. The seed decides weights, batches and inner folds. BadInput for an
    unknown encoder, no options, unequal lengths, or a target that is not finite.
    """
    lonlat, y, groups = np.asarray(lonlat, dtype=np.float64), np.asarray(y), np.asarray(groups)
    if not len(lonlat) == len(y) == len(groups) or not options:
        raise BadInput(
            f"{len(lonlat)} places, {len(y)} targets, {len(groups)} groups and "
            f"{len(options)} sets of options: equal numbers and one set are needed"
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise BadInput(f"target, row {row}: {y[row]}, but a finite number is needed")
    target = Target.of(y)
    fitted, inner = Fitted(name, [], target, y), torch.zeros(len(y), target.outputs)
    for train, held in splits.folds(groups, settings.folds, seed):
        for one in options:
            start = 1000 * seed + len(fitted.networks)
            network = seeded(partial(Network, name, one, settings.dim, target.outputs), start)
            order = torch.Generator().manual_seed(start)
            guess, steps = _train(network, lonlat, target, train, held, settings, order)
            inner[held] += fitted._soft(guess) / len(options)
            fitted.networks.append(network)
            fitted.steps.append(steps)
    fitted.inner = target.answer(inner)
    fitted.inner_score = score(y, fitted.inner)
    return fitted


def choose(fits: Sequence[Fitted]) -> Fitted:
    """The fit with the best inner score: it has seen training rows only."""
    return max(fits, key=lambda f: f.inner_score)


def score(y: ArrayLike, guess: ArrayLike) -> float:
    """R2 of numbers, accuracy of classes."""
    y, guess = np.asarray(y), np.asarray(guess)
    if y.dtype.kind not in "fiu":
        return float((y == guess).mean())
    return float(1 - ((y - guess) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-300))


def _train(network, lonlat, target, train, held, settings, order) -> tuple[Tensor, int]:
    """Train in place up to the step that is best on `held`; outputs there [h, T], and the step."""
    with torch.no_grad():
        x, z = network.features(lonlat[train]), network.features(lonlat[held])
    taught, rows = torch.from_numpy(train), batches(len(train), settings.batch, order)

    def loss() -> Tensor:
        batch = next(rows)
        return target.loss(network.read(x[..., batch, :]), taught[batch])

    found = fit_network(
        network,
        loss,
        steps=settings.steps,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        judge=lambda: float(target.loss(network.read(z), held)),
        every=settings.check_every,
        patience=settings.patience,
        untrained=True,
    )
    with torch.no_grad():
        return network.read(z), found.best_step
