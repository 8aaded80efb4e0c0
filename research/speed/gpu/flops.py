"""Model FLOPs of a training step: what the mathematics asks for, not what a program happens to do.

Counted by torch's FlopCounterMode on the real forward and backward pass, 2 for a multiply-add, in
matrix products and convolutions alone. A backward pass is twice its forward pass (one product for
the weights' gradient, one for the inputs'), so a step is 3 times a forward pass, a little less
where an image needs no gradient. What is computed again does not count, since another program
could keep it: neither the second encoding of gradient caching nor activation checkpointing nor the
attention scores that fused kernels make again in their backward pass. Attention is therefore
counted in its plain form. The encoders cost the same for each chip, photo or place, so a small
batch is counted and multiplied; the loss is quadratic and counted at its real size: a forward pass
without gradients (chunks are computed once then) times 3, all its inputs having gradients.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gairlib.model import GAIR
from gairlib.rs.base import Features
from gairlib.train.inputs import Inputs
from gairlib.train.objective import Embeddings, terms
from gairlib.train.options import PretrainOptions
from research.speed.gpu.steps import places, random_inputs

TOWERS = ("rs", "sv", "location", "field")
FEW = 2  # chips in the batch that is counted


def count(function: Callable) -> int:
    """FLOPs of a call, attention in its plain form."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.get_total_flops()


def tower(
    model: GAIR, name: str, inputs: Inputs, queued: Tensor, precision: str
) -> Callable[[], Tensor]:
    """One encoder's share of a step's forward pass: rs, sv, location or field (NILI).

    The field reads a grid of random numbers that asks for a gradient, as the RS tower's would.
    """
    if name == "rs":
        return lambda: model.encode_rs(inputs.chips).grid
    if name == "sv":
        return lambda: model.encode_sv(inputs.photos)
    if name == "location":
        return lambda: model.encode_location(torch.cat((inputs.lonlat, queued)))
    side, b = model.config.rs_size // model.config.rs_patch, len(inputs.chips)
    dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float32
    grid = torch.randn(b, side, side, model.config.dim, device=inputs.chips.device, dtype=dtype)

    def field() -> Tensor:
        leaf = grid.detach().requires_grad_()
        features = Features(leaf, leaf.mean((1, 2)), leaf.mean((1, 2)))
        return model.query_rs(features, torch.cat((inputs.xy, inputs.field_xy), 1))

    return field


def both_ways(forward: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward and backward pass, without any step."""
    return lambda: forward().float().sum().backward()


def of_step(
    model: GAIR, options: PretrainOptions, chips: int, photos: int, queue: int
) -> dict[str, float]:
    """FLOPs of one step by part, and `total`, for `chips` chips with `photos` photos each.

    `forward_times_3` is the common rule of thumb, for comparison.
    """
    device = next(model.parameters()).device
    few, generator = min(FEW, chips), torch.Generator(device).manual_seed(0)
    inputs = random_inputs(model.config, few, photos, device)
    n = few * photos
    queued = places(n, device, generator)  # as many again: 2 n places are counted
    times = {
        "rs": chips / few,
        "sv": chips / few,
        "field": chips / few,
        "location": (chips * photos + queue) / (2 * n),
    }
    found, forward = {}, 0.0
    half = options.precision.startswith("bf16")
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        for name in TOWERS:
            run = tower(model, name, inputs, queued, options.precision)
            found[name] = count(both_ways(run)) * times[name]
            with torch.no_grad():
                forward += count(run) * times[name]
    model.zero_grad(set_to_none=True)
    loss = _loss(model, options, chips * photos, queue, device)
    return found | {
        "loss": 3.0 * loss,
        "total": sum(found.values()) + 3.0 * loss,
        "forward_times_3": 3.0 * (forward + loss),
    }


@torch.no_grad()
def _loss(model: GAIR, options: PretrainOptions, n: int, queue: int, device: torch.device) -> int:
    """Forward FLOPs of the objectives of n photos against each other and the queue."""
    generator = torch.Generator(device).manual_seed(0)
    rows = torch.randn(n + queue, model.config.dim, device=device, generator=generator)
    at = places(n + queue, device, generator)
    temperature = torch.stack(list(model.temperatures().values())).detach()
    points = options.field_points
    field = rows[:1, None].expand(n, points, -1)
    embeddings = Embeddings(rows[:n], rows[:n], rows[:n], rows[n:], temperature, field)
    chip = torch.arange(n, device=device)
    near = torch.zeros(n, points, dtype=torch.bool, device=device)
    return count(
        lambda: terms(
            embeddings,
            lonlat=at[:n],
            chip=chip,
            near_field=near,
            queued_lonlat=at[n:],
            options=options,
        )
    )
