"""Tensors that a file of weights leaves to the assets they are from: named in it, not stored again.

A tower that was held through training has the very tensors of the asset that it started from. The
file of the model's weights (safetensors) names them in its metadata, asset by asset, and holds the
others; reading it takes them from the asset, whose bytes the lock fixes (gairlib.assets). So a
model of a few megabytes stays one, whatever it stands on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from gairlib import assets
from gairlib.errors import BadInput

KEY = "assets"  # one key: the order of several in a file's head would differ from run to run


def split(
    tensors: Mapping[str, Tensor], names: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    """(tensors to store, the file's metadata) where those that one of the assets `names` holds, bit
    for bit, are left to it; Missing where such an asset is not there."""
    kept, named = dict(tensors), {}
    for name in names:
        theirs = _keys(name)
        same = {own: theirs[d] for own, v in kept.items() if (d := _digest(v)) in theirs}
        kept = {own: value for own, value in kept.items() if own not in same}
        named[name] = same
    return kept, {KEY: json.dumps(named, sort_keys=True)} if named else None


def held(tensors: Mapping[str, Tensor], names: Sequence[str]) -> set[str]:
    """Those that one of the assets `names` holds, bit for bit."""
    return set(tensors) - set(split(tensors, names)[0])


def load(path: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """(all tensors of a file, the assets that it leaves some to). Missing where such an asset is
    not there, with the command that fetches it: nothing is fetched here. What safetensors says of a
    file that it cannot read is its SafetensorError."""
    found = load_file(path)
    with safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get(KEY)
    if said is None:
        return found, ()
    try:
        named = {name: dict(table) for name, table in json.loads(said).items()}
        for name, table in named.items():
            there = _tensors(name)
            found |= {own: there[key].clone() for own, key in table.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadInput(f"{path}: what it leaves to assets cannot be read: {error!r}") from None
    return found, tuple(named)


@lru_cache(maxsize=4)
def _tensors(name: str) -> dict[str, Tensor]:
    """What the first file of an asset holds; never to be written to."""
    content = torch.load(assets.find(name).path, map_location="cpu", weights_only=True)
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


@lru_cache(maxsize=4)
def _keys(name: str) -> dict[tuple, str]:
    """Digest of an asset's tensor -> its name there, the first of equal ones."""
    return {_digest(value): key for key, value in reversed(_tensors(name).items())}


def _digest(tensor: Tensor) -> tuple:
    """Equal for tensors of the same type, shape and bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return tensor.dtype, tuple(tensor.shape), hashlib.sha256(flat.numpy()).digest()
