"""Other people's published weights, frozen, beside ours: GAIR everywhere, GeoCLIP and SatCLIP on
places, CROMA and Galileo on chips, ImageNet towers of timm's on photos.

Each is read where its modality fits, through the preprocessing and input size that it was published
with: chips are resized to 96 px (GAIR; its own grid) or 120 px (CROMA) or stay as they are
(Galileo, which leaves groups of bands out that a set lacks), photos are squashed to 224 px (GAIR)
or what a tower of timm's takes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gairlib import geo, preprocess
from gairlib.bands import BANDS
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.rs.base import Features
from gairlib.weights import official
from gairlib.weights.galileo import load_galileo
from gairlib.weights.location import load_geoclip, load_satclip
from gairlib.weights.timm_models import load_timm
from gairlib.weights.vit import load_croma
from research.evaluation import features
from research.tasks.data import Places, TaskData
from research.tasks.task import PUBLISHED, Options

CROMA_PX = 120


def published(
    data: TaskData, dataset: Dataset, options: Options
) -> list[tuple[str, str, np.ndarray]]:
    """(name, preprocessing, features [n, D]) of every encoder that reads this task's inputs."""
    how, found = "" if data.modality == "location" else "published", []
    for key, path in options.files.items():
        modalities, read = READERS[key]
        if data.modality in modalities:
            found.append((PUBLISHED[key], how, read(path, data, dataset, options.device)))
    return found


def _gair(path: str, data: TaskData, dataset: Dataset, device: str) -> np.ndarray:
    model = official.load_official(path)
    images = None
    if data.modality == "sv":
        images = encode.read_photos(dataset, data.inputs, model.config.sv_size)
    return features.of_task(data, model, images, device)


@torch.inference_mode()
def _places(load: Callable, path: str, data: TaskData, dataset: Dataset, device: str) -> np.ndarray:
    """Float32 [n, D] of the task's places by an encoder of (lon, lat)."""
    encoder, places = load(path).to(device), geo.as_float64(data.inputs)
    return torch.cat([encoder(x.to(device)).float().cpu() for x in places.split(4096)]).numpy()


@torch.inference_mode()
def _imagenet(path: str, data: TaskData, dataset: Dataset, device: str) -> np.ndarray:
    """Pooled features [n, D] of a model of timm's, of photos squashed to the size it takes."""
    tower = load_timm(path).to(device)
    images = encode.read_photos(dataset, data.inputs, tower.size)
    return torch.cat([tower(x.to(device)).float().cpu() for x in images.split(64)]).numpy()


def _croma(path: str, data: TaskData, dataset: Dataset, device: str) -> np.ndarray:
    encoder, prep = load_croma(path, size=CROMA_PX).to(device), preprocess.get("published")
    return _tokens(lambda dn: encoder(prep.rs(dn, CROMA_PX).to(device)), data)


def _galileo(path: str, data: TaskData, dataset: Dataset, device: str) -> np.ndarray:
    encoder = load_galileo(path).to(device)
    there = data.present or BANDS
    return _tokens(lambda dn: encoder(dn.to(device), there), data)


@torch.inference_mode()
def _tokens(encoder: Callable[[Tensor], Features], data: TaskData, batch: int = 32) -> np.ndarray:
    """Mean tokens of each chip [n, D]; where a task reads positions, the tokens there, bilinear.
    encoder: of chips in DN [B, 10, H, W]."""
    at = data.inputs if isinstance(data.inputs, Places) else None
    chips = data.inputs if at is None else at.chips
    parts = []
    for start in range(0, len(chips), batch):
        dn = torch.from_numpy(np.asarray(chips[start : start + batch], dtype=np.float32))
        got = encoder(dn)
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


# project -> (what it reads, its reader)
READERS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "gair": (("rs", "sv", "location"), _gair),
    "geoclip": (("location",), partial(_places, load_geoclip)),
    "satclip": (("location",), partial(_places, load_satclip)),
    "croma": (("rs",), _croma),
    "galileo": (("rs",), _galileo),
    "imagenet": (("sv",), _imagenet),
}
