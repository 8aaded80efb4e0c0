"""Galileo's published encoder: its tensors under our names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Unpack

import torch

from gairlib import devices
from gairlib.errors import BadInput
from gairlib.hub import Where
from gairlib.rs.galileo import GROUPS, Galileo
from gairlib.tensor_files import Weights, both, check, count, file_of, read, shape

HEADS = {128: 8, 192: 3, 768: 12}  # nano, tiny, base, by width
OTHERS = ("space_embed.", "time_embed.", "static_embed.", "space_time_embed.S1.")
OTHERS += ("sp_channel_embed", "t_channel_embed", "st_channel_embed")


def load_galileo(
    weights: Weights,
    *,
    heads: int | None = None,
    month: int = 7,
    patch: int | None = None,
    scale_ndvi: bool = True,
    device: str = "cpu",
    **where: Unpack[Where],
) -> Galileo:
    """Galileo's encoder for one Sentinel-2 image without further modalities, in eval mode.

    Source: nasaharvest/galileo (MIT licence), encoder.pt of its nano, tiny and base models; Tseng
    et al., ICML 2025 (arXiv 2502.09356). Of its inputs ours are the ten bands and NDVI at one time
    step; Sentinel-1, elevation, weather, maps and position are left out of the attention, as its
    training left out what was masked. Their tensors are listed in `unused_tensors`.

    heads: by default as the config.json beside the file says, else those of nano, tiny and base by
    width. month: chips carry no date. patch: px of a token; the stored kernels (8 px, the default)
    are resized for others. scale_ndvi: see gairlib.rs.galileo.
    """
    what = "Galileo's encoder"
    weights = file_of(weights, "encoder.pt", beside=["config.json"], **where)
    content, source = read(weights)
    state = {k.replace(".backbone", ""): v for k, v in content.items()}
    unused = sorted(k for k in state if k.startswith(OTHERS))
    state = {k: v for k, v in state.items() if k not in unused}
    first = "space_time_embed.S2_RGB.proj.weight"
    width, _, kernel, _ = shape(state, first, 4, source, what)
    hidden = shape(state, "blocks.0.mlp.fc1.weight", 2, source, what)[0]
    steps = shape(state, "pos_embed", 2, source, what)[0]
    depth = count(state, "blocks.")
    heads = heads or heads_of(weights, width)
    if heads is None:
        raise BadInput(f"{source}: heads are needed, or its config.json beside it")
    encoder = Galileo(
        width,
        patch=patch or kernel,
        depth=depth,
        heads=heads,
        hidden=hidden,
        month=month,
        kernel=kernel,
        scale_ndvi=scale_ndvi,
    )
    quarter = width // 4
    shapes = {
        "pos_embed": (steps, quarter),
        "month_embed.weight": (12, quarter),
        "s_t_channel_embed": (1 + len(GROUPS), quarter),
        **both("norm", width),
    }
    for name, group in GROUPS.items():
        shapes[f"space_time_embed.{name}.proj.weight"] = (width, len(group), kernel, kernel)
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
    encoder.load_state_dict(ours)
    encoder.unused_tensors = unused
    return encoder.eval().to(devices.find(device))


def heads_of(weights: Weights, width: int) -> int | None:
    """Attention heads, which leave no trace in the tensors: by the config.json beside a file, else
    by the width; None where neither tells."""
    path = Path(weights).with_name("config.json") if isinstance(weights, str | Path) else None
    if path is None or not path.is_file():
        return HEADS.get(width)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return int(about["model"]["encoder"]["num_heads"])
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path}: has no number model.encoder.num_heads") from None
