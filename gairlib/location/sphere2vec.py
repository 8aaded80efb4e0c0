"""Sphere2Vec: C, C+, M, M+ and DFS, a double Fourier series on the sphere at several scales.

Mai et al., ISPRS Journal 202:439-462, 2023, "Sphere2Vec: A general-purpose location representation
learning over a spherical surface for large-scale geospatial predictions" (arXiv 2306.17624). With
longitude l and latitude p in radians, S geometric radii r_s (as in `space2vec`, the largest
1), l_s = l / r_s and p_s = p / r_s, over all s:

| name           | published  | values   | features                                               |
|----------------|------------|----------|--------------------------------------------------------|
| sphere2vec-c   | sphereC    | 3 S      | sin p_s, cos p_s cos l_s, cos p_s sin l_s              |
| sphere2vec-c+  | sphereC+   | 6 S      | sphereC and grid: sin l_s, cos l_s, sin p_s, cos p_s   |
| sphere2vec-m   | sphereM    | 5 S      | sin p_s, cos p_s cos l, cos p cos l_s,                 |
|                |            |          | cos p_s sin l, cos p sin l_s                           |
| sphere2vec-m+  | sphereM+   | 8 S      | sphereM and grid                                       |
| sphere2vec-dfs | dfs        | 4 S^2+4 S| grid, and for all pairs n, m: cos p_n cos l_m,         |
|                |            |          | cos p_n sin l_m, sin p_n cos l_m, sin p_n sin l_m      |

**As published they jump at the antimeridian**: cos(l / r_s) is the same at l = -pi and pi only if
1 / r_s is a whole number, which geometric scales are not; and a pole has one value for each
longitude. `integer=True` (names with "-integer" behind) takes the nearest whole longitude
frequencies instead, each above the last: continuous at the antimeridian, for the rest as
published. The network is our plain MLP (published: residual layers with dropout).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gairlib.location.base import register
from gairlib.location.space2vec import MultiScale


def whole_frequencies(frequencies: list[float]) -> list[float]:
    """The nearest whole numbers from 1, no two alike: one for each frequency, in the same order."""
    whole: dict[int, float] = {}
    for i in sorted(range(len(frequencies)), key=frequencies.__getitem__):
        whole[i] = max(round(frequencies[i]), max(whole.values(), default=0) + 1)
    return [float(whole[i]) for i in range(len(frequencies))]


class Sphere2Vec(MultiScale):
    """Base. `continuous_at_antimeridian` is what `integer` is; a pole always has many values."""

    def __init__(self, dim: int, *, integer: bool = False, **options: Any) -> None:
        super().__init__(dim, **options)
        self.continuous_at_antimeridian = integer
        self.lon_frequencies = whole_frequencies(self.frequencies) if integer else self.frequencies

    def features(self, lonlat: Tensor) -> Tensor:
        lon, lat = torch.deg2rad(lonlat).split(1, -1)  # [N, 1] each
        lons = lon * lonlat.new_tensor(self.lon_frequencies)  # [N, S]
        lats = lat * lonlat.new_tensor(self.frequencies)
        return torch.cat(self.terms(lon, lat, lons, lats), -1)

    def terms(self, lon: Tensor, lat: Tensor, lons: Tensor, lats: Tensor) -> list[Tensor]:
        """lon, lat [N, 1] in radians and lons, lats [N, S] at the scales -> features [N, .]."""
        raise NotImplementedError


class SphereC(Sphere2Vec):
    """sphereC: the unit sphere's own coordinates, with both angles scaled."""

    def width(self, scales: int) -> int:
        return 3 * scales

    def terms(self, lon: Tensor, lat: Tensor, lons: Tensor, lats: Tensor) -> list[Tensor]:
        return [lats.sin(), lats.cos() * lons.cos(), lats.cos() * lons.sin()]


class SphereCPlus(Sphere2Vec):
    """sphereC+: sphereC and grid (sin p_s is in both, and once here)."""

    def width(self, scales: int) -> int:
        return 6 * scales

    def terms(self, lon: Tensor, lat: Tensor, lons: Tensor, lats: Tensor) -> list[Tensor]:
        grid = [lats.sin(), lats.cos(), lons.sin(), lons.cos()]
        return grid + [lats.cos() * lons.cos(), lats.cos() * lons.sin()]


class SphereM(Sphere2Vec):
    """sphereM: one of the two angles scaled, the other as it is."""

    def width(self, scales: int) -> int:
        return 5 * scales

    def terms(self, lon: Tensor, lat: Tensor, lons: Tensor, lats: Tensor) -> list[Tensor]:
        return [lats.sin(), *_mixed(lon, lat, lons, lats)]


class SphereMPlus(Sphere2Vec):
    """sphereM+: sphereM and grid (sin p_s is in both, and once here)."""

    def width(self, scales: int) -> int:
        return 8 * scales

    def terms(self, lon: Tensor, lat: Tensor, lons: Tensor, lats: Tensor) -> list[Tensor]:
        grid = [lats.sin(), lats.cos(), lons.sin(), lons.cos()]
        return [*grid, *_mixed(lon, lat, lons, lats)]


class SphereDFS(Sphere2Vec):
    """dfs: the double Fourier series, every scale of one angle times every scale of the other.

    8 scales by default: the number of features grows with their square.
    """

    def __init__(self, dim: int, *, scales: int = 8, **options: Any) -> None:
        super().__init__(dim, scales=scales, **options)

    def width(self, scales: int) -> int:
        return 4 * scales**2 + 4 * scales

    def terms(self, lon: Tensor, lat: Tensor, lons: Tensor, lats: Tensor) -> list[Tensor]:
        one = [lats.sin(), lats.cos(), lons.sin(), lons.cos()]
        pairs = [
            (a[:, :, None] * b[:, None, :]).flatten(1)  # [N, S^2]
            for a in (lats.cos(), lats.sin())
            for b in (lons.cos(), lons.sin())
        ]
        return one + pairs


def _mixed(lon: Tensor, lat: Tensor, lons: Tensor, lats: Tensor) -> list[Tensor]:
    return [
        lats.cos() * lon.cos(),
        lat.cos() * lons.cos(),
        lats.cos() * lon.sin(),
        lat.cos() * lons.sin(),
    ]


for _name, _class in {
    "sphere2vec-c": SphereC,
    "sphere2vec-c+": SphereCPlus,
    "sphere2vec-m": SphereM,
    "sphere2vec-m+": SphereMPlus,
    "sphere2vec-dfs": SphereDFS,
}.items():
    register(_name)(_class)
    register(f"{_name}-integer")(partial(_class, integer=True))
