"""Galileo's encoder on single Sentinel-2 chips: digital numbers [B, 10, S, S] -> Features."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from gairlib.bands import BANDS
from gairlib.errors import BadInput
from gairlib.rs import Features
from gairlib.weights.read import Weights, both, check, count, read, shape

# Groups of bands that share a token, as rows of the channel embedding (row 0 is Sentinel-1's)
GROUPS = {
    "S2_RGB": ("B02", "B03", "B04"),
    "S2_Red_Edge": ("B05", "B06", "B07"),
    "S2_NIR_10m": ("B08",),
    "S2_NIR_20m": ("B8A",),
    "S2_SWIR": ("B11", "B12"),
    "NDVI": ("NDVI",),
}
# Mean and standard deviation of our ten bands over the images of its training (normalization.json)
MEAN = (1395.341, 1338.403, 1343.099, 1543.861, 2186.202)
MEAN += (2525.093, 2410.338, 2750.285, 2234.911, 1474.531)
STD = (917.704, 913.299, 1092.679, 1047.221, 1048.010)
STD += (1143.690, 1098.979, 1204.473, 1145.977, 980.243)
OTHERS = ("space_embed.", "time_embed.", "static_embed.", "space_time_embed.S1.")
OTHERS += ("sp_channel_embed", "t_channel_embed", "st_channel_embed")


class Galileo(nn.Module):
    """Chips [B, 10, S, S] of 10 m pixels in DN, S a multiple of the patch -> Features: the mean of
    each patch's six tokens, and of all tokens. `month` (1 to 12) holds for all of them."""

    def __init__(self, width: int, depth: int, heads: int, hidden: int, patch: int, month: int):
        super().__init__()
        self.width, self.patch, self.month = width, patch, month
        self.embed = nn.ModuleList(
            nn.Conv2d(len(group), width, patch, stride=patch) for group in GROUPS.values()
        )
        self.channel = nn.Parameter(torch.zeros(len(GROUPS), width // 4))
        self.time = nn.Parameter(torch.zeros(width // 4))  # of the first of its time steps
        self.months = nn.Parameter(torch.zeros(12, width // 4))
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, mlp_ratio=hidden / width, qkv_bias=True, norm_layer=norm)
                for _ in range(depth)
            )
        )
        self.norm = norm(width)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def inputs(self, dn: Tensor) -> Tensor:
        """DN [B, 10, S, S] -> [B, 11, S, S]: bands as (x - (m - 2 s)) / 4 s, then NDVI."""
        red, infrared = dn[:, BANDS.index("B04")], dn[:, BANDS.index("B08")]
        total = infrared + red
        ndvi = torch.where(total > 0, (infrared - red) / total.clamp(min=1e-6), 0)
        scaled = (dn - (self.mean - 2 * self.std)) / (4 * self.std)
        return torch.cat([scaled, ndvi[:, None]], 1)

    def forward(self, dn: Tensor) -> Features:
        if dn.ndim != 4 or dn.shape[1] != len(BANDS) or dn.shape[2] != dn.shape[3]:
            raise BadInput(f"Galileo: chips {list(dn.shape)}, but [B, 10, S, S] is needed")
        if not dn.shape[2] or dn.shape[2] % self.patch:
            raise BadInput(f"Galileo: {dn.shape[2]} pixels are no multiple of {self.patch}")
        x, names = self.inputs(dn.to(self.mean)), (*BANDS, "NDVI")
        parts = [
            embed(x[:, [names.index(name) for name in group]]).permute(0, 2, 3, 1)
            for embed, group in zip(self.embed, GROUPS.values())
        ]
        tokens = torch.stack(parts, 3)  # [B, h, w, 6, D]
        b, h, w, groups, d = tokens.shape
        quarter = (h, w, groups, d // 4)
        where = torch.cat(
            [
                self.channel.expand(quarter),
                self.time.expand(quarter),
                self.months[self.month - 1].expand(quarter),
                positions(h, d // 4, self.patch).to(tokens)[:, :, None].expand(quarter),
            ],
            -1,
        )
        tokens = self.norm(self.blocks((tokens + where).flatten(1, 3)))
        grid = tokens.reshape(b, h, w, groups, d).mean(3)
        pooled = tokens.mean(1)
        return Features(grid, pooled, pooled)


def positions(side: int, dim: int, scale: float) -> Tensor:
    """Sines and cosines of column, then of row [side, side, dim], in units of 10 m pixels. The
    exponents are the published code's, i / (2 * dim / 2) of 10,000."""
    half = dim // 2
    omega = 10000.0 ** -(torch.arange(half // 2) / half / 2.0)
    phases = torch.arange(side)[:, None] * scale * omega  # [side, half / 2]
    table = torch.cat([phases.sin(), phases.cos()], 1)  # [side, half]
    return torch.cat(
        [table[None].expand(side, side, half), table[:, None].expand(side, side, half)], -1
    )


def load_galileo(weights: Weights, *, heads: int | None = None, month: int = 7) -> Galileo:
    """Galileo's encoder for one Sentinel-2 image without further modalities, in eval mode.

    Source: nasaharvest/galileo (MIT licence), encoder.pt of its nano, tiny and base models; Tseng
    et al., ICML 2025 (arXiv 2502.09356). Of its inputs ours are the ten bands and NDVI at one time
    step; Sentinel-1, elevation, weather, maps and position are taken as masked, which the published
    encoder leaves out of the attention. Their tensors are listed in `unused_tensors`. Patches are
    as large as the stored kernels (8 px), which the published code resizes for others. heads: as
    the config.json beside the file says; needed where there is none. month: chips carry no date.
    """
    what = "Galileo's encoder"
    content, source = read(weights)
    state = {k.replace(".backbone", ""): v for k, v in content.items()}
    unused = sorted(k for k in state if k.startswith(OTHERS))
    state = {k: v for k, v in state.items() if k not in unused}
    first = "space_time_embed.S2_RGB.proj.weight"
    width, _, patch, _ = shape(state, first, 4, source, what)
    hidden = shape(state, "blocks.0.mlp.fc1.weight", 2, source, what)[0]
    steps = shape(state, "pos_embed", 2, source, what)[0]
    depth = count(state, "blocks.")
    heads = heads or _heads(weights, source)
    if width % 16 or width % heads or not 1 <= month <= 12:
        raise BadInput(f"{source}: width {width}, heads {heads}, month {month}: not {what}")
    quarter = width // 4
    shapes = {
        "pos_embed": (steps, quarter),
        "month_embed.weight": (12, quarter),
        "s_t_channel_embed": (1 + len(GROUPS), quarter),
        **both("norm", width),
    }
    for name, group in GROUPS.items():
        shapes[f"space_time_embed.{name}.proj.weight"] = (width, len(group), patch, patch)
        shapes[f"space_time_embed.{name}.proj.bias"] = (width,)
    for i in range(depth):
        at = f"blocks.{i}"
        for part in "qkv":
            shapes |= both(f"{at}.attn.{part}", width, width)
        shapes |= both(f"{at}.attn.proj", width, width)
        shapes |= both(f"{at}.norm1", width) | both(f"{at}.norm2", width)
        shapes |= both(f"{at}.mlp.fc1", hidden, width) | both(f"{at}.mlp.fc2", width, hidden)
    check(state, shapes, source, what)

    ours = {
        "channel": state["s_t_channel_embed"][1:],
        "time": state["pos_embed"][0],
        "months": state["month_embed.weight"],
        "norm.weight": state["norm.weight"],
        "norm.bias": state["norm.bias"],
    }
    for kind in ("weight", "bias"):
        for i, name in enumerate(GROUPS):
            ours[f"embed.{i}.{kind}"] = state[f"space_time_embed.{name}.proj.{kind}"]
        for i in range(depth):
            at = f"blocks.{i}"
            ours[f"{at}.attn.qkv.{kind}"] = torch.cat(
                [state[f"{at}.attn.{part}.{kind}"] for part in "qkv"]
            )
            for name in ("attn.proj", "norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                ours[f"{at}.{name}.{kind}"] = state[f"{at}.{name}.{kind}"]
    encoder = Galileo(width, depth, heads, hidden, patch, month)
    encoder.load_state_dict(ours)
    encoder.unused_tensors = unused
    return encoder.eval()


def _heads(weights: Weights, source: str) -> int:
    """Attention heads by the config.json beside a file; they leave no trace in the tensors."""
    path = Path(weights).with_name("config.json") if isinstance(weights, str | Path) else None
    if path is None or not path.is_file():
        raise BadInput(f"{source}: heads are needed, or its config.json beside it")
    return int(json.loads(path.read_text(encoding="utf-8"))["model"]["encoder"]["num_heads"])
