"""Which device a network runs on: the same word everywhere, "auto" unless a caller says otherwise.

"auto" is the GPU where there is one (each of torchrun's processes has its own), else the CPU; any
other word is PyTorch's own ("cpu", "cuda", "cuda:1"). Apple's "mps" has no float64, in which
positions are computed, so "auto" never means it.
A GPU gives the CPU's vectors within TOLERANCE of their length in float32, and within HALF where the
model is told to encode images in bfloat16 (`model.bf16`, see gairlib.model.GAIR).
"""

import inspect
import os
from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import Any, ParamSpec, TypeVar

import torch

from gairlib.errors import BadInput

TOLERANCE, HALF = 1e-4, 2e-2  # |on a GPU - on the CPU| / |on the CPU|, of each vector
P, R = ParamSpec("P"), TypeVar("R")


def rank() -> tuple[int, int]:
    """(which, of how many) this process is of those that torchrun has started; (0, 1) alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def find(device: str | torch.device = "auto") -> torch.device:
    """The device of a word; BadInput for one that is not here, or no word of PyTorch's."""
    if str(device) == "auto":
        own = f":{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else ""
        return torch.device(f"cuda{own}" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise BadInput(f'device {device!r}: "auto", "cpu" or "cuda" is needed') from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        here = torch.cuda.device_count()
        raise BadInput(f'device {device!r}: {here} CUDA devices are here; "auto" takes what is')
    return found


def on_device(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function (model, ..., device=...): it gets a `torch.device`, and the model is
    there while it runs, and afterwards where it was."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        model = next(iter(bound.arguments.values()))
        device = bound.arguments["device"] = find(bound.arguments["device"])
        before = next((v.device for v in chain(model.parameters(), model.buffers())), device)
        try:
            model.to(device)
            return function(*bound.args, **bound.kwargs)
        finally:
            model.to(before)

    return call
