"""The published GAIR (github zpl99/GAIR, weights at PingL/GAIR): see gairlib.published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from gairlib import devices, hub, published
from gairlib.hub import Where
from gairlib.model import GAIR


def load_official(
    weights: str | Path | Mapping[str, Any],
    rs_heads: int = 16,
    sv_heads: int = 12,
    *,
    device: str = "cpu",
    **where: Unpack[Where],
) -> GAIR:
    """A published checkpoint -> GAIR in eval mode, float32.

    weights: a source (gairlib.hub), such as "PingL/GAIR", or a state dict; .pth files are read with
    weights_only, and wrappers and prefixes of training tools are taken off (`state_names`).
    rs_heads, sv_heads: attention heads, which leave no trace in the tensors. Missing, unknown,
    misshapen and whole-number tensors raise BadInput by name; those that inference does not use are
    allowed and listed in `model.unused_tensors`. The published weights are CC BY-NC 4.0, which
    `model.origins` says, and a warning before they are fetched.
    """
    if isinstance(weights, Mapping):
        model = published.load(GAIR, weights, rs_heads, sv_heads)
    else:
        place = hub.find(weights, (hub.CHECKPOINT,), **where)
        model = GAIR._published(place, rs_heads, sv_heads)
    return model.to(devices.find(device))
