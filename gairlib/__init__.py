"""gairlib: three views of one place (satellite chip, street photo, coordinates) in one space.

An open implementation of GAIR (arXiv 2503.16683): `GAIR(config)` is the model,
`load_official(weights)` reads the published one. Submodules load on first use, so that
`import gairlib` stays quick: `gairlib.geo`, `gairlib.pairs.pairing`, ... need no import of their own.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

__version__ = "0.1.0"
__all__ = ["GAIR", "GAIRConfig", "load_official", "__version__"]

_HOME = {"GAIR": "model", "GAIRConfig": "config", "load_official": "official"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"gairlib.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and find_spec(f"gairlib.{name}") is not None:
        return importlib.import_module(f"gairlib.{name}")
    raise AttributeError(f"module 'gairlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
