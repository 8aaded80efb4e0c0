"""Space2Vec, grid and theory: sines and cosines of longitude and latitude at geometric scales.

Mai et al., ICLR 2020, "Multi-Scale Representation Learning for Spatial Feature Distributions using
Grid Cells" (arXiv 2003.00824). A position x is encoded at S scales from r_min to r_max,

    r_s = r_min (r_max / r_min)^(s / (S - 1)),  s = 0..S-1

- **space2vec-grid**: sin and cos of x_1 / r_s and x_2 / r_s; 4 S values.
- **space2vec-theory**: sin and cos of <x, a_j> / r_s for three unit vectors a_j
  that are 120 degrees apart, the hexagon of grid cells; 6 S values.

The paper's x is planar, in metres. On the globe x is (lon, lat), here in radians as in the authors'
later work on the sphere, so r = 1 is a full turn. Nothing ties the two ends of the map together:
both jump at the antimeridian and a pole has one value for each longitude. The network behind the
features is our plain MLP (published: one layer with dropout).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gairlib.errors import BadInput
from gairlib.location.base import LocationEncoder, mlp, register


def geometric_radii(scales: int, min_radius: float, max_radius: float) -> list[float]:
    """r_s, s = 0..scales-1, rising from min_radius to max_radius (one scale: max_radius)."""
    if not isinstance(scales, int) or scales < 1 or not 0 < min_radius <= max_radius < math.inf:
        raise BadInput(
            f"scales {scales!r}, min_radius {min_radius!r}, max_radius {max_radius!r}: one scale "
            "or more and 0 < min_radius <= max_radius are needed."
        )
    ratio = min_radius / max_radius
    return [max_radius * ratio ** (1 - s / (scales - 1)) for s in range(scales - 1)] + [max_radius]


class MultiScale(LocationEncoder):
    """Base: `width` features made of angles times `frequencies` [S] (1 / radius), and one MLP."""

    def __init__(
        self,
        dim: int,
        *,
        scales: int = 16,
        min_radius: float = 1e-3,
        max_radius: float = 1.0,
        hidden: int = 256,
        layers: int = 3,
    ) -> None:
        """Radii in radians: 1 is a full turn, 1e-3 a wavelength of 0.36 degrees (40 km)."""
        super().__init__()
        # Numbers, no buffer: they follow from the options, and no cast can round them.
        self.frequencies = [1 / r for r in geometric_radii(scales, min_radius, max_radius)]
        self.net = mlp([self.width(scales)] + [hidden] * layers + [dim], torch.nn.GELU)

    def width(self, scales: int) -> int:
        """How many features there are."""
        raise NotImplementedError

    def network(self, features: Tensor) -> Tensor:
        return self.net(features)

    def hidden(self, features: Tensor) -> Tensor:
        return self.net[:-1](features)

    def head(self, hidden: Tensor) -> Tensor:
        return self.net[-1](hidden)


@register("space2vec-grid")
class Space2VecGrid(MultiScale):
    """sin, cos of lon / r_s and lat / r_s. Jumps at the antimeridian; many values for a pole."""

    def width(self, scales: int) -> int:
        return 4 * scales

    def features(self, lonlat: Tensor) -> Tensor:
        angle = torch.deg2rad(lonlat)[:, :, None] * lonlat.new_tensor(self.frequencies)  # [N, 2, S]
        return torch.cat([angle.sin(), angle.cos()], -1).flatten(1)


@register("space2vec-theory")
class Space2VecTheory(MultiScale):
    """sin, cos of <(lon, lat), a_j> / r_s, a_j 120 degrees apart. Jumps; many values for a pole."""

    def width(self, scales: int) -> int:
        return 6 * scales

    def features(self, lonlat: Tensor) -> Tensor:
        half = math.sqrt(3) / 2
        vectors = lonlat.new_tensor([[1, 0], [-0.5, half], [-0.5, -half]])  # [3, 2]
        along = torch.deg2rad(lonlat) @ vectors.T  # [N, 3]
        angle = along[:, :, None] * lonlat.new_tensor(self.frequencies)  # [N, 3, S]
        return torch.cat([angle.sin(), angle.cos()], -1).flatten(1)
