"""Location encoders `e`: (lon, lat) in degrees -> [N, D], by name.

| name                 | features                                           | antimeridian | pole |
|----------------------|----------------------------------------------------|--------------|------|
| rff-xyz              | random Fourier features, unit sphere (the default) | continuous   | one  |
| rff                  | Equal Earth, random Fourier features (2309.16020)  | jumps        | many |
| geoclip              | rff, its 512 values kept, a projection to D        | jumps        | many |
| direct               | lon/180, lat/90                                    | jumps        | many |
| wrap                 | sin, cos of pi lon/180, pi lat/90 (1906.05272)     | continuous   | many |
| xyz                  | unit sphere                                        | continuous   | one  |
| space2vec-*          | grid, theory (2003.00824)                          | jumps        | many |
| sphere2vec-*         | c, c+, m, m+, dfs (2306.17624)                     | jumps        | many |
| sphere2vec-*-integer | the same, whole longitude frequencies              | continuous   | many |
| spherical-harmonics  | real spherical harmonics, SIREN (2310.06743)       | continuous   | one  |

Numbers are arXiv's. "one" value at a pole or "many", one for each longitude. An encoder says so
itself: `continuous_at_antimeridian` and `one_value_per_pole`.

Every name builds from (name, dim) alone. A new encoder is one module in this folder: a
`LocationEncoder` with `@register("its-name")` on it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from gairlib.location.base import ENCODERS


def names() -> list[str]:
    """Names that `create` knows."""
    return ENCODERS.names()


def create(name: str, dim: int, **options: Any) -> nn.Module:
    """A location encoder: nn.Module, forward(lonlat [N, 2]) -> [N, dim]."""
    return ENCODERS.create(name, dim, **options)
