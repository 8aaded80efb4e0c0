"""Galileo's encoder on single Sentinel-2 chips, as it was published and as GAIR's RS tower.

Tseng et al., ICML 2025 (arXiv 2502.09356). Bands that are sensed together share a token, so a
patch has six: RGB, red edge, NIR at 10 m, NIR at 20 m, SWIR, NDVI. A group that is not there is
left out of the attention, which is what the encoder was trained with; nothing stands in its place.
Patches may have any size: the stored kernels (8 px) are resized by the pseudo-inverse of the
resizing of images (FlexiViT, arXiv 2212.08013, section 3.4), so that enlarged patches give the
tokens that they gave before. Of its inputs ours are the ten bands and NDVI at one time step.

Where the published code is of two minds: normalization.json has a mean and a spread of NDVI, the
loader of its training leaves NDVI as it is. `scale_ndvi` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from gairlib.bands import BANDS, GALILEO_MEAN, GALILEO_STD, canonical
from gairlib.errors import BadInput
from gairlib.rs.base import Features, RSTower, register

# Groups of bands that share a token, as rows of the channel embedding (row 0 is Sentinel-1's)
GROUPS = {
    "S2_RGB": ("B02", "B03", "B04"),
    "S2_Red_Edge": ("B05", "B06", "B07"),
    "S2_NIR_10m": ("B08",),
    "S2_NIR_20m": ("B8A",),
    "S2_SWIR": ("B11", "B12"),
    "NDVI": ("NDVI",),
}
CHANNELS = (*BANDS, "NDVI")
NDVI_OF = ("B08", "B04")
NDVI_MEAN, NDVI_STD = 0.2892116, 0.2720939  # over the images of its training
KERNEL = 8  # px of the published kernels


class Galileo(RSTower):
    """Chips [B, 10, S, S] of 10 m pixels in DN, S a multiple of the patch -> Features: the mean of
    each patch's tokens (one for each group of bands that is there), and of all tokens.

    month (1 to 12) holds for all chips. kernel: size of the stored kernels in px.
    """

    leaves_out_bands = True

    def __init__(
        self,
        width: int,
        *,
        patch: int = KERNEL,
        depth: int = 4,
        heads: int = 8,
        hidden: int | None = None,
        month: int = 7,
        kernel: int = KERNEL,
        scale_ndvi: bool = True,
    ) -> None:
        super().__init__()
        if width % 16 or width % heads or month not in range(1, 13):
            raise BadInput(
                f"Galileo: width {width}, heads {heads}, month {month!r}; a width is needed that "
                "16 and the heads divide, and a month from 1 to 12"
            )
        self.width, self.patch, self.month = width, patch, month
        self.embed = nn.ModuleList(
            nn.Conv2d(len(group), width, kernel, stride=kernel) for group in GROUPS.values()
        )
        self.channel = nn.Parameter(torch.zeros(len(GROUPS), width // 4))
        # Tables, which the published training does not move either
        self.register_buffer("time", torch.zeros(width // 4))  # of the first of its time steps
        self.register_buffer("months", torch.zeros(12, width // 4))
        norm = partial(nn.LayerNorm, eps=1e-5)
        ratio = (hidden or 4 * width) / width
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, mlp_ratio=ratio, qkv_bias=True, norm_layer=norm)
                for _ in range(depth)
            )
        )
        self.norm = norm(width)
        # A value x enters as (x - low) / span: 0 at two deviations below the mean, 1 at two above
        low, span = GALILEO_MEAN - 2 * GALILEO_STD, 4 * GALILEO_STD
        ndvi = (NDVI_MEAN - 2 * NDVI_STD, 4 * NDVI_STD) if scale_ndvi else (0.0, 1.0)
        for name, values in (("low", (*low, ndvi[0])), ("span", (*span, ndvi[1]))):
            values = torch.tensor(values, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, values, persistent=False)
        matrix = None if patch == kernel else resizing(kernel, patch)
        self.register_buffer("resizing", matrix, persistent=False)

    def inputs(self, dn: Float[Tensor, "b 10 s s"]) -> Float[Tensor, "b 11 s s"]:
        """DN -> the ten bands and NDVI in the encoder's scale."""
        infrared, red = (dn[:, BANDS.index(name)] for name in NDVI_OF)
        total = infrared + red
        ndvi = torch.where(total > 0, (infrared - red) / total.clamp(min=1e-6), 0).clamp(-1, 1)
        return (torch.cat([dn, ndvi[:, None]], 1) - self.low) / self.span

    def forward(self, dn: Float[Tensor, "b 10 s s"], bands: Sequence[str] = BANDS) -> Features:
        """bands: those that the sensor has; values of the others are not looked at."""
        x, (b, h, w, groups) = self._start(dn, bands)
        x = self.norm(self.blocks(x))
        pooled = x.mean(1)
        return Features(x.reshape(b, h, w, groups, -1).mean(3), pooled, pooled)

    def layers(
        self, dn: Float[Tensor, "b 10 s s"], count: int = 4, bands: Sequence[str] = BANDS
    ) -> list[Tensor]:
        """Token grids [B, h, w, width] of `count` evenly spaced depths, the last one normalised."""
        x, (b, h, w, groups) = self._start(dn, bands)
        found = self._by_depth(x, count)
        return [tokens.reshape(b, h, w, groups, -1).mean(3) for tokens in found]

    def _start(self, dn: Tensor, bands: Sequence[str]) -> tuple[Tensor, tuple[int, int, int, int]]:
        """Tokens with their encodings [B, h w groups, width], and (B, h, w, groups)."""
        if dn.ndim != 4 or dn.shape[1] != len(BANDS) or dn.shape[2] != dn.shape[3]:
            raise BadInput(f"Galileo: chips {list(dn.shape)}, but [B, 10, S, S] is needed")
        if not dn.shape[2] or dn.shape[2] % self.patch:
            raise BadInput(f"Galileo: {dn.shape[2]} pixels are no multiple of {self.patch}")
        there = groups_of(bands)
        x = self.inputs(dn.to(self.dtype))
        tokens = torch.stack([self._tokens(x, k) for k in there], 3)  # [B, h, w, groups, D]
        b, h, w, groups, d = tokens.shape
        quarter = (h, w, groups, d // 4)
        where = torch.cat(
            [
                self.channel[there].expand(quarter),
                self.time.expand(quarter),
                self.months[self.month - 1].expand(quarter),
                positions(h, d // 4, self.patch).to(tokens)[:, :, None].expand(quarter),
            ],
            -1,
        )
        return (tokens + where).flatten(1, 3), (b, h, w, groups)

    def _tokens(self, x: Tensor, group: int) -> Float[Tensor, "b h w d"]:
        """The embedded patches of one group of channels."""
        channels = [CHANNELS.index(name) for name in [*GROUPS.values()][group]]
        layer, p = self.embed[group], self.patch
        kernel = layer.weight
        if self.resizing is not None:
            kernel = (kernel.flatten(2) @ self.resizing.mT).unflatten(2, (p, p))
        return F.conv2d(x[:, channels], kernel, layer.bias, stride=p).permute(0, 2, 3, 1)


@register("galileo")
class GalileoTower(Galileo):
    """GAIR's RS tower: chips [B, 10, S, S] in the scale of the preprocessing "galileo" -> Features
    in D, through a linear layer where the encoder's width is another.

    DN are worked out from the scaled values, and NDVI from those, so that it agrees with bands
    whose brightness a training has changed. `size` is no part of it: its positions are metres.
    """

    preprocessing = "galileo"

    def __init__(
        self,
        dim: int,
        *,
        bands: int = len(BANDS),
        size: int = 64,
        width: int | None = None,
        final_norm: bool = True,
        **options: Any,
    ) -> None:
        if bands != len(BANDS) or not final_norm:
            raise BadInput(
                f"rs_model 'galileo': rs_bands {bands}, rs_final_norm {final_norm}; it reads the "
                "ten bands and ends with a norm"
            )
        width = width or dim
        super().__init__(width, **options)
        self.project = nn.Linear(width, dim) if width != dim else nn.Identity()

    def forward(self, images: Tensor, bands: Sequence[str] = BANDS) -> Features:
        found = super().forward(self._dn(images), bands)
        grid = self.project(found.grid)
        return Features(grid, grid.mean((1, 2)), found.backbone)

    def layers(self, images: Tensor, count: int = 4, bands: Sequence[str] = BANDS) -> list[Tensor]:
        return super().layers(self._dn(images), count, bands)

    def _dn(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != len(BANDS):
            return images  # refused with its shape
        return images * self.span[:-1] + self.low[:-1]


def groups_of(bands: Sequence[str]) -> list[int]:
    """Positions in GROUPS of those whose bands are all there; NDVI needs B04 and B08."""
    known = {canonical(name) for name in bands}
    known |= {"NDVI"} if known.issuperset(NDVI_OF) else set()
    there = [k for k, group in enumerate(GROUPS.values()) if known.issuperset(group)]
    if not there:
        needed = "; ".join(" ".join(group) for group in [*GROUPS.values()][:-1])
        raise BadInput(
            f"Galileo: of the bands {' '.join(map(str, bands)) or '(none)'} no group is complete; "
            f"the groups are {needed}"
        )
    return there


def resizing(kernel: int, patch: int) -> Float[Tensor, "new old"]:
    """What turns kernels of kernel x kernel px into ones of patch x patch px, both flattened: the
    pseudo-inverse of resizing an image patch so (bicubic, antialiased)."""
    one_each = torch.eye(kernel**2, dtype=torch.float64).reshape(-1, 1, kernel, kernel)
    resized = F.interpolate(one_each, (patch, patch), mode="bicubic", antialias=True)
    return torch.linalg.pinv(resized.flatten(1)).float()


def positions(side: int, dim: int, scale: float) -> Float[Tensor, "side side dim"]:
    """Sines and cosines of column, then of row, in units of 10 m pixels. The exponents are the
    published code's, i / (2 * dim / 2) of 10,000."""
    half = dim // 2
    omega = 10000.0 ** -(torch.arange(half // 2) / half / 2.0)
    phases = torch.arange(side)[:, None] * scale * omega  # [side, half / 2]
    table = torch.cat([phases.sin(), phases.cos()], 1)  # [side, half]
    return torch.cat(
        [table[None].expand(side, side, half), table[:, None].expand(side, side, half)], -1
    )
