"""A whole scene as a continuous field: one Cloud-Optimised GeoTIFF, at any ground resolution.

Chips cover the scene with an overlap. Each is read at the centres of the output's cells
(`gairlib.embed.reading`) and weighted by a raised cosine that falls to 0 at the chip's edges
within the overlap; the sum is divided by the sum of the weights, so the field has no seams and a
constant field stays constant. Chips are laid out over the scene, not over the window: a window's
cells are those of the whole scene's file.

Memory is bounded. The output grows from the north to the south: what no later row of chips will
touch is written and forgotten (`gairlib.embed.cog`), and wide outputs are made in strips of columns.
Values are not of unit length; NaN where the scene has no data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import torch
from affine import Affine
from tqdm.auto import tqdm

from gairlib import __version__, preprocess
from gairlib.data.scene import Scene, corner, sentinel_notice
from gairlib.data.scene_reader import Reader
from gairlib.embed import cog
from gairlib.embed.pca import PCA
from gairlib.embed.reading import Reading
from gairlib.errors import BadInput
from gairlib.model import model_hash

BUFFER_BYTES = 512 * 2**20  # of the rows that chips still touch
BATCH = 32  # chips encoded at a time
SCALE = 0.005  # a CRS whose metres are this close to metres on the ground is taken at its word
FLOOR = 1e-6  # of a chip's weight, at its very edge


@dataclass(frozen=True)
class Layout:
    """Where chips lie: corners [n] in the scene's pixels along each axis, and their extent."""

    columns: tuple[float, ...]
    rows: tuple[float, ...]
    width: float
    height: float


def write_cog(
    model,
    scene: Scene,
    path: str | Path,
    *,
    chip_px: int,
    chip_m: float,
    overlap: float = 0.25,
    resolution: float = 10.0,
    projection: PCA | None = None,
    mode: str | None = None,
    dtype: str = "float32",
    window: tuple[int, int, int, int] | None = None,
    device: str = "cpu",
    licence: str | None = None,
    progress: bool = True,
) -> Path:
    """The field of a scene (or of a window of it) as a COG in the scene's CRS.

    chip_px, chip_m: chips as the model was trained with. overlap: of neighbouring chips, as a share
    of a chip, [0, 0.9]; a quarter costs 1.8 times the encoding, a half 4 times. resolution: metres
    a cell, any. projection: a `pca.PCA` of the model's vectors; None keeps all D channels. mode: as
    `model.query_rs` has it, default the trained one. dtype: "float32", or "int8" between the ends
    of the projection. window: (column, row, width, height) in the scene's pixels. licence: for the
    file's tags, default the notice that Copernicus asks for.

    An interrupted call, repeated with the same arguments, goes on where it stopped.
    """
    cog.check_path(path)
    layout = lay_out(scene, chip_m, overlap)
    grid, cell = output_grid(
        scene, resolution, window, model.config.dim if projection is None else projection.bands
    )
    model = model.to(device).eval()
    reading = Reading(model, mode, projection)
    weights = model_hash(model)
    settings = {
        "version": __version__,
        "model": weights,
        "mode": reading.mode,
        "chip_px": chip_px,
        "chip_m": chip_m,
        "overlap": overlap,
        "scene": scene.id,
        "source": _stamp(scene),
        "projection": projection and projection.digest(),
    }
    origin = (window or (0, 0))[:2]
    columns = origin[0] + (np.arange(grid.width) + 0.5) * cell[0]  # centres, in the scene's pixels
    rows = origin[1] + (np.arange(grid.height) + 0.5) * cell[1]
    strips = _strips(rows, grid, layout)
    ends = projection and (projection.low, projection.high)
    parts = cog.Parts(path, grid, {**settings, "strips": strips}, dtype, ends)
    bar = tqdm(
        total=grid.height * grid.width,
        unit="px",
        unit_scale=True,
        desc=scene.id,
        mininterval=1,
        disable=not progress,
    )
    with bar, rasterio.Env(GDAL_CACHEMAX=cog.CACHE_BYTES), Reader(scene) as reader:
        for first, end in strips:
            strip = _Strip(model, reader, reading, layout, chip_px, overlap, columns[first:end])
            done = parts.rows_done((first, end))
            bar.update(done * (end - first))
            for row, values in strip.run(rows, done):
                parts.add(row, first, values)
                bar.update(values[0].size)
    return parts.finish(_tags(scene, settings, resolution, licence), _names(grid.bands, projection))


@torch.inference_mode()
def sample(
    model,
    scene: Scene,
    *,
    chip_px: int,
    chip_m: float,
    mode: str | None = None,
    chips: int = 64,
    places: int = 64,
    seed: int = 0,
    device: str = "cpu",
) -> np.ndarray:
    """Vectors of the field at random places with data, float32 [n, D], to fit a PCA on.

    chips: how many of the scene's chips are drawn; places: how many positions in each.
    """
    model = model.to(device).eval()
    layout, prepare = lay_out(scene, chip_m, 0.0), preprocess.get(model.config.preprocessing).rs
    corners = [(c, r, layout.width, layout.height) for r in layout.rows for c in layout.columns]
    rng = np.random.default_rng(seed)
    drawn = [corners[i] for i in rng.permutation(len(corners))[:chips]]
    found = []
    with rasterio.Env(GDAL_CACHEMAX=cog.CACHE_BYTES), Reader(scene) as reader:
        for _, chip in reader.chips(drawn, chip_px):
            pixels = np.argwhere((chip.values > 0).any(axis=0))  # row, column
            if not len(pixels):
                continue
            at = pixels[rng.integers(len(pixels), size=places)] + 0.5
            xy = torch.from_numpy(2 * at[None, :, ::-1].copy() / chip_px - 1)
            dn = torch.from_numpy(chip.values.astype(np.float32))[None]
            features = model.encode_rs(prepare(dn, model.config.rs_size).to(device))
            vectors = model.query_rs(features, xy.to(device), mode=mode)[0]
            found.append(vectors.float().cpu().numpy())
    if not found:
        raise BadInput(f"scene {scene.id}: no pixel with data in the chips that were drawn")
    return np.concatenate(found)


# ---------------------------------------------------------------------------- where things lie


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
    return Layout(across, down, width, height)


def _starts(extent: float, step: float, available: int) -> tuple[float, ...]:
    count = math.ceil((available - extent) / step - 1e-9) + 1
    starts = np.linspace(0.0, available - extent, count)
    return tuple(corner(float(s), extent, available) for s in starts)


def output_grid(
    scene: Scene, resolution: float, window: Sequence[int] | None, bands: int
) -> tuple[cog.Grid, tuple[float, float]]:
    """The grid of the output, and a cell's (width, height) in the scene's pixels.

    Cells start at the window's corner; those whose centre is outside the window are left out. In a
    CRS of metres that are metres on the ground within 0.5% (UTM) a cell is `resolution` of them
    exactly; elsewhere (degrees, Web Mercator) the ground decides, at the window's middle.
    """
    if not (np.isfinite(resolution) and resolution > 0):
        raise BadInput(f"resolution: {resolution} m, it must be above 0")
    c0, r0, wide, high = window or (0, 0, scene.width, scene.height)
    if (
        min(c0, r0) < 0
        or min(wide, high) < 1
        or c0 + wide > scene.width
        or (r0 + high > scene.height)
    ):
        raise BadInput(
            f"window {tuple(window)}: (column, row, width, height) must lie in scene "
            f"{scene.id} of {scene.width} x {scene.height} px"
        )
    ground = scene.pixel_metres(c0 + wide / 2, r0 + high / 2)
    t, crs = scene.transform, pyproj.CRS.from_user_input(scene.crs)
    if not crs.is_geographic:
        factor = crs.axis_info[0].unit_conversion_factor
        nominal = math.hypot(t.a, t.d) * factor, math.hypot(t.b, t.e) * factor
        ground = [n if abs(g / n - 1) <= SCALE else g for g, n in zip(ground, nominal)]
    cell = tuple(resolution / g for g in ground)
    w, h = (math.floor(n / c + 0.5 - 1e-9) for n, c in zip((wide, high), cell))
    if min(w, h) < 1:
        raise BadInput(f"resolution: {resolution:g} m is coarser than twice the window's side")
    place = t @ Affine.translation(c0, r0) @ Affine.scale(*cell)
    return cog.Grid(bands, h, w, scene.crs, place), cell


def _strips(rows: np.ndarray, grid: cog.Grid, layout: Layout) -> list[tuple[int, int]]:
    """Strips of columns [first, end) whose rows under work fit into BUFFER_BYTES."""
    high = max(len(_inside(rows, r, layout.height)[0]) for r in layout.rows)
    wide = max(256, BUFFER_BYTES // (max(1, high) * (grid.bands + 1) * 4) // 256 * 256)
    return [(c, min(c + wide, grid.width)) for c in range(0, grid.width, wide)]


def _inside(centres: np.ndarray, start: float, extent: float) -> tuple[np.ndarray, slice]:
    """Positions in [-1, 1] of the (ascending) centres that lie in a chip, and which they are."""
    position = 2.0 * (centres - start) / extent - 1.0
    first, end = np.searchsorted(position, (-1.0, 1.0 + 1e-12))
    return np.clip(position[first:end], -1.0, 1.0), slice(int(first), int(end))


def ramp(position: np.ndarray, overlap: float) -> np.ndarray:
    """A chip's weight along one axis at positions in [-1, 1]: 1 inside, a raised cosine to 0 within
    the share `overlap` of the chip at each edge."""
    if overlap == 0:
        return np.ones(len(position))
    depth = np.clip((1 - np.abs(position)) / 2 / overlap, 0, 1)
    return np.sin(np.pi / 2 * depth) ** 2 + FLOOR


# ---------------------------------------------------------------------------- the work


class _Strip:
    """One strip of columns, from the north to the south."""

    def __init__(self, model, reader, reading, layout, chip_px, overlap, columns):
        self.model, self.reader, self.reading = model, reader, reading
        self.layout, self.chip_px, self.overlap, self.columns = layout, chip_px, overlap, columns
        self.prepare = preprocess.get(model.config.preprocessing).rs
        self.across = [
            (c, *found)
            for c in layout.columns
            if len((found := _inside(columns, c, layout.width))[0])
        ]

    @torch.inference_mode()
    def run(self, rows: np.ndarray, done: int):
        """Yields (first row, float32 [K, n, w]) for all cells below the `done` rows at the top."""
        down = [(r, *_inside(rows, r, self.layout.height)) for r in self.layout.rows]
        down = [d for d in down if d[2].stop > max(done, d[2].start)]
        high = max((d[2].stop - max(done, d[2].start) for d in down), default=0)
        total = torch.zeros(high, len(self.columns), self.reading.bands)
        weight = torch.zeros(high, len(self.columns))
        top = done  # the row of cells that total[0] stands for
        for i, (r, y, place) in enumerate(down):
            skip = max(0, top - place.start)  # rows that an earlier run has written
            here = slice(place.start + skip - top, place.stop - top)
            self._add(total[here], weight[here], r, y, skip)
            end = max(top, down[i + 1][2].start) if i + 1 < len(down) else len(rows)
            if n := end - top:
                yield top, self._blended(total[:n], weight[:n], rows[top:end])
                for kept in (total, weight):
                    kept[: high - n] = kept[n:].clone()
                    kept[high - n :] = 0
                top = end

    def _add(self, total, weight, r: float, y: np.ndarray, skip: int) -> None:
        """Add a row of chips, whose cells are at y [skip + n], to total [n, w, K], weight [n, w].

        Cells that are skipped are computed all the same: a product of another shape would round
        otherwise, and a resumed file would differ in its last digits.
        """
        down = torch.from_numpy(ramp(y, self.overlap)).float()
        for batch in self._chips(r):
            dn = torch.from_numpy(np.stack([chip for chip, _, _ in batch]).astype(np.float32))
            images = self.prepare(dn, self.model.config.rs_size).to(self.reading.device)
            grids = self.model.encode_rs(images).grid
            decoded = self.reading.rows(grids)
            for grid, tokens, (_, x, place) in zip(grids, decoded, batch):
                tent = down[:, None] * torch.from_numpy(ramp(x, self.overlap)).float()
                weight[:, place] += tent[skip:]
                for part, values in self.reading.slabs(tokens, grid, x, y):
                    first = max(part.start, skip)
                    if first < part.stop:
                        values = values[first - part.start :] * tent[first : part.stop, :, None]
                        total[first - skip : part.stop - skip, place] += values

    def _chips(self, r: float):
        """Batches of (chip [10, px, px], x, columns) of a row; chips without data are skipped."""
        batch = []
        for c, x, place in self.across:
            chip = self.reader.chip(c, r, self.layout.width, self.layout.height, self.chip_px)
            if chip.nodata_share < 1:
                batch.append((chip.values, x, place))
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _blended(self, total, weight, rows: np.ndarray) -> np.ndarray:
        values = total / weight.clamp(min=1e-30)[..., None]
        values -= torch.from_numpy(np.asarray(self.reading.shift)).float()
        c, r = (v.astype(int) for v in (self.columns, rows))
        _, has_data, _ = self.reader.window(c[0], r[0], c[-1] - c[0] + 1, r[-1] - r[0] + 1)
        values[~torch.from_numpy(has_data[np.ix_(r - r[0], c - c[0])])] = torch.nan
        return values.permute(2, 0, 1).contiguous().numpy()


def _stamp(scene: Scene) -> list:
    if scene.assets or not scene.path.is_file():
        return [asset.href for asset in scene.assets]
    about = scene.path.stat()
    return [about.st_size, about.st_mtime_ns]


def _names(bands: int, projection: PCA | None) -> list[str]:
    if projection is None:
        return [f"embedding {i}" for i in range(bands)]
    return [
        f"principal component {i + 1} ({100 * share:.1f}% of variance)"
        for i, share in enumerate(projection.explained)
    ]


def _tags(scene: Scene, settings: dict, resolution: float, licence) -> dict[str, str]:
    return {
        "software": f"gairlib {__version__}",
        "model_sha256": settings["model"],
        "query_mode": settings["mode"],
        "projection_sha256": settings["projection"] or "none: all channels of the embedding",
        "chip": f"{settings['chip_px']} px, {settings['chip_m']:g} m, overlap "
        f"{settings['overlap']:g}",
        "resolution_m": f"{resolution:g}",
        "scene": scene.id,
        "acquired": scene.datetime or "unknown",
        "created": datetime.now(UTC).strftime("%Y-%m-%d"),
        "licence": licence or sentinel_notice(scene.datetime),
    }
