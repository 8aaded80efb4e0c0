"""The scale that belongs to weights: a chip's side in pixels and in metres on the ground.

Pretraining writes it into the model's config from the pairs. Chips of another scale can be read all
the same: that is said once, and stands in the metadata of what comes out.
"""

import warnings

from gairlib.config import GAIRConfig
from gairlib.errors import BadInput


class OtherScale(UserWarning):
    """Chips are read at another scale than that of the training, or nobody knows that scale."""


def of(config: GAIRConfig, px: int | None = None, m: float | None = None) -> tuple[int, float]:
    """(pixels, metres) of a chip's side to read: what is asked for, else what the config says."""
    if (px is None and config.chip_px is None) or (m is None and config.chip_m is None):
        raise BadInput(
            "chip_px, chip_m: the model's config does not say at which scale it was trained; give "
            "both, such as 64 pixels and 640 m"
        )
    asked = px or config.chip_px, m or config.chip_m
    if config.chip_px is None:
        warnings.warn(
            f"chips of {_words(*asked)}: the model's config does not say whether it was trained so",
            OtherScale,
            stacklevel=3,
        )
    elif asked != (config.chip_px, config.chip_m):
        warnings.warn(
            f"chips of {_words(*asked)}: the model was trained on those of {trained(config)}",
            OtherScale,
            stacklevel=3,
        )
    return asked


def trained(config: GAIRConfig) -> str:
    """The training's scale in words."""
    return "unknown" if config.chip_px is None else _words(config.chip_px, config.chip_m)


def _words(px: int, m: float) -> str:
    return f"{px} px, {m:g} m"
