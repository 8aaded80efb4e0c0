"""Reads pixels of a scene: windows and chips as harmonised DN, each tile of the file decoded once.

A Sentinel-2 file keeps its pixels in compressed tiles (or strips), and decoding is what a read
costs: a window of 96 pixels out of tiles of 512 throws away 96% of what was decoded. `Reader` so
keeps decoded **blocks** (one or more tiles, all ten bands) in a cache of bounded size, least
recently used out first, and `chips` visits many places block by block: then each block is decoded
once, whatever the order of the places. Values do not depend on the cache or on the order.

A scene is one file with all bands, or one file a band (`Scene.assets`). Bands of 20 m are brought
to the scene's 10 m grid by repeating each pixel (2 x 2): the numbers stay those of the product, a
window does not depend on where it was cut, and neither is detail invented nor are neighbours mixed
before the chip is resampled, which happens once, if at all. (Exports of Earth Engine and odc-stac
do the same by default.) Bands of 10 m are exact.

Where the ground size of a chip is a whole number of pixels it is an exact window of the scene;
elsewhere it is resampled bilinearly on the scene's own grid, averaging where it shrinks.

`Reader` holds open files and belongs to one thread; decoding uses `threads` of its own.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine

from gairlib.data.boundary import reading
from gairlib.data.raster import open_raster
from gairlib.data.scene import CLOUD_CLASSES, REMOTE, Scene, flips, is_remote, name_of
from gairlib.data.scene_files import OpenFile, by_file
from gairlib.data.scene_values import ceiling, mask_of, scaled
from gairlib.errors import BadInput

CACHE_BYTES = 512 * 2**20  # decoded blocks that a Reader keeps
BLOCK = 256  # pixels: smaller tiles and strips are put together into blocks of at least this
LARGE = 4_000_000  # pixels: beyond, GDAL's own threads decode; in small scenes they gain nothing


@dataclass(frozen=True)
class Chip:
    """values uint16 [10, px, px] harmonised DN; transform: chip pixels -> CRS; shares in [0, 1]."""

    values: np.ndarray
    transform: Affine
    nodata_share: float
    cloud_share: float  # of the pixels that have data; NaN without a scene classification


class Reader:
    """Cuts windows and chips out of one scene; a context manager that holds its files open.

    cache_bytes: of decoded pixels to keep (a block of ten bands of 512 x 512 px takes 5 MB).
    threads: for decoding; files of a network are fetched side by side, all at once.
    """

    def __init__(self, scene: Scene, cache_bytes: int | None = None, threads: int | None = None):
        self.scene = scene
        self.cache_bytes = CACHE_BYTES if cache_bytes is None else cache_bytes
        self.threads = threads or min(4, os.cpu_count() or 1)
        self.blocks_read = 0  # how many blocks were decoded so far
        large = scene.width * scene.height > LARGE
        self._options = {"GDAL_NUM_THREADS": str(self.threads)} if large else {}
        self._files: list[OpenFile] = []
        self._cache: OrderedDict[tuple[int, int], tuple] = OrderedDict()
        self._bytes, self._pool = 0, None

    def __enter__(self):
        groups = by_file(self.scene)
        remote = any(is_remote(href) for href, *_ in groups)
        if remote:
            self._options |= REMOTE
        if len(groups) > 1:
            self._pool = ThreadPoolExecutor(len(groups) if remote else self.threads)
        try:
            self._files = self._each(self._open, groups)
        except BaseException:
            self.__exit__()
            raise
        shapes = np.array([np.array(f.dataset.block_shapes[0]) * f.ratio for f in self._files])
        shape = (self.scene.height, self.scene.width)
        self.block = tuple(  # rows, columns
            min(whole, n * -(-BLOCK // n)) for n, whole in zip(shapes.max(axis=0).tolist(), shape)
        )
        return self

    def __exit__(self, *_):
        for file in self._files:
            file.dataset.close()
        if self._pool is not None:
            self._pool.shutdown()
        self._cache.clear()
        self._bytes, self._pool, self._files = 0, None, []

    def _each(self, function, items) -> list:
        return (
            [function(i) for i in items]
            if self._pool is None
            else list(self._pool.map(function, items))
        )

    def _open(self, group) -> OpenFile:
        href, indexes, places, ratio, nodata, scl = group
        name = name_of(href)
        with reading(f"scene {self.scene.id} ({name})", "can no longer be opened"):
            with rasterio.Env(**self._options):
                dataset = open_raster(href)
            wide, high = dataset.width * ratio, dataset.height * ratio
            if (
                wide < self.scene.width
                or high < self.scene.height
                or (max([*indexes, scl or 1]) > dataset.count)
            ):
                dataset.close()
                raise BadInput(
                    f"scene {self.scene.id} ({name}): {dataset.count} bands of {dataset.width} x "
                    f"{dataset.height} px, not what its metadata say; was the file replaced?"
                )
            if nodata is None:
                nodata = dataset.nodata or 0.0
            mask = mask_of(dataset) if indexes else None
            top = ceiling(dataset.dtypes[0], self.scene.factor)
            turned = flips(dataset.transform)
            return OpenFile(dataset, name, indexes, places, ratio, nodata, scl, mask, top, turned)

    def _read(self, column: int, row: int, width: int, height: int):
        """Raw DN [10, h, w] with nodata 0, and SCL [h, w] or None, from the files."""

        def read(file: OpenFile):
            what = f"scene {self.scene.id} ({file.name})"
            with reading(what, "pixels cannot be read; is it cut short?"):
                with rasterio.Env(**self._options):
                    return file.read(column, row, width, height)

        parts = self._each(read, self._files)
        scl = next((s for _, s in parts if s is not None), None)
        if len(parts) == 1:
            return parts[0][0], scl
        raw = np.empty((10, height, width), np.result_type(*(p.dtype for p, _ in parts)))
        for file, (part, _) in zip(self._files, parts):
            raw[file.places] = part
        return raw, scl

    def _block(self, i: int, j: int):
        """The decoded block in row i, column j of blocks, from the cache or the files."""
        if (i, j) in self._cache:
            self._cache.move_to_end((i, j))
            return self._cache[i, j]
        h, w = self.block
        r, c = i * h, j * w
        found = self._read(c, r, min(w, self.scene.width - c), min(h, self.scene.height - r))
        self.blocks_read += 1
        self._cache[i, j] = found
        self._bytes += sum(a.nbytes for a in found if a is not None)
        while self._bytes > self.cache_bytes and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self._bytes -= sum(a.nbytes for a in old if a is not None)
        return found

    def _raw(self, column: int, row: int, width: int, height: int):
        h, w = self.block
        i0, i1, j0, j1 = row // h, (row + height - 1) // h, column // w, (column + width - 1) // w
        if i0 == i1 and j0 == j1:
            raw, scl = self._block(i0, j0)
            part = np.s_[row - i0 * h :, column - j0 * w :]
            cut = np.s_[..., :height, :width]
            return raw[:, *part][cut], None if scl is None else scl[part][cut]
        if (i1 - i0 + 1) * (j1 - j0 + 1) * h * w * 22 > self.cache_bytes:  # 10 bands, SCL, 16 bits
            return self._read(column, row, width, height)
        raw = scl = None
        for i in range(i0, i1 + 1):
            for j in range(j0, j1 + 1):
                r, c = max(row, i * h), max(column, j * w)
                r1, c1 = min(row + height, i * h + h), min(column + width, j * w + w)
                source = np.s_[r - i * h : r1 - i * h, c - j * w : c1 - j * w]
                target = np.s_[r - row : r1 - row, c - column : c1 - column]
                block, block_scl = self._block(i, j)
                if raw is None:
                    raw = np.empty((10, height, width), block.dtype)
                    scl = None if block_scl is None else np.empty((height, width), block_scl.dtype)
                raw[:, *target] = block[:, *source]
                if scl is not None:
                    scl[target] = block_scl[source]
        return raw, scl

    def window(self, column: int, row: int, width: int, height: int):
        """(values uint16 [10, h, w], valid bool [h, w], SCL [h, w] or None) of a pixel window.

        values: harmonised DN, nodata 0; valid: pixels with a value in any band.
        """
        if (
            min(column, row) < 0
            or column + width > self.scene.width
            or (row + height > self.scene.height)
            or min(width, height) < 1
        ):
            raise BadInput(f"scene {self.scene.id}: window reaches outside the scene")
        raw, scl = self._raw(column, row, width, height)
        return *harmonised(scaled(raw, self.scene.factor), self.scene.offset), scl

    def chip(self, column: float, row: float, width: float, height: float, size_px: int) -> Chip:
        """The chip whose upper-left corner and extent are given in the scene's pixels."""
        c0, r0 = math.floor(column), math.floor(row)
        c1, r1 = math.ceil(column + width), math.ceil(row + height)
        values, valid, scl = self.window(c0, r0, c1 - c0, r1 - r0)
        cloud = math.nan
        if scl is not None:
            cloud = float(np.isin(scl, CLOUD_CLASSES)[valid].mean()) if valid.any() else 0.0
        nodata = 1.0 - float(valid.mean())
        if (column, row, width, height) != (c0, r0, size_px, size_px):
            across = _weights(column - c0, width, size_px, c1 - c0)
            down = _weights(row - r0, height, size_px, r1 - r0)
            values = _resample(values, valid, across, down)
        transform = (
            self.scene.transform
            @ Affine.translation(column, row)
            @ Affine.scale(width / size_px, height / size_px)
        )
        return Chip(np.ascontiguousarray(values), transform, nodata, cloud)

    def order(self, column, row) -> np.ndarray:
        """Indexes that visit places (in pixels, [n]) block by block, row of blocks by row.

        Chips around the places in this order find most of their blocks in the cache. Places in
        the same block keep their order.
        """
        h, w = self.block
        return np.lexsort((np.asarray(column) // w, np.asarray(row) // h))

    def chips(
        self, boxes: Sequence[tuple[float, float, float, float]], size_px: int
    ) -> Iterator[tuple[int, Chip]]:
        """(index in boxes, chip) for each (column, row, width, height), ordered by block.

        A generator: only the cache and one chip are held, so the caller puts chips where they go.
        """
        corners = np.array([b[:2] for b in boxes], np.float64).reshape(-1, 2)
        for i in self.order(corners[:, 0], corners[:, 1]):
            yield int(i), self.chip(*boxes[i], size_px)


def harmonised(raw: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw DN [10, h, w], nodata 0 -> (uint16 with the offset taken off, 0 at the least; the mask
    [h, w] of pixels that have a value in any band). Whole numbers never leave whole numbers."""
    valid = _valid(raw, offset)
    if raw.dtype.kind not in "iu":
        return np.clip(raw.astype(np.float64) - offset, 0, 65535).astype(np.uint16), valid
    if raw.dtype.itemsize == 1:
        raw = raw.astype(np.int16)
    values = np.maximum(raw, raw.dtype.type(offset)) - raw.dtype.type(offset)
    if raw.dtype.itemsize > 2:
        values = np.minimum(values, 65535)
    return values.astype(np.uint16, copy=False), valid


LIT = 1500  # DN: a pixel that bright in one band has a value in every band


def _valid(raw: np.ndarray, offset: int) -> np.ndarray:
    """Pixels [h, w] with a value. A 0 in some bands is a gap where others are bright; in dark
    water it is a value that fell to 0."""
    there = raw > 0
    if there.all():
        return np.ones(raw.shape[1:], bool)
    every = there.all(axis=0)
    return there.any(axis=0) & (every | (raw.max(axis=0) < LIT + offset))


def _weights(start: float, extent: float, size: int, available: int) -> np.ndarray:
    """[size, available] rows that sum to 1: bilinear, or a triangle as wide as a target pixel
    where the target is coarser, so that nothing is skipped. Clamped at the border."""
    step = extent / size
    centre = start + (np.arange(size) + 0.5) * step - 0.5
    centre = np.clip(centre, 0.0, available - 1.0)
    distance = np.abs(centre[:, None] - np.arange(available)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / max(1.0, step))
    return weights / weights.sum(axis=1, keepdims=True)


def _resample(values: np.ndarray, valid: np.ndarray, across, down) -> np.ndarray:
    """Weighted means of the pixels that have data; nodata (0) where they are the minority."""
    weight = down @ valid.astype(np.float64) @ across.T  # [px, px]
    total = down @ (values * valid).astype(np.float64) @ across.T  # [10, px, px]
    mean = total / np.maximum(weight, 1e-12)
    return np.where(weight >= 0.5, np.rint(mean), 0.0).astype(np.uint16)
