"""City forms: how a site's quarters lie, how large they are, and what they are used for.

The sites that are trained on, validated on, and ten of those that are tested have the form
"patchwork". The others are met in further test sites alone: the same quarters, uses and materials,
put together in ways that no training site shows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Form:
    """spacing: range of a quarter's side (m); jitter: how far centres may lie off the lattice, of
    which a site draws one (below 0.15 all streets are parallel); bend: how far main roads swing
    (m); block: factor on the spacing of a quarter's streets; uses: factors on how likely uses are;
    rings: quarters lie on rings around the middle and follow them; ribbon: the town falls off from
    a line, not from a point.
    """

    spacing: tuple[float, float] = (180, 240)
    jitter: tuple[float, ...] = (0.08, 0.2, 0.34)
    bend: tuple[float, float] = (0, 9)
    block: float = 1.0
    uses: Mapping[str, float] = field(default_factory=dict)
    rings: bool = False
    ribbon: bool = False


PATCHWORK = "patchwork"
FORMS: dict[str, Form] = {
    PATCHWORK: Form(),
    "grid": Form(spacing=(200, 220), jitter=(0.01,), bend=(0, 0.5), block=0.85),
    "old town": Form(
        spacing=(105, 140),
        jitter=(0.42,),
        bend=(10, 16),
        block=0.7,
        uses={"terraced": 3.0, "core": 0.3, "detached": 0.5, "parking": 0.2},
    ),
    "superblocks": Form(
        spacing=(310, 380),
        jitter=(0.05,),
        bend=(0, 3),
        block=1.5,
        uses={"apartments": 4.0, "terraced": 0.1, "detached": 0.2, "park": 1.5},
    ),
    "sprawl": Form(
        spacing=(230, 290),
        jitter=(0.34,),
        bend=(6, 14),
        block=1.2,
        uses={"detached": 4.0, "parking": 3.0, "core": 0.3, "apartments": 0.4},
    ),
    "radial": Form(spacing=(170, 210), jitter=(0.06,), bend=(0, 2), rings=True),
    "ribbon": Form(spacing=(170, 220), jitter=(0.2,), ribbon=True),
}


@dataclass(frozen=True)
class Centres:
    """The quarters of a site: x, y [k] (m), urbanity u [k] (0 open country, 1 towers), the angle of
    their streets [k] or None where each draws its own, and whether those are to be parallel."""

    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    angle: np.ndarray | None
    turn: float
    parallel: bool
    spacing: float


def centres(form: Form, extent: float, base: float, rng: np.random.Generator) -> Centres:
    """Where the quarters of a square of `extent` m lie; base: the urbanity of the town's middle."""
    spacing = rng.uniform(*form.spacing)
    turn, jitter = rng.uniform(0, math.pi / 2), rng.choice(form.jitter)
    steps = int(extent * 0.75 / spacing) + 2
    p, q = np.meshgrid(np.arange(-steps, steps + 1.0), np.arange(-steps, steps + 1.0))
    p, q = (a.ravel() + rng.uniform(-jitter, jitter, a.size) for a in (p, q))
    if form.rings:
        p, q = _rings(p, q)
    x = extent / 2 + spacing * (p * math.cos(turn) - q * math.sin(turn))
    y = extent / 2 + spacing * (p * math.sin(turn) + q * math.cos(turn))
    keep = (np.abs(x - extent / 2) < extent / 2 + 1.3 * spacing) & (
        np.abs(y - extent / 2) < extent / 2 + 1.3 * spacing
    )
    x, y = x[keep], y[keep]

    # Urbanity falls from a middle that need not be the scene's, with a large random part.
    cx, cy = extent / 2 + rng.normal(0, 350, 2)
    away = np.hypot(x - cx, y - cy) / 1000
    if form.ribbon:
        away = 1.8 * np.abs((x - cx) * math.sin(turn) - (y - cy) * math.cos(turn)) / 1000
    u = base + 0.27 - rng.uniform(0.3, 0.55) * away + rng.normal(0, 0.17, x.size)
    angle = np.arctan2(y - extent / 2, x - extent / 2) % (math.pi / 2) if form.rings else None
    return Centres(x, y, u, angle, turn, jitter < 0.15, spacing)


def _rings(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares around the middle become circles, evenly (Shirley and Chiu 1997)."""
    radius = np.maximum(np.abs(p), np.abs(q))
    wide = np.abs(p) > np.abs(q)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = math.pi / 4 * np.where(wide, q / p, 2 - p / q)
    angle = np.where(radius == 0, 0.0, angle)
    sign = np.where(wide, np.sign(p), np.sign(q))
    return radius * sign * np.cos(angle), radius * sign * np.sin(angle)
