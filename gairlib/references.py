"""Tensors that a file of weights leaves to the assets they are from: named in it, not stored again.

A tower that was held through training has the very tensors of the asset that it started from. The
file of the model's weights (safetensors) names them in its metadata, asset by asset, and holds the
others; reading it takes them from the asset, whose bytes the lock fixes (gairlib.assets). So a
model of a few megabytes stays one, whatever it stands on.

Beside those names stand a digest of what the file holds, which is compared when it is read, so that
a flipped bit is named, and the config of its model. Who writes other tensors with safetensors' own
functions writes neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from gairlib import assets
from gairlib.errors import BadInput

KEY = "assets"  # one key: the order of several in a file's head would differ from run to run
SUM, CONFIG = "sha256", "config"  # beside the names of assets


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


def sealed(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None, config: Mapping
) -> dict[str, str]:
    """The metadata that `split` gave, with a digest of the tensors that are stored and the config
    of the model that they are of."""
    named = json.loads(metadata[KEY]) if metadata else {}
    more = {SUM: _sum(tensors, named), CONFIG: config}
    return {KEY: json.dumps({**named, **more}, sort_keys=True)}


def config(path: str | Path) -> Any:
    """The config that a file was written with; None where it does not say."""
    return _said(path).get(CONFIG)


def _said(path: str | Path) -> dict:
    with safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get(KEY)
    try:
        return dict(json.loads(said or "{}"))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: what it leaves to assets cannot be read: {error!r}") from None


def stored(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    """What `split` gave for a file: its tensors and the metadata without a digest. BadInput where
    they are not those that were sealed; what safetensors says of a file that it cannot read is its
    SafetensorError."""
    found = load_file(path)
    said = _said(path)
    named = {name: table for name, table in said.items() if name not in (SUM, CONFIG)}
    digest = said.get(SUM)
    if digest is not None and digest != _sum(found, named):
        raise BadInput(f"{path} is not what was written: it is damaged; save or fetch it again")
    return found, {KEY: json.dumps(named, sort_keys=True)} if named else None


def load(path: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """(all tensors of a file, the assets that it leaves some to), as `stored`. Missing where such
    an asset is not there, with the command that fetches it: nothing is fetched here."""
    found, metadata = stored(path)
    if metadata is None:
        return found, ()
    try:
        named = {name: dict(table) for name, table in json.loads(metadata[KEY]).items()}
        for name, table in named.items():
            there = _tensors(name)
            found |= {own: there[key].clone() for own, key in table.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadInput(f"{path}: what it leaves to assets cannot be read: {error!r}") from None
    return found, tuple(named)


def _sum(tensors: Mapping[str, Tensor], named: Mapping[str, object]) -> str:
    parts = [*((name, _digest(tensor)) for name, tensor in sorted(tensors.items()))]
    return hashlib.sha256(f"{parts} {json.dumps(named, sort_keys=True)}".encode()).hexdigest()


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
