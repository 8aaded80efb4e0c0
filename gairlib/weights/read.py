"""Reading checkpoints, strictly: what all loaders have in common.

A file is read with `weights_only` or as safetensors, so that no code in it runs; wrappers that
training tools put around a state dict come off; and every tensor is accounted for by name: missing,
unknown and misshapen ones are refused together in one sentence.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gairlib.errors import BadInput, Missing
from gairlib.model import plain_names

Weights = str | Path | Mapping[str, Any]
WRAPPERS = ("state_dict", "model")  # Lightning's and most others'


def read(weights: Weights) -> tuple[Mapping[str, Any], str]:
    """A file's content (or the mapping itself), and what to call it in errors."""
    if isinstance(weights, Mapping):
        return weights, "state dict"
    if not isinstance(weights, (str, Path)):
        raise BadInput("state dict: holds no state dict.")
    path = Path(weights)
    if not path.is_file():
        raise Missing(f"{path}: no such checkpoint file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path), str(path)
        # Training scripts in the manner of MAE keep their options beside "model": a plain holder
        # of values, which runs nothing when it is read.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as a checkpoint: {error}") from None
    except Exception as error:  # the unpickler refuses anything but tensors and plain values
        raise BadInput(
            f"{path}: refused, since it holds more than tensors ({type(error).__name__}); save its "
            "state dict alone, best as .safetensors."
        ) from None
    if not isinstance(content, Mapping):
        raise BadInput(f"{path}: holds a {type(content).__name__}, a state dict is needed.")
    return content, str(path)


def unwrap(content: Mapping[str, Any], source: str, attribute: str = "") -> dict[str, Tensor]:
    """The state dict in it: wrappers come off, and what training tools put into names
    (`plain_names`); nothing but tensors."""
    while inner := [content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)]:
        content = inner[0]
    state = plain_names(content, source, attribute)
    if wrong := [k for k, v in state.items() if not isinstance(v, Tensor)]:
        raise BadInput(f"{source}: {wrong[0]} is no tensor; give the model's state dict.")
    if not state:
        raise BadInput(f"{source}: holds no tensors.")
    return state


def part(
    state: Mapping[str, Tensor],
    prefixes: Sequence[str],
    marker: str,
    others: Sequence[str],
    source: str,
    what: str,
) -> tuple[dict[str, Tensor], list[str]]:
    """The encoder in a larger model: tensors under the first prefix that has one with `marker`.

    Returns them without the prefix, and the names of all others; these must begin as one of
    `others` does, or BadInput names one that does not. Without such a prefix the whole state is
    taken for the encoder, and what is amiss shows up by name.
    """
    prefix = next((p for p in prefixes if any(k.startswith(p + marker) for k in state)), "")
    rest = sorted(k for k in state if not k.startswith(prefix) or k.startswith(tuple(others)))
    if strange := [k for k in rest if not k.startswith(tuple(others))]:
        raise BadInput(f"{source}: not {what}: {strange[0]} is unknown.")
    left = set(rest)
    return {k[len(prefix) :]: v for k, v in state.items() if k not in left}, rest


def check(
    state: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], source: str, what: str
) -> None:
    """Raise BadInput unless `state` has just these names and shapes, all floating point."""
    faults = [f"{k} is missing" for k in shapes if k not in state]
    faults += [f"{k} is unknown" for k in state if k not in shapes]
    for k, shape in shapes.items():
        if k in state and list(state[k].shape) != list(shape):
            faults.append(f"{k} is {list(state[k].shape)} instead of {list(shape)}")
        elif k in state and not state[k].is_floating_point():
            faults.append(f"{k} holds {state[k].dtype}, not floating-point numbers")
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise BadInput(f"{source}: not {what}: {'; '.join(faults[:8])}{more}.")


def shape(state: Mapping[str, Tensor], name: str, axes: int, source: str, what: str) -> list[int]:
    """Shape of a tensor that sizes are inferred from; missing or of other axes raises BadInput."""
    if name not in state:
        raise BadInput(f"{source}: not {what}: {name} is missing.")
    if state[name].ndim != axes:
        raise BadInput(
            f"{source}: not {what}: {name} is {list(state[name].shape)}, {axes} axes are needed."
        )
    return list(state[name].shape)


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """1 + the highest number behind the prefix; a gap shows up later as missing tensors."""
    numbers = {k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)}
    return 1 + max((int(n) for n in numbers if n.isdigit()), default=-1)


def both(name: str, *weight: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's weight and its bias (as long as the weight's first axis)."""
    shapes = {f"{name}.weight": weight}
    return {**shapes, f"{name}.bias": weight[:1]} if bias else shapes
