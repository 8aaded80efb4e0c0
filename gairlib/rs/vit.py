"""RS encoder: a pre-norm ViT over Sentinel-2 chips with 2D-ALiBi attention bias, no class token.

The published form (GAIR section 3.2; the CROMA optical encoder, arXiv 2311.00566): patches
flattened as (channel, row, column) into one linear layer, no absolute position; each head adds
-slope x Euclidean distance between tokens to its attention scores. No qkv bias, layer-norm eps
1e-5, exact GELU. timm's Block does the rest, so `attn_mask` carries the bias.

Differences: an optional final norm (a pre-norm tower without one leaves its scale to chance) and
an optional projection when the tower's width is not D. Any grid size works at run time, since the
bias is a function of it. The geometry is kept in *integer* buffers (squared distances, slope
exponents), which `.double()` or `.bfloat16()` leave alone: the bias is exact in every dtype.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from gairlib.errors import BadInput
from gairlib.rs.base import Features, RSTower, register


def slope_exponents(heads: int) -> Tensor:
    """Whole numbers e [heads] with ALiBi slope = 2^(-4 e / p), p the largest power of 2 <= heads.

    Power of two: slopes 2^(-8 i / p), i = 1..p. Otherwise every other slope of 2p heads follows,
    as in the ALiBi paper (arXiv 2108.12409).
    """
    p = 2 ** int(math.log2(heads))
    return torch.tensor([2 * (i + 1) for i in range(p)] + [2 * i + 1 for i in range(heads - p)])


def squared_distances(h: int, w: int, device: torch.device | None = None) -> Tensor:
    """Squared Euclidean distance, in tokens, between all tokens of a grid: int64 [h*w, h*w]."""
    row = torch.arange(h, device=device).repeat_interleave(w)
    col = torch.arange(w, device=device).repeat(h)
    return (row[:, None] - row) ** 2 + (col[:, None] - col) ** 2


def alibi_bias(exponents: Tensor, squared: Tensor) -> Float[Tensor, "1 heads n n"]:
    """-slope_head x distance, float64."""
    heads = exponents.shape[0]
    slopes = torch.exp2(exponents.double() * (-4.0 / 2 ** int(math.log2(heads))))
    return -(slopes[:, None, None] * squared.double().sqrt())[None]


@register("vit")
class RSEncoder(RSTower):
    """Chips [B, bands, H, W], preprocessed -> Features. H and W are multiples of `patch`."""

    def __init__(
        self,
        dim: int,
        *,
        bands: int = 10,
        size: int = 64,
        patch: int = 4,
        depth: int = 4,
        heads: int = 4,
        width: int | None = None,
        mlp_ratio: float = 4.0,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        width = width or dim
        self.bands, self.patch, self.grid = bands, patch, (size // patch, size // patch)
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.embed = nn.Linear(bands * patch * patch, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=mlp_ratio, qkv_bias=False, norm_layer=norm)
            for _ in range(depth)
        )
        self.norm = norm(width) if final_norm else nn.Identity()
        self.project = nn.Linear(width, dim) if width != dim else nn.Identity()
        self.register_buffer("exponents", slope_exponents(heads), persistent=False)
        self.register_buffer("squared", squared_distances(*self.grid), persistent=False)

    def patches(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b h w k"]:
        """Flatten patches as (channel, row, column); refuse a wrong band count or size."""
        if images.ndim != 4 or images.shape[1] != self.bands:
            raise BadInput(
                f"RS images: shape {list(images.shape)}, but [B, {self.bands}, H, W] is needed; "
                "place the bands of another sensor with gairlib.bands first."
            )
        b, c, height, width = images.shape
        p = self.patch
        if height % p or width % p or not height or not width:
            raise BadInput(
                f"RS images: {height} x {width} pixels do not divide into patches of {p}; "
                "resize with gairlib.preprocess."
            )
        x = images.reshape(b, c, height // p, p, width // p, p)
        return x.permute(0, 2, 4, 1, 3, 5).reshape(b, height // p, width // p, c * p * p)

    def forward(self, images: Float[Tensor, "b c H W"]) -> Features:
        x, (b, h, w) = self._start(images)
        bias = self._bias(x, h, w)
        for block in self.blocks:
            x = block(x, attn_mask=bias)
        x = self.norm(x)
        tokens = self.project(x)  # [B, N, D]
        pooled = tokens.mean(1)
        backbone = pooled if tokens is x else x.mean(1)
        return Features(tokens.reshape(b, h, w, tokens.shape[-1]), pooled, backbone)

    def layers(self, images: Float[Tensor, "b c H W"], count: int = 4) -> list[Tensor]:
        """Token grids [B, h, w, width] of `count` evenly spaced depths, the last one included.

        What dense heads such as UPerNet read from a plain ViT (PANGAEA, arXiv 2412.04204, takes
        blocks 3, 6, 9 and 12 of 12). A tower of fewer blocks than `count` gives some depths twice;
        depth 0 is the embedded patches. The last one is normalised as `forward` does it.
        """
        x, (b, h, w) = self._start(images)
        found = self._by_depth(x, count, attn_mask=self._bias(x, h, w))
        return [tokens.reshape(b, h, w, -1) for tokens in found]

    def _start(self, images: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Embedded patches [B, N, width], and (B, h, w)."""
        patches = self.patches(images)
        return self.embed(patches).flatten(1, 2), tuple(patches.shape[:3])

    def _bias(self, x: Tensor, h: int, w: int) -> Tensor:
        squared = self.squared if (h, w) == self.grid else squared_distances(h, w, x.device)
        return alibi_bias(self.exponents, squared).to(x.dtype)  # [1, heads, N, N]
