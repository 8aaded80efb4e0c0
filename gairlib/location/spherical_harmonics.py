"""Real spherical harmonics by a stable recurrence, and a SIREN on them: "spherical-harmonics".

Russwurm et al., ICLR 2024, "Geographic Location Encoding with Spherical Harmonics and Sinusoidal
Representation Networks" (arXiv 2310.06743); SIREN is Sitzmann et al., NeurIPS 2020 (arXiv
2006.09661). With phi the longitude and x the sine of the latitude,

    Y_l,m(phi, x) = sqrt(2) P_l,|m|(x) cos(m phi)     m > 0
                    P_l,0(x)                          m = 0
                    sqrt(2) P_l,|m|(x) sin(|m| phi)   m < 0

P is the associated Legendre function, normalised so that the Y are orthonormal on the unit sphere,
without the Condon-Shortley phase (-1)^m. Column l^2 + l + m holds Y_l,m.

**Degree**: ours is the highest l there is: degree L gives l = 0..L, (L + 1)^2 values. SatCLIP's and
the paper's L ("legendre polynomials") counts degrees: l = 0..L-1, L^2 values; so their L = 40 is
our degree 39.

The published code evaluates one closed-form expression for each (l, m), a polynomial in x whose
coefficients grow like 2^l and cancel: float32 has no digit left from degree 21 on and float64 from
45 on (measured, `research.speed.spherical_harmonics`). Here each degree follows from the two before
it (Holmes & Featherstone 2002, "forward column"), all orders at once: errors stay at rounding, and
nothing leaves the range of float64 up to degree 1,900 or so (beyond, the cos(lat)^m that starts a
column underflows where the column still matters). Points are worked on in pieces that stay in the
cache, in float64, and only the result is kept, in the type asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gairlib.errors import BadInput
from gairlib.geo import check_lonlat
from gairlib.location.base import LocationEncoder, register

_PIECE = 2048  # points at once: 40 orders of them in float64 are 0.6 MB, the piece turned 13 MB


def real_harmonics(
    lonlat: Any, degree: int, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "n k"]:
    """Orthonormal real spherical harmonics Y_l,m, l = 0..degree, at (lon, lat) [N, 2] in degrees.

    Returns [N, (degree + 1)^2] in `dtype`, column l^2 + l + m; computed in float64. Differentiable
    where `lonlat` is a tensor that asks for gradients (the memory is then that of the graph).
    """
    if not isinstance(degree, int) or degree < 0:
        raise BadInput(f"degree {degree!r}: a whole number from 0 is needed.")
    points = torch.as_tensor(check_lonlat(lonlat))
    if points.ndim != 2:
        raise BadInput(f"lonlat: shape {list(points.shape)}, but [N, 2] is needed.")
    table = _coefficients(degree, points.device)
    if points.requires_grad and torch.is_grad_enabled():
        return torch.cat(list(_blocks(points, table))).T.to(dtype)
    out = torch.empty(len(points), (degree + 1) ** 2, dtype=dtype, device=points.device)
    for piece, rows in zip(points.detach().split(_PIECE), out.split(_PIECE)):
        turned = torch.empty(out.shape[1], len(piece), dtype=dtype, device=points.device)
        for ell, block in enumerate(_blocks(piece, table)):
            turned[ell * ell : (ell + 1) ** 2] = block
        rows.copy_(turned.T)
    return out


def _coefficients(degree: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """(a, a b) of `_legendre`, [l, 1] and [l - 1, 1], for l = 0..degree."""
    squares = torch.arange(degree + 1, dtype=torch.float64, device=device)[:, None] ** 2
    table = []
    for ell in range(degree + 1):
        a = ((4 * ell * ell - 1) / (ell * ell - squares[:ell])).sqrt()
        m2 = squares[: max(ell - 1, 0)]
        b = (((ell - 1) ** 2 - m2) / (4 * (ell - 1) ** 2 - 1)).sqrt()
        table.append((a, a[:-1] * b))
    return table


def _blocks(points: Float[Tensor, "n 2"], table: list) -> Iterator[Float[Tensor, "m n"]]:
    """One degree at a time: Y_l,m for m = -l..l, [2l + 1, n] float64."""
    lon, lat = torch.deg2rad(points).unbind(-1)
    orders = torch.arange(1, len(table), dtype=torch.float64, device=points.device)
    phase = orders[:, None] * lon  # [degree, n]
    sin, cos = phase.sin(), phase.cos()
    # cos(lat) as a sine: exactly 0 at a pole (one value there), and its slope is right.
    ring = torch.deg2rad(90 - points[:, 1].abs()).sin()
    for ell, p in enumerate(_legendre(lat.sin(), ring, table)):
        yield torch.cat([(p[1:] * sin[:ell]).flip(0), p[:1], p[1:] * cos[:ell]])


def _legendre(x: Tensor, ring: Tensor, table: list) -> Iterator[Float[Tensor, "m n"]]:
    """P_l,m(x) for m = 0..l, one degree after the other: [l + 1, n], sqrt(2) in where m > 0.

    P_l,l = sqrt((2l + 1) / 2l) ring P_l-1,l-1              (l = 1: sqrt(3), with the sqrt(2))
    P_l,m = a (x P_l-1,m - b P_l-2,m),  a^2 = (4 l^2 - 1) / (l^2 - m^2),
                                        b^2 = ((l-1)^2 - m^2) / (4 (l-1)^2 - 1), 0 for m = l - 1
    """
    before, last = None, torch.full_like(x, math.sqrt(0.25 / math.pi))[None]
    yield last
    for ell, (a, ab) in enumerate(table[1:], 1):
        top = math.sqrt(3 if ell == 1 else 1 + 1 / (2 * ell)) * ring * last[-1:]
        rows = a * last * x  # [l, n]
        if ell > 1:
            rows = torch.cat([rows[:-1] - ab * before, rows[-1:], top])
        else:
            rows = torch.cat([rows, top])
        before, last = last, rows
        yield last


class Siren(nn.Module):
    """sin(w0 (W x + b)) layers and a linear last one (Sitzmann et al. 2020, section 3.2).

    `first_w0` = 30 in the first layer and 1 in the others, as in Russwurm et al.; first weights
    U(-1/n, 1/n), later ones U(-sqrt(6/n), sqrt(6/n)), n the layer's inputs, biases alike.
    """

    def __init__(self, inputs: int, hidden: int, dim: int, layers: int, first_w0: float = 30.0):
        super().__init__()
        sizes = [inputs] + [hidden] * layers
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.last_layer = nn.Linear(sizes[-1], dim)
        self.first_w0 = first_w0
        for i, layer in enumerate([*self.layers, self.last_layer]):
            bound = math.sqrt(6 / layer.in_features) if i else 1 / layer.in_features
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n d"]:
        return self.last_layer(self.hidden(x))

    def hidden(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n h"]:
        for i, layer in enumerate(self.layers):
            x = torch.sin(layer(x) if i else self.first_w0 * layer(x))
        return x


@register("spherical-harmonics")
class SphericalHarmonics(LocationEncoder):
    """Real spherical harmonics up to `degree`, inclusive, then a SIREN (arXiv 2310.06743).

    The functions are native to the sphere: continuous everywhere, one value per pole, the same
    resolution everywhere (half a wavelength is 180/degree degrees: 500 km at 40).
    """

    continuous_at_antimeridian = one_value_per_pole = True

    def __init__(self, dim: int, *, degree: int = 40, hidden: int = 256, layers: int = 2) -> None:
        super().__init__()
        if not isinstance(degree, int) or degree < 1 or layers < 1:
            raise BadInput(
                f"spherical-harmonics: degree {degree!r} and {layers!r} layers; whole numbers from "
                "1 are needed."
            )
        self.degree = degree
        self.net = Siren((degree + 1) ** 2, hidden, dim, layers)

    def features(self, lonlat: Tensor) -> Tensor:
        # In the network's own type: in float64 a large batch would take twice the memory.
        return real_harmonics(lonlat, self.degree, self.net.last_layer.weight.dtype)

    def network(self, features: Tensor) -> Tensor:
        return self.net(features)

    def hidden(self, features: Tensor) -> Tensor:
        return self.net.hidden(features)

    def head(self, hidden: Tensor) -> Tensor:
        return self.net.last_layer(hidden)
