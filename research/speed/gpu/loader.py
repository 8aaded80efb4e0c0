"""Whether the loader keeps the GPU busy: the same steps with inputs at hand and with the loader.

    busy share = seconds with inputs at hand / seconds with the loader

A paired dataset is generated (JPEG photos of 224 px, chips of 96 px, in the store that pairing
writes) and read as training reads it: `PairBatches` streams from disk and decodes in threads,
`inputs.make` augments and normalises on the device, `inputs.Ahead` has the next batch made
meanwhile. With inputs at hand the same batches lie on the device already; so the share charges the
loader with the device's own time for augmentation too. Files are in the page cache of the operating
system: disks are not what is measured. The two take turns, and the median of the rounds counts.
"""

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch

from gairlib.train import inputs
from gairlib.train.batches import PairBatches
from gairlib.train.engine import Engine
from research.speed import batch_reading
from research.speed.gpu import machine
from research.speed.gpu.record import Failed, Sizes, attempt, reached
from research.speed.gpu.steps import Stepper
from research.speed.gpu.utilisation import mode, options_for

TARGET = 0.95
HELD = 8  # batches on the device at a time
ROUNDS = 3


def run(sizes: Sizes, device: torch.device) -> dict:
    """Busy share with eager and with compiled steps; the faster steps decide."""
    workers = sizes.workers or max(1, (os.cpu_count() or 2) - 1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs = batch_reading.build(folder, sizes.stored_chips)
        options = options_for(sizes, sizes.loader_chips)
        data = batch_reading.batches(
            pairs,
            folder,
            workers,
            photo_size=sizes.config.sv_size,
            chips=sizes.loader_chips,
            photos_per_chip=sizes.photos,
        )
        modes = {}
        for compiled in sizes.compiled:
            modes[mode(compiled)] = attempt(_measure, sizes, device, data, options, compiled)
            machine.free()
        stored = {
            "photos": len(data),
            "chips": data.chips,
            "decoding_threads": workers,
            "photos_a_batch": sizes.loader_chips * sizes.photos,
            "photo_px": batch_reading.PHOTO_PX,
            "chip_px": batch_reading.CHIP_PX,
            "page_cache": "warm",
        }
    ran = {name: m for name, m in modes.items() if "failed" not in m}
    if not ran:
        raise Failed("; ".join(f"{name}: {m['failed']}" for name, m in modes.items()))
    fastest = min(ran, key=lambda name: ran[name]["at_hand_seconds"])
    said = ", ".join(f"{m['busy_share']:.1%} {name}" for name, m in ran.items())
    rate = ran[fastest]["loader_photos_per_second"]
    return stored | {
        "modes": modes,
        "targets": [
            reached(
                "the loader keeps the GPU busy at least 95% of the time",
                f"{said}; {workers} threads alone give {rate:,.0f} photos/s",
                ran[fastest]["busy_share"] >= TARGET,
            )
        ],
    }


def _measure(
    sizes: Sizes, device: torch.device, data: PairBatches, options, compiled: bool
) -> dict:
    engine = Engine(accelerator=device.type, compile=compiled)
    stepper = Stepper(sizes.config, options, engine, queue=sizes.queue)
    make = partial(inputs.make, config=sizes.config, options=options, device=device)

    def ahead(first: int, steps: int) -> inputs.Ahead:
        return inputs.Ahead(
            lambda step: make(data.batch(step), step=step),
            range(first, first + steps),
            ahead=int(device.type != "cpu"),
            device=device,
        )

    n, few = sizes.loader_steps, min(HELD, sizes.loader_steps)
    held = [make(data.batch(k), step=k) for k in range(few)]
    for k in range(max(sizes.warmup, 1)):
        stepper(held[k % few])
    hand, load, waited, first = [], [], [], few
    for _ in range(ROUNDS):
        hand.append(_seconds(device, stepper, (held[k % few] for k in range(n))))
        with ahead(first, n + sizes.warmup) as coming:
            steps = iter(coming)
            for _ in range(sizes.warmup):  # until as much is made ahead as in a long run
                stepper(next(steps)[1])
            machine.wait(device)
            before = coming.waited
            load.append(_seconds(device, stepper, (batch for _, batch in steps)))
            waited.append(coming.waited - before)
        first += n + sizes.warmup
    start, count = time.perf_counter(), 0
    for step in range(first, first + n):  # the threads alone, without any device
        count += len(data.batch(step).photo_ids)
    alone = count / (time.perf_counter() - start)
    shares = [h / x for h, x in zip(hand, load)]
    return {
        "busy_share": median(shares),
        "busy_shares": shares,
        "steps": n,
        "at_hand_seconds": median(hand),
        "loader_seconds": median(load),
        "waited_seconds": median(waited),
        "loader_photos_per_second": alone,
        "pairs_per_second": n * sizes.loader_chips * sizes.photos / median(load),
    }


def _seconds(device: torch.device, stepper: Stepper, batches) -> float:
    """Seconds of one step for each batch, until the device is done with the last."""
    machine.wait(device)
    start = time.perf_counter()
    for batch in batches:
        stepper(batch)
    machine.wait(device)
    return time.perf_counter() - start
