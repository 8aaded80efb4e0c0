"""Model FLOPs utilisation of the training step, whole and tower by tower, compiled and not.

    utilisation = model FLOPs of a step / seconds of a step / product rate of this card

The step is the engine's own, undivided, inputs on the device: both passes, clipping, optimiser.
The rate is measured before the steps and after them, and the higher one counts. A tower's time is
its own forward and backward pass alone, so the parts need not add up to the whole.
"""

import contextlib
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from gairlib.model import GAIR
from gairlib.train.engine import Engine
from gairlib.train.objective import Embeddings, terms
from gairlib.train.options import PretrainOptions
from research.speed.gpu import flops, machine, product_rate
from research.speed.gpu.record import Failed, Sizes, attempt, reached
from research.speed.gpu.steps import Stepper, places, random_inputs

TARGET = 0.45


def options_for(sizes: Sizes, chips: int, **changes) -> PretrainOptions:
    """Training's own options for a batch of so many chips."""
    return PretrainOptions(
        **{
            "chips_per_batch": chips,
            "photos_per_chip": sizes.photos,
            "queue_size": sizes.queue,
            "precision": sizes.precision,
        }
        | changes
    )


def mode(compiled: bool) -> str:
    return "compiled" if compiled else "eager"


def run(sizes: Sizes, device: torch.device) -> dict:
    """Rates, FLOPs, times and utilisation; Failed where no mode ran."""
    torch.manual_seed(0)
    model = GAIR(sizes.config).to(device)
    wanted = product_rate.shapes(model, sizes.chips, sizes.chips * sizes.photos, sizes.squares)
    del model
    before = product_rate.measure(device, wanted, sizes.product_seconds)
    modes = {mode(c): _fitting(sizes, device, c) for c in sizes.compiled}
    after = product_rate.measure(device, wanted, sizes.product_seconds)
    rate = max(product_rate.best(before), product_rate.best(after))
    for found in modes.values():
        if "failed" in found:
            continue
        counted = found["flops"]
        found["utilisation"] = counted["total"] / (found["median_ms"] / 1e3) / rate
        for name, tower in found["towers"].items():
            if "failed" not in tower:
                tower["flops"] = counted[name]
                tower["utilisation"] = counted[name] / (tower["median_ms"] / 1e3) / rate
    ran = {name: m["utilisation"] for name, m in modes.items() if "failed" not in m}
    if not ran:
        raise Failed("; ".join(f"{name}: {m['failed']}" for name, m in modes.items()))
    best = max(ran, key=ran.get)
    said = ", ".join(f"{share:.1%} {name}" for name, share in ran.items())
    return {
        "product_rate": {"flops_per_second": rate, "before": before, "after": after},
        "modes": modes,
        "targets": [
            reached(
                "model FLOPs utilisation of at least 45%",
                f"{said}, of {rate / 1e12:.0f} TFLOP/s",
                ran[best] >= TARGET,
            )
        ],
    }


def _fitting(sizes: Sizes, device: torch.device, compiled: bool) -> dict:
    """The largest batch that fits, from `sizes.chips` chips on, halving."""
    chips = sizes.chips
    while True:
        found = attempt(_measure, sizes, device, chips, compiled)
        machine.free()
        if "out of memory" not in found.get("failed", "") or chips == 1:
            return {"chips": chips, "photos": chips * sizes.photos} | found
        chips //= 2


def _measure(sizes: Sizes, device: torch.device, chips: int, compiled: bool) -> dict:
    options = options_for(sizes, chips)
    engine = Engine(accelerator=device.type, compile=compiled)
    stepper = Stepper(sizes.config, options, engine, queue=sizes.queue)
    inputs = random_inputs(sizes.config, chips, sizes.photos, device)
    memory, began = machine.Memory(device).start(), time.perf_counter()
    stepper(inputs)
    machine.wait(device)
    first = time.perf_counter() - began  # with compilation
    times = machine.clock(lambda: stepper(inputs), device, warmup=sizes.warmup, repeat=sizes.repeat)
    found = machine.spread(times) | memory.stop()
    waits = machine.waits(lambda: stepper(inputs), device)
    stepper.optimiser.zero_grad(set_to_none=True)
    model = stepper.model
    counted = flops.of_step(model, options, chips, sizes.photos, sizes.queue)
    return found | {
        "first_step_seconds": first,
        "pairs_per_second": chips * sizes.photos / median(times),
        "host_waits_a_step": len(waits),
        "host_waits_at": sorted(set(waits))[:10],
        "flops": counted,
        "towers": _towers(sizes, device, model, options, chips, compiled),
    }


def _towers(
    sizes: Sizes,
    device: torch.device,
    model: GAIR,
    options: PretrainOptions,
    chips: int,
    compiled: bool,
) -> dict[str, dict]:
    """Times of each encoder's forward and backward pass and of the loss, alone."""
    inputs = random_inputs(sizes.config, chips, sizes.photos, device)
    generator = torch.Generator(device).manual_seed(1)
    queued = places(sizes.queue, device, generator)
    found = {}
    for name in flops.TOWERS:
        forward = flops.tower(model, name, inputs, queued, sizes.precision)
        found[name] = attempt(_both_ways, sizes, device, model, forward, compiled)
    n = chips * sizes.photos
    rows = torch.randn(n + sizes.queue, sizes.config.dim, device=device)
    temperature = torch.stack(list(model.temperatures().values())).detach()

    near = inputs.near_field(options.field_exclude_m)
    points = torch.randn(*inputs.field_xy.shape[:2], sizes.config.dim, device=device)

    def loss() -> Tensor:
        leaf, field = rows.detach().requires_grad_(), points.detach().requires_grad_()
        leaves = Embeddings(leaf[:n], leaf[:n] * 2, leaf[:n] * 3, leaf[n:], temperature, field)
        return terms(
            leaves,
            lonlat=inputs.lonlat,
            chip=inputs.chip,
            near_field=near,
            queued_lonlat=queued,
            options=options,
        )["loss"]

    found["loss"] = attempt(_both_ways, sizes, device, model, loss, False)  # never compiled
    return found


def _both_ways(
    sizes: Sizes, device: torch.device, model: GAIR, forward: Callable[[], Tensor], compiled: bool
) -> dict:
    forward = torch.compile(forward) if compiled else forward
    half = sizes.precision.startswith("bf16")
    context = torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()

    def once() -> None:
        with context:
            out = forward()
        out.float().sum().backward()
        model.zero_grad(set_to_none=True)

    return machine.spread(machine.clock(once, device, warmup=sizes.warmup, repeat=sizes.repeat))
