"""Coordinates as they are, on a circle, on the sphere, and random Fourier features of them.

`direct`, `wrap` and `xyz` are a few smooth features and one MLP. `rff` is the published encoder:
random Fourier features of the Equal Earth projection at three scales, one MLP for each, summed
(GeoCLIP, arXiv 2309.16020). `rff-xyz`, the default, takes them of the point on the unit sphere.
Phases are float64 (at sigma 256 a float32 phase is off by 1e-4), and the frequencies stay float64
whatever the module is cast to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gairlib.geo import unit_sphere
from gairlib.location.base import LocationEncoder, mlp, register


class Plain(LocationEncoder):
    """Few smooth features and one MLP."""

    width: int

    def __init__(self, dim: int, *, hidden: int = 256, layers: int = 3) -> None:
        super().__init__()
        self.net = mlp([self.width] + [hidden] * layers + [dim], nn.GELU)

    def network(self, features: Tensor) -> Tensor:
        return self.net(features)

    def hidden(self, features: Tensor) -> Tensor:
        return self.net[:-1](features)

    def head(self, hidden: Tensor) -> Tensor:
        return self.net[-1](hidden)


@register("direct")
class Direct(Plain):
    """(lon/180, lat/90): the plainest; jumps at the antimeridian, a pole has many values."""

    width = 2

    def features(self, lonlat: Tensor) -> Tensor:
        return torch.stack([lonlat[:, 0] / 180, lonlat[:, 1] / 90], -1)


@register("wrap")
class Wrap(Plain):
    """sin, cos of pi lon/180 and pi lat/90 (Mac Aodha et al., arXiv 1906.05272).

    Continuous at the antimeridian. As published, latitude runs round a full circle, so both poles
    share their latitude features, and a pole still has one value for each longitude.
    """

    width = 4
    continuous_at_antimeridian = True

    def features(self, lonlat: Tensor) -> Tensor:
        angle = torch.stack([lonlat[:, 0] * (math.pi / 180), lonlat[:, 1] * (math.pi / 90)], -1)
        return torch.cat([angle.sin(), angle.cos()], -1)


@register("xyz")
class XYZ(Plain):
    """The point on the unit sphere: continuous everywhere, one value per pole, low frequency."""

    width = 3
    continuous_at_antimeridian = one_value_per_pole = True

    def features(self, lonlat: Tensor) -> Tensor:
        return unit_sphere(lonlat)


class _Fourier(LocationEncoder):
    """Random Fourier features at several scales, one MLP for each scale, summed (GeoCLIP)."""

    inputs: int
    turn: float  # phase = turn * frequencies . position

    def __init__(
        self,
        dim: int,
        *,
        sigmas: Sequence[float],
        features: int,
        hidden: int,
        layers: int = 3,
        seed: int | None = None,
    ) -> None:
        """`features` frequencies for each sigma, drawn N(0, sigma^2).

        They come from `seed`, or from torch's global generator as every layer's first weights do.
        """
        super().__init__()
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        drawn = torch.randn(
            len(sigmas), features, self.inputs, generator=generator, dtype=torch.float64
        )
        scale = torch.tensor(list(sigmas), dtype=torch.float64)[:, None, None]
        self.register_buffer("frequencies", drawn * scale)  # [S, F, inputs]
        # Without the last activation, the hidden layer before `dim` would be linear (published:
        # three ReLU layers, then a linear head).
        self.nets = nn.ModuleList(mlp([2 * features] + [hidden] * layers + [dim]) for _ in sigmas)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Casts leave the frequencies in float64; moves to a device take them along."""
        kept = self.frequencies
        super()._apply(fn, recurse)
        if self.frequencies.dtype != kept.dtype:
            self.frequencies = kept.to(self.frequencies.device)
        return self

    def project(self, lonlat: Tensor) -> Tensor:
        """Float64 degrees [N, 2] -> position [N, inputs]."""
        raise NotImplementedError

    def features(self, lonlat: Tensor) -> Tensor:
        phase = self.turn * (self.project(lonlat) @ self.frequencies.double().mT)  # [S, N, F]
        return torch.cat([phase.cos(), phase.sin()], -1)  # [S, N, 2F]

    def network(self, features: Tensor) -> Tensor:
        return sum(net(x) for net, x in zip(self.nets, features.unbind(0)))

    def hidden(self, features: Tensor) -> Tensor:
        """Of every scale, side by side: [N, S * hidden]."""
        return torch.cat([net[:-1](x) for net, x in zip(self.nets, features.unbind(0))], -1)

    def head(self, hidden: Tensor) -> Tensor:
        parts = hidden.chunk(len(self.nets), -1)
        return sum(net[-1](x) for net, x in zip(self.nets, parts))


# Equal Earth polynomial (Savric, Patterson, Jenny 2018)
_A1, _A2, _A3, _A4 = 1.340264, -0.081106, 0.000893, 0.003796


def equal_earth(lonlat: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """Equal Earth projection as published with GeoCLIP and GAIR: unit sphere, times 66.50336/180.

    (lon, lat) in degrees -> (x, y), about (+-1, +-0.487). It jumps from +1 to -1 at the
    antimeridian, and a pole is a line.
    """
    lon, lat = torch.deg2rad(lonlat).unbind(-1)
    theta = torch.asin(math.sqrt(3) / 2 * lat.sin())
    t2 = theta * theta
    t6 = t2**3
    x = 2 * math.sqrt(3) * lon * theta.cos()
    x = x / (3 * (9 * _A4 * t6 * t2 + 7 * _A3 * t6 + 3 * _A2 * t2 + _A1))
    y = theta * (_A4 * t6 * t2 + _A3 * t6 + _A2 * t2 + _A1)
    return torch.stack([x, y], -1) * (66.50336 / 180)


@register("rff")
class EqualEarthRFF(_Fourier):
    """The published location encoder: Equal Earth, sigma in {1, 16, 256}, phase 2 pi b.x.

    Its input jumps at the antimeridian and has many values for one pole.
    """

    inputs, turn = 2, 2 * math.pi

    def __init__(
        self,
        dim: int,
        *,
        sigmas: Sequence[float] = (1.0, 16.0, 256.0),
        features: int = 256,
        hidden: int = 1024,
        seed: int | None = None,
    ) -> None:
        super().__init__(dim, sigmas=sigmas, features=features, hidden=hidden, seed=seed)

    def project(self, lonlat: Tensor) -> Tensor:
        return equal_earth(lonlat)


@register("rff-xyz")
class SphereRFF(_Fourier):
    """Ours: random Fourier features of xyz on the unit sphere, phase b.x, b ~ N(0, sigma^2 I).

    Expected feature products are a Gaussian kernel of chord length R/sigma. The default sigmas
    2, 16, 128, 1024 give 3,200 km (continents), 400 km (countries), 50 km (regions) and 6.2 km
    (cities); nothing finer, since the photos of one chip should look alike to this encoder. No
    jump at the antimeridian, one value per pole, the same resolution at every latitude.
    """

    inputs, turn = 3, 1.0
    continuous_at_antimeridian = one_value_per_pole = True

    def __init__(
        self,
        dim: int,
        *,
        sigmas: Sequence[float] = (2.0, 16.0, 128.0, 1024.0),
        features: int = 64,
        hidden: int = 256,
        layers: int = 2,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            dim, sigmas=sigmas, features=features, hidden=hidden, layers=layers, seed=seed
        )

    def project(self, lonlat: Tensor) -> Tensor:
        return unit_sphere(lonlat)
