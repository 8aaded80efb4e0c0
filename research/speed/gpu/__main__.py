"""`make bench-gpu`, or `python -m research.speed.gpu`: measures, writes, prints a table."""

import argparse
import importlib
import os
import sys
from pathlib import Path

import torch

from research.speed.gpu import machine
from research.speed.gpu.record import PARTS, RESULTS, Sizes, attempt, table, write
from research.speed.measure import peak


def measure(part: str, kind: str, quick: bool) -> dict:
    """One part in this process, on "cuda" or "cpu"; a failure is what it returns."""
    run = importlib.import_module(f"research.speed.gpu.{part}").run
    found = attempt(run, Sizes.quick() if quick else Sizes(), device_of(kind))
    machine.free()
    return found


def apart(part: str, kind: str, quick: bool) -> dict:
    """One part in a process of its own; whatever becomes of that process is recorded."""
    found = attempt(peak, "research.speed.gpu.__main__:measure", part, kind, quick)
    return found.get("value", found)


def device_of(kind: str) -> torch.device:
    return torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every part was measured, whatever it found; 1 else."""
    parser = argparse.ArgumentParser(prog="python -m research.speed.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tests the script")
    parser.add_argument("--out", help=f"default: metrics/{RESULTS.name}; with --quick: nowhere")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        metavar="PART",
        help=f"of {', '.join(PARTS)}",
    )
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "bench_gpu: no CUDA device here; run it on a machine with an H100 or H200, or test "
            "the script with --device cpu --quick",
            file=sys.stderr,
        )
        return 1
    if options.device == "cpu" and not options.quick:
        print(
            "bench_gpu: the published size is not measured on a CPU; add --quick to test the "
            "script",
            file=sys.stderr,
        )
        return 1
    out = Path(options.out) if options.out else None if options.quick else RESULTS
    record = {
        "command": "python -m research.speed.gpu " + " ".join(given),
        "quick": options.quick,
        "machine": machine.about(device_of(options.device)),
        "processors": os.cpu_count(),
        "sizes": (Sizes.quick() if options.quick else Sizes()).described(),
        "parts": {},
    }
    for part in options.only:
        print(f"measuring {part} ...", flush=True)
        one = apart if options.device == "cuda" else measure
        record["parts"][part] = one(part, options.device, options.quick)
        if out:
            write(out, record)
    print(f"\n{record['machine']['device']}, torch {torch.__version__}\n{table(record)}")
    return int(any("failed" in found for found in record["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
