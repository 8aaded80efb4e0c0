"""A U-Net on pixels, trained end to end: what labels alone are worth.

Ronneberger et al. 2015, arXiv 1505.04597. The heads on tokens are `gairlib.mapping.pixel_heads`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gairlib.mapping.pixel_heads import conv, resize


class UNet(nn.Module):
    """Standardised pixels [B, C, H, W], H and W multiples of 4 -> [B, K, H, W]."""

    def __init__(self, bands: int, classes: int, channels: int = 16) -> None:
        super().__init__()
        c = channels
        self.down = nn.ModuleList(
            [
                nn.Sequential(conv(bands, c), conv(c, c)),
                nn.Sequential(conv(c, 2 * c), conv(2 * c, 2 * c)),
                nn.Sequential(conv(2 * c, 4 * c), conv(4 * c, 4 * c)),
            ]
        )
        self.up = nn.ModuleList([conv(6 * c, 2 * c), conv(3 * c, c)])
        self.read = nn.Conv2d(c, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down[0](x)
        middle = self.down[1](F.max_pool2d(fine, 2))
        x = self.down[2](F.max_pool2d(middle, 2))
        x = self.up[0](torch.cat([resize(x, middle.shape[-2:]), middle], 1))
        x = self.up[1](torch.cat([resize(x, fine.shape[-2:]), fine], 1))
        return self.read(x)
