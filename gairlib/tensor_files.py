"""Reading checkpoints, strictly: what all loaders have in common.

A file is read with `weights_only` or as safetensors, so that no code in it runs; wrappers and
prefixes that training tools put around a state dict come off; and every tensor is accounted for by
name: missing, unknown and misshapen ones are refused together in one sentence.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gairlib import hub
from gairlib.errors import BadInput, Missing
from gairlib.state_names import named

Weights = str | Path | Mapping[str, Any]
NO_WEIGHTS = {  # how files begin that are taken for weights
    b"version h": "the pointer of Git LFS to a file that was not fetched; run git lfs pull",
    b"<": "a page of a website, not the file; download it again",
    b"{": "JSON; the parts that the index of a checkpoint lists are to be saved as one file",
}


def file_of(
    weights: Weights, *names: str, beside: Sequence[str] = (), **where: Unpack[hub.Where]
) -> Weights:
    """A mapping as it is; of a source (gairlib.hub) its file, in a folder the first of `names`."""
    if not isinstance(weights, (str, Path)):
        return weights
    return hub.find(weights, names, beside, **where).path


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
        with path.open("rb") as file:
            begins = file.read(9)
        for start, why in NO_WEIGHTS.items():
            if begins.startswith(start):
                raise BadInput(f"{path}: is {why}.")
        if path.suffix.lower() == ".safetensors" or begins[8:] == b"{":
            return load_file(path), str(path)
        # Training scripts in the manner of MAE keep their options beside "model": a plain holder
        # of values, which runs nothing when it is read.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as a checkpoint: {error}") from None
    except Exception as error:  # the unpickler refuses anything but tensors and plain values
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise BadInput(
            f"{path}: refused, since it holds more than tensors "
            f"({found[1] if found else type(error).__name__}); save its state dict alone, best as "
            ".safetensors."
        ) from None
    if not isinstance(content, Mapping):
        raise BadInput(f"{path}: holds a {type(content).__name__}, a state dict is needed.")
    return content, str(path)


def unwrap(
    content: Mapping[str, Any],
    source: str,
    what: str,
    expected: Sequence[str],
    inner: str = "",
    others: Sequence[str] | None = None,
    dropped: Sequence[str] = (),
) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict of a module, and the sorted names of tensors that are not part of it.

    Wrappers and prefixes come off (`state_names.named`, which has expected and inner). others: how
    names beside the module may begin, behind any prefix (None: anyhow), or BadInput names one that
    does not. dropped: how names inside of the module begin that are no part of it either.
    """
    own, beside = named(content, expected, f"{source}: not {what}", inner)
    for name in beside:
        if others is not None and not any(f".{other}" in f".{name}" for other in others):
            raise BadInput(f"{source}: not {what}: {name} is unknown.")
    unused = [k for k in own if k.startswith(tuple(dropped))]
    state = {k: v for k, v in own.items() if k not in unused}
    if wrong := [k for k, v in state.items() if not isinstance(v, Tensor)]:
        raise BadInput(f"{source}: {wrong[0]} is no tensor; give the model's state dict.")
    if not state:
        raise BadInput(f"{source}: holds no tensors.")
    return {k: v.detach() for k, v in state.items()}, sorted(beside + unused)


def check(
    state: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], source: str, what: str
) -> None:
    """Raise BadInput unless `state` has just these names and shapes, all finite numbers in floating
    point."""
    faults = [f"{k} is missing" for k in shapes if k not in state]
    faults += [f"{k} is unknown" for k in state if k not in shapes]
    for k, shape in shapes.items():
        if k in state and list(state[k].shape) != list(shape):
            faults.append(f"{k} is {list(state[k].shape)} instead of {list(shape)}")
        elif k in state and (fault := _unusable(state[k])):
            faults.append(f"{k} holds {fault}")
    if any("lora_" in k for k in state):
        faults.insert(0, "it has LoRA adapters, which must be merged first (merge_and_unload)")
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise BadInput(
            f"{source}: not {what}: {'; '.join(faults[:8])}{more}; {len(shapes)} tensors are "
            f"needed, {len(state)} are there."
        )


def _unusable(values: Tensor) -> str | None:
    """What a tensor holds instead of finite floating-point numbers, None where it does not."""
    if values.is_meta or values.layout != torch.strided:
        return "no dense numbers"
    if not values.is_floating_point() or values.element_size() == 1:
        return f"{values.dtype}, not floating-point numbers of 16 bits or more"
    if not values.isfinite().all():
        return "NaN or infinity: the training that saved it had failed"
    return None


def shape(state: Mapping[str, Tensor], name: str, axes: int, source: str, what: str) -> list[int]:
    """Shape of a tensor that sizes are inferred from; missing or of other axes raises BadInput."""
    if name not in state:
        raise BadInput(f"{source}: not {what}: {name} is missing; {len(state)} tensors are there.")
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
