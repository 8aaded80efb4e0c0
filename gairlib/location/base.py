"""What every location encoder has: checks, features in float64, a network, a name to ask for.

Longitudes count modulo 360. Projections and phases are computed in float64 and cast afterwards;
what the encoder's network is cast to leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gairlib.errors import BadInput
from gairlib.geo import check_lonlat, wrap_lon
from gairlib.registry import Registry

ENCODERS = Registry(
    "location encoder",
    Path(__file__).parent,
    lambda name: import_module(f"gairlib.location.{name}"),
)
register = ENCODERS.register


class LocationEncoder(nn.Module):
    """Base: check, features in float64, then a network in the module's own dtype."""

    continuous_at_antimeridian = False  # the same vector from the east and from the west
    one_value_per_pole = False  # whatever the longitude says there
    backbone_is_output = False  # own features are an encoder's outputs, not hidden units

    def features(self, lonlat: Float[Tensor, "n 2"]) -> Tensor:
        """Float64 degrees, lon in [-180, 180] -> float64 features."""
        raise NotImplementedError

    def network(self, features: Tensor) -> Float[Tensor, "n d"]:
        raise NotImplementedError

    def hidden(self, features: Tensor) -> Float[Tensor, "n h"]:
        """What the last linear layer reads; the output itself, where a class names nothing else."""
        return self.network(features)

    def head(self, hidden: Float[Tensor, "n h"]) -> Float[Tensor, "n d"]:
        """From `hidden` to the output: the last linear layer, nothing where a class names none."""
        return hidden

    def points(self, lonlat: Any) -> Float[Tensor, "n 2"]:
        """Checked (lon, lat) in float64 on the module's device, lon in [-180, 180]."""
        points = torch.as_tensor(check_lonlat(lonlat)).to(next(self.parameters()).device)
        if points.ndim != 2:
            raise BadInput(f"lonlat: shape {list(points.shape)}, but [N, 2] is needed.")
        lon, lat = points.unbind(-1)
        # Modulo 360 only where it is needed: the operation itself rounds.
        lon = torch.where((lon >= -180) & (lon <= 180), lon, wrap_lon(lon))
        return torch.stack([lon, lat], -1)

    def forward(self, lonlat: Any) -> Float[Tensor, "n d"]:
        """(lon, lat) [N, 2] in degrees, list, array or tensor of any dtype -> [N, D]."""
        return self.network(self._cast(lonlat))

    def backbone(self, lonlat: Any) -> Float[Tensor, "n h"]:
        """The encoder's own features before the last linear layer, for probing: [N, H]."""
        return self.hidden(self._cast(lonlat))

    def _cast(self, lonlat: Any) -> Tensor:
        features = self.features(self.points(lonlat))
        return features.to(next(self.parameters()).dtype)


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with activations between them, none after the last."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layers += [nn.Linear(a, b)] + ([activation()] if i < len(sizes) - 2 else [])
    return nn.Sequential(*layers)
