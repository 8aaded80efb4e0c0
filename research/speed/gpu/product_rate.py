"""The matrix-product rate of a card: what utilisation is a share of.

A data sheet's rate is one that no program reaches. Here bfloat16 products of several shapes, large
squares and those of the towers' own layers, are timed on the same card in the same run, each for
long enough that the card's power limit has its say; the rate is the best shape's median. Values are
normal random numbers: zeros switch fewer transistors, and run faster than any training.
"""

import math
from functools import partial
from statistics import median

import torch

from gairlib.config import GAIRConfig
from gairlib.model import GAIR
from research.speed.gpu import machine

Shape = tuple[int, int, int]  # [m, k] times [k, n]


def shapes(model: GAIR, chips: int, photos: int, squares: tuple[int, ...]) -> dict[str, Shape]:
    """Squares, and every linear layer of the towers' first blocks at this batch of chips and
    photos (an RS block has the same layers as an SV block)."""
    config: GAIRConfig = model.config
    found = {f"square {n}": (n, n, n) for n in squares}
    blocks = {"RS": (chips * (config.rs_size // config.rs_patch) ** 2, model.rs.blocks[0])}
    tower = model.sv.tower
    if hasattr(tower, "blocks") and hasattr(tower, "patch_embed"):
        prefix = getattr(tower, "num_prefix_tokens", 0)
        blocks["SV"] = (photos * (tower.patch_embed.num_patches + prefix), tower.blocks[0])
    for name, (tokens, block) in blocks.items():
        for layer, module in block.named_modules():
            if isinstance(module, torch.nn.Linear):
                found[f"{name} {layer}"] = (tokens, module.in_features, module.out_features)
    return found


def measure(device: torch.device, wanted: dict[str, Shape], seconds: float) -> dict[str, dict]:
    """Rate of each shape in FLOP/s, a product counting 2 m k n; `seconds` of work for each."""
    return {name: _rate(device, *shape, seconds) for name, shape in wanted.items()}


@torch.no_grad()
def _rate(device: torch.device, m: int, k: int, n: int, seconds: float) -> dict:
    a = torch.randn(m, k, device=device, dtype=torch.bfloat16)
    b = torch.randn(n, k, device=device, dtype=torch.bfloat16).mT  # as a linear layer has it
    out = torch.empty(m, n, device=device, dtype=torch.bfloat16)

    def products(count: int) -> None:
        for _ in range(count):
            torch.mm(a, b, out=out)

    once = median(machine.clock(partial(products, 1), device, warmup=3, repeat=5))
    # 20 ms between two events, beside which their own cost is nothing
    inner = max(1, math.ceil(min(0.02, seconds) / once))
    times = machine.clock(
        partial(products, inner),
        device,
        warmup=1,
        repeat=max(5, math.ceil(seconds / (inner * once))),
    )
    return {
        "shape": [m, k, n],
        "times": len(times),
        "flops_per_second": 2.0 * m * k * n * inner / median(times),
    }


def best(measured: dict[str, dict]) -> float:
    """The highest of the shapes' rates, FLOP/s."""
    return max(row["flops_per_second"] for row in measured.values())
