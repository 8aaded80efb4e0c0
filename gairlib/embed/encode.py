"""Frozen features of photos, chips and places, and plain statistics of their pixels.

For the shared space (retrieval, maps, exports) a photo is its projected embedding and a place the
output of the location encoder, both of unit length. A linear probe reads the *backbone* instead
(`backbone=True`), as is usual for contrastive models: the projection into the shared space throws
away what the other views cannot tell.

The plain statistics (colour moments and a coarse thumbnail) are the baseline that a learned
representation has to beat: much of weather, greenness and land cover is simply colour.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from gairlib import geo, preprocess
from gairlib.data.dataset import Dataset
from gairlib.model import GAIR
from gairlib.train.batches import load_photos
from research.evaluation.feature_cache import cached

QUANTILES = (0.1, 0.5, 0.9)


def random_init(config, seed: int) -> GAIR:
    """The same architecture with untrained weights; the seed alone decides them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GAIR(config).eval()


def _batches(n: int, batch: int, what: str):
    yield from (
        slice(i, min(i + batch, n))
        for i in tqdm(range(0, n, batch), desc=what, mininterval=1, leave=False)
    )


def _joined(parts: list[Tensor], width: int) -> np.ndarray:
    return torch.cat(parts).numpy() if parts else np.zeros((0, width), np.float32)


def read_photos(dataset: Dataset, rows: pd.DataFrame, size: int) -> Tensor:
    """Photos of the rows (columns path and, where there are cut views, view_yaw), decoded once and
    squashed to uint8 [n, 3, size, size]."""
    if "view_yaw" not in rows:
        rows = rows.assign(view_yaw=np.nan)
    return load_photos(dataset, rows, size)


@torch.inference_mode()
def encode_photos(
    model: GAIR, images: Tensor, *, backbone: bool = False, batch: int = 64, device: str = "cpu"
) -> np.ndarray:
    """uint8 [n, 3, S, S] -> float32 [n, D], of unit length unless `backbone`."""
    model = model.to(device).eval()
    prep, size = preprocess.get(model.config.preprocessing), model.config.sv_size
    parts = []
    for part in _batches(len(images), batch, "photos"):
        x = prep.sv(images[part], size).to(device)
        y = model.sv_backbone(x) if backbone else model.encode_sv(x, normalize=True)
        parts.append(y.float().cpu())
    return _joined(parts, model.config.dim)


def photos(
    model: GAIR,
    dataset: Dataset,
    rows: pd.DataFrame,
    *,
    backbone: bool = False,
    batch: int = 64,
    device: str = "cpu",
) -> np.ndarray:
    """Embeddings [n, D] of the photos in a table's rows."""
    images = read_photos(dataset, rows, model.config.sv_size)
    return encode_photos(model, images, backbone=backbone, batch=batch, device=device)


@torch.inference_mode()
def chips(
    model: GAIR, dn, *, kind: str = "pooled", batch: int = 64, device: str = "cpu"
) -> np.ndarray:
    """Chips in harmonised DN [n, 10, H, W] -> float32 [n, D].

    kind "pooled": mean of the backbone's tokens, for probes. kind "field": mean of the decoded
    field, the chip's vector in the shared space, of unit length.
    """
    model = model.to(device).eval()
    prep, size = preprocess.get(model.config.preprocessing), model.config.rs_size
    parts = []
    for part in _batches(len(dn), batch, "chips"):
        x = torch.from_numpy(np.asarray(dn[part], dtype=np.float32))
        encoded = model.encode_rs(prep.rs(x, size).to(device))
        if kind == "field":
            centre = torch.zeros(len(x), 1, 2, dtype=torch.float64, device=device)
            y = model.query_rs(encoded, centre, mode="mean", normalize=True)[:, 0]
        else:
            y = encoded.pooled
        parts.append(y.float().cpu())
    return _joined(parts, model.config.dim)


@torch.inference_mode()
def local(
    model: GAIR, dn, chip_of, xy, *, mode: str | None = None, batch: int = 64, device: str = "cpu"
) -> np.ndarray:
    """The field of chips [c, 10, H, W] read at xy [n, 2] of chip chip_of [n] -> float32 [n, D]."""
    model = model.to(device).eval()
    prep, size = preprocess.get(model.config.preprocessing), model.config.rs_size
    chip_of, xy = np.asarray(chip_of), np.asarray(xy, dtype=np.float64)
    out = np.zeros((len(chip_of), model.config.dim), np.float32)
    for part in _batches(len(dn), batch, "chips"):
        x = torch.from_numpy(np.asarray(dn[part], dtype=np.float32))
        encoded = model.encode_rs(prep.rs(x, size).to(device))
        for k in range(len(x)):  # chips hold different numbers of positions
            rows = np.flatnonzero(chip_of == part.start + k)
            if len(rows):
                one = type(encoded)(*(v[k : k + 1] for v in encoded))
                read = model.query_rs(one, torch.from_numpy(xy[rows])[None].to(device), mode=mode)
                out[rows] = read[0].float().cpu()
    return out


@torch.inference_mode()
def locations(
    model: GAIR, lonlat, *, normalize: bool = True, batch: int = 4096, device: str = "cpu"
) -> np.ndarray:
    """(lon, lat) in degrees [n, 2] -> float32 [n, D]."""
    model = model.to(device).eval()
    places = geo.as_float64(lonlat).reshape(-1, 2)
    parts = [
        model.encode_location(places[part].to(device), normalize=normalize).float().cpu()
        for part in _batches(len(places), batch, "places")
    ]
    return _joined(parts, model.config.dim)


def of_chips(model: GAIR, dn, device: str) -> np.ndarray:
    """`chips`, kept for the other tasks on the same chips."""
    return cached(lambda: chips(model, dn, device=device), model, (dn,), device, "chips")


def of_task(data, model: GAIR, images: Tensor | None, device: str) -> np.ndarray:
    """Frozen features [n, D] of a `tasks.TaskData`, for a probe, kept for the other tasks on the
    same inputs (`feature_cache`). images: read photos (sv only)."""
    at = data.inputs
    if hasattr(at, "xy"):
        # the backbone's tokens, as in the other RS probes, read bilinearly at the position
        return cached(
            lambda: local(model, at.chips, at.chip, at.xy, mode="bilinear", device=device),
            model,
            (at.chips, at.chip, at.xy),
            device,
            "tokens at positions",
        )
    if data.modality == "rs":
        return of_chips(model, at, device)
    if data.modality == "sv":
        return cached(
            lambda: encode_photos(model, images, backbone=True, device=device),
            model,
            (images,),
            device,
            "photos",
        )
    return locations(model, at, normalize=False, device=device)  # a matter of milliseconds


# ------------------------------------------------------------------------------ plain statistics


def colour_statistics(images) -> np.ndarray:
    """Mean, spread and three quantiles of every channel: [n, C, H, W] -> [n, 5C]."""
    parts = []
    for start in range(0, len(images), 256):
        x = np.asarray(images[start : start + 256], dtype=np.float32)
        flat = x.reshape(len(x), x.shape[1], -1)  # [b, C, HW]
        quantiles = np.quantile(flat, QUANTILES, axis=2)  # [3, b, C]
        parts.append(np.concatenate([flat.mean(2), flat.std(2), *quantiles], axis=1))
    return np.concatenate(parts).astype(np.float32)


def thumbnails(images, cells: int) -> np.ndarray:
    """Raw pixels, averaged to cells x cells: [n, C, H, W] -> [n, C * cells**2]."""
    parts = []
    for start in range(0, len(images), 256):
        x = torch.from_numpy(np.asarray(images[start : start + 256], dtype=np.float32))
        parts.append(torch.nn.functional.adaptive_avg_pool2d(x, cells).flatten(1))
    return torch.cat(parts).numpy()


def local_statistics(chips_dn, chip_of, xy, radii=(2, 10)) -> np.ndarray:
    """Band means and spreads in windows of 2r + 1 pixels around positions in chips.

    chips_dn [c, C, H, W], chip_of [n] row of the chip, xy [n, 2] in [-1, 1] -> [n, 2C * radii].
    Windows are cut off at the chip's edge. Summed-area tables make a window four look-ups.
    """
    x = np.asarray(chips_dn, dtype=np.float64)
    h, w = x.shape[2:]
    tables = [
        np.pad(v, ((0, 0), (0, 0), (1, 0), (1, 0))).cumsum(2).cumsum(3) for v in (x, x**2)
    ]  # [c, C, H + 1, W + 1] each
    columns = np.clip(((np.asarray(xy)[:, 0] + 1) / 2 * w).astype(int), 0, w - 1)
    rows = np.clip(((np.asarray(xy)[:, 1] + 1) / 2 * h).astype(int), 0, h - 1)
    parts = []
    for r in radii:
        top, bottom = np.maximum(rows - r, 0), np.minimum(rows + r + 1, h)
        left, right = np.maximum(columns - r, 0), np.minimum(columns + r + 1, w)
        area = ((bottom - top) * (right - left))[:, None]
        mean, square = (
            (
                t[chip_of, :, bottom, right]
                - t[chip_of, :, top, right]
                - t[chip_of, :, bottom, left]
                + t[chip_of, :, top, left]
            )
            / area
            for t in tables
        )
        parts += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    return np.concatenate(parts, 1).astype(np.float32)
