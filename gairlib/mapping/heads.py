"""Heads on frozen features: discriminants, logistic and ridge regression, nearest neighbours.

A head turns features [n, F] into answers: of classes their probabilities [n, K], of numbers the
value and its standard deviation [n, 2]. Features are standardised by the training rows and cut off
at FAR spreads. `choose` takes the strength of the regularisation, or the number of neighbours, with
which whole blocks of the training rows that were left out are answered best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from gairlib.errors import BadInput
from gairlib.geo import fold_numbers

HEADS = ("linear", "neighbours")
PENALTIES = (1.0, 0.1, 1e-2, 1e-3, 1e-4)  # relative to a feature's variance
PATHS = {  # strengths that are tried, the strongest regularisation first
    "discriminant": PENALTIES,
    "logistic": (1e-2, 1e-3, 1e-4),  # of squared weights, relative to the mean loss
    "ridge": PENALTIES,
    "neighbours": (200, 50, 15, 5),
}
STORED = 4096  # rows that a head of neighbours keeps: each cell is compared with all of them
STEPS = 60  # of L-BFGS
FAR = 10.0
INNER, TRIED = 3, 5000  # folds inside the training rows; rows that teach in each
TEMPERATURES = np.logspace(-1, 1, 61)
LEAST = 1e-3  # of a probability, where neighbours are unanimous


@dataclass(frozen=True)
class Head:
    """A fitted head; `state` holds all that it needs, classes are 0 to K - 1."""

    name: str
    classes: int  # 0: numbers
    strength: float
    state: dict[str, Tensor]

    @property
    def about(self) -> dict:
        return {"name": self.name, "classes": self.classes, "strength": self.strength}

    def reading(self, model) -> None:
        """What is read of a scene instead of the field: nothing."""

    def to(self, device) -> Head:
        state = {name: tensor.to(device) for name, tensor in self.state.items()}
        return Head(**self.about, state=state)

    @torch.inference_mode()
    def __call__(self, features: np.ndarray) -> Tensor:
        """Answers [n, K or 2] for features [n, F]."""
        s = self.state
        x = torch.from_numpy(features).to(s["centre"])
        x = ((x - s["centre"]) / s["scale"]).clamp(-FAR, FAR)
        if self.name == "neighbours":
            return self._of_neighbours(x)
        found = x @ s["weight"] + s["bias"]
        if self.classes:
            return found.softmax(-1)
        spread = s["noise"] * (1 + ((x @ s["inverse"]) * x).sum(-1)).sqrt()
        return torch.stack([found[:, 0], spread], -1)

    def _of_neighbours(self, x: Tensor) -> Tensor:
        near = torch.cdist(x, self.state["rows"]).topk(
            min(int(self.strength), len(self.state["rows"])), largest=False
        )
        values = self.state["values"][near.indices]  # [n, k]
        if not self.classes:
            least = 0.1 * self.state["values"].std()  # where neighbours are unanimous
            spread = (values.var(-1, correction=0) + least**2).sqrt()
            return torch.stack([values.mean(-1), spread], -1)
        shares = one_hot(values.long(), self.classes).float().mean(1)
        return (shares + LEAST) / (1 + LEAST * self.classes)


def choose(
    name: str, features: np.ndarray, values: np.ndarray, classes: int, groups: np.ndarray, seed: int
) -> Head:
    """The head of that name, fitted to features [n, F] and values [n] (codes of classes, or
    numbers); "linear" and its strength are chosen over folds of whole groups [n]."""
    if name not in HEADS:
        raise BadInput(f"head {name!r}: choose {' or '.join(HEADS)}")
    names = {True: ("discriminant", "logistic"), False: ("ridge",)}[classes > 0]
    names = names if name == "linear" else (name,)
    error: dict[tuple[str, float], float] = {}
    fold = fold_numbers(groups, INNER, seed)
    for f in range(fold.max() + 1) if fold.max() else []:
        out = fold == f
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(~out))[:TRIED]
        for one in names:
            for head in _path(one, features[rows], values[rows], classes, PATHS[one]):
                wrong = _wrong(head(features[out]), torch.from_numpy(values[out]), classes)
                key = one, head.strength
                error[key] = error.get(key, 0.0) + wrong
    middle = names[0], PATHS[names[0]][len(PATHS[names[0]]) // 2]
    best, strength = min(error, key=error.get, default=middle)
    return next(_path(best, features, values, classes, (strength,)))


def _wrong(answers: Tensor, truth: Tensor, classes: int) -> float:
    """How many classes are guessed wrong; the sum of a number's squared errors."""
    if classes:
        return float((answers.argmax(-1) != truth).sum())
    return float((answers[:, 0] - truth).square().sum())


def _path(
    name: str, features: np.ndarray, values: np.ndarray, classes: int, strengths: Sequence[float]
) -> Iterator[Head]:
    """A head for each strength."""
    x = torch.from_numpy(features).double()
    centre, scale = x.mean(0), x.std(0, correction=0)
    scale = torch.where(scale > 1e-9 * centre.abs().clamp(min=1), scale, torch.inf)
    x = ((x - centre) / scale).clamp(-FAR, FAR).float()
    y = torch.from_numpy(values)
    fixed = {"centre": centre.float(), "scale": scale.float()}
    if name == "neighbours":
        rows = torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:STORED])
        found = ({"rows": x[rows], "values": y[rows].float()} for _ in strengths)
    else:
        found = {"discriminant": _discriminant, "logistic": _logistic, "ridge": _ridge}[name](
            x, y, classes, strengths
        )
    for strength, state in zip(strengths, found):
        yield Head(name, classes, strength, fixed | state)


def _discriminant(x: Tensor, y: Tensor, classes: int, shares: Sequence[float]) -> Iterator[dict]:
    """Linear discriminants: classes are Gaussians of one covariance, which is widened along every
    axis by a share of a feature's variance. By one eigendecomposition for all shares."""
    x, member = x.double(), one_hot(y.long(), classes).double()
    count = member.sum(0)
    means = (member.mT @ x) / count.clamp(min=1)[:, None]
    within = x - means[y.long()]
    values, axes = torch.linalg.eigh(within.mT @ within / len(x))
    for share in shares:
        weight = (axes / (values.clamp(min=0) + share)) @ (axes.mT @ means.mT)  # [F, K]
        bias = (count / len(x)).clamp(min=1e-9).log() - (weight * means.mT).sum(0) / 2
        yield {"weight": weight.float(), "bias": bias.float()}


def _logistic(x: Tensor, y: Tensor, classes: int, penalties: Sequence[float]) -> Iterator[dict]:
    """Multinomial logistic regression by L-BFGS, each penalty from the one before.

    The weights are sought in the features' principal axes, each scaled by what the loss curves
    along it: the same minimum in far fewer steps.
    """
    values, axes = torch.linalg.eigh((x.mT @ x / len(x)).double())
    bias, weight = torch.zeros(classes), torch.zeros(x.shape[1], classes)
    for penalty in penalties:
        curved = (values.clamp(min=0) / classes + penalty).sqrt()
        to, back = (axes / curved).float(), (axes * curved).mT.float()
        inner, bias = (back @ weight).requires_grad_(), bias.clone().requires_grad_()
        z, cost = x @ to, (penalty / 2 / curved**2).float()[:, None]
        optimiser = torch.optim.LBFGS(
            [inner, bias], max_iter=STEPS, tolerance_change=1e-6, line_search_fn="strong_wolfe"
        )

        def closure(z=z, cost=cost, inner=inner, bias=bias, optimiser=optimiser) -> Tensor:
            optimiser.zero_grad()
            value = cross_entropy(z @ inner + bias, y.long()) + (cost * inner**2).sum()
            value.backward()
            return value

        optimiser.step(closure)
        weight, bias = to @ inner.detach(), bias.detach()
        yield {"weight": weight, "bias": bias}


def _ridge(x: Tensor, y: Tensor, classes: int, penalties: Sequence[float]) -> Iterator[dict]:
    """Ridge regression by one eigendecomposition; the deviation of its mean with it."""
    x, n, mean = x.double(), len(x), y.double().mean()
    values, axes = torch.linalg.eigh(x.mT @ x / n)
    moment = axes.mT @ (x.mT @ (y.double() - mean) / n)
    for penalty in penalties:
        shrunk = values.clamp(min=0) + penalty
        weight = axes @ (moment / shrunk)
        noise = (y - mean - x @ weight).square().mean().sqrt().clamp(min=1e-9)
        inverse = (axes / shrunk) @ axes.mT / n
        found = {"weight": weight[:, None], "bias": mean[None], "noise": noise, "inverse": inverse}
        yield {key: tensor.float() for key, tensor in found.items()}


def calibrated(answers: Tensor, factor: float, classes: int) -> Tensor:
    """Probabilities of another temperature, or numbers with other deviations."""
    if classes:
        return (answers.clamp(min=1e-12).log() / factor).softmax(-1)
    return answers * torch.tensor([1.0, factor]).to(answers)


def calibration(answers: Tensor, truth: np.ndarray, classes: int) -> float:
    """The factor with which answers [n, ..] of rows that were held out are most likely."""
    if classes:
        logs, codes = answers.clamp(min=1e-12).log(), torch.from_numpy(truth)
        errors = [float(cross_entropy(logs / t, codes)) for t in TEMPERATURES]
        return float(TEMPERATURES[int(np.argmin(errors))])
    off = (torch.from_numpy(truth) - answers[:, 0]) / answers[:, 1]
    return float(off.square().mean().sqrt())
