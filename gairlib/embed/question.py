"""What a question to the field is made of: a photo's vector, a temperature, the size of chips."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from gairlib.data import photos
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.model import GAIR

BATCH = 64  # photos encoded at a time


def loaded(model: GAIR | str | Path) -> GAIR:
    """The model, or the one of a folder."""
    return GAIR.from_pretrained(model) if isinstance(model, (str, Path)) else model


def temperature(model: GAIR, given: float | None) -> float:
    """As given, else the one that pretraining fitted for photos and field."""
    t = float(model.temperatures()["incl"].detach() if given is None else given)
    if not 0 < t < float("inf"):
        raise BadInput(f"temperature {given}: a number above 0 is needed")
    return t


def vector(photo: str | Path | ArrayLike, model: GAIR, device: str) -> np.ndarray:
    """A photo's vector [D], float64 of unit length."""
    if isinstance(photo, (str, Path)):
        return unit(encoded([photo], model, device))[0]
    given = np.asarray(photo, np.float64)
    if given.shape != (model.config.dim,) or not np.isfinite(given).all() or not given.any():
        raise BadInput(
            f"photo: shape {list(given.shape)}; a file, or a vector [{model.config.dim}] of finite "
            "numbers, not all 0, is needed"
        )
    return unit(given[None])[0]


def encoded(paths: Sequence[str | Path], model: GAIR, device: str) -> np.ndarray:
    """Vectors [n, D] of photos, some of which are held at a time."""
    size, found = model.config.sv_size, []
    for start in range(0, len(paths), BATCH):
        images = [photos.load(path, size=size) for path in paths[start : start + BATCH]]
        images = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        found.append(encode.encode_photos(model, images, device=device))
    return np.concatenate(found) if found else np.zeros((0, model.config.dim), np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows [n, D] in float64, of unit length."""
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
