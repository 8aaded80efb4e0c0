"""From coordinates to any variable: location features and the regressor that serves them best.

    regressor = LocationRegressor().fit(X, y)       # X [n, 2]: lon, lat in degrees, WGS 84
    regressor.predict(places)                       # [m]
    regressor.predict_interval(places, level=0.9)   # [m, 2]
    cross_val_score(regressor, X, y, cv=DegreeBlocks(10))

Near a training row its neighbours know most, far from all of them what the features tell. Three
models are fitted (`MODELS`): kriging with location features (`gairlib.kriging`: ridge, likeness of
features and interpolation in one covariance), extremely randomised trees (Geurts et al. 2006) on 40
principal components of the features with the position on the sphere, and inverse distance. They
are stacked (Wolpert 1992; non-negative weights as in Breiman 1996) with weights that depend on the
distance to the nearest training row. The weights are learned inside the training rows, from
predictions of rows that were left out in two ways: at random, so that the nearest row is next door,
and by whole blocks, so that it is far (Roberts et al. 2017).

Intervals are conformal: the residuals of the same left-out rows, divided by the standard deviation
that kriging gives them, are compared with a quantile of their own (locally weighted, Lei et al.
2018, section 5.2; over folds as in Vovk 2015). So they widen with the distance, and hold at a level
for rows that lie to the training rows as random rows and blocks do, halves of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gairlib import assets, geo
from gairlib.errors import BadInput, extra
from gairlib.kriging import Inputs, Kriging
from gairlib.weights.location import load_geoclip

with extra("regress"):
    from sklearn.base import BaseEstimator, RegressorMixin, clone
    from sklearn.decomposition import PCA
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GroupKFold, KFold
    from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors
    from sklearn.utils.validation import check_is_fitted

MODELS = ("kriging", "trees", "neighbours")
COMPONENTS = 40
FOLDS = 4  # inner ones, of each kind
TREES, INNER_TREES = 100, 50
NEIGHBOURS = 64
FAR = 10.0  # spreads at which a feature is cut off
SIZES, LEAST = (10.0, 2.0, 0.5, 0.1, 0.02, 0.005), 30  # degrees of inner blocks; so many of them
SAME_PLACE = 1e-9  # radians: rows at the very place share all the weight

Encoder = Callable[[Tensor], Tensor]


class DegreeBlocks:
    """Folds of whole cells of `degrees` x `degrees`, for scikit-learn's `cv`: what is known of a
    region that was not seen. degrees divides 360 (`gairlib.geo.blocks`)."""

    def __init__(self, degrees: float = 10.0, n_splits: int = 5, random_state: int = 0) -> None:
        self.degrees, self.n_splits, self.random_state = degrees, n_splits, random_state

    def split(self, X: ArrayLike, y=None, groups=None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(training rows, test rows) of places X [n, 2], (lon, lat) in degrees."""
        cells = geo.blocks(_places(X), self.degrees)
        if (found := len(np.unique(cells))) < self.n_splits:
            raise BadInput(
                f"{found} blocks of {self.degrees:g} degrees hold a row, but {self.n_splits} folds "
                "are asked for: smaller blocks or fewer folds are needed"
            )
        folds = GroupKFold(self.n_splits, shuffle=True, random_state=self.random_state)
        yield from folds.split(cells, groups=cells)

    def get_n_splits(self, X=None, y=None, groups=None) -> int:
        return self.n_splits


@dataclass(frozen=True)
class Validation:
    """Predictions [n] and intervals [n, 2] of rows that were left out, fold by fold [n]; R2 and
    root mean squared error over all rows, and the share of rows inside their interval."""

    prediction: np.ndarray
    interval: np.ndarray
    fold: np.ndarray
    r2: float
    rmse: float
    coverage: float


class LocationRegressor(RegressorMixin, BaseEstimator):
    """A number at a place, from numbers at other places. See the module.

    encoder: "geoclip" (the asset of this name; `fetch=True` lets `fit` fetch it), any function of
    float64 (lon, lat) [N, 2] to features [N, D], such as `model.location`, `load_satclip(file)`, or
    None for the position alone. block_degrees: of the inner blocks; None takes the largest of SIZES
    that makes LEAST blocks. most: training rows of kriging, whose time grows with their cube; the
    other models see all.
    """

    def __init__(
        self,
        encoder: str | Encoder | None = "geoclip",
        *,
        block_degrees: float | None = None,
        most: int = 4000,
        fetch: bool = False,
        random_state: int = 0,
    ) -> None:
        self.encoder, self.block_degrees, self.most = encoder, block_degrees, most
        self.fetch, self.random_state = fetch, random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> LocationRegressor:
        """X [n, 2], y [n] finite; BadInput for fewer than 10 rows, and names a bad one."""
        X = _places(X)
        y = _targets(y, len(X))
        self.n_features_in_, self.mean_ = 2, y.mean()
        self.spread_ = y.std() or 1.0
        inputs, standard = self._prepare(X), (y - self.mean_) / self.spread_
        rows = np.random.default_rng(self.random_state).permutation(len(X))[: self.most]
        rows = np.sort(rows)  # of kriging, and those that choose the weights
        self.kriging_ = Kriging(tuple(x[rows] for x in inputs), standard[rows], self.random_state)
        guesses, distances, deviations = [], [], []
        for fold in self._folds(X):
            mean, deviation = self.kriging_.left_out(fold[rows])
            guess, distance = np.empty((len(rows), len(MODELS))), np.empty(len(rows))
            guess[:, 0] = mean
            for number in np.unique(fold[rows]):
                train, test = np.flatnonzero(fold != number), fold[rows] == number
                ask = tuple(x[rows[test]] for x in inputs)
                models = self._models(tuple(x[train] for x in inputs), standard[train], INNER_TREES)
                guess[test, 1:] = _answers(models, ask)
                distance[test] = _nearest(inputs[2][train], ask[2])
            guesses.append(guess)
            distances.append(distance)
            deviations.append(deviation)
        truth, distance = np.tile(standard[rows], len(guesses)), np.concatenate(distances)
        self.reach_ = np.quantile(np.log(distance), [0.1, 0.9])
        design = self._gated(np.concatenate(guesses), distance)
        self.weights_ = LinearRegression(positive=True, fit_intercept=False).fit(design, truth)
        residual = np.abs(truth - self.weights_.predict(design))
        self.residuals_ = np.sort(residual / np.concatenate(deviations))
        self.models_ = self._models(inputs, standard, TREES)
        self.sphere_ = inputs[2]
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """[m] at (lon, lat) [m, 2]."""
        check_is_fitted(self)
        return self._blend(self._inputs(_places(X)))

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> np.ndarray:
        """Lower and upper end [m, 2] of an interval that holds a share `level` of new rows."""
        check_is_fitted(self)
        if not 0 < level < 1:
            raise BadInput(f"level {level!r}: a share between 0 and 1 is needed")
        inputs, n = self._inputs(_places(X)), len(self.residuals_)
        rank = min(int(np.ceil((n + 1) * level)), n) - 1
        half = self.residuals_[rank] * self.kriging_.deviation(inputs) * self.spread_
        return self._blend(inputs)[:, None] + half[:, None] * np.array([-1.0, 1.0])

    def cross_validate(
        self, X: ArrayLike, y: ArrayLike, block_degrees: float | None = 10.0, level: float = 0.9
    ) -> Validation:
        """Five folds of blocks, or of random rows (None): each is predicted from the others."""
        X = _places(X)
        y, seed = _targets(y, len(X)), self.random_state
        folds = DegreeBlocks(block_degrees, 5, seed) if block_degrees else KFold(5, True, seed)
        guess, ends, fold = np.empty(len(X)), np.empty((len(X), 2)), np.empty(len(X), int)
        for number, (train, test) in enumerate(folds.split(X)):
            model = clone(self).fit(X[train], y[train])
            fold[test], guess[test] = number, model.predict(X[test])
            ends[test] = model.predict_interval(X[test], level)
        rmse = float(np.sqrt(np.mean((y - guess) ** 2)))
        inside = float(np.mean((ends[:, 0] <= y) & (y <= ends[:, 1])))
        return Validation(guess, ends, fold, float(r2_score(y, guess)), rmse, inside)

    # -------------------------------------------------------------------------------- inside

    def _features(self, lonlat: np.ndarray) -> np.ndarray:
        """Float64 [n, D] of the encoder, or the position [n, 3] on the sphere without one."""
        if self.encoder is None:
            return _sphere(lonlat)
        encoder = _default(self.fetch) if isinstance(self.encoder, str) else self.encoder
        places = torch.from_numpy(lonlat).split(4096)
        with torch.inference_mode():
            return torch.cat([encoder(part).double().cpu() for part in places]).numpy()

    def _prepare(self, lonlat: np.ndarray) -> Inputs:
        """Inputs of the training rows, from which features and positions are standardised."""
        if isinstance(self.encoder, str) and self.encoder != "geoclip":
            raise BadInput(f"encoder {self.encoder!r}: 'geoclip', a function or None is needed")
        x, sphere = self._features(lonlat), _sphere(lonlat)
        self.centre_, spread = x.mean(0), x.std(0)
        self.scale_ = np.where(spread > 1e-9, spread, np.inf)  # constant columns become 0
        standard = self._standard(x)
        self.pca_ = PCA(min(COMPONENTS, *x.shape), random_state=self.random_state).fit(standard)
        self.radius_ = _radius(self.pca_.transform(standard))
        self.extent_ = _radius(sphere - sphere.mean(0))
        return self._scaled(x, sphere)

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self.centre_) / self.scale_, -FAR, FAR)

    def _scaled(self, x: np.ndarray, sphere: np.ndarray) -> Inputs:
        """Standardised features, their components, positions, of about unit variance in all."""
        x = self._standard(x)
        components = self.pca_.transform(x) / self.radius_
        return x / np.sqrt(x.shape[1]), components, sphere / self.extent_

    def _inputs(self, lonlat: np.ndarray) -> Inputs:
        return self._scaled(self._features(lonlat), _sphere(lonlat))

    def _folds(self, lonlat: np.ndarray) -> list[np.ndarray]:
        """Fold numbers [n] at random, and by blocks where the rows fill two or more."""
        degrees = self.block_degrees or next(
            (d for d in SIZES if len(np.unique(geo.blocks(lonlat, d))) >= LEAST), SIZES[-1]
        )
        count = min(FOLDS, len(np.unique(geo.blocks(lonlat, degrees))))
        kinds = [KFold(FOLDS, shuffle=True, random_state=self.random_state)]
        kinds += [DegreeBlocks(degrees, count, self.random_state)] if count > 1 else []
        found = np.empty((len(kinds), len(lonlat)), int)
        for fold, kind in zip(found, kinds):
            for number, (_, test) in enumerate(kind.split(lonlat)):
                fold[test] = number
        return list(found)

    def _models(self, inputs: Inputs, y: np.ndarray, trees: int) -> list[Any]:
        """Trees and neighbours, fitted."""
        forest = ExtraTreesRegressor(
            trees, min_samples_leaf=2, max_features=0.5, random_state=self.random_state
        )
        near = KNeighborsRegressor(min(NEIGHBOURS, len(y)), weights=_inverse_square)
        return [forest.fit(np.hstack(inputs[1:]), y), near.fit(inputs[2], y)]

    def _gated(self, guesses: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Guesses [n, M] -> [n, 2M]: each as far as its row is far, and as far as it is near."""
        low, high = self.reach_
        far = np.clip((np.log(distance) - low) / max(high - low, 1e-9), 0, 1)[:, None]
        return np.hstack([guesses * far, guesses * (1 - far)])

    def _blend(self, inputs: Inputs) -> np.ndarray:
        guesses = np.column_stack([self.kriging_.predict(inputs), _answers(self.models_, inputs)])
        design = self._gated(guesses, _nearest(self.sphere_, inputs[2]))
        return self.mean_ + self.spread_ * self.weights_.predict(design)


@lru_cache(maxsize=1)
def _default(fetch: bool) -> nn.Module:
    return load_geoclip(assets.find("geoclip", fetch=fetch).path)


def _answers(models: list[Any], inputs: Inputs) -> np.ndarray:
    """What trees and neighbours say [m, 2]."""
    trees, near = models
    return np.column_stack([trees.predict(np.hstack(inputs[1:])), near.predict(inputs[2])])


def _inverse_square(distance: np.ndarray) -> np.ndarray:
    return 1 / np.maximum(distance, SAME_PLACE) ** 2


def _nearest(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Distance [m] of each new position to the nearest of training, at least SAME_PLACE."""
    distance, _ = NearestNeighbors(n_neighbors=1).fit(train).kneighbors(new)
    return np.maximum(distance[:, 0], SAME_PLACE)


def _sphere(lonlat: np.ndarray) -> np.ndarray:
    return geo.unit_sphere(torch.from_numpy(lonlat)).numpy()


def _radius(x: np.ndarray) -> float:
    """Root mean square length of rows; 1 where all are 0."""
    return float(np.sqrt((x**2).sum(1).mean())) or 1.0


def _places(X: ArrayLike) -> np.ndarray:
    X = np.asarray(geo.check_lonlat(np.asarray(X, dtype=np.float64), "X"))
    if X.ndim != 2:
        raise BadInput(f"X: shape {list(X.shape)}, but [n, 2] as (lon, lat) is needed")
    return X


def _targets(y: ArrayLike, n: int) -> np.ndarray:
    y = np.asarray(y, dtype=np.float64)
    if y.shape != (n,) or n < 10:
        raise BadInput(
            f"y: shape {list(y.shape)} with {n} places; one number a place, and at "
            "least 10 of them, are needed"
        )
    if not (good := np.isfinite(y)).all():
        raise BadInput(f"y: row {int(np.flatnonzero(~good)[0])} is not a finite number")
    return y
