"""Spherical harmonics of degrees 0..39 at 100,000 points: our recurrence, and closed forms.

Target: at least as fast as the closed forms, with less memory; float32 out of both.

The reference works in SatCLIP's manner: an expression of its own for each (l, m), evaluated over
all points, and one `torch.stack` at the end. The expression is the power series

    N_lm (1 - c^2)^(m/2) sum_k a_k c^(l - m - 2k) cos(m phi),   c = cos(theta) = -sin(lat)

with its coefficients known beforehand, as in the published generated code, and its cosine taken
once an expression (a compiler's common subexpression). `frugal` is a kinder form that nobody
publishes: c shared by all expressions, powers by Horner's rule, columns written into place.

Each runs in a fresh process. The a_k grow like 2^l and cancel, so the two agree where that costs
little: to 1e-13 in float64 at degree 9. At degree 39 the closed form keeps two digits in float64
and none in float32, where it is off by millions. `*_error` is the largest difference from ours in
float64, which the tests compare with SciPy's; values are of order 1.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gairlib.location.spherical_harmonics import real_harmonics
from research.speed.measure import peak

HERE = "research.speed.spherical_harmonics"


def run(quick: bool = False, repeat: int = 2) -> dict[str, Any]:
    """Seconds and peak bytes of each, the best of `repeat` processes; errors of the closed form."""
    points, degree, repeat = (2_000, 9, 1) if quick else (100_000, 39, repeat)
    out: dict[str, Any] = {"points": points, "degree": degree, "values": (degree + 1) ** 2}
    for name in ("ours", "closed_form", "frugal"):
        runs = [peak(f"{HERE}:{name}", points, degree) for _ in range(repeat)]
        assert {r["value"] for r in runs} == {f"[{points}, {(degree + 1) ** 2}] torch.float32"}
        out[f"{name}_seconds"] = min(r["seconds"] for r in runs)
        out[f"{name}_peak_bytes"] = min(r["peak_bytes"] for r in runs)
    out["imports_peak_bytes"] = peak(f"{HERE}:nothing")["peak_bytes"]
    for name in ("closed_form", "frugal"):
        out[f"times_faster_than_{name}"] = out[f"{name}_seconds"] / out["ours_seconds"]
    lonlat = _points(1_000)
    for ell in sorted({9, degree}):
        truth = _theirs(real_harmonics(lonlat, ell))
        for dtype, bits in ((torch.float32, 32), (torch.float64, 64)):
            error = (_closed_form(lonlat.to(dtype), ell).double() - truth).abs().max()
            out[f"closed_form_degree_{ell}_float{bits}_error"] = float(error)
        error = (_theirs(real_harmonics(lonlat, ell, torch.float32)).double() - truth).abs().max()
        out[f"ours_degree_{ell}_float32_error"] = float(error)
    return out


def nothing() -> str:
    """What the interpreter and the imports take."""
    return ""


def ours(points: int, degree: int) -> str:
    return _say(real_harmonics(_points(points), degree, torch.float32))


def closed_form(points: int, degree: int) -> str:
    return _say(_closed_form(_points(points).float(), degree))


def frugal(points: int, degree: int) -> str:
    phi, theta = _angles(_points(points).float())
    c, s = theta.cos(), theta.sin()
    c2, out = c * c, torch.empty(points, (degree + 1) ** 2)
    for ell in range(degree + 1):
        for m in range(ell + 1):
            norm, series = _series(ell, m)
            total = torch.full_like(c, norm * series[0])
            for a in series[1:]:
                total = total * c2 + norm * a
            total = total * s**m * c ** ((ell - m) % 2)
            out[:, ell * ell + ell + m] = total * (m * phi).cos()
            if m:
                out[:, ell * ell + ell - m] = total * (m * phi).sin()
    return _say(out)


def _points(count: int) -> Tensor:
    """Even over the sphere; float64 (lon, lat)."""
    u = torch.rand(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.stack([360 * u[:, 0] - 180, torch.rad2deg(torch.asin(2 * u[:, 1] - 1))], -1)


def _say(out: Tensor) -> str:
    return f"{list(out.shape)} {out.dtype}"


def _angles(lonlat: Tensor) -> tuple[Tensor, Tensor]:
    """SatCLIP's: longitude from 0 to 2 pi, and theta = lat + 90 degrees, counted from the south."""
    return torch.deg2rad(lonlat[:, 0] + 180), torch.deg2rad(lonlat[:, 1] + 90)


@cache
def _series(ell: int, m: int) -> tuple[float, list[float]]:
    """N_lm, with the sqrt(2) where m > 0, and a_k from the highest power down (exact integers).

    P_lm(c) = (1 - c^2)^(m/2) / 2^l sum_k (-1)^k C(l, k) C(2l - 2k, l) (l-2k)!/(l-m-2k)! c^(l-m-2k)
    """
    norm = (2 * ell + 1) / (4 * math.pi) * math.factorial(ell - m) / math.factorial(ell + m)
    series = [
        (-1) ** k
        * math.comb(ell, k)
        * math.comb(2 * ell - 2 * k, ell)
        * math.perm(ell - 2 * k, m)
        / 2**ell
        for k in range((ell - m) // 2 + 1)
    ]
    return math.sqrt(norm * (2 if m else 1)), series


def _expression(ell: int, m: int, phi: Tensor, theta: Tensor) -> Tensor:
    """One closed form, as a generated line of code would hold it."""
    norm, series = _series(ell, abs(m))
    c = torch.cos(theta)
    total = sum(norm * a * c ** (ell - abs(m) - 2 * k) for k, a in enumerate(series))
    if m:
        turn = torch.cos(m * phi) if m > 0 else torch.sin(-m * phi)
        total = (1.0 - c**2) ** (abs(m) / 2) * total * turn
    return total


def _closed_form(lonlat: Tensor, degree: int) -> Tensor:
    phi, theta = _angles(lonlat)
    columns = [
        _expression(ell, m, phi, theta) for ell in range(degree + 1) for m in range(-ell, ell + 1)
    ]
    return torch.stack(columns, -1)


def _theirs(ours: Tensor) -> Tensor:
    """Our columns in SatCLIP's angles: half a turn about both axes is (-1)^l, whatever m is."""
    degree = math.isqrt(ours.shape[1]) - 1
    ells = torch.arange(degree + 1).repeat_interleave(2 * torch.arange(degree + 1) + 1)
    return ours * (1 - 2 * (ells % 2))
