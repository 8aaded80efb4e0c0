"""Other people's published encoders, frozen, as further rows of the probing tasks.

`benchmark.weights` names files by project: {gair: FILE, geoclip: FILE, satclip: FILE, croma: FILE}.
Each encoder is read where its modality fits (GAIR everywhere, GeoCLIP and SatCLIP on places, CROMA
on chips), through the preprocessing and input size that it was published with: chips are resized to
96 px (GAIR; its own grid) or 120 px (CROMA), photos to 224 px. Files are read by `gairlib.weights.official`
and `gairlib.weights`, strictly.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gairlib import geo, preprocess
from gairlib.errors import BadInput, Missing
from gairlib.weights import official
from gairlib.weights.location import load_geoclip, load_satclip
from gairlib.weights.vit import load_croma
from research.evaluation import features
from research.tasks.registry import TaskData
from research.tasks.tiles import Places

NAMES = {"gair": "GAIR, published", "geoclip": "GeoCLIP", "satclip": "SatCLIP", "croma": "CROMA"}
MODALITIES = {
    "gair": ("rs", "sv", "location"),
    "geoclip": ("location",),
    "satclip": ("location",),
    "croma": ("rs",),
}
CROMA_PX = 120


def check(weights: Mapping[str, str]) -> None:
    """BadInput for a project that is none of NAMES, Missing for a file that is not there."""
    for key, path in weights.items():
        if key not in NAMES:
            raise BadInput(f"benchmark.weights: {key!r} is unknown; there are {', '.join(NAMES)}")
        if not path or not Path(path).is_file():
            raise Missing(
                f"benchmark.weights.{key}: there is no file {path!r}; name a weights "
                "file, or leave the key out"
            )


def tables(
    data: TaskData, weights: Mapping[str, str], photos: Callable[[int], Tensor], device: str
) -> list[tuple[str, str, np.ndarray]]:
    """(name, preprocessing, features [n, D]) of every encoder that reads this task's inputs.

    photos(size) -> uint8 [n, 3, size, size]: the task's photos at a model's size (sv tasks only).
    """
    check(weights)
    found = []
    for key, path in weights.items():
        if data.modality not in MODALITIES[key]:
            continue
        how = "" if data.modality == "location" else "published"
        found.append((NAMES[key], how, _read(key, path, data, photos, device)))
    return found


def _read(key: str, path: str, data: TaskData, photos, device: str) -> np.ndarray:
    if key == "gair":
        model = official.load_official(path)
        images = photos(model.config.sv_size) if data.modality == "sv" else None
        return features.of_task(data, model, images, device)
    if key == "croma":
        return _croma(load_croma(path, size=CROMA_PX), data, device)
    load = load_geoclip if key == "geoclip" else load_satclip
    return _places(load(path).to(device), data.inputs, device)


@torch.inference_mode()
def _places(encoder, lonlat: np.ndarray, device: str, batch: int = 4096) -> np.ndarray:
    """(lon, lat) [n, 2] -> float32 [n, D]."""
    places = geo.as_float64(lonlat)
    return torch.cat(
        [
            encoder(places[i : i + batch].to(device)).float().cpu()
            for i in range(0, len(places), batch)
        ]
    ).numpy()


@torch.inference_mode()
def _croma(encoder, data: TaskData, device: str, batch: int = 32) -> np.ndarray:
    """Mean tokens of each chip [n, D]; where a task reads positions, the tokens there, bilinear."""
    at = data.inputs if isinstance(data.inputs, Places) else None
    chips = data.inputs if at is None else at.chips
    prep, encoder, parts = preprocess.get("published"), encoder.to(device), []
    for start in range(0, len(chips), batch):
        dn = torch.from_numpy(np.asarray(chips[start : start + batch], dtype=np.float32))
        got = encoder(prep.rs(dn, CROMA_PX).to(device))
        if at is None:
            parts.append(got.pooled.float().cpu())
            continue
        for k in range(len(dn)):
            xy = torch.from_numpy(at.xy[at.chip == start + k]).to(got.grid)[None, None]
            read = torch.nn.functional.grid_sample(
                got.grid[k : k + 1].movedim(3, 1), xy, align_corners=False, padding_mode="border"
            )
            parts.append(read[0, :, 0].T.float().cpu())
    values = torch.cat(parts).numpy()
    if at is None:
        return values
    order = np.concatenate([np.flatnonzero(at.chip == c) for c in range(len(chips))])
    out = np.empty_like(values)
    out[order] = values
    return out
