"""What a location encoder has to beat: guesses from the training rows' own coordinates and labels.

- **majority or mean**: knows nothing of the place.
- **k nearest neighbours** and **inverse distance weighting** (Shepard 1968): a weighted mean, or
  vote, of the k nearest training rows, weights 1 / metres**power. Power 0 is plain k-NN, power 1
  with k = 5 the distance-weighted 5-NN of our tables, power 2 over 64 rows inverse distance
  weighting.

Distances run along great circles: a point at 179.9 east is 22 km from one at 179.9 west, and near a
pole a degree of longitude counts as little as it measures. The tree searches chords of the unit
sphere, which order as the arcs do, so the neighbours are exact.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from gairlib import geo
from gairlib.errors import BadInput

SAME_PLACE = 1e-3  # metres: a row at the very place takes all the weight

# name -> (probe as results call it, k, power)
NEIGHBOURS = {
    "5 nearest neighbours": ("1/distance", 5, 1.0),
    "inverse distance": ("1/distance², 64 rows", 64, 2.0),
}
NEAREST = "5 nearest neighbours"  # the one that the figures to reach are set against


def sphere(lonlat: ArrayLike) -> np.ndarray:
    """(lon, lat) in degrees [n, 2] -> unit vectors [n, 3], without a seam at the antimeridian."""
    return geo.unit_sphere(geo.as_float64(lonlat)).numpy()


def nearest(
    train_lonlat: ArrayLike, test_lonlat: ArrayLike, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Great-circle distances in metres [m, k] and training rows [m, k] of the k nearest."""
    k = min(k, len(train_lonlat))
    chord, rows = cKDTree(sphere(train_lonlat)).query(sphere(test_lonlat), k=k)
    chord, rows = chord.reshape(-1, k), rows.reshape(-1, k)
    return 2 * geo.EARTH_RADIUS * np.arcsin(np.clip(chord / 2, 0, 1)), rows


def by_distance(
    train_lonlat: ArrayLike,
    y: ArrayLike,
    test_lonlat: ArrayLike,
    *,
    k: int,
    power: float,
    labels: bool = False,
) -> np.ndarray:
    """Inverse distance weighting over the k nearest rows: weights 1 / metres**power.

    A row at the same place takes all the weight (but for power 0). labels=True votes instead of
    averaging. -> prediction [m].
    """
    if len(train_lonlat) == 0 or k < 1 or power < 0:
        raise BadInput(
            f"{k} neighbours of {len(train_lonlat)} training rows, power {power}: at least one "
            "neighbour, one training row, and a power from 0 are needed"
        )
    distance, rows = nearest(train_lonlat, test_lonlat, k)
    weight = 1.0 / np.maximum(distance, SAME_PLACE) ** power
    weight /= weight.sum(1, keepdims=True)
    if not labels:
        return (np.asarray(y, dtype=float)[rows] * weight).sum(1)
    names, codes = np.unique(np.asarray(y), return_inverse=True)
    votes = np.zeros((len(rows), len(names)))
    np.add.at(votes, (np.arange(len(rows))[:, None], codes[rows]), weight)
    return names[votes.argmax(1)]


def constant(y: ArrayLike, n: int, labels: bool) -> np.ndarray:
    """The training mean, or the most frequent training label, n times."""
    y = np.asarray(y)
    if not labels:
        return np.full(n, y.astype(float).mean())
    names, counts = np.unique(y, return_counts=True)
    return np.full(n, names[counts.argmax()])
