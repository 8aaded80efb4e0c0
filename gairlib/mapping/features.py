"""What a map is made from, pixel by pixel: the field, the pixel's ten bands, their 3 x 3 means.

The field tells what surrounds a pixel; of what is finer than a token (40 m and more) it keeps
little, so the bands stand beside it. The field is read by `gairlib.embed.walker`, chip by chip,
blended and in bounded memory; labels are learnt from the same numbers that a map is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gairlib.bands import BANDS
from gairlib.data.scene import Scene
from gairlib.data.scene_reader import Reader
from gairlib.embed.reading import Reading
from gairlib.embed.walker import Walker, lay_out

PIXEL = 2 * len(BANDS)  # features of a pixel itself, the first ones
CELLS = 65_536  # features of so many cells are made at a time


@dataclass(frozen=True)
class Chips:
    """How a scene is read. mode: of the field, as `model.query_rs` has it; chip_px, chip_m: chips
    as the model was trained with; overlap: of neighbouring chips, as a share of one."""

    mode: str
    chip_px: int
    chip_m: float
    overlap: float


class Features:
    """Features float32 [.., PIXEL + D] of a window (column, row, width, height) of a scene; with a
    `reading` of another kind (`gairlib.mapping.network`) what that gives, [.., K]."""

    def __init__(
        self, model, reader: Reader, chips: Chips, window: tuple[int, int, int, int], reading=None
    ):
        c0, r0, wide, high = self.window = window
        self.reader, scene = reader, reader.scene
        self.pixels = PIXEL if reading is None else 0  # features of the pixel itself
        self.walker = Walker(
            reader,
            reading or Reading(model, chips.mode),
            lay_out(scene, chips.chip_m, chips.overlap),
            chips.chip_px,
            c0 + np.arange(wide) + 0.5,
            r0 + np.arange(high) + 0.5,
        )
        self.strips = self.walker.strips

    def strip(self, first: int, end: int, done: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Columns [first, end) of the window from its row `done` on: (row, [n, end - first, F]);
        NaN where the scene has no data."""
        step = max(1, CELLS // (end - first))
        for row, field in self.walker.strip(first, end, done):
            for top in range(0, len(field), step):
                part = field[top : top + step]
                if self.pixels:
                    bands = self._bands(first, row + top, part.shape[1], len(part))
                    part = np.concatenate([bands, part], axis=-1)
                yield row + top, part

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """[n, F] of pixels (column, row) of the scene [n, 2] inside the window."""
        column, row = (pixels - self.window[:2]).T
        found = np.full((len(pixels), self.pixels + self.walker.reading.bands), np.nan, np.float32)
        for first, end in self.strips:
            for top, values in self.strip(first, end):
                here = (row >= top) & (row < top + len(values)) & (column >= first) & (column < end)
                found[here] = values[row[here] - top, column[here] - first]
        return found

    def _bands(self, column: int, row: int, wide: int, high: int) -> np.ndarray:
        """Bands and their means over 3 x 3 pixels with data, [high, wide, PIXEL]."""
        scene, c, r = self.reader.scene, self.window[0] + column, self.window[1] + row
        c0, r0 = max(c - 1, 0), max(r - 1, 0)
        c1, r1 = min(c + wide + 1, scene.width), min(r + high + 1, scene.height)
        values, valid, _ = self.reader.window(c0, r0, c1 - c0, r1 - r0)
        padded = np.zeros((high + 2, wide + 2, len(BANDS) + 1), np.float32)
        there = padded[r0 - r + 1 : r1 - r + 1, c0 - c + 1 : c1 - c + 1]
        there[..., :-1] = values.transpose(1, 2, 0) * valid[..., None]
        there[..., -1] = valid
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        sums = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
        means = sums[..., :-1] / np.maximum(sums[..., -1:], 1)
        return np.concatenate([padded[1:-1, 1:-1, :-1], means], axis=-1)


def window_of(scene: Scene, pixels: np.ndarray) -> tuple[int, int, int, int]:
    """The least window of the scene that holds pixels (column, row) [n, 2]."""
    (c0, r0), (c1, r1) = pixels.min(0).tolist(), pixels.max(0).tolist()
    return c0, r0, c1 - c0 + 1, r1 - r0 + 1
