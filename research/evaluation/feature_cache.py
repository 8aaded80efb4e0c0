"""Frozen features on disk: an encoder reads the same inputs once for all tasks of a run.

The name of a file is a hash of all that its numbers depend on: the encoder's configuration and
weights, the inputs, the device, and the code that encodes (comments and docstrings aside). So a
changed model or photo is another file, and nothing here ever needs to be declared stale. Files lie
in outputs/features of the run's folder; they may be deleted at any time.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor

from gairlib.files import code_hash, whole
from gairlib.model import GAIR
from gairlib.model_hash import model_hash

FOLDER = "outputs/features"
CODE = (
    "gairlib/bands",
    "gairlib/embed/encode",
    "gairlib/inr",
    "gairlib/model",
    "gairlib/preprocess",
    "gairlib/rs",
    "gairlib/sv",
)  # no location features are kept


def cached(
    compute: Callable[[], np.ndarray],
    model: GAIR,
    inputs,
    device: str,
    kind: str,
    folder: str | Path | None = None,
) -> np.ndarray:
    """`compute()`, or what it gave for the same model, inputs, device and kind before.

    inputs: arrays or tensors in a fixed order. kind: what is computed from them. folder: where
    the files lie; "" for no cache at all, None for `FOLDER`. A file that cannot be read is
    computed anew.
    """
    folder = FOLDER if folder is None else folder
    if not folder:
        return compute()
    path = Path(folder) / f"{key(model, inputs, device, kind)}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or cut short
        found = np.ascontiguousarray(compute())
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part, open(part, "wb") as file:  # two stages may compute the same
        np.save(file, found)
    return found


def key(model: GAIR, inputs, device: str, kind: str) -> str:
    """32 hex digits of what the features depend on."""
    versions = f"{torch.__version__} {timm.__version__}"
    digest = hashlib.sha256(f"{kind} {device} {versions} {_code()} {model_hash(model)}".encode())
    digest.update(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for value in inputs:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


@cache
def _code() -> str:
    here = Path(__file__).resolve().parents[2]
    return code_hash([here / f"{name}.py" for name in CODE])
