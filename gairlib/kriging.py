"""Kriging with location features: a Gaussian process over places that also knows their features.

The covariance of two places is a sum: linear in the features x (ridge regression, in the view of
functions), Matern 3/2 in their leading principal components z (places that look alike, near or
far), exponential in the positions s on the unit sphere (plain ordinary kriging), and noise. So one
model is a regression where no training place is near and interpolation where one is; what the parts
weigh follows from the marginal likelihood (Rasmussen & Williams 2006, sections 2.2, 4.2 and 5.4.1).

Predictions of rows that are left out cost no refit: with A the inverse covariance of all rows and B
a fold, their mean is y_B - (A_BB)^-1 (A y)_B and their covariance (A_BB)^-1, the block form of
their equation 5.12. The seven parameters are those of all rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gairlib.errors import BadInput

TAUGHT, STEPS = 600, 20  # rows of the marginal likelihood; evaluations of it
# logs: variances of linear part, features, positions, noise; lengths of features, positions
START = (-4.0, -1.0, -1.0, -2.0, 0.5, 0.5)
WIDE = 2.0  # standard deviation of the logs' normal prior around START
LEAST = 1e-6  # of the noise's variance, so that rows of one place do not make a singular matrix
CHUNK = 2048

Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]  # x [n, D], z [n, P], s [n, 3]


class Kriging:
    """Fitted to inputs of n rows and targets y [n] of mean about 0 and variance about 1."""

    def __init__(self, inputs: Inputs, y: np.ndarray, seed: int = 0) -> None:
        self.inputs, self.y = _tensors(inputs), torch.from_numpy(np.array(y, np.float64))
        rows = np.random.default_rng(seed).permutation(len(y))[:TAUGHT]
        self.logs = _most_likely([x[rows] for x in self.inputs], self.y[rows])
        covariance = self._covariance(self.inputs)
        covariance.diagonal().add_(self.logs[3].exp() + LEAST)
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))  # [n, n]
        self.weights = self.inverse @ self.y

    def left_out(self, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [n] of each row's y without the rows of its fold [n]."""
        mean, deviation = torch.empty_like(self.y), torch.empty_like(self.y)
        for number in np.unique(fold):
            rows = torch.from_numpy(np.flatnonzero(fold == number))
            covariance = torch.linalg.inv(self.inverse[rows][:, rows])
            mean[rows] = self.y[rows] - covariance @ self.weights[rows]
            deviation[rows] = covariance.diagonal().clamp_min(LEAST).sqrt()
        return mean.numpy(), deviation.numpy()

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Mean [m] of new rows."""
        parts = zip(*(x.split(CHUNK) for x in _tensors(inputs)))
        return torch.cat([self._covariance(part) @ self.weights for part in parts]).numpy()

    def deviation(self, inputs: Inputs) -> np.ndarray:
        """Standard deviation [m] of new rows' y, noise included."""
        found = []
        for part in zip(*(x.split(CHUNK) for x in _tensors(inputs))):
            linear, features, positions, noise, _, _ = self.logs.exp()
            prior = linear * (part[0] ** 2).sum(1) + features + positions + noise + LEAST
            cross = self._covariance(part)  # [b, n]
            known = ((cross @ self.inverse) * cross).sum(1)
            found.append((prior - known).clamp_min(LEAST).sqrt())
        return torch.cat(found).numpy()

    def _covariance(self, new: list[Tensor]) -> Tensor:
        return _kernel(self.logs, *_products(new, self.inputs))


def _tensors(inputs: Inputs) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(x, np.float64)) for x in inputs]


def _products(a: list[Tensor], b: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Scalar products of x, distances of z and of s: [n, m] each."""
    return a[0] @ b[0].T, torch.cdist(a[1], b[1]), torch.cdist(a[2], b[2])


def _kernel(logs: Tensor, product: Tensor, alike: Tensor, near: Tensor) -> Tensor:
    """Covariance [n, m] without noise."""
    linear, features, positions, _, reach, range_ = logs.exp()
    scaled = alike * (3**0.5 / reach)
    matern = features * (1 + scaled) * torch.exp(-scaled)
    return linear * product + matern + positions * torch.exp(-near / range_)


def _most_likely(inputs: list[Tensor], y: Tensor) -> Tensor:
    """The logs with the largest marginal likelihood times prior, by L-BFGS."""
    parts, start = _products(inputs, inputs), torch.tensor(START, dtype=torch.float64)
    best = [torch.inf, start]
    with torch.enable_grad():
        logs = start.clone().requires_grad_()
        search = torch.optim.LBFGS(
            [logs], max_iter=STEPS, max_eval=STEPS, line_search_fn="strong_wolfe"
        )

        def surprise() -> Tensor:
            search.zero_grad()
            noise = (logs[3].exp() + LEAST) * torch.eye(len(y), dtype=torch.float64)
            root, failed = torch.linalg.cholesky_ex(_kernel(logs, *parts) + noise)
            if failed:  # a step too far: the line search turns back
                return logs.sum() * 0 + 1e10
            white = torch.linalg.solve_triangular(root, y[:, None], upper=False)
            value = (white**2).sum() / 2 + root.diagonal().log().sum()
            value = value + (((logs - start) / WIDE) ** 2).sum() / 2
            value.backward()
            if value.item() < best[0]:
                best[:] = [value.item(), logs.detach().clone()]
            return value

        search.step(surprise)
    if not np.isfinite(best[0]):
        raise BadInput("kriging: no covariance fits these rows; targets and features are finite?")
    return best[1]
