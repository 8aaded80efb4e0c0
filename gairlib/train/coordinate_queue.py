"""First-in-first-out memory of coordinates: SECL's further negatives, encoded afresh each step.

The published queue holds 4,096 coordinates. Keeping coordinates instead of embeddings means that
the negatives are never stale. Coordinates are float64; how full it is, is known on the host, so
that no step waits for a device.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gairlib.errors import BadInput
from gairlib.geo import check_lonlat


class CoordinateQueue:
    """The last `size` coordinates pushed, as a ring buffer [size, 2] of (lon, lat), float64."""

    def __init__(self, size: int, device: torch.device | str | None = None) -> None:
        if size < 0:
            raise BadInput(f"queue size {size}: 0 (none) or more is needed.")
        self.lonlat = torch.zeros(size, 2, dtype=torch.float64, device=device)
        self.pushed = 0  # coordinates ever pushed

    @property
    def size(self) -> int:
        return len(self.lonlat)

    def __len__(self) -> int:
        return min(self.pushed, self.size)

    @torch.no_grad()
    def push(self, lonlat: Any) -> None:
        """Add (lon, lat) [n, 2]; the oldest make room. More than `size` at once: the last stay."""
        points = torch.as_tensor(check_lonlat(lonlat)).reshape(-1, 2)
        skip = max(len(points) - self.size, 0)
        points = points[skip:].to(self.lonlat.device)
        if self.size == 0:
            return
        start = (self.pushed + skip) % self.size
        head = min(len(points), self.size - start)  # up to the end of the buffer, then wrap
        self.lonlat[start : start + head] = points[:head]
        self.lonlat[: len(points) - head] = points[head:]
        self.pushed += skip + len(points)

    def valid(self) -> Float[Tensor, "m 2"]:
        """A copy of the coordinates held, [m, 2], oldest first."""
        if self.pushed <= self.size:
            return self.lonlat[: self.pushed].clone()
        return self.lonlat.roll(-(self.pushed % self.size), 0)

    def to(self, device: torch.device | str) -> CoordinateQueue:
        """Move the buffer; returns itself."""
        self.lonlat = self.lonlat.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Two tensors, fit for safetensors."""
        return {"lonlat": self.lonlat.clone(), "pushed": torch.tensor(self.pushed)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore; the size must be the same."""
        if state["lonlat"].shape != self.lonlat.shape:
            raise BadInput(
                f"queue: the stored one holds {len(state['lonlat'])} coordinates, this one "
                f"{self.size}; resume with the size it was started with."
            )
        self.lonlat.copy_(state["lonlat"])
        self.pushed = int(state["pushed"])
