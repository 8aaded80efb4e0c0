"""A scene's continuous field: every cell of a fine grid, read from overlapping chips and blended.

The encoder sees one chip at a time, and a position near a chip's edge has seen less of its
surroundings. Chips therefore overlap by half, and where several know a cell their vectors are
averaged with weights that fall linearly towards each chip's edge. Three principal components show
such a field as colours; dot products with a photo's vector show where the photo could be.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from affine import Affine
from numpy.typing import ArrayLike

from gairlib import geo, preprocess
from gairlib.data.scene import Scene, corner
from gairlib.data.scene_reader import Reader
from gairlib.embed import pca
from gairlib.embed.pca import PCA as Colours
from gairlib.errors import BadInput

MAX_SIDE = 512  # cells a side: 512 x 512 x 128 float32 are 128 MiB
QUERIES = 4096  # positions that are decoded at a time
FEW_CELLS = 10_000  # at least so many of a large field say what a random guess is worth
FLAT = 1e-6  # cosines that differ by less are rounding, not similarity


@dataclass(frozen=True)
class Field:
    """values float32 [h, w, D], not normalised; valid bool [h, w]: the cell has data.

    transform takes (column, row) in cells to the scene's CRS; `window` is the part of the scene
    that the field covers, (column, row, width, height) in the scene's pixels.
    """

    values: np.ndarray
    valid: np.ndarray
    transform: Affine
    window: tuple[int, int, int, int]
    scene: Scene
    mode: str

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """lon, lat in degrees of the cells' centres, each [h, w]."""
        h, w = self.valid.shape
        row, column = np.mgrid[:h, :w] + 0.5
        c0, r0, width, height = self.window
        return self.scene.to_lonlat(c0 + column * width / w, r0 + row * height / h)

    def similarity(self, vectors: ArrayLike) -> np.ndarray:
        """Cosine similarity [..., h, w] with vectors [..., D]; NaN where there are no data."""
        unit = self.values / np.maximum(np.linalg.norm(self.values, axis=-1, keepdims=True), 1e-12)
        vectors = np.asarray(vectors, dtype=np.float32)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        cosine = np.einsum("...d,hwd->...hw", vectors, unit)
        return np.where(self.valid, cosine, np.nan)


def in_window(
    scene: Scene, window: tuple[int, int, int, int], lon: ArrayLike, lat: ArrayLike
) -> np.ndarray:
    """bool [n]: the places (lon, lat) [n], in degrees, lie in that window of the scene."""
    column, row = scene.to_pixels(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    c0, r0, wide, high = window
    x, y = (column - c0) / wide, (row - r0) / high
    return (0 <= x) & (x < 1) & (0 <= y) & (y < 1)  # False for inf and NaN


def window_around(
    scene: Scene, lon: float | None = None, lat: float | None = None, side: int = MAX_SIDE
) -> tuple[int, int, int, int]:
    """At most side x side pixels of the scene around a position (default: the scene's centre)."""
    c, r = scene.width / 2, scene.height / 2
    if lon is not None:
        c, r = (float(v) for v in scene.to_pixels(lon, lat))
    width, height = min(side, scene.width), min(side, scene.height)
    return (
        int(corner(c - width / 2, width, scene.width)),
        int(corner(r - height / 2, height, scene.height)),
        width,
        height,
    )


@torch.inference_mode()
def dense(
    model,
    scene: Scene,
    *,
    chip_px: int,
    chip_m: float,
    resolution: float = 10.0,
    mode: str | None = None,
    window: tuple[int, int, int, int] | None = None,
    blend: bool = True,
    device: str = "cpu",
) -> Field:
    """The field of `scene` (or of a window of it) on a grid of about `resolution` metres.

    Cells divide the window evenly and are made coarser where there would be more than MAX_SIDE a
    side. mode: as in `model.query_rs`; default the one that the model was trained with.
    """
    if not resolution > 0:
        raise BadInput(f"resolution: {resolution} m, it must be above 0")
    model = model.to(device).eval()
    c0, r0, wide, high = window = window or window_around(scene)
    across, down = scene.pixel_metres(c0 + wide / 2, r0 + high / 2)
    w = int(np.clip(round(wide * across / resolution), 1, MAX_SIDE))
    h = int(np.clip(round(high * down / resolution), 1, MAX_SIDE))
    columns = c0 + (np.arange(w) + 0.5) * wide / w  # centres, in the scene's pixels
    rows = r0 + (np.arange(h) + 0.5) * high / h

    total, weight = np.zeros((h, w, model.config.dim), np.float32), np.zeros((h, w), np.float32)
    with Reader(scene) as reader:
        _, has_data, _ = reader.window(*window)
        for values, box in _chips(reader, window, chip_px, chip_m):
            x, i = _inside(columns, box[0], box[2])
            y, j = _inside(rows, box[1], box[3])
            if not len(i) or not len(j):
                continue  # cells larger than the step between chips
            part = read_chip_field(model, values, x, y, mode=mode, device=device)
            tent = np.outer(1.0 - np.abs(y), 1.0 - np.abs(x)).astype(np.float32) + 1e-3
            at = np.ix_(j, i)
            if blend:
                total[at] += part * tent[..., None]
                weight[at] += tent
            else:  # what another chip knows better stays
                better = tent > weight[at]
                total[at] = np.where(better[..., None], part, total[at])
                weight[at] = np.where(better, tent, weight[at])
    valid = has_data[np.ix_((rows - r0).astype(int), (columns - c0).astype(int))]
    transform = scene.transform @ Affine.translation(c0, r0) @ Affine.scale(wide / w, high / h)
    values = total / np.maximum(weight, 1e-6)[..., None] if blend else total
    return Field(values, valid, transform, window, scene, mode or model.config.query_mode)


@torch.inference_mode()
def read_chip_field(
    model, chip: np.ndarray, x: np.ndarray, y: np.ndarray, *, mode: str | None = None, device="cpu"
) -> np.ndarray:
    """One chip [10, px, px] of harmonised DN, read at the columns x [w] and rows y [h], both in
    [-1, 1] -> float32 [h, w, D]."""
    prep = preprocess.get(model.config.preprocessing)
    dn = torch.from_numpy(np.asarray(chip, dtype=np.float32))[None]
    features = model.encode_rs(prep.rs(dn, model.config.rs_size).to(device))
    xy = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(1, -1, 2))
    parts = [
        model.query_rs(features, part.to(device), mode=mode)[0].float().cpu()
        for part in xy.split(QUERIES, dim=1)
    ]
    return torch.cat(parts).numpy().reshape(len(y), len(x), -1)


def cell_centres(n: int) -> np.ndarray:
    """The centres of n equal cells between -1 and 1."""
    return (np.arange(n) + 0.5) * 2.0 / n - 1.0


def _chips(reader: Reader, window, chip_px: int, chip_m: float):
    """Chips that cover the window, half over each other: (values, box in the scene's pixels)."""
    scene, (c0, r0, wide, high) = reader.scene, window
    width, height = scene.chip_pixels(chip_m, c0 + wide / 2, r0 + high / 2)
    if width > scene.width or height > scene.height:  # as scenes.tiles does
        width, height = scene.width, scene.height
    for r in _starts(r0, high, height, scene.height):
        for c in _starts(c0, wide, width, scene.width):
            yield reader.chip(c, r, width, height, chip_px).values, (c, r, width, height)


def _starts(first: float, length: float, chip: float, available: int) -> list[float]:
    """Corners of chips that cover [first, first + length], at most half a chip apart."""
    last = max(first, first + length - chip)
    count = math.ceil((last - first) / (chip / 2) - 1e-9) + 1
    return [corner(s, chip, available) for s in np.linspace(first, last, count)]


def _inside(centres: np.ndarray, start: float, extent: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions in [-1, 1] of the centres that lie in a chip, and their indices."""
    position = 2.0 * (centres - start) / extent - 1.0
    index = np.flatnonzero(np.abs(position) <= 1.0)
    return position[index], index


# ---------------------------------------------------------------------------- colours


def colours(values: ArrayLike, like: np.ndarray | None = None) -> Colours:
    """Three axes of the vectors [..., D] with the 2nd and 98th percentile as the channels' ends.

    like: scores [..., 3] of another field at the same places; the axes are then turned to agree
    with them, so that two pictures can be compared by colour. See `gairlib.embed.pca`.
    """
    rows = np.asarray(values, dtype=np.float64).reshape(-1, np.shape(values)[-1])
    return pca.fit(rows, 3, like=None if like is None else like.reshape(-1, 3))


# ---------------------------------------------------------------------------- where a photo is


@dataclass(frozen=True)
class Finding:
    """The most similar cell for a photo: where, how far off, and what guessing would give (m)."""

    lon: float
    lat: float
    cosine: float
    error_m: float
    guess_m: float  # median distance of a random cell from the truth


def similarity_limits(cosine: np.ndarray) -> tuple[float, float]:
    """The 2nd percentile and the maximum of the cosines that are known; (0, 1) without any."""
    known = cosine[np.isfinite(cosine)]
    return (float(np.percentile(known, 2)), float(known.max())) if known.size else (0.0, 1.0)


def flat_note(high: float) -> str:
    """What is said of similarities that are all `high`."""
    return f"similarity is {high:.2f} everywhere: the field is constant"


def find(
    field: Field,
    similarity: np.ndarray,
    lon: float,
    lat: float,
    *,
    centres: np.ndarray | None = None,
) -> Finding | None:
    """Take the cell of the highest similarity [h, w]; the true position is (lon, lat). centres:
    the cells' (lon, lat) [h, w, 2], for whoever asks often. None where the similarities are the
    same everywhere, give or take FLAT: any cell would do. BadInput where none is known."""
    if not np.isfinite(similarity).any():
        raise BadInput(f"scene {field.scene.id}: no cell with data to look for the photo in")
    low, high = similarity_limits(similarity)
    if high - low < FLAT:
        return None
    if centres is None:
        centres = np.stack(field.centres(), axis=-1)
    here = np.array([lon, lat])
    best = np.unravel_index(np.nanargmax(similarity), similarity.shape)
    # chance is a median over some thousand cells: a quarter of a million would tell no more of it
    step = max(1, int((similarity.size / FEW_CELLS) ** 0.5))
    some = centres[::step, ::step][field.valid[::step, ::step]]
    some = some if len(some) else centres[field.valid]
    return Finding(
        float(centres[best][0]),
        float(centres[best][1]),
        float(similarity[best]),
        float(geo.haversine(centres[best], here)),
        float(np.median(geo.haversine(some, here))),
    )
