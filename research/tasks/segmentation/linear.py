"""The linear head by a solver: multinomial logistic regression on tokens, to convergence.

The head's logits are linear in the tokens, and so is the bilinear enlargement to pixels. A pixel's
logits are therefore a linear function of the tokens enlarged at that pixel, and training the head
is a convex problem with one answer, which no schedule can miss. It is solved by L-BFGS over all
rows at once, in coordinates in which the features are uncorrelated and of one size. At most ROWS
pixels teach, the same number of each tile at random places. Tokens may stand beside the bands of
the pixel itself and their means around it: then the features are all of these.

A ridge on the coefficients of standardised features is chosen by mIoU on validation tiles, then the
head is fitted once more to all training tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gairlib.mapping.pixel_heads import Linear, around
from research.evaluation.fit import Fit
from research.tasks.segmentation.data import IGNORE
from research.tasks.segmentation.train import Tiles, apart, error

ROWS = 90_000
RIDGES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # half of it times squared coefficients joins the mean loss
ITERATIONS = 300
GRADIENT = 1e-4  # largest entry at which the solver has converged


@dataclass(frozen=True)
class Solved:
    """Coefficients on standardised features [D + 1, K] (the last row the intercepts), and how the
    solver got there: iterations, and whether it had to be stopped before it converged."""

    weights: Tensor
    iterations: int
    at_limit: bool


class Fitted(NamedTuple):
    """A head that was solved, its `Fit` (iterations as steps, no curve), the ridge, and 1 - mIoU on
    validation tiles with that ridge before the head saw them; inf without any."""

    head: nn.Module
    fit: Fit
    ridge: float
    missed: float


def fit(
    tiles: Tiles,
    classes: int,
    *,
    seed: int,
    validation: Tiles | None = None,
    windows: Sequence[Sequence[int]] = ((),),
) -> Fitted:
    """tiles: grids [n, h, w, D] that are read side by side, with masks [n, H, W]; windows: of each
    grid the squares whose means are features too (`heads.around`). validation: a published split,
    or None for a fifth of the training groups.

    A function of the seed alone, which draws pixels and, without `validation`, the groups that
    choose the ridge.
    """
    learn, judge = apart(tiles, seed) if validation is None else (tiles, validation)
    rows, ridge = _Rows(learn, seed, windows), RIDGES[len(RIDGES) // 2]
    best, start = np.inf, None
    for candidate in RIDGES if len(judge) else ():
        found = rows.solve(classes, candidate, start)
        start = found.weights
        missed = error(rows.head(found, classes, tiles.size), judge)
        if missed < best:
            best, ridge = missed, candidate
    rows = rows if learn is tiles else _Rows(tiles, seed, windows)
    found = rows.solve(classes, ridge, start)
    record = Fit(found.iterations, found.iterations, found.at_limit)
    return Fitted(rows.head(found, classes, tiles.size), record, ridge, best)


class _Rows:
    """The training pixels as a table: standardised features in uncorrelated coordinates."""

    def __init__(self, tiles: Tiles, seed: int, windows: Sequence[Sequence[int]] = ((),)) -> None:
        self.windows = windows
        found = [
            pixels(grid, tiles.masks, seed, sides)
            for grid, sides in zip(tiles.inputs, windows, strict=True)
        ]
        self.widths = [part.shape[1] for part, _ in found]
        x, self.labels = torch.cat([part for part, _ in found], 1), found[0][1]
        self.mean, spread = x.mean(0), x.std(0)
        self.scale = torch.where(spread > 1e-6 * self.mean.abs().clamp(min=1), spread, torch.inf)
        x = (x - self.mean) / self.scale
        self.variances, self.axes = torch.linalg.eigh((x.T @ x / len(x)).double())
        self.axes = self.axes.float()
        self.x = x @ self.axes  # [n, D]

    def solve(self, classes: int, ridge: float, start: Tensor | None = None) -> Solved:
        """The minimum of mean cross-entropy + ridge / 2 * squared coefficients."""
        # along an axis of variance v the loss curves by about v / 4, the penalty by the ridge
        size = (self.variances.clamp(min=0) / 4 + ridge).rsqrt().float()[:, None]  # [D, 1]
        if start is None:
            start = torch.zeros(len(size) + 1, classes)
        free = torch.cat([self.axes.T @ start[:-1] / size, start[-1:]]).requires_grad_()
        solver = torch.optim.LBFGS(
            [free],
            max_iter=ITERATIONS,
            tolerance_grad=GRADIENT,
            tolerance_change=0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )
        n, true = len(self.x), (self.labels, torch.arange(len(self.x)))

        @torch.no_grad()
        def loss() -> Tensor:
            slopes = free[:-1] * size  # [D, K]
            logits = torch.addmm(free[-1][:, None], slopes.T, self.x.T)  # [K, n]: classes first is
            total = logits.logsumexp(0)  # several times faster than rows first
            wrong = (logits - total).exp_()
            wrong[true] -= 1
            fall = (wrong @ self.x).T / n + ridge * slopes
            free.grad = torch.cat([fall * size, wrong.sum(1)[None] / n])
            return (total - logits[true]).mean() + ridge / 2 * slopes.square().sum()

        solver.step(loss)
        loss()
        at_limit = bool(free.grad.abs().max() > GRADIENT)
        weights = torch.cat([self.axes @ (free[:-1] * size), free[-1:]]).detach()
        return Solved(weights, solver.state[free]["n_iter"], at_limit)

    def head(self, found: Solved, classes: int, size: int) -> Linear:
        """The same function as a network that reads the grids."""
        head = Linear(self.widths, self.windows, classes, size).eval()
        parts = (v.split(self.widths) for v in (self.mean, self.scale, found.weights[:-1]))
        for number, (part, mean, scale, weights) in enumerate(zip(head.parts, *parts)):
            part.norm.running_mean, part.norm.running_var = mean, scale.square()
            part.norm.eps = 0.0
            with torch.no_grad():
                part.read.weight.copy_(weights.T)
                part.read.bias.copy_(found.weights[-1] * (number == 0))
        return head


def pixels(
    grids: Tensor, masks: np.ndarray, seed: int, windows: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """Grids [n, h, w, D] with their means over `windows`, enlarged bilinearly at random pixels of
    masks [n, H, W]: features [r, D] float32 and labels [r]; ROWS at most, and none where the label
    is IGNORE. The seed alone decides which pixels."""
    n, height, width = masks.shape
    count = min(height * width, max(1, ROWS // n))
    rng = np.random.default_rng(seed)
    at = torch.from_numpy(np.stack([rng.permutation(height * width)[:count] for _ in masks]))
    labels = torch.from_numpy(masks.reshape(n, -1).astype(np.int64)).gather(1, at)  # [n, count]
    where = torch.stack([at % width, at // width], -1)  # columns and rows
    where = (2 * where + 1) / torch.tensor([width, height]) - 1  # in [-1, 1], of pixel centres
    parts = [
        F.grid_sample(
            around(grid.float(), windows).permute(0, 3, 1, 2),
            points[:, None],
            padding_mode="border",
            align_corners=False,
        )[:, :, 0].transpose(1, 2)
        for grid, points in zip(grids.split(32), where.split(32))
    ]
    known = labels != IGNORE
    return torch.cat(parts)[known], labels[known]
