"""Principal components of embeddings, the same in every run: fewer bands, and pictures.

A picture of three components means nothing if the next run turns its axes. Fixed here:
- the axes are eigenvectors of the covariance in float64 (no random projection, no power iteration);
- signs: each axis' entry of the largest magnitude is positive; entries within 1e-6 of the largest
  count as equal, the first of them decides, so rounding cannot turn an axis round;
- the ends of the channels are percentiles of the sample, stored with the axes, so every picture
  drawn with one `PCA` has one scale.

Where two spaces are shown side by side, axes can be turned to agree with scores at the same places
in the other one (`like`; orthogonal Procrustes, Schönemann 1966).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from gairlib import files
from gairlib.errors import BadInput, Missing

LIMITS = (2.0, 98.0)  # percentiles of the sample that become the ends of each channel
_FORMAT = "gairlib-pca-1"


@dataclass(frozen=True)
class PCA:
    """k axes of D-dimensional vectors: mean [D], axes [D, k], low, high [k], explained [k].

    explained: each axis' share of the sample's variance, in [0, 1]. low and high are scores.
    """

    mean: np.ndarray
    axes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    explained: np.ndarray

    @property
    def bands(self) -> int:
        """k, the number of axes."""
        return self.axes.shape[1]

    def scores(self, values: ArrayLike) -> np.ndarray:
        """vectors [..., D] -> float64 [..., k]."""
        return (np.asarray(values, np.float64) - self.mean) @ self.axes

    def rgb(self, values: ArrayLike) -> np.ndarray:
        """vectors [..., D] -> uint8 RGB [..., 3] of the first three axes."""
        return self.colours(self.scores(values))

    def colours(self, scores: ArrayLike) -> np.ndarray:
        """scores [..., k] -> uint8 RGB [..., 3]; low and high are the ends, NaN becomes 0."""
        if self.bands < 3:
            raise BadInput(f"PCA: {self.bands} axes, but a colour picture needs three")
        low, high = self.low[:3], self.high[:3]
        share = (np.asarray(scores, np.float64)[..., :3] - low) / np.maximum(high - low, 1e-12)
        flat = high - low <= 1e-9  # a constant field is grey
        share = np.where(flat, 0.5, np.clip(share, 0, 1))
        return np.round(255 * np.nan_to_num(share, nan=0.0)).astype(np.uint8)

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the axes and their ends."""
        parts = (self.mean, self.axes, self.low, self.high)
        return hashlib.sha256(
            b"".join(np.ascontiguousarray(p, "<f8").tobytes() for p in parts)
        ).hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        """Write as JSON; the numbers survive exactly."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"format": _FORMAT} | {k: np.asarray(v).tolist() for k, v in asdict(self).items()}
        with files.atomic_write(path) as part:
            part.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "PCA":
        """What `save` wrote; BadInput where it is something else."""
        if not Path(path).is_file():
            raise Missing(f"{path}: there is no such file; PCA.save writes it")
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format", None) != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT}")
            found = cls(**{k: np.array(v, np.float64) for k, v in content.items()})
            d, k = found.axes.shape
            if (found.mean.shape, *(v.shape for v in (found.low, found.high, found.explained))) != (
                (d,),
                (k,),
                (k,),
                (k,),
            ):
                raise ValueError("mean, axes and limits do not fit each other")
        except (ValueError, TypeError, AttributeError) as problem:
            raise BadInput(f"{path}: not a PCA that PCA.save wrote ({problem})") from None
        return found


def fit(samples: ArrayLike, k: int = 3, *, like: ArrayLike | None = None) -> PCA:
    """The k first principal axes of samples [n, D] and the 2nd and 98th percentile of each score.

    like: scores [n, k] of the same places in another space; the axes are scaled to unit variance
    and turned to agree.
    Rows in another order give the same axes, to the rounding of float64.
    """
    rows = np.asarray(samples, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise BadInput(f"samples: shape {list(rows.shape)}, but [n, D] with n >= 1 is needed")
    if not 1 <= k <= rows.shape[1]:
        raise BadInput(f"k: {k} axes of vectors with {rows.shape[1]} values; take 1 to that many")
    if not np.isfinite(rows).all():
        raise BadInput("samples: not all finite; leave places without data out")
    mean = rows.mean(axis=0)
    centred = rows - mean
    covariance = centred.T @ centred / max(1, len(rows) - 1)
    values, vectors = np.linalg.eigh(covariance)
    axes = _signed(vectors[:, ::-1][:, :k])
    if like is not None:
        other = np.asarray(like, np.float64)
        if other.shape != (len(rows), k):
            raise BadInput(f"like: shape {list(other.shape)}, but {[len(rows), k]} is needed")
        scores = centred @ axes
        axes = (
            axes
            / np.maximum(scores.std(axis=0), 1e-12)
            @ _turn(_standard(scores), _standard(other))
        )
    scores = centred @ axes
    share = scores.var(axis=0) / max(float(centred.var(axis=0).sum()), 1e-300)
    if like is not None:  # of scaled axes the variance says nothing
        share = values[::-1][:k].clip(0) / max(float(values.clip(0).sum()), 1e-300)
    return PCA(mean, axes, *np.percentile(scores, LIMITS, axis=0), share)


def _signed(axes: np.ndarray) -> np.ndarray:
    size = np.abs(axes)
    first = (size >= size.max(axis=0) * (1 - 1e-6)).argmax(axis=0)
    return axes * np.where(axes[first, range(axes.shape[1])] < 0, -1.0, 1.0)


def _turn(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The orthogonal matrix R for which source @ R is nearest to target."""
    u, _, v = np.linalg.svd(source.T @ target)
    return u @ v


def _standard(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean(axis=0)) / np.maximum(scores.std(axis=0), 1e-12)
