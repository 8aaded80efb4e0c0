"""What a quarter can be used for, and what each use looks like."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """A kind of quarter. u, spread: the urbanity where it is likely; block: street spacing (m) in
    two directions; street: half-width (m); lot: size (m); fill: footprint over lot; height: range
    of a quarter's mean (m); trees: share of 5 m spots with a tree; green: share of plant cover."""

    u: float
    spread: float
    weight: float
    block: tuple[float, float] = (0.0, 0.0)
    street: float = 3.0
    lot: tuple[float, float] = (0.0, 0.0)
    fill: tuple[float, float] = (0.0, 0.0)
    height: tuple[float, float] = (0.0, 0.0)
    trees: float = 0.0
    green: float = 0.0
    tracks: str = ""


USES: dict[str, Use] = {
    "core": Use(1.0, 0.2, 1.0, (96, 96), 4.5, (33, 33), (0.88, 0.86), (34, 95), 0.01, 0.05),
    "commercial": Use(
        0.85, 0.22, 0.9, (104, 84), 3.5, (24, 31), (0.96, 0.84), (12, 28), 0.02, 0.05
    ),
    "apartments": Use(0.72, 0.24, 1.0, (140, 96), 3.5, (42, 28), (0.88, 0.5), (14, 38), 0.09, 0.5),
    "terraced": Use(0.62, 0.22, 1.0, (120, 52), 3, (8.5, 21), (1.0, 0.56), (6, 11), 0.07, 0.45),
    "informal": Use(0.6, 0.22, 0.8, (64, 42), 2, (9.5, 10), (0.88, 0.9), (2.8, 5.5), 0.02, 0.1),
    "detached": Use(0.42, 0.24, 1.3, (132, 58), 3, (17, 24), (0.68, 0.5), (3.6, 8.0), 0.14, 0.75),
    "industrial": Use(0.5, 0.24, 0.5, (170, 130), 4.5, (48, 38), (0.88, 0.84), (6, 13), 0.012, 0.1),
    "park": Use(0.6, 0.5, 0.6, (150, 125), 1.8, trees=0.24, green=0.95, tracks="gravel"),
    "sports": Use(0.6, 0.3, 0.25, (0, 0), 0, trees=0.015, green=0.6),
    "parking": Use(0.75, 0.3, 0.15, (0, 0), 0, trees=0.01, green=0),
    "forest": Use(0.12, 0.28, 1.0, (150, 170), 1.6, trees=0.8, green=0.9, tracks="dirt"),
    "field": Use(0.1, 0.26, 1.4, (170, 150), 1.8, trees=0.0, green=1, tracks="dirt"),
    "orchard": Use(0.18, 0.25, 0.5, (140, 120), 1.6, trees=0.45, green=0.6, tracks="dirt"),
    "meadow": Use(0.2, 0.3, 0.5, (180, 170), 1.5, trees=0.012, green=0.95, tracks="dirt"),
    "bare": Use(0.2, 0.35, 0.5, (160, 170), 2, trees=0.004, green=0.1, tracks="dirt"),
    "lake": Use(0.3, 0.5, 0.16),
}
USE_NAMES = tuple(USES)
BUILT = ("core", "commercial", "apartments", "terraced", "informal", "detached", "industrial")
