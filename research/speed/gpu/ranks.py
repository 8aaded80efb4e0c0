"""Several GPUs against one: loss and gradients of the same global batch, float32, DDP.

torchrun starts one process a device (`python -m research.speed.gpu.ranks`); rank 0 leaves the
gradients, and the process that started them works out the undivided batch and compares. Where there
is one device, nothing is measured, and the record says so.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gairlib.train.engine import Engine
from research.speed.gpu.exactness import TARGET, deviation, gradients
from research.speed.gpu.record import Failed, Sizes, reached
from research.speed.gpu.steps import Stepper, random_inputs
from research.speed.gpu.utilisation import options_for


def run(sizes: Sizes, device: torch.device) -> dict:
    """Deviation of R ranks from one; nothing is measured where R is 1."""
    ranks = sizes.ranks or (torch.cuda.device_count() if device.type == "cuda" else 1)
    while sizes.exact_chips % ranks:
        ranks -= 1
    target = "several GPUs, float32: gradients of one GPU within 1e-4"
    if ranks < 2:
        said = "one device here: nothing to compare"
        return {"ranks": 1, "targets": [reached(target, said, None)]}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={ranks}",
            "-m",
            "research.speed.gpu.ranks",
            device.type,
            "quick" if sizes.tiny else "full",
            str(out),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(
                f"{ranks} processes ended with code {done.returncode}: "
                f"{done.stderr.strip().splitlines()[-1:]}"
            )
        loss = json.loads((out / "loss.json").read_text())
        several = loss, load_file(out / "gradients.safetensors")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        one = gradients(_stepper(sizes, device.type, 1), _batch(sizes, device), 1, 0)
    found = deviation(several, one)
    return {
        "ranks": ranks,
        "deviation": found,
        "targets": [
            reached(
                target,
                f"{ranks} ranks: loss {found['loss']:.1e}, gradients {found['gradients']:.1e}",
                max(found["loss"], found["gradients"]) <= TARGET,
            )
        ],
    }


def _stepper(sizes: Sizes, kind: str, ranks: int) -> Stepper:
    options = options_for(sizes, sizes.exact_chips, precision="32-true")
    engine = Engine(accelerator=kind, devices=ranks, strategy="ddp" if ranks > 1 else "auto")
    return Stepper(sizes.config, options, engine, queue=sizes.queue)


def _batch(sizes: Sizes, device: torch.device):
    """The global batch: drawn on the CPU, the same in every process."""
    drawn = random_inputs(sizes.config, sizes.exact_chips, sizes.photos, torch.device("cpu"))
    return drawn.to(device)


def one_rank(kind: str, which: str, out: Path) -> None:
    """What torchrun starts: this rank's part of the global batch; rank 0 writes."""
    sizes = Sizes.quick() if which == "quick" else Sizes()
    ranks, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    stepper = _stepper(sizes, kind, ranks)
    part = _batch(sizes, torch.device("cpu")).split(ranks)[rank].to(stepper.device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        loss, found = gradients(stepper, part, 1, 0)
    if rank == 0:
        save_file(found, out / "gradients.safetensors")
        (out / "loss.json").write_text(json.dumps(loss))
    stepper.fabric.barrier()


if __name__ == "__main__":
    one_rank(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
