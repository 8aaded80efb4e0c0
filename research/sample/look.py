"""How the generator renders a plan, and the changed rendering of the shifted test sites.

All sites that are trained, validated and tested on are drawn by one generator, LOOK. The sites of
the split "shifted" stand 4 km east of test sites, have their plans (the same numbers are drawn)
and another look, so that what a model loses there is lost to the look alone:

- streets are half as wide again, and buildings 1.6 times as high;
- half as many trees, a third larger;
- roofs, walls, roads and open ground of materials that no other site has.

What follows from these changes too: fewer lots have room beside wide streets, photos stand where
the streets are now, and more roofs are flat (higher buildings have no slope).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from research.sample.spectra import INDEX, MATERIALS, STYLE_NAMES

EAST_M = 4000.0  # how far a shifted site lies from the one whose plan it has


@dataclass(frozen=True)
class Look:
    """Factors on the width of streets, the height of buildings, the number and size of trees;
    styles and ground materials that stand for others (name -> name)."""

    street: float = 1.0
    height: float = 1.0
    trees: float = 1.0
    crown: float = 1.0
    styles: Mapping[str, str] = field(default_factory=dict)
    ground: Mapping[str, str] = field(default_factory=dict)

    def style_of(self) -> np.ndarray:
        """Index of a style -> index of the one that stands for it."""
        return np.array([STYLE_NAMES.index(self.styles.get(s, s)) for s in STYLE_NAMES])

    def ground_of(self) -> np.ndarray:
        """Index of a ground material -> index of the one that stands for it, uint8."""
        return np.array([INDEX[self.ground.get(m, m)] for m in MATERIALS], np.uint8)


LOOK = Look()
SHIFTED = Look(
    street=1.5,
    height=1.6,
    trees=0.5,
    crown=1.33,
    styles={
        "terracotta": "thatch",
        "brick": "copper",
        "white": "timber",
        "adobe": "thatch",
        "rusty": "solar",
        "tin": "solar",
        "blue": "copper",
        "green": "timber",
        "shingle": "solar",
        "red": "thatch",
        "gravel": "timber",
        "glass": "bronze",
    },
    ground={
        "asphalt": "red asphalt",
        "worn asphalt": "pale paving",
        "concrete": "brick paving",
        "cobbles": "brick paving",
        "gravel": "crushed basalt",
        "laterite": "chalk",
        "brown soil": "chalk",
        "black soil": "crushed basalt",
        "sand": "chalk",
        "rock": "crushed basalt",
    },
)
