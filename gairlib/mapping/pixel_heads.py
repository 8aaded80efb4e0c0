"""Heads that answer for every pixel of a chip: linear ones and UPerNet, on a tower's tokens.

The linear head also reads what is finer than tokens beside them (`Linear` takes several grids): the
chip's bands with the means around each pixel, a skip past the tower.

UPerNet (Xiao et al. 2018, arXiv 1807.10221) as PANGAEA (arXiv 2412.04204, section 3.3) sets it on
plain ViTs: four evenly spaced layers become a pyramid with strides of 4, 8, 16 and 32 pixels by
resampling the tokens; pooling at four sizes on the coarsest, then top-down sums, then one map.
Ours is narrow (`width`) where two CPU cores have to train it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (4, 8, 16, 32)  # pixels, of the pyramid
POOLS = (1, 2, 3, 6)  # cells a side, of the pooling pyramid


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def conv(inside: int, outside: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


class LinearHead(nn.Module):
    """Logits of each token, enlarged bilinearly: last layer [B, h, w, width] -> [B, K, H, W]."""

    def __init__(self, width: int, classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.norm = nn.BatchNorm1d(width, affine=False)  # a probe's standardisation
        self.read = nn.Linear(width, classes)

    def forward(self, layers: list[Tensor]) -> Tensor:
        x = layers[-1]
        logits = self.read(self.norm(x.flatten(0, 2))).reshape(*x.shape[:3], -1)  # [B, h, w, K]
        return resize(logits.permute(0, 3, 1, 2), (self.size, self.size))


class Linear(nn.Module):
    """Several grids of one chip, each under a `LinearHead` of its own, whose logits are added:
    grids [B, h, w, D] of any resolutions -> [B, K, H, W]. windows: of each grid, see `around`."""

    def __init__(
        self, widths: Sequence[int], windows: Sequence[Sequence[int]], classes: int, size: int
    ) -> None:
        super().__init__()
        self.windows = windows
        self.parts = nn.ModuleList(LinearHead(width, classes, size) for width in widths)

    def forward(self, grids: list[Tensor]) -> Tensor:
        found = zip(self.parts, grids, self.windows, strict=True)
        return sum(part([around(x, windows)]) for part, x, windows in found)


def around(grid: Tensor, windows: Sequence[int]) -> Tensor:
    """A grid [B, h, w, D] and beside it its means over squares of these odd sides, [B, h, w, D *
    (1 + windows)]; what lies beyond the edge is left out of a mean."""
    x = grid.permute(0, 3, 1, 2)
    means = [F.avg_pool2d(x, n, 1, n // 2, count_include_pad=False) for n in windows]
    return torch.cat([x, *means], 1).permute(0, 2, 3, 1) if means else grid


class UPerNet(nn.Module):
    """Four layers [B, h, w, width] of a square of `size` pixels -> [B, K, size, size]."""

    layers = 4

    def __init__(self, width: int, classes: int, size: int, channels: int = 32) -> None:
        super().__init__()
        self.size = size
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for _ in STRIDES)
        self.lateral = nn.ModuleList(conv(width, channels, 1) for _ in STRIDES[:-1])
        self.pooled = nn.ModuleList(  # no norm: one cell of one image has no spread
            nn.Sequential(nn.Conv2d(width, channels, 1), nn.ReLU()) for _ in POOLS
        )
        self.bottom = conv(width + len(POOLS) * channels, channels)
        self.smooth = nn.ModuleList(conv(channels, channels) for _ in STRIDES[:-1])
        self.fuse = conv(len(STRIDES) * channels, channels)
        self.read = nn.Conv2d(channels, classes, 1)

    def forward(self, layers: list[Tensor]) -> Tensor:
        sides = [max(1, self.size // s) for s in STRIDES]
        levels = [
            norm(resize(x.permute(0, 3, 1, 2), (n, n)))
            for norm, x, n in zip(self.norms, layers, sides)
        ]
        last = levels[-1]  # [B, width, n, n]
        context = [
            resize(f(F.adaptive_avg_pool2d(last, p)), last.shape[-2:])
            for p, f in zip(POOLS, self.pooled)
        ]
        x = self.bottom(torch.cat([last, *context], 1))
        found = [x]
        for level in reversed(range(len(levels) - 1)):  # coarse to fine
            lateral = self.lateral[level](levels[level])
            x = lateral + resize(x, lateral.shape[-2:])
            found.append(self.smooth[level](x))
        finest = found[-1].shape[-2:]
        x = self.fuse(torch.cat([resize(f, finest) for f in found], 1))
        return resize(self.read(x), (self.size, self.size))
