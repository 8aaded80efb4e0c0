"""Features for probes: frozen ones, kept on disk, and plain statistics of pixels beside them.

An encoder reads the same inputs once for all tasks of a run. The name of a file is a hash of all
that its numbers depend on: the encoder's configuration and weights, the inputs, the device, and the
code that encodes (comments and docstrings aside). So a changed model or photo is another file, and
nothing here ever needs to be declared stale. Files lie in outputs/features of the run's folder;
they may be deleted at any time.

The plain statistics (colour moments and a coarse thumbnail) are the baseline that a learned
representation has to beat: much of weather, greenness and land cover is simply colour.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from gairlib import ranks
from gairlib.embed import encode
from gairlib.files import atomic_write
from gairlib.model import GAIR, model_hash
from research.imports import code_hash

FOLDER = "outputs/features"
QUANTILES = (0.1, 0.5, 0.9)


def cached(
    compute: Callable[[], np.ndarray], model: GAIR, inputs, device: str, kind: str
) -> np.ndarray:
    """`compute()`, or what it gave for the same model, inputs, device and kind before.

    inputs: arrays or tensors in a fixed order. kind: what is computed from them. A file in FOLDER
    that cannot be read is computed anew.
    """
    path = Path(FOLDER) / f"{key(model, inputs, device, kind)}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or cut short
        features = np.ascontiguousarray(compute())
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part, open(part, "wb") as file:  # two stages may compute the same
        np.save(file, features)
    return features


def key(model: GAIR, inputs, device: str, kind: str, module: str = __name__) -> str:
    """32 hex digits of what the features depend on; module: whose code computes them."""
    versions = f"{torch.__version__} {timm.__version__}{' bf16' * model.bf16}"
    digest = hashlib.sha256(
        f"{kind} {device} {versions} {code_hash(module)} {model_hash(model)}".encode()
    )
    digest.update(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for value in inputs:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def of_chips(
    model: GAIR, dn, device: str, bands: Sequence[str] | None = None, kind: str = "pooled"
) -> np.ndarray:
    """`encode.chips`, kept for the other tasks on the same chips."""
    name = "chips" if kind == "pooled" else f"chips, {kind}"
    if bands is not None and model.rs.leaves_out_bands:
        name += f", {' '.join(bands)}"
    return cached(
        lambda: encode.chips(model, dn, kind=kind, bands=bands, device=device),
        model,
        (dn,),
        device,
        name,
    )


def of_task(data, model: GAIR, images: Tensor | None, device: str) -> np.ndarray:
    """Frozen features [n, D] of a `tasks.TaskData`, for a probe, kept for the other tasks on the
    same inputs: the tower's own ones, before it projects into the shared space. images: read
    photos (sv only)."""
    at = data.inputs
    if hasattr(at, "xy"):
        # the backbone's tokens, as in the other RS probes, read bilinearly at the position
        return cached(
            lambda: encode.local(model, at.chips, at.chip, at.xy, mode="bilinear", device=device),
            model,
            (at.chips, at.chip, at.xy),
            device,
            "tokens at positions",
        )
    if data.modality == "rs":
        return of_chips(model, at, device, data.present)
    if data.modality == "sv":
        return cached(
            lambda: encode.encode_photos(model, images, backbone=True, device=device),
            model,
            (images,),
            device,
            "photos",
        )
    own = encode.locations(model, at, backbone=True, device=device)
    return own if model.location.backbone_is_output else leading(own, model.config.dim)


def leading(x: np.ndarray, most: int) -> np.ndarray:
    """The `most` leading principal components [n, most] of own features x [n, H] of places.

    As many as the shared space has dimensions. A thousand hidden units, many of which answer at a
    handful of places, lead a probe astray: standardised, a unit that is on at one training row in a
    thousand is hundreds of spreads at a test row. Labels are not seen.
    """
    most = min(most, *x.shape)
    return PCA(most, random_state=0).fit_transform(np.asarray(x, np.float64)).astype(np.float32)


def shared_places(model: GAIR, lonlat: np.ndarray, device: str) -> np.ndarray:
    """Places [n, 2] in the shared space [n, D], not normalised: a length may tell something."""
    return encode.locations(model, lonlat, normalize=False, device=device)


def directed(data, model: GAIR) -> bool:
    """Whether the field at a task's positions can be read in the directions of photos there."""
    return model.config.reads_headings and getattr(data.inputs, "heading", None) is not None


def in_shared_space(
    data, model: GAIR, images: Tensor | None, device: str, compass: bool = True
) -> np.ndarray:
    """Vectors [n, D] of a task's photos, chips or positions in chips where the views are compared,
    of unit length. images: read photos (sv only). compass: whether a field of directions is told
    those of the photos."""
    at = data.inputs
    if hasattr(at, "xy"):
        how, inputs, kind = {"side_m": at.side_m}, (at.chips, at.chip, at.xy), "field at positions"
        if compass and directed(data, model):
            how["heading"], inputs, kind = at.heading, (*inputs, at.heading), f"{kind}, directed"
        return cached(
            lambda: ranks.unit(encode.local(model, at.chips, at.chip, at.xy, device=device, **how)),
            model,
            inputs,
            device,
            kind,
        )
    if data.modality == "rs":
        return of_chips(model, at, device, data.present, "shared")
    return cached(
        lambda: encode.encode_photos(model, images, device=device),
        model,
        (images,),
        device,
        "photos, shared",
    )


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
