"""A scene's continuous field as a Cloud-Optimised GeoTIFF, at any ground resolution.

Chips overlap and are blended as `gairlib.embed.walker` says: a window's cells are those of the
whole scene's file, and the same as the map's (`gairlib.embed.field.dense_field`). What no later row
of chips will touch is written and forgotten (`gairlib.embed.cog`). Values are not of unit length;
NaN where the scene has no data.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import torch
from affine import Affine

from gairlib import __version__, devices, origins, preprocess, scale
from gairlib.data.scene import Scene, sentinel_notice
from gairlib.data.scene_reader import Reader
from gairlib.embed import cog
from gairlib.embed.pca import PCA
from gairlib.embed.reading import Reading
from gairlib.embed.walker import OVERLAP, Walker, check_window, lay_out
from gairlib.errors import BadInput
from gairlib.model import model_hash

SCALE = 0.005  # a CRS whose metres are this close to metres on the ground is taken at its word
ROOM = 0.1  # of a channel's span in a sample, left at both ends for what the sample lacks


@devices.on_device
def write_cog(
    model,
    scene: Scene,
    path: str | Path,
    *,
    chip_px: int | None = None,
    chip_m: float | None = None,
    overlap: float = OVERLAP,
    resolution: float = 10.0,
    projection: PCA | None = None,
    mode: str | None = None,
    heading: float | None = None,
    dtype: str = "float32",
    window: tuple[int, int, int, int] | None = None,
    device: str = "auto",
    licence: str | None = None,
    progress: bool = True,
) -> Path:
    """The field of a scene (or of a window of it) as a COG in the scene's CRS.

    chip_px, chip_m: a chip's side, default that of the training (gairlib.scale). overlap: of
    neighbouring chips, as a share of a chip, [0, 0.9]; a quarter costs 1.8 times the encoding, a
    half 4 times. resolution: metres a cell, any. projection: a `pca.PCA` of the model's vectors;
    None keeps all D channels. mode: as `model.query_rs` has it, default the trained one. heading:
    as `dense_field` has it. dtype: "float32", "float16", or "int8" with a scale and an offset a
    channel, between the ends of the projection or, of all channels, of what 64 chips hold. window:
    (column, row, width, height) in the scene's pixels. licence: for the file's tags, default the
    notice that Copernicus asks for.

    An interrupted call, repeated with the same arguments, goes on where it stopped.
    """
    digest = projection and projection.digest()
    ends = projection and (projection.low, projection.high)
    if dtype == "int8" and projection is None:
        how = dict(chip_px=chip_px, chip_m=chip_m, mode=mode, heading=heading, device=device)
        found = sample(model, scene, **how)
        room = ROOM * np.ptp(found, axis=0)
        ends = found.min(axis=0) - room, found.max(axis=0) + room
    return write(
        Reading(model.to(device).eval(), mode, projection, heading),
        scene,
        path,
        chip_px=chip_px,
        chip_m=chip_m,
        overlap=overlap,
        resolution=resolution,
        names=_names(model.config.dim, projection),
        settings={"projection": digest},
        tags={"projection_sha256": digest or "none: all channels of the embedding"},
        dtype=dtype,
        ends=ends,
        window=window,
        licence=licence,
        progress=progress,
    )


def write(
    reading: Reading,
    scene: Scene,
    path: str | Path,
    *,
    chip_px: int | None,
    chip_m: float | None,
    overlap: float,
    resolution: float,
    names: Sequence[str],
    settings: Mapping,
    tags: Mapping[str, str],
    turn: Callable[[np.ndarray], np.ndarray] | None = None,
    dtype: str = "float32",
    ends: tuple[Sequence[float], Sequence[float]] | None = None,
    window: tuple[int, int, int, int] | None = None,
    licence: str | None = None,
    progress: bool = True,
) -> Path:
    """What `reading` says of a scene as a COG, or what `turn` makes of its values: [n, w, K] in, a
    value for each of the bands `names` out, NaN where there were no data. settings: whatever else
    decides the values, JSON-able; tags: of the file, beside those that every such file has."""
    cog.check_path(path)
    chip_px, chip_m = scale.of(reading.model.config, chip_px, chip_m)
    layout = lay_out(scene, chip_m, overlap)
    grid, cell = output_grid(scene, resolution, window, len(names))
    settings = {
        **settings,
        "version": __version__,
        "model": model_hash(reading.model),
        "mode": reading.label + ", bf16" * reading.model.bf16,
        "chip_px": chip_px,
        "chip_m": chip_m,
        "overlap": overlap,
        "scene": scene.id,
        "source": scene.stamps(),
    }
    origin = (window or (0, 0))[:2]
    columns = origin[0] + (np.arange(grid.width) + 0.5) * cell[0]  # centres, in the scene's pixels
    rows = origin[1] + (np.arange(grid.height) + 0.5) * cell[1]
    with (
        grid.bar(scene.id, progress) as bar,
        rasterio.Env(GDAL_CACHEMAX=cog.CACHE_BYTES),
        Reader(scene) as reader,
    ):
        walker = Walker(reader, reading, layout, chip_px, columns, rows)
        with cog.Parts(path, grid, {**settings, "strips": walker.strips}, dtype, ends) as parts:
            for first, end in walker.strips:
                done = parts.rows_done((first, end))
                bar.update(done * (end - first))
                for row, values in walker.strip(first, end, done):
                    values = values if turn is None else turn(values)
                    parts.add(row, first, np.ascontiguousarray(values.transpose(2, 0, 1)))
                    bar.update(len(values) * (end - first))
            about = _tags(reading.model, scene, settings, resolution, licence) | tags
            return parts.finish(about, names)


@devices.on_device
@torch.inference_mode()
def sample(
    model,
    scene: Scene,
    *,
    chip_px: int | None = None,
    chip_m: float | None = None,
    mode: str | None = None,
    heading: float | None = None,
    chips: int = 64,
    places: int = 64,
    seed: int = 0,
    device: str = "auto",
) -> np.ndarray:
    """Vectors of the field at random places with data, float32 [n, D], to fit a PCA on.

    chips: how many of the scene's chips are drawn; places: how many positions in each.
    """
    model = model.to(device).eval()
    chip_px, chip_m = scale.of(model.config, chip_px, chip_m)
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
            images = prepare(dn, model.config.rs_size).to(device)
            features = model.encode_rs(images, side_m=chip_m)
            vectors = model.query_rs(features, xy.to(device), mode=mode, heading=heading)[0]
            found.append(vectors.float().cpu().numpy())
    if not found:
        raise BadInput(f"scene {scene.id}: no pixel with data in the chips that were drawn")
    return np.concatenate(found)


# ---------------------------------------------------------------------------- where things lie


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
    window = window or (0, 0, scene.width, scene.height)
    check_window(scene, window)
    c0, r0, wide, high = window
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


def _names(dim: int, projection: PCA | None) -> list[str]:
    if projection is None:
        return [f"embedding {i}" for i in range(dim)]
    return [
        f"principal component {i + 1} ({100 * share:.1f}% of variance)"
        for i, share in enumerate(projection.explained)
    ]


def _tags(model, scene: Scene, settings: dict, resolution: float, licence) -> dict[str, str]:
    return {
        "software": f"gairlib {__version__}",
        "model_sha256": settings["model"],
        "preprocessing": model.config.preprocessing,
        "query_mode": settings["mode"],
        "chip": f"{settings['chip_px']} px, {settings['chip_m']:g} m, overlap "
        f"{settings['overlap']:g}",
        "trained_on_chips_of": scale.trained(model.config),
        "licence_of_weights": origins.licence(model.origins, settings["model"]),
        "resolution_m": f"{resolution:g}",
        "scene": scene.id,
        "acquired": scene.datetime or "unknown",
        "created": datetime.now(UTC).strftime("%Y-%m-%d"),
        "licence": licence or sentinel_notice(scene.datetime),
    }
