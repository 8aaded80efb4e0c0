"""A global batch of 16,384 pairs on one GPU by gradient caching: peak memory and pairs a second.

The process may take 80 GB of the device and no more, so a card with more memory shows the same.
Rule for the parts: as few as fit, from parts of 1,024 pairs on, halving; a step fits if it ends,
and if the allocator never had to give memory back to the device on the way (that costs time). Rows
of logits are held `loss_chunk` at a time. Measured twice: with the inputs at hand on the device,
and as training has them, 8-bit photos that are moved, augmented and normalised there while the step
before is under way. Memory is what the allocator reserved; the context of the driver, some hundred
megabytes, comes on top (`device_bytes` counts it, and whatever else runs there).
"""

from collections.abc import Callable
from functools import partial
from statistics import median

import torch

from gairlib.train import inputs
from gairlib.train.batches import Batch
from gairlib.train.engine import Engine
from research.speed.gpu import flops, machine
from research.speed.gpu.record import Failed, Sizes, attempt, reached
from research.speed.gpu.steps import Stepper, random_inputs
from research.speed.gpu.utilisation import options_for


def run(sizes: Sizes, device: torch.device) -> dict:
    """Both measurements with what was tried; Failed where neither ran."""
    machine.limit_memory(device, sizes.memory_bytes)
    try:
        held = attempt(_fewest_parts, sizes, device, _held)
        made = attempt(_fewest_parts, sizes, device, _made)
    finally:
        machine.limit_memory(device, None)
    pairs = f"{sizes.large_chips * sizes.photos:,} pairs"
    rows = []
    for name, found in (("inputs at hand", held), ("inputs made as in training", made)):
        target = f"a batch of {pairs} within {sizes.memory_bytes / 1e9:.0f} GB, {name}"
        if "failed" in found:
            rows.append(reached(target, found["failed"], False))
            continue
        peak, rate = found["reserved_bytes"], found["pairs_per_second"]
        said = f"{peak / 1e9:.1f} GB, " if peak is not None else ""
        rows.append(
            reached(
                target,
                f"{said}{found['parts']} parts, {rate:,.0f} pairs/s",
                None if peak is None else peak <= sizes.memory_bytes,
            )
        )
    return {"held": held, "made": made, "targets": rows}


def _fewest_parts(sizes: Sizes, device: torch.device, measure: Callable) -> dict:
    """The rule of the module's first lines."""
    chips, tried = sizes.large_chips, []
    chips_a_part = max(1, min(chips, sizes.large_part // sizes.photos))
    while chips_a_part >= 1:
        parts = chips // chips_a_part
        found = attempt(measure, sizes, device, parts)
        machine.free()
        tried.append({"parts": parts} | found)
        if "failed" not in found and not found["alloc_retries"]:
            return (
                {"parts": parts, "pairs_a_part": chips_a_part * sizes.photos}
                | found
                | {"tried": tried[:-1]}
            )
        if "failed" in found and "out of memory" not in found["failed"]:
            raise Failed(found["failed"] + f" ({found['where']})")
        chips_a_part //= 2
    kept = [t for t in tried if "failed" not in t]
    if kept:  # with retries, but within the limit
        return kept[-1] | {"tried": tried}
    raise Failed(f"out of memory in {tried[-1]['parts']} parts: {tried[-1]['failed']}")


def _stepper(sizes: Sizes, device: torch.device, parts: int) -> Stepper:
    options = options_for(
        sizes, sizes.large_chips, gradient_parts=parts, loss_chunk=sizes.loss_chunk
    )
    return Stepper(sizes.config, options, Engine(accelerator=device.type), queue=sizes.queue)


def _held(sizes: Sizes, device: torch.device, parts: int) -> dict:
    """Steps on one batch that lies on the device, preprocessed."""
    stepper = _stepper(sizes, device, parts)
    batch = random_inputs(sizes.config, sizes.large_chips, sizes.photos, device)
    memory = machine.Memory(device).start()
    times = machine.clock(lambda: stepper(batch), device, warmup=1, repeat=sizes.large_repeat)
    found = _found(sizes, device, times, memory)
    counted = flops.of_step(
        stepper.model, stepper.options, sizes.large_chips, sizes.photos, sizes.queue
    )
    return found | {"flops": counted, "model_flops_per_second": counted["total"] / median(times)}


def _made(sizes: Sizes, device: torch.device, parts: int) -> dict:
    """Steps on inputs that are made on the device from an 8-bit batch, one batch ahead."""
    stepper, raw = _stepper(sizes, device, parts), raw_batch(sizes, sizes.large_chips)
    make = partial(inputs.make, raw, sizes.config, stepper.options, device=device)
    memory = machine.Memory(device).start()
    steps = range(1 + sizes.large_repeat + 1)
    with inputs.Ahead(make, steps, ahead=int(device.type != "cpu"), device=device) as ahead:
        batches = iter(ahead)
        times = machine.clock(
            lambda: stepper(next(batches)[1]), device, warmup=1, repeat=sizes.large_repeat
        )
    return _found(sizes, device, times, memory)


def _found(sizes: Sizes, device: torch.device, times: list[float], memory) -> dict:
    found = machine.spread(times) | memory.stop()
    found["device_bytes"] = None
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        found["device_bytes"] = total - free
    pairs = sizes.large_chips * sizes.photos
    return found | {"pairs": pairs, "pairs_per_second": pairs / median(times)}


def raw_batch(sizes: Sizes, chips: int) -> Batch:
    """A batch as the loader gives it: digital numbers and 8-bit photos, random, every slot full."""
    config, q = sizes.config, sizes.photos
    generator = torch.Generator().manual_seed(0)
    side, size = config.rs_size, config.sv_size
    lonlat = torch.rand(chips, q, 2, dtype=torch.float64, generator=generator) * 160 - 80
    return Batch(
        chips=torch.rand(chips, config.rs_bands, side, side, generator=generator) * 4000,
        photos=torch.randint(
            256, (chips, q, 3, size, size), dtype=torch.uint8, generator=generator
        ),
        xy=torch.rand(chips, q, 2, dtype=torch.float64, generator=generator) * 2 - 1,
        lonlat=lonlat,
        valid=torch.ones(chips, q, dtype=torch.bool),
        heading=torch.full((chips, q), torch.nan, dtype=torch.float64),
        side_m=torch.full((chips,), 960.0, dtype=torch.float64),
        number=torch.arange(chips * q).reshape(chips, q),
        photo_ids=[f"p{i}" for i in range(chips * q)],
    )
