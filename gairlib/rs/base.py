"""What GAIR asks of an RS tower, and what it gives: a grid of tokens in the shared width D."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gairlib.errors import BadInput
from gairlib.registry import Registry

TOWERS = Registry(
    "rs_model", Path(__file__).parent, lambda name: import_module(f"gairlib.rs.{name}")
)
register = TOWERS.register


class Features(NamedTuple):
    """An encoded chip batch: what `encode_rs` returns and `query_rs` reads."""

    grid: Float[Tensor, "b h w d"]  # tokens in the shared width D, row 0 in the north
    pooled: Float[Tensor, "b d"]  # mean of the tokens
    backbone: Float[Tensor, "b width"]  # the same before the projection to D, for probing
    # what GAIR adds for a view-directed field, see gairlib.cone
    map: Float[Tensor, "b c H W"] | None = None
    side_m: Float[Tensor, "b 2"] | None = None  # sides on the ground in metres, east and south

    def of(self, chips: Any) -> Features:
        """Those of some chips: an index or slice along B."""
        return Features(*(None if part is None else part[chips] for part in self))


class RSTower(nn.Module):
    """Base: chips [B, bands, H, W], preprocessed, of sides that `patch` divides -> Features.

    blocks: its transformer blocks, which training recomputes or shards one by one. preprocessing:
    the one name of gairlib.preprocess that it reads, None: any. leaves_out_bands: whether `forward`
    also takes `bands`, the names of those that are there, and looks at no others.
    """

    patch: int
    blocks: nn.ModuleList | nn.Sequential
    norm: nn.Module  # behind the last block
    preprocessing: str | None = None
    leaves_out_bands = False

    def forward(self, images: Float[Tensor, "b c H W"]) -> Features:
        raise NotImplementedError

    def layers(self, images: Float[Tensor, "b c H W"], count: int = 4) -> list[Tensor]:
        """Token grids [B, h, w, width] of `count` evenly spaced depths (see `depths`), the last one
        as `forward` has it before the projection. For dense heads such as UPerNet."""
        raise NotImplementedError

    def _by_depth(self, x: Tensor, count: int, **how: Tensor) -> list[Tensor]:
        """Tokens [B, N, width] of `count` depths, from those that enter the blocks; how: what each
        block is told beside them."""
        by_depth = {0: x}
        for number, block in enumerate(self.blocks, 1):
            x = block(x, **how)
            by_depth[number] = x
        by_depth[len(self.blocks)] = self.norm(x)
        return [by_depth[depth] for depth in depths(len(self.blocks), count)]

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights, which its inputs must have."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device


def depths(blocks: int, count: int) -> list[int]:
    """`count` evenly spaced depths of a tower of so many blocks, ascending: 12, 4 -> 3 6 9 12."""
    if count < 1:
        raise BadInput(f"layers: count is {count}, a whole number from 1 is needed")
    return [blocks * (i + 1) // count for i in range(count)]
