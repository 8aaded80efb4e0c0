"""RS towers by name: `config.rs_model`.

| name    | what                                             | reads the preprocessing |
|---------|--------------------------------------------------|-------------------------|
| vit     | pre-norm ViT with 2D-ALiBi, CROMA's (the default) | any                     |
| galileo | Galileo's encoder (arXiv 2502.09356)             | galileo                 |

A new tower is one module in this folder: an `RSTower` with `@register("its-name")` on it, built as
cls(dim, bands=, size=, patch=, depth=, heads=, width=, final_norm=, **rs_options).
"""

from __future__ import annotations

from typing import Any

from gairlib.rs.base import TOWERS, RSTower


def names() -> list[str]:
    """Names that `create` knows."""
    return TOWERS.names()


def create(name: str, dim: int, **options: Any) -> RSTower:
    """An RS tower with tokens of width `dim`; options: its sizes, and what else it takes."""
    return TOWERS.create(name, dim, **options)
