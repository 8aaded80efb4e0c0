"""Similarity maps of one photo, side by side: several readings of the field, several resolutions.

The readings of one model: its own decoder; if that is an MLP, the linear decoder beside it alone
(the correction left out); and the raw tokens, interpolated bilinearly. Only the first is what was
trained: the others show what the decoder adds, not what a model trained with them would do. Models
trained each in its own way can be set side by side just as well.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gairlib.data.scene import Scene
from gairlib.embed.field import Field, dense_field, window_around
from gairlib.errors import BadInput


@dataclass(frozen=True)
class Map:
    """One reading at one resolution: the field, and its cosines [h, w] with the photo."""

    name: str
    resolution: float  # metres a cell
    field: Field
    cosine: np.ndarray


def linear_part(model):
    """A model whose field is the linear decoder alone; weights are shared, nothing is copied."""
    if model.field is None:
        raise BadInput(
            f"linear_part: a model of query mode {model.config.query_mode!r} has no decoder"
        )
    nili, other = copy.copy(model.field), copy.copy(model)
    nili.decoder = "linear"
    other._modules = {**model._modules, "field": nili}
    other.config = model.config.replace(decoder="linear")
    return other


def readings(model) -> dict[str, tuple]:
    """Name -> (model, query mode) of the ways to read one model's field."""
    if model.field is None:
        return {f"tokens, {model.config.query_mode}": (model, model.config.query_mode)}
    found = {f"NILI, {model.field.decoder} decoder": (model, "nili")}
    if model.field.decoder == "mlp":
        found["NILI, linear part alone"] = (linear_part(model), "nili")
    return found | {"raw tokens, bilinear": (model, "bilinear")}


def maps(
    ways: Mapping[str, tuple],
    scene: Scene,
    vector: ArrayLike,
    lonlat: tuple[float, float],
    *,
    chip_px: int,
    chip_m: float,
    sides: Mapping[float, float],
    device: str = "auto",
) -> list[Map]:
    """Cosines of a photo's vector [D] with the field around (lon, lat), all of `ways`, row by row.

    sides: metres a cell -> side of the square window in metres, such as {10.0: 1280.0, 1.0: 320.0};
    the window stays inside the scene.
    """
    found = []
    across, _ = scene.pixel_metres(*(float(v) for v in scene.to_pixels(*lonlat)))
    for resolution, side in sides.items():
        window = window_around(scene, *lonlat, side=max(1, round(side / across)))
        for name, (model, mode) in ways.items():
            field = dense_field(
                model,
                scene,
                chip_px=chip_px,
                chip_m=chip_m,
                mode=mode,
                resolution=resolution,
                window=window,
                device=device,
            )
            found.append(Map(name, resolution, field, field.similarity(vector)))
    return found
