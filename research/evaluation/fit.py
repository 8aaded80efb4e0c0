"""What the small supervised trainings share: a target of numbers or classes, and one loop of AdamW.

The learning rate falls to zero along a half cosine, or waits and falls wherever the error on rows
kept aside no longer does; the network ends with the weights of the step that is best on them. What
the training did is given back (`Fit`), so that results can show whether it was trained to its end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
from tqdm.auto import tqdm


def seeded(create: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A new network whose weights the seed alone decides; the global random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create()


def batches(n: int, size: int, order: torch.Generator) -> Iterator[Tensor]:
    """Rows [min(size, n)] without end: pass after pass over n rows in random order, the last
    uneven part of each left out."""
    size, rows = min(size, n), torch.empty(0, dtype=torch.long)
    while True:
        if len(rows) < size:
            rows = torch.randperm(n, generator=order)
        yield rows[:size]
        rows = rows[size:]


@dataclass(frozen=True)
class Target:
    """What a network learns: numbers, standardised by the rows that teach, or codes of classes.

    values [n, 1] float32 or [n] whole numbers; classes: the names that the codes stand for, None
    for numbers.
    """

    values: Tensor
    classes: np.ndarray | None = None
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, labels: np.ndarray, rows=slice(None)) -> Self:
        """labels [n], numbers or texts; rows: those that teach. The code of a class that none of
        them has means nothing."""
        if labels.dtype.kind not in "fiu":
            classes = np.unique(labels[rows])
            return cls(torch.from_numpy(np.searchsorted(classes, labels)), classes)
        taught = labels[rows].astype(np.float64)
        centre, spread = float(taught.mean()), float(taught.std()) or 1.0
        values = torch.from_numpy((labels.astype(np.float64) - centre) / spread).float()
        return cls(values[:, None], None, centre, spread)

    @property
    def outputs(self) -> int:
        """How many numbers the network gives a row."""
        return 1 if self.classes is None else len(self.classes)

    def loss(self, outputs: Tensor, rows) -> Tensor:
        """Squared error or cross-entropy of outputs [b, T] for rows [b]."""
        kind = nn.functional.mse_loss if self.classes is None else nn.functional.cross_entropy
        return kind(outputs, self.values[torch.as_tensor(rows)].to(outputs.device))

    def answer(self, outputs: Tensor) -> np.ndarray:
        """Outputs [m, T] -> numbers in the labels' own unit, or names of classes: [m]."""
        if self.classes is not None:
            return self.classes[outputs.argmax(-1).numpy()]
        return self.centre + self.spread * outputs[:, 0].double().numpy()


@dataclass(frozen=True)
class Fit:
    """What a training did: the steps that it took, the step whose weights the network has, whether
    it ended at its limit of steps instead of by its patience (always where nothing judged), and the
    error on the rows kept aside, (step, error) at each look."""

    steps: int
    best_step: int
    at_limit: bool
    curve: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, record: dict) -> Self:
        """What `dataclasses.asdict` made of one, as JSON gives it back."""
        return cls(**record | {"curve": tuple(map(tuple, record["curve"]))})


AT_LIMIT = "at the limit"  # of its steps: it may not have been trained to its end


def ended(fits: Sequence[Fit]) -> str:
    """How trainings ended, in words: "1,240 steps", or "6,000 steps, at the limit"."""
    steps = ", ".join(f"{fit.steps:,}" for fit in fits)
    return f"{steps} steps" + (f", {AT_LIMIT}" if any(fit.at_limit for fit in fits) else "")


def fit_network(
    network: nn.Module,
    loss: Callable[[], Tensor],
    *,
    steps: int,
    lr: float,
    weight_decay: float,
    warmup: int = 0,
    fused: bool = True,
    judge: Callable[[], float] | None = None,
    every: int = 1,
    patience: int = 1,
    plateaus: int = 0,
    factor: float = 0.2,
    milestones: Sequence[float] = (),
    gain: float = 0.0,
    untrained: bool = False,
    shares: Mapping[str, float] | None = None,
    title: str = "",
) -> Fit:
    """Train a network in place, and say how it went.

    loss: draws a batch and gives its loss; one that is not finite (a batch without labels) teaches
    nothing. warmup: steps in which the learning rate rises. fused: AdamW in one kernel: faster, and
    rounded differently. judge: the network's error on rows kept aside, asked `every` so many steps
    and at the end; training ends after `patience` of them without a gain, at the best weights.
    None: all steps are taken. plateaus: 0 for a learning rate that falls along a cosine over all
    `steps`. Else the rate waits until `patience` looks bring no gain, falls to `factor` of itself
    from the best weights on, and training ends where that has happened `plateaus` times: `steps` is
    then a limit that should not be met. gain: the least share of the error that counts as one.
    milestones: shares of the steps after each of which the rate falls to a tenth, instead of the
    cosine. untrained: whether step 0 may be the best. shares: of the rate, for the network's parts
    by name (a pretrained tower moves less than its head); 1 for the others. title: of a progress
    bar, "" for none.
    """
    rates = {name: lr * (shares or {}).get(name, 1.0) for name, _ in network.named_children()}
    groups = [
        {"params": part.parameters(), "lr": rates[name]} for name, part in network.named_children()
    ]
    optimiser = torch.optim.AdamW(
        groups if shares else network.parameters(), lr=lr, weight_decay=weight_decay, fused=fused
    )
    cosine, falls = max(steps - warmup, 1), 0

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if plateaus:
            return factor**falls
        if milestones:
            return 0.1 ** sum(step >= share_of_all * steps for share_of_all in milestones)
        return 0.5 + 0.5 * float(np.cos(np.pi * (step - warmup) / cosine))

    if warmup or plateaus or milestones:
        rate = LambdaLR(optimiser, share)
    else:
        rate = CosineAnnealingLR(optimiser, steps)
    best, best_step, weights, since, at_limit = np.inf, 0, None, 0, True
    curve: list[tuple[int, float]] = []
    network.train()
    bar = tqdm(total=steps, desc=title, mininterval=2, leave=False, disable=not title)
    for step in range(steps + 1):
        if step > 1:
            rate.step()
        if step:
            optimiser.zero_grad()
            value = loss()
            if torch.isfinite(value):
                value.backward()
                optimiser.step()
            bar.update()
        if judge is None or (step % every and step < steps) or not (step or untrained):
            continue
        network.eval()
        with torch.no_grad():
            error = judge()
        network.train()
        curve.append((step, float(error)))
        if error < best * (1 - gain):
            best, best_step, since = error, step, 0
            weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
        elif (since := since + 1) >= patience:
            falls, since = falls + 1, 0
            if falls >= plateaus:
                at_limit = False
                break
            if weights is not None:
                network.load_state_dict(weights)
    bar.close()
    network.eval()
    if weights is None:
        return Fit(step, step, at_limit, tuple(curve))
    network.load_state_dict(weights)
    return Fit(step, best_step, at_limit, tuple(curve))
