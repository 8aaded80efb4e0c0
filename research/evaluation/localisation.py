"""Where in its chip is a photo? Slide its embedding over the chip's decoded field, turn the
similarities into one guess, and measure the distance to where it was taken.

`xy` is in [-1, 1] with y to the south, distances are metres on the ground.
"""

import numpy as np

TEMPERATURES = np.geomspace(0.01, 1.0, 33)


def cell_centres(cells: int) -> np.ndarray:
    """Centres of cells x cells over a chip, row by row from the north-west: [cells**2, 2]."""
    steps = (np.arange(cells) + 0.5) / cells * 2 - 1
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel()], 1)


def best_cell(similarity, xy) -> np.ndarray:
    """Position of the highest similarity: [n, P] over positions xy [P, 2] -> [n, 2]."""
    return np.asarray(xy)[np.asarray(similarity).argmax(1)]


def shares(similarity, temperature: float) -> np.ndarray:
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
    return xy[(shares(similarity, temperature) @ distance).argmin(1)]


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
    return xy[(shares(similarity, temperature) @ disc).argmax(1)]


def fit_temperature(similarity, cell) -> float:
    """The one of TEMPERATURES under which the true cells are most likely.

    similarity [n, P], cell [n]: which cell holds the photo. To be asked of photos that are not
    judged: it says how far an encoder's similarities are to be trusted.
    """
    loss = [surprise(similarity, cell, t).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(loss))])


def surprise(similarity, cell, temperature: float) -> np.ndarray:
    """-log p of the true cells [n], natural, if the softmax is right; similarity [n, P]."""
    return -np.log(shares(similarity, temperature)[np.arange(len(similarity)), cell] + 1e-300)


def cell_of(xy, cells: int) -> np.ndarray:
    """Which of `cell_centres(cells)` is the nearest to positions [n, 2] -> [n]."""
    steps = np.clip(((np.asarray(xy) + 1) / 2 * cells).astype(int), 0, cells - 1)  # [n, 2]
    return steps[:, 1] * cells + steps[:, 0]


def errors_m(guess, truth, size_m) -> np.ndarray:
    """Metres between positions [n, 2] in chips that are size_m (one, [n] or [n, 2]) wide: [n]."""
    half = np.broadcast_to(np.asarray(size_m, float), np.shape(size_m) or (1,)) / 2
    half = half[:, None] if half.ndim == 1 else half  # [n or 1, 1 or 2]
    return np.linalg.norm((np.asarray(guess) - np.asarray(truth)) * half, axis=1)


def best_constant(xy_train) -> np.ndarray:
    """The one guess with the least median distance to the training positions: [m, 2] -> [2]."""
    grid = cell_centres(32)
    distance = np.linalg.norm(grid[:, None] - np.asarray(xy_train)[None], axis=2)  # [P, m]
    return grid[np.median(distance, axis=1).argmin()]
