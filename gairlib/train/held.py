"""What held encoders make of the training data, computed once.

A step asks about the coordinates of its batch and of the queue, which holds those of earlier
batches: all are training photos'. So the location encoder's own features, everything but its last
layer, are computed before the first step, and a step looks its rows up. The last layer, which maps
them to D, runs in every step, whether it is held or new.

Photos are encoded once as they are and once mirrored, which is what a step may ask for. Their
colours and the camera's aim, which training changes at random, stay as they are for a held net: its
answer is known, and only what learns has to become indifferent to them. (LiT computes the features
of its locked images the same way, arXiv 2111.07991.) Chips of a held tower are encoded in every
step, without a graph: each step turns and cuts them otherwise, so that there is nothing to keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gairlib import preprocess
from gairlib.location.base import LocationEncoder
from gairlib.model import GAIR
from gairlib.train.batches import PairBatches
from gairlib.train.towers import Tuning, held_modules, held_names

LIMIT = 2**30  # bytes of features that are kept at most, of places and of photos
BATCH = 4096
PHOTOS = 256  # encoded at a time


@dataclass(frozen=True)
class Held:
    """What is known before the first step; None of what has to be encoded in every step."""

    places: Places | None = None
    photos: Tensor | None = None  # [2 P, W] by `Inputs.view`: as it is, mirrored, as it is, ...


def keep(
    model: GAIR,
    found: Mapping[str, Tuning],
    batches: PairBatches,
    device: str | torch.device,
    *,
    progress: bool = False,
) -> Held:
    """Of the encoders that `found` holds, by the training split's batches."""
    places = photos = None
    if "location" in found and found["location"].held:
        places = keep_places(model.location, batches.lonlat, device)
    if "sv.tower" in held_modules(model, held_names(found)):
        photos = keep_photos(model, batches, device, progress=progress)
    return Held(places, photos)


@torch.no_grad()
def keep_photos(
    model: GAIR,
    batches: PairBatches,
    device: str | torch.device,
    *,
    limit: int = LIMIT,
    progress: bool = False,
) -> Tensor | None:
    """Features of `model.sv.base` of each photo of the split, as it is and mirrored: [2 P, W] on
    the device, the model in eval mode. None where they would take more than `limit` bytes."""
    config, model = model.config, model.to(device).eval()
    prep, parts = preprocess.get(config.preprocessing), []
    numbers = torch.arange(len(batches)).split(PHOTOS)
    for part in tqdm(numbers, desc="held photo features", unit="batch", disable=not progress):
        x = prep.sv(batches.photos(part).to(device), config.sv_size)
        both = torch.stack([model.sv.base(x), model.sv.base(x.flip(-1))], 1)  # [n, 2, W]
        if both[0].numel() * both.element_size() * len(batches) > limit:
            return None
        parts.append(both.flatten(0, 1))
    return torch.cat(parts) if parts else None


class Places:
    """Features [n, H] of n different coordinates, on the encoder's device."""

    def __init__(self, encoder: LocationEncoder, lonlat: Tensor) -> None:
        """lonlat: float64 degrees [m, 2], repeated or not."""
        device = next(encoder.parameters()).device
        lonlat = lonlat.unique(dim=0)  # sorted by longitude, then latitude
        with torch.no_grad():
            parts = [encoder.backbone(part.to(device)) for part in lonlat.split(BATCH)]
        self.features = torch.cat(parts)
        self.lonlat = lonlat.to(device)
        self.lon, self.lat = (self.lonlat[:, i].unique() for i in (0, 1))
        self.number = self._number(self.lonlat)

    def _number(self, lonlat: Tensor) -> Tensor:
        """A whole number for each coordinate, in the order of the rows: int64 [k]."""
        lon, lat = lonlat.T.contiguous()
        return torch.searchsorted(self.lon, lon) * (len(self.lat) + 1) + torch.searchsorted(
            self.lat, lat
        )

    def __call__(self, lonlat: Tensor) -> Tensor:
        """The rows of coordinates [k, 2] -> [k, H], without waiting for a device. Rows of a
        coordinate that is not among the known ones are nan, which no loss survives."""
        row = torch.searchsorted(self.number, self._number(lonlat)).clamp(max=len(self.number) - 1)
        same = (self.lonlat[row] == lonlat).all(-1, keepdim=True)
        return torch.where(same, self.features[row], torch.nan)


def keep_places(
    encoder: LocationEncoder, lonlat: Tensor, device: str | torch.device, limit: int = LIMIT
) -> Places | None:
    """The features of the encoder, which moves to the device, or None where keeping them would be
    wrong (something before the last layer learns, or it does not say what its last layer is) or
    take more than `limit` bytes."""
    if not len(lonlat):
        return None
    encoder.to(device)
    own = encoder.backbone(lonlat[:2])  # with a graph, if anything in it learns
    with torch.no_grad():
        whole, joined = encoder(lonlat[:2]), encoder.head(own)
    if own.requires_grad or whole.shape != joined.shape or not torch.allclose(whole, joined):
        return None
    different = len(lonlat.unique(dim=0))
    if different * own.shape[1] * own.element_size() > limit:
        return None
    return Places(encoder, lonlat)
