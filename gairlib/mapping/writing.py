"""Writes a fitted map of a scene as Cloud-Optimised GeoTIFFs, in bounded memory.

Two files are written side by side. `map.tif` holds classes from 1 on (uint8, 0: no data) with
colours and names as GDAL has them, or numbers (float32). `map-uncertainty.tif` holds the
probability that the class is another one, or the standard deviation of the number (float32), as
blocks that were held out have set it right. An interrupted call goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import torch
from affine import Affine

from gairlib import __version__, devices, origins
from gairlib.data import scenes as scene_files
from gairlib.data.scene import Scene, sentinel_notice
from gairlib.data.scene_reader import Reader
from gairlib.embed import cog
from gairlib.embed.walker import check_window
from gairlib.mapping.features import Features
from gairlib.mapping.heads import Head, calibrated
from gairlib.mapping.network import Trained
from gairlib.model import model_hash


class Written(NamedTuple):
    """The files of a map."""

    map: Path
    uncertainty: Path


@devices.on_device
def write_map(
    model,
    mapper,
    scene: Scene | str | Path,
    path: str | Path,
    *,
    window: tuple[int, int, int, int] | None,
    device: str | torch.device,
    licence: str | None,
    progress: bool,
) -> Written:
    """Map a scene by a `gairlib.mapping.mapper.Mapper`; see its `predict`."""
    path = cog.check_path(path)
    beside = path.with_name(f"{path.stem}-uncertainty{path.suffix}")
    if not isinstance(scene, Scene):
        scene = scene_files.open_scene(scene)
    window = tuple(window or (0, 0, scene.width, scene.height))
    check_window(scene, window)
    place = scene.transform @ Affine.translation(*window[:2])
    grid = cog.Grid(1, window[3], window[2], scene.crs, place)
    head = mapper.head.to(device)
    settings = {
        "version": __version__,
        "model": model_hash(model),
        "mapper": hashlib.sha256(mapper.content()).hexdigest()[:16],
        "scene": scene.id,
        "source": scene.stamps(),
    }
    with ExitStack() as held:
        held.enter_context(rasterio.Env(GDAL_CACHEMAX=cog.CACHE_BYTES))
        reader = held.enter_context(Reader(scene))
        model = model.eval()
        features = Features(model, reader, mapper.chips, window, head.reading(model))
        settings["strips"] = features.strips
        kinds = "uint8" if mapper.palette else "float32", "float32"
        parts = [
            held.enter_context(cog.Parts(target, grid, settings, kind))
            for target, kind in zip((path, beside), kinds)
        ]
        bar = held.enter_context(grid.bar(scene.id, progress))
        for strip in features.strips:
            there = [part.rows_done(strip) for part in parts]
            bar.update(min(there) * (strip[1] - strip[0]))
            for row, values in features.strip(*strip, min(there)):
                for part, done, band in zip(parts, there, _bands(head, mapper.factor, values)):
                    if row >= done:
                        part.add(row, strip[0], band[None])
                bar.update(len(values) * (strip[1] - strip[0]))
        tags = _tags(model, mapper, scene, settings, licence)
        what, doubt = (
            ("class", "probability of another class")
            if mapper.palette
            else ("value", "standard deviation")
        )
        return Written(
            parts[0].finish(tags, [what], mapper.palette), parts[1].finish(tags, [doubt])
        )


def _bands(head: Head | Trained, factor: float, values: np.ndarray) -> np.ndarray:
    """Map and uncertainty float32 [2, h, w] of features [h, w, F]; NaN without data."""
    flat = values.reshape(-1, values.shape[-1])
    known = np.isfinite(flat).all(1)
    found = np.full((2, len(flat)), np.nan, np.float32)
    if known.any():
        answers = calibrated(head(flat[known]), factor, head.classes)
        if head.classes:
            best = answers.max(-1)
            answers = torch.stack([best.indices.to(best.values) + 1, 1 - best.values], -1)
        found[:, known] = answers.cpu().numpy().T
    return found.reshape(2, *values.shape[:2])


def _tags(model, mapper, scene: Scene, settings: dict, licence: str | None) -> dict[str, str]:
    name, (value, low, high) = next(iter(mapper.report.scores.items()))
    tags = {
        "software": f"gairlib {__version__}",
        "model_sha256": settings["model"],
        "licence_of_weights": origins.licence(model.origins, settings["model"]),
        "mapper_sha256": settings["mapper"],
        "held_out": f"{name} {value:.3f} ({low:.3f} to {high:.3f}), blocks of "
        f"{mapper.report.block_m:g} m where the map was learnt",
        "scene": scene.id,
        "acquired": scene.datetime or "unknown",
        "created": datetime.now(UTC).strftime("%Y-%m-%d"),
        "licence": licence or sentinel_notice(scene.datetime),
    }
    return tags | {f"class_{i}": name for i, name in enumerate(mapper.classes, 1)}
