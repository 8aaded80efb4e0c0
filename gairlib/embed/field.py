"""A scene's continuous field on a fine grid, for maps: every cell's vector, in memory.

Three principal components show such a field as colours; dot products with a photo's vector show
where the photo could be. How a field is read is in `gairlib.embed.walker`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import xarray as xr
from affine import Affine
from numpy.typing import ArrayLike
from pyproj import CRS

from gairlib import devices, preprocess, scale
from gairlib.data.scene import Scene, corner
from gairlib.data.scene_reader import Reader
from gairlib.embed import pca
from gairlib.embed.pca import PCA
from gairlib.embed.reading import Reading
from gairlib.embed.walker import OVERLAP, Walker, check_window, lay_out
from gairlib.errors import BadInput

MAX_SIDE = 512  # cells a side: 512 x 512 x 128 float32 are 128 MiB


@dataclass(frozen=True)
class Field:
    """values float32 [h, w, D], not normalised, 0 where not valid; valid bool [h, w]: has data.

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

    def to_xarray(self) -> xr.DataArray:
        """The field as (band, y, x) float32, NaN where there are no data: x and y in the scene's
        CRS at the cells' centres, `spatial_ref` as rioxarray reads it, `time` where it is known."""
        h, w, d = self.values.shape
        t = self.transform
        crs = CRS.from_user_input(self.scene.crs)
        about = {**crs.to_cf(), "GeoTransform": " ".join(map(repr, t.to_gdal()))}
        coords = {
            "band": [f"embedding {i}" for i in range(d)],
            "y": t.f + t.e * (np.arange(h) + 0.5),
            "x": t.c + t.a * (np.arange(w) + 0.5),
            "spatial_ref": xr.Variable((), 0, about),
        }
        if self.scene.datetime:
            time = pd.Timestamp(self.scene.datetime)
            time = time.tz_convert("UTC").tz_localize(None) if time.tz else time
            coords["time"] = time.to_datetime64()
        values = np.where(self.valid, np.moveaxis(self.values, -1, 0), np.float32(np.nan))
        attrs = {"scene": self.scene.id, "mode": self.mode}
        return xr.DataArray(values, coords, ("band", "y", "x"), "field", attrs)


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


@devices.on_device
@torch.inference_mode()
def dense_field(
    model,
    scene: Scene,
    *,
    chip_px: int | None = None,
    chip_m: float | None = None,
    overlap: float = OVERLAP,
    resolution: float = 10.0,
    mode: str | None = None,
    heading: float | None = None,
    window: tuple[int, int, int, int] | None = None,
    device: str = "auto",
) -> Field:
    """The field of `scene` (or of a window of it) on a grid of about `resolution` metres.

    Cells divide the window evenly and are made coarser where there would be more than MAX_SIDE a
    side. chip_px, chip_m, overlap: as in `gairlib.embed.dense.write_cog`; 0 blends nothing. mode:
    as in `model.query_rs`; default the one that the model was trained with. heading: where cameras
    look, degrees clockwise from the scene's upper edge, for a field that reads headings; None: the
    mean of all directions.
    """
    if not resolution > 0:
        raise BadInput(f"resolution: {resolution} m, it must be above 0")
    chip_px, chip_m = scale.of(model.config, chip_px, chip_m)
    window = window or window_around(scene)
    check_window(scene, window)
    c0, r0, wide, high = window
    across, down = scene.pixel_metres(c0 + wide / 2, r0 + high / 2)
    w = int(np.clip(round(wide * across / resolution), 1, MAX_SIDE))
    h = int(np.clip(round(high * down / resolution), 1, MAX_SIDE))
    columns = c0 + (np.arange(w) + 0.5) * wide / w  # centres, in the scene's pixels
    rows = r0 + (np.arange(h) + 0.5) * high / h

    reading = Reading(model.to(device).eval(), mode, heading=heading)
    values = np.empty((h, w, reading.bands), np.float32)
    with Reader(scene) as reader:
        walker = Walker(reader, reading, lay_out(scene, chip_m, overlap), chip_px, columns, rows)
        for first, end in walker.strips:
            for row, part in walker.strip(first, end):
                values[row : row + len(part), first:end] = part
    valid = ~np.isnan(values[..., 0])
    values[~valid] = 0.0
    transform = scene.transform @ Affine.translation(c0, r0) @ Affine.scale(wide / w, high / h)
    return Field(values, valid, transform, window, scene, reading.label)


@devices.on_device
@torch.inference_mode()
def read_chip_field(
    model,
    chip: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    mode: str | None = None,
    heading: float | None = None,
    side_m: float | None = None,
    device: str = "auto",
) -> np.ndarray:
    """One chip [10, px, px] of harmonised DN, read at the columns x [w] and rows y [h], both in
    [-1, 1] -> float32 [h, w, D]. heading: as `dense_field`; side_m: as `model.encode_rs`."""
    reading = Reading(model.to(device).eval(), mode, heading=heading)
    prep = preprocess.get(model.config.preprocessing)
    dn = torch.from_numpy(np.asarray(chip, dtype=np.float32))[None]
    images = prep.rs(dn, model.config.rs_size).to(device)
    features = model.encode_rs(images, side_m=side_m)
    parts = reading.slabs(reading.rows(features.grid)[0], features.grid[0], x, y, features)
    return torch.cat([values for _, values in parts]).numpy()


def cell_centres(n: int) -> np.ndarray:
    """The centres of n equal cells between -1 and 1."""
    return (np.arange(n) + 0.5) * 2.0 / n - 1.0


# ---------------------------------------------------------------------------- colours


def fit_colours(values: ArrayLike, like: np.ndarray | None = None) -> PCA:
    """Three axes of the vectors [..., D] with the 2nd and 98th percentile as the channels' ends.

    like: scores [..., 3] of another field at the same places; the axes are then turned to agree
    with them, so that two pictures can be compared by colour. See `gairlib.embed.pca`.
    """
    rows = np.asarray(values, dtype=np.float64).reshape(-1, np.shape(values)[-1])
    return pca.fit(rows, 3, like=None if like is None else like.reshape(-1, 3))
