"""RS towers by name: `config.rs_model`.

| name    | what                                             | reads the preprocessing |
|---------|--------------------------------------------------|-------------------------|
| vit     | pre-norm ViT with 2D-ALiBi, CROMA's (the default) | any                     |
| galileo | Galileo's encoder (arXiv 2502.09356)             | galileo                 |

A new tower is one module in this folder: an `RSTower` with `@register("its-name")` on it, built as
cls(dim, bands=, size=, patch=, depth=, heads=, width=, final_norm=, **rs_options).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from gairlib.errors import BadInput
from gairlib.rs.base import TOWERS, RSTower


def _towers() -> dict[str, Callable[..., RSTower]]:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"gairlib.rs.{module.name}")
    return TOWERS


def names() -> list[str]:
    """Names that `create` knows."""
    return sorted(_towers())


def create(name: str, dim: int, **options: Any) -> RSTower:
    """An RS tower with tokens of width `dim`; options: its sizes, and what else it takes."""
    towers = _towers()
    if name not in towers:
        raise BadInput(f"rs_model {name!r} is not one of {', '.join(names())}.")
    try:
        return towers[name](dim, **options)
    except TypeError as error:
        raise BadInput(f"rs_model {name!r}: {error}") from None
