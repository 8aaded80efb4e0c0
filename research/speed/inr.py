"""NILI: 65,536 queries in one grid, our paths against direct evaluation.

The published size: 12 x 12 tokens of 768 channels, two threads of torch, float32, no gradients.
Compared in one run:
- *direct*: the token neighbourhoods are unfolded once; then, for each of the four nearest tokens,
  gather [Q, 9D], concatenate the offset, decode (one linear layer, or an MLP with two hidden layers
  of 256), and blend by area. In blocks of queries, or it would take 7 GB.
- *sketch*: the plain idea of the fast path without its border: one convolution, then a four-tap
  weighted embedding bag.
- *ours*: `gairlib.inr.NILI`. Its MLP runs beside the linear decoder; `mlp_ratio` sets both of ours
  against the direct MLP alone, `mlp_both_ratio` against the direct forms of both.
- *cone* (`gairlib.cone`), without the linear decoder that it is added to, with a heading for each
  query and without any: ours against one sampling of the map for each place of the view cone, one
  direction after the other.

Targets: linear at least 100 times as fast as direct, within 1e-5; MLP at least 10 times as fast,
in at most 2 GiB (a fresh process, interpreter and PyTorch included).
"""

import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from gairlib import inr
from gairlib.cone import Cone, View
from research.speed import measure

FULL = (65_536, 12, 768)  # queries, tokens a side, D
QUICK = (512, 4, 16)
BLOCK = 4096  # queries that the direct form takes at a time: 4096 x 6,914 values are 113 MB
THREADS = 2
TOKEN_PX, METRES = 8, 10.0  # pixels a token, and metres a pixel, of the cone's map


def problem(queries: int, side: int, dim: int):
    """(linear NILI, MLP NILI with the same linear part, grid [1, side, side, D], xy [1, Q, 2])."""
    torch.manual_seed(0)
    linear, mlp = inr.NILI(dim).eval(), inr.NILI(dim, "mlp").eval()
    mlp.linear = linear.linear
    torch.nn.init.normal_(mlp.last.weight, std=0.05)  # it starts at zero
    grid = torch.randn(1, side, side, dim)
    return linear, mlp, grid, torch.rand(1, queries, 2, dtype=torch.float64) * 2 - 1


def direct(decode: Callable, grid: Tensor, xy: Tensor) -> Tensor:
    """[1, Q, D] by the definition, one of the four tokens after the other; decode: [Q, 9D + 2]."""
    _, h, w, d = grid.shape
    unfolded = F.unfold(grid.permute(0, 3, 1, 2), 3, padding=1)[0].T.contiguous()  # [h*w, 9D]
    parts = []
    for part in xy[0].split(BLOCK):
        taps, out = inr.taps(part, h, w), 0.0
        for k in range(4):
            features = unfolded[taps.row[:, k] * w + taps.col[:, k]]
            value = decode(torch.cat([features, taps.offset[:, k].to(grid.dtype)], -1))
            out = out + taps.weight[:, k, None].to(grid.dtype) * value
        parts.append(out)
    return torch.cat(parts)[None]


def correction(nili: inr.NILI, x: Tensor) -> Tensor:
    """The MLP beside the linear decoder; cells of one token, so log2 of the cell size is 0."""
    x = F.gelu(nili.first(torch.cat([x, torch.zeros_like(x[:, :2])], -1)))
    for layer in nili.middle:
        x = F.gelu(layer(x))
    return nili.last(x)


def views(side: int, dim: int, queries: int) -> tuple[Cone, dict[str, View]]:
    """A cone and the map of a chip of side x side tokens, with a heading a query and without."""
    torch.manual_seed(1)
    cone, px = Cone(dim).eval(), side * TOKEN_PX
    torch.nn.init.normal_(cone.last.weight, std=0.05)  # it starts at zero
    area = cone.map(torch.randn(1, 10, px, px), torch.randn(1, side, side, dim))
    sides = torch.full((1, 2), METRES * px, dtype=torch.float64)
    headings = torch.rand(1, queries, dtype=torch.float64) * 360
    return cone, {"cone": View(area, sides, headings), "cone_all": View(area, sides, None)}


def direct_view(cone: Cone, view: View, xy: Tensor) -> Tensor:
    """[1, Q, D] by the definition: direction after direction, place after place of the camera's
    frame, each sampled from the map."""
    heading = cone.around[:, None] if view.heading is None else view.heading  # [K, 1] or [1, Q]
    parts = []
    for s in range(0, xy.shape[1], BLOCK):
        at, total = xy[0, s : s + BLOCK], 0.0
        for angle in heading.expand(-1, xy.shape[1])[:, s : s + BLOCK].deg2rad():
            values, inside = [], []
            for ahead, right in cone.places.tolist():
                east = ahead * angle.sin() + right * angle.cos()
                south = right * angle.sin() - ahead * angle.cos()
                point = at + 2 * torch.stack([east, south], -1) / view.side_m
                inside.append((point.abs() <= 1 + 1e-9).all(-1).float())
                sampled = F.grid_sample(
                    view.map, point[None, None].float(), padding_mode="border", align_corners=False
                )
                values.append(sampled[0, :, 0].T * inside[-1][:, None])  # [q, c]
            x = torch.cat([*values, torch.stack(inside, -1)], -1)
            total = total + cone.last(F.gelu(cone.first(x)))
        parts.append(total / len(heading))
    return torch.cat(parts)[None]


def sketch(nili: inr.NILI, grid: Tensor, xy: Tensor) -> Tensor:
    """One convolution, then a weighted bag of the four nearest rows; no offsets, clamped border."""
    _, h, w, d = grid.shape
    kernel = nili.linear.weight[:, : 9 * d].reshape(d, d, 3, 3)
    rows = F.conv2d(grid.permute(0, 3, 1, 2), kernel, nili.linear.bias, padding=1)[0]
    rows = rows.flatten(1).T.contiguous()  # [h*w, D]
    at = (xy[0] + 1) / 2 * torch.tensor([w, h]) - 0.5
    first = at.floor()
    share = at - first
    index, weight = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            column = (first[:, 0] + dx).clamp(0, w - 1)
            row = (first[:, 1] + dy).clamp(0, h - 1)
            index.append((row * w + column).long())
            weight.append(
                (share[:, 0] if dx else 1 - share[:, 0]) * (share[:, 1] if dy else 1 - share[:, 1])
            )
    return F.embedding_bag(
        torch.stack(index, 1), rows, mode="sum", per_sample_weights=torch.stack(weight, 1).float()
    )[None]


@torch.inference_mode()
def ours_alone(queries: int, side: int, dim: int) -> float:
    """Only our MLP path, for a fresh process; returns a checksum."""
    torch.set_num_threads(THREADS)
    _, mlp, grid, xy = problem(queries, side, dim)
    return float(mlp(grid, xy).double().sum())


@torch.inference_mode()
def run(quick: bool = False) -> dict:
    """Seconds of each, ratios, largest differences, and peak bytes of our MLP path."""
    size = QUICK if quick else FULL
    with measure.threads(THREADS):
        linear, mlp, grid, xy = problem(*size)
        ours = {"linear": linear(grid, xy), "mlp": mlp(grid, xy)}  # warm
        cone, seen = views(size[1], size[2], size[0])
        ours |= {name: cone(view, xy) for name, view in seen.items()}
        sketch(linear, grid, xy)
        fast = {
            "linear_ours": lambda: linear(grid, xy),
            "mlp_ours": lambda: mlp(grid, xy),
            "linear_sketch": lambda: sketch(linear, grid, xy),
            **{f"{name}_ours": partial(cone, view, xy) for name, view in seen.items()},
        }
        seconds = measure.side_by_side(fast, repeat=1 if quick else 5)
        plain = {
            "linear": lambda: direct(linear.linear, grid, xy),
            "mlp": lambda: direct(partial(correction, mlp), grid, xy),
            **{name: partial(direct_view, cone, view, xy) for name, view in seen.items()},
        }
        slow = {}
        for name, evaluate in plain.items():
            start = time.perf_counter()  # once: tens of seconds
            slow[name] = evaluate()
            seconds[f"{name}_direct"] = time.perf_counter() - start
    slow["mlp"] += slow["linear"]
    alone = measure.peak("research.speed.inr:ours_alone", *size)
    both = seconds["linear_direct"] + seconds["mlp_direct"]
    return {
        **dict(zip(("queries", "tokens_a_side", "dim"), size)),
        "threads": THREADS,
        **{f"{k}_seconds": v for k, v in seconds.items()},
        "linear_ratio": seconds["linear_direct"] / seconds["linear_ours"],
        "linear_sketch_ratio": seconds["linear_direct"] / seconds["linear_sketch"],
        "mlp_ratio": seconds["mlp_direct"] / seconds["mlp_ours"],
        "mlp_both_ratio": both / seconds["mlp_ours"],
        **{f"{k}_ratio": seconds[f"{k}_direct"] / seconds[f"{k}_ours"] for k in seen},
        **{f"{k}_max_difference": float((slow[k] - ours[k]).abs().max()) for k in ours},
        **{f"{k}_largest_value": float(ours[k].abs().max()) for k in ours},
        "mlp_ours_peak_bytes": alone["peak_bytes"],
    }
