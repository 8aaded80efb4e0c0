"""What a held location encoder makes of the training photos' coordinates, computed once.

A step asks about the coordinates of its batch and of the queue, which holds those of earlier
batches: all are training photos'. So the encoder's own features, everything but its last layer, are
computed before the first step, and a step looks its rows up. The last layer, which maps them to D,
runs in every step, whether it is held or new.

Photos and chips of held towers are encoded in every step, without a graph: each step sees them
otherwise (turned, mirrored, in other colours), so that there is nothing to keep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gairlib.location.base import LocationEncoder

LIMIT = 2**30  # bytes of features that are kept at most
BATCH = 4096


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
