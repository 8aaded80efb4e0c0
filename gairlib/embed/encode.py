"""Frozen features of photos, chips and places.

For the shared space (retrieval, maps, exports) a photo is its projected embedding and a place the
output of the location encoder, both of unit length. A linear probe reads the *backbone* instead
(`backbone=True`), as is usual for contrastive models: the projection into the shared space throws
away what the other views cannot tell.

The plain statistics (colour moments and a coarse thumbnail) are the baseline that a learned
representation has to beat: much of weather, greenness and land cover is simply colour.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from gairlib import devices, geo, preprocess
from gairlib.data.dataset import Dataset
from gairlib.embed.ahead import ahead
from gairlib.model import GAIR, held_tensors
from gairlib.pairs.photo_store import PhotoReader


def random_init(config, seed: int) -> GAIR:
    """The same architecture with untrained weights; the seed alone decides them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GAIR(config).eval()


def as_started(model: GAIR, seed: int) -> GAIR:
    """`random_init` of its architecture with what the model has held of others' weights: what a
    training such as its own begins with."""
    made = random_init(model.config, seed)
    state, held = model.state_dict(), held_tensors(model)
    made.load_state_dict({name: state[name] for name in held}, strict=False)
    made.leaves_to = model.leaves_to
    return made


def _batches(n: int, batch: int, what: str):
    yield from (
        slice(i, min(i + batch, n))
        for i in tqdm(range(0, n, batch), desc=what, mininterval=1, leave=False, disable=n <= batch)
    )


def _joined(parts: list[Tensor], width: int) -> np.ndarray:
    return torch.cat(parts).numpy() if parts else np.zeros((0, width), np.float32)


def read_photos(dataset: Dataset, rows: pd.DataFrame, size: int) -> Tensor:
    """Photos of the rows (columns path and, where there are cut views, view_yaw), decoded once and
    squashed to uint8 [n, 3, size, size]."""
    return photo_reader(dataset, rows, size).read_all()


def photo_reader(dataset: Dataset, rows: pd.DataFrame, size: int) -> PhotoReader:
    """A reader of the photos of rows as `read_photos` takes them."""
    return PhotoReader(dataset, rows if "view_yaw" in rows else rows.assign(view_yaw=np.nan), size)


@devices.on_device
@torch.inference_mode()
def encode_photos(
    model: GAIR, images: Tensor, *, backbone: bool = False, batch: int = 64, device: str = "auto"
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


@devices.on_device
def photos(
    model: GAIR,
    dataset: Dataset,
    rows: pd.DataFrame,
    *,
    backbone: bool = False,
    batch: int = 64,
    device: str = "auto",
) -> np.ndarray:
    """Embeddings [n, D] of the photos in a table's rows, of which few are held at a time."""
    reader = photo_reader(dataset, rows, model.config.sv_size)
    encode = partial(encode_photos, model, backbone=backbone, batch=batch, device=device)
    parts = [encode(images) for images in ahead(reader.batches(batch))]
    return np.concatenate(parts) if parts else np.zeros((0, model.config.dim), np.float32)


@devices.on_device
@torch.inference_mode()
def chips(
    model: GAIR,
    dn,
    *,
    kind: str = "pooled",
    bands: Sequence[str] | None = None,
    batch: int = 64,
    device: str = "auto",
) -> np.ndarray:
    """Chips in harmonised DN [n, 10, H, W] -> float32 [n, D].

    kind "pooled": mean of the tokens, for probes. kind "backbone": the same before the tower
    projects them to D, as wide as the tower. kind "shared": mean of the decoded field, the chip's
    vector in the shared space, of unit length. bands: see GAIR.encode_rs.
    """
    model = model.to(device).eval()
    prep, size = preprocess.get(model.config.preprocessing), model.config.rs_size
    parts = []
    for part in _batches(len(dn), batch, "chips"):
        x = torch.from_numpy(np.asarray(dn[part], dtype=np.float32))
        encoded = model.encode_rs(prep.rs(x, size).to(device), bands=bands)
        if kind == "shared":
            centre = torch.zeros(len(x), 1, 2, dtype=torch.float64, device=device)
            y = model.query_rs(encoded, centre, mode="mean", normalize=True)[:, 0]
        else:
            y = encoded.backbone if kind == "backbone" else encoded.pooled
        parts.append(y.float().cpu())
    return _joined(parts, model.config.dim)


@devices.on_device
@torch.inference_mode()
def local(
    model: GAIR,
    dn,
    chip_of,
    xy,
    *,
    mode: str | None = None,
    heading=None,
    side_m=None,
    batch: int = 64,
    device: str = "auto",
) -> np.ndarray:
    """The field of chips [c, 10, H, W] read at xy [n, 2] of chip chip_of [n] -> float32 [n, D].
    heading [n], side_m (one, [c] or [c, 2]): as in GAIR.query_rs and GAIR.encode_rs."""
    model = model.to(device).eval()
    prep, size = preprocess.get(model.config.preprocessing), model.config.rs_size
    chip_of, xy = np.asarray(chip_of), np.asarray(xy, dtype=np.float64)
    out = np.zeros((len(chip_of), model.config.dim), np.float32)
    for part in _batches(len(dn), batch, "chips"):
        x = torch.from_numpy(np.asarray(dn[part], dtype=np.float32))
        sides = side_m if np.ndim(side_m) == 0 else np.asarray(side_m)[part]
        encoded = model.encode_rs(prep.rs(x, size).to(device), side_m=sides)
        for k in range(len(x)):  # chips hold different numbers of positions
            rows = np.flatnonzero(chip_of == part.start + k)
            if len(rows):
                one, at = encoded.of(slice(k, k + 1)), torch.from_numpy(xy[rows])[None].to(device)
                look = None if heading is None else np.asarray(heading, np.float64)[None, rows]
                read = model.query_rs(one, at, mode=mode, heading=look)
                out[rows] = read[0].float().cpu()
    return out


@devices.on_device
@torch.inference_mode()
def locations(
    model: GAIR,
    lonlat,
    *,
    normalize: bool = True,
    backbone: bool = False,
    batch: int = 4096,
    device: str = "auto",
) -> np.ndarray:
    """(lon, lat) in degrees [n, 2] -> float32 [n, D], of unit length if `normalize`; `backbone`:
    the encoder's own features [n, H] as they are."""
    model = model.to(device).eval()
    places = geo.as_float64(lonlat).reshape(-1, 2)
    parts = []
    for part in _batches(len(places), batch, "places"):
        here = places[part].to(device)
        if backbone:
            found = model.location_backbone(here)
        else:
            found = model.encode_location(here, normalize=normalize)
        parts.append(found.float().cpu())
    return _joined(parts, model.config.dim)
