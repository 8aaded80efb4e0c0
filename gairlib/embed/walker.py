"""One scene's continuous field, read chip by chip and blended, in bounded memory.

The map (`gairlib.embed.field`) and the GeoTIFF (`gairlib.embed.dense`) both read a field here, so
at one place they hold the same numbers.

The encoder sees one chip at a time, and a position near a chip's edge has seen less of its
surroundings. Chips therefore overlap. Each is read at the centres of the cells
(`gairlib.embed.reading`) and weighted by a raised cosine that falls to 0 at the chip's edges within
the overlap; the sum is divided by the sum of the weights, so the field has no seams and a constant
field stays constant. With overlap 0 nothing is blended: each cell is read from one chip.

Chips are laid out over the scene, not over the part that is asked for: the field at a place does
not depend on the window in which it is read.

Rows of chips are worked on from the north to the south. What no later row will touch is handed out
and forgotten, and wide outputs are made in strips of columns.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from gairlib import preprocess
from gairlib.data.scene import Scene, corner
from gairlib.data.scene_reader import Reader
from gairlib.embed.reading import Reading
from gairlib.errors import BadInput

OVERLAP = (
    0.25  # of neighbouring chips, as a share of a chip: 1.8 times the encoding, a half 4 times
)
BUFFER_BYTES = 512 * 2**20  # of the rows that chips still touch
BATCH = 32  # chips encoded at a time
FLOOR = 1e-6  # of a chip's weight, at its very edge


@dataclass(frozen=True)
class Layout:
    """Where chips lie: corners [n] in the scene's pixels along each axis, and their extent."""

    columns: tuple[float, ...]
    rows: tuple[float, ...]
    width: float
    height: float
    overlap: float


def lay_out(scene: Scene, chip_m: float, overlap: float) -> Layout:
    """Chips over the whole scene, evenly spread, at least `overlap` of a chip over each other. A
    scene smaller than a chip is one chip, as in `scenes.tiles`."""
    if not 0 <= overlap <= 0.9:
        raise BadInput(f"overlap: {overlap}, a share of the chip in [0, 0.9] is needed")
    width, height = scene.chip_pixels(chip_m, scene.width / 2, scene.height / 2)
    if width > scene.width or height > scene.height:
        width, height = scene.width, scene.height
    across, down = (
        _starts(extent, extent * (1 - overlap), available)
        for extent, available in ((width, scene.width), (height, scene.height))
    )
    return Layout(across, down, width, height, overlap)


def check_window(scene: Scene, window: tuple[int, int, int, int]) -> None:
    """BadInput unless (column, row, width, height) in pixels lies in the scene."""
    c0, r0, wide, high = window
    inside = min(c0, r0) >= 0 and c0 + wide <= scene.width and r0 + high <= scene.height
    if min(wide, high) < 1 or not inside:
        raise BadInput(
            f"window {tuple(window)}: (column, row, width, height) must lie in scene "
            f"{scene.id} of {scene.width} x {scene.height} px"
        )


def ramp(position: np.ndarray, overlap: float) -> np.ndarray:
    """A chip's weight along one axis at positions in [-1, 1]: 1 inside, a raised cosine to 0 within
    the share `overlap` of the chip at each edge."""
    if overlap == 0:
        return np.ones(len(position))
    depth = np.clip((1 - np.abs(position)) / 2 / overlap, 0, 1)
    return np.sin(np.pi / 2 * depth) ** 2 + FLOOR


class Walker:
    """Reads the field of `reader.scene` at cells in columns and rows.

    columns [w], rows [h]: the cells' centres, ascending, in the scene's pixels. chip_px: a chip's
    side in pixels, as the model was trained with.
    """

    def __init__(
        self,
        reader: Reader,
        reading: Reading,
        layout: Layout,
        chip_px: int,
        columns: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        self.reader, self.reading, self.layout, self.chip_px = reader, reading, layout, chip_px
        self.columns, self.rows = columns, rows
        scene = reader.scene
        metres = np.array(scene.pixel_metres(scene.width / 2, scene.height / 2), np.float64)
        self.side_m = torch.from_numpy(metres * (layout.width, layout.height))  # of every chip
        self.down = _places(rows, layout.rows, layout.height, layout.overlap)
        high = max(place.stop - place.start for _, _, place in self.down)
        wide = max(256, BUFFER_BYTES // (high * (reading.bands + 1) * 4) // 256 * 256)
        n = len(columns)
        self.strips = [(c, min(c + wide, n)) for c in range(0, n, wide)]  # of columns [first, end)

    @torch.inference_mode()
    def strip(self, first: int, end: int, done: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, float32 [n, end - first, K]) from the row `done` to the last one;
        NaN where the scene has no data."""
        columns, rows = self.columns[first:end], self.rows
        across = _places(columns, self.layout.columns, self.layout.width, self.layout.overlap)
        down = [d for d in self.down if d[2].stop > max(done, d[2].start)]
        high = max((d[2].stop - max(done, d[2].start) for d in down), default=0)
        total = torch.zeros(high, len(columns), self.reading.bands)
        weight = torch.zeros(high, len(columns))
        top = done  # the row of cells that total[0] stands for
        for i, (r, y, place) in enumerate(down):
            skip = max(0, top - place.start)  # rows that an earlier run has written
            here = slice(place.start + skip - top, place.stop - top)
            self._add(total[here], weight[here], across, r, y, skip)
            bottom = max(top, down[i + 1][2].start) if i + 1 < len(down) else len(rows)
            if n := bottom - top:
                yield top, self._blended(total[:n], weight[:n], columns, rows[top:bottom])
                for kept in (total, weight):
                    kept[: high - n] = kept[n:].clone()
                    kept[high - n :] = 0
                top = bottom

    def _add(
        self, total: Tensor, weight: Tensor, across: list, r: float, y: np.ndarray, skip: int
    ) -> None:
        """Add a row of chips, whose cells are at y [skip + n], to total [n, w, K], weight [n, w].

        Cells that are skipped are computed all the same: a product of another shape would round
        otherwise, and a resumed file would differ in its last digits.
        """
        model, overlap = self.reading.model, self.layout.overlap
        prepare = preprocess.get(model.config.preprocessing).rs
        down = torch.from_numpy(ramp(y, overlap)).float()
        for batch in self._chips(across, r):
            dn = torch.from_numpy(np.stack([chip for chip, _, _ in batch]).astype(np.float32))
            images = prepare(dn, model.config.rs_size).to(self.reading.device)
            features = model.encode_rs(images, side_m=self.side_m.expand(len(batch), 2))
            decoded = self.reading.rows(features.grid)
            for b, (tokens, (_, x, place)) in enumerate(zip(decoded, batch)):
                share = down[:, None] * torch.from_numpy(ramp(x, overlap)).float()
                weight[:, place] += share[skip:]
                one = features.of(slice(b, b + 1))
                for part, values in self.reading.slabs(tokens, one.grid[0], x, y, one):
                    first = max(part.start, skip)
                    if first < part.stop:
                        values = values[first - part.start :] * share[first : part.stop, :, None]
                        total[first - skip : part.stop - skip, place] += values

    def _chips(self, across: list, r: float):
        """Batches of (chip [10, px, px], x, columns) of a row; chips without data are skipped."""
        batch = []
        for c, x, place in across:
            chip = self.reader.chip(c, r, self.layout.width, self.layout.height, self.chip_px)
            if chip.nodata_share < 1:
                batch.append((chip.values, x, place))
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _blended(
        self, total: Tensor, weight: Tensor, columns: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        values = total / weight.clamp(min=1e-30)[..., None]
        values -= torch.from_numpy(np.asarray(self.reading.shift)).float()
        c, r = (v.astype(int) for v in (columns, rows))
        _, has_data, _ = self.reader.window(c[0], r[0], c[-1] - c[0] + 1, r[-1] - r[0] + 1)
        values[~torch.from_numpy(has_data[np.ix_(r - r[0], c - c[0])])] = torch.nan
        return values.numpy()


def _starts(extent: float, step: float, available: int) -> tuple[float, ...]:
    count = math.ceil((available - extent) / step - 1e-9) + 1
    starts = np.linspace(0.0, available - extent, count)
    return tuple(corner(float(s), extent, available) for s in starts)


def _places(
    centres: np.ndarray, starts: tuple[float, ...], extent: float, overlap: float
) -> list[tuple[float, np.ndarray, slice]]:
    """(start, positions in [-1, 1] of the ascending centres, which of them) of each chip along one
    axis that is read at any. Without blending a chip ends in the middle of what it shares with the
    next one."""
    middles = [(a + extent + b) / 2 for a, b in pairwise(starts)]
    cuts = [0, *np.searchsorted(centres, middles).tolist(), len(centres)]
    found = []
    for i, start in enumerate(starts):
        position = 2.0 * (centres - start) / extent - 1.0
        first, end = (int(v) for v in np.searchsorted(position, (-1.0, 1.0 + 1e-12)))
        if overlap == 0:
            first, end = cuts[i], cuts[i + 1]
        if end > first:
            found.append((start, np.clip(position[first:end], -1.0, 1.0), slice(first, end)))
    return found
