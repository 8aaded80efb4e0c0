"""The most likely places of a map of similarities that is too large for memory.

p(cell) = exp(s / t) / sum of exp(s / t) over all cells with data. A place is a cell, with all that
lies within a radius of it; its probability is their sum. The likeliest cell comes first, then the
likeliest that is two radii or more away from those before, and so on, so that no cell counts twice.
Between them the probability that is left over is spread thinly.

The map is read block by block. Each block's highest cell is known from the first pass, and a block
is read again only while it could hold the next one.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.windows import Window

from gairlib.data.scene import transformer
from gairlib.errors import BadInput

COLUMNS = ["lon", "lat", "probability", "similarity"]


def places(
    path: str | Path, *, temperature: float, radius: float, cell: float, count: int
) -> pd.DataFrame:
    """`count` places at most, COLUMNS: degrees, probability in [0, 1], cosine.

    path: a GeoTIFF of similarities in [-1, 1], NaN where there is nothing. radius, and the side of
    a cell: metres.
    """
    reach = radius / cell  # in cells
    with rasterio.open(path) as file:
        blocks = [window for _, window in file.block_windows(1)]
        highest, total = np.full(len(blocks), -np.inf), 0.0
        for i, window in enumerate(blocks):
            values = _read(file, window)
            highest[i] = values.max()
            total += _weights(values, temperature).sum()
        if total == 0:
            raise BadInput(f"{path}: no cell has data, so no place is likely")
        found: list[tuple[int, int, float]] = []  # row, column, similarity
        while len(found) < count and (i := int(highest.argmax())) >= 0:
            if highest[i] == -np.inf:
                break
            values = _read(file, blocks[i])
            for row, column, _ in found:
                values[_distance(blocks[i], row, column) < 2 * reach] = -np.inf
            row, column = np.unravel_index(values.argmax(), values.shape)
            if values[row, column] == highest[i]:  # nothing else can be higher
                row, column = int(row + blocks[i].row_off), int(column + blocks[i].col_off)
                found.append((row, column, float(highest[i])))
            else:
                highest[i] = values.max()
        rows = []
        for row, column, similarity in found:
            window = _around(file, row, column, int(np.ceil(reach)))
            near = _weights(_read(file, window), temperature)
            mass = near[_distance(window, row, column) <= reach].sum() / total
            x, y = file.transform @ (column + 0.5, row + 0.5)
            lon, lat = transformer(file.crs.to_wkt(), "EPSG:4326").transform(x, y)
            rows.append((lon, lat, mass, similarity))
    return pd.DataFrame(rows, columns=COLUMNS)


def _read(file, window: Window) -> np.ndarray:
    """Similarities [h, w] float64, -inf where there is nothing."""
    values = file.read(1, window=window).astype(np.float64)
    return np.where(np.isnan(values), -np.inf, values)


def _weights(similarity: np.ndarray, temperature: float) -> np.ndarray:
    """exp((s - 1) / t): no cosine is above 1, so none of a sum is too large."""
    return np.exp((similarity - 1) / temperature)


def _distance(window: Window, row: int, column: int) -> np.ndarray:
    """Of a window's cells [h, w] from one cell, in cells."""
    down = np.arange(window.height) + window.row_off - row
    across = np.arange(window.width) + window.col_off - column
    return np.hypot(down[:, None], across)


def _around(file, row: int, column: int, reach: int) -> Window:
    top, left = max(0, row - reach), max(0, column - reach)
    bottom, right = min(file.height, row + reach + 1), min(file.width, column + reach + 1)
    return Window(left, top, right - left, bottom - top)
