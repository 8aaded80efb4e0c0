"""`make bench-gpu`, or `python -m research.speed.gpu`: measures, writes, prints a table."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from research.speed.gpu import machine
from research.speed.gpu.record import PARTS, RESULTS, Sizes, attempt, table, write


def measure(part: str, sizes: Sizes, device: torch.device) -> dict:
    """One part in this process; a failure is what it returns."""
    found = attempt(importlib.import_module(f"research.speed.gpu.{part}").run, sizes, device)
    machine.free()
    return found


def apart(part: str, arguments: list[str]) -> dict:
    """One part in a process of its own; whatever becomes of that process is recorded."""
    with tempfile.TemporaryDirectory() as temporary:
        into = Path(temporary) / "part.json"
        command = [
            sys.executable,
            "-m",
            "research.speed.gpu",
            *arguments,
            "--part",
            part,
            "--into",
            str(into),
        ]
        code = subprocess.run(command).returncode
        if not into.is_file():
            return {"failed": f"the process of this part ended with code {code}", "where": ""}
        return json.loads(into.read_text(encoding="utf-8"))


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
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
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
    device = torch.device(options.device, 0) if options.device == "cuda" else torch.device("cpu")
    sizes = Sizes.quick() if options.quick else Sizes()
    if options.part:
        options.into.write_text(json.dumps(measure(options.part, sizes, device)))
        return 0
    out = Path(options.out) if options.out else None if options.quick else RESULTS
    said = ["--device", options.device, *(["--quick"] if options.quick else [])]
    record = {
        "command": "python -m research.speed.gpu " + " ".join(given),
        "quick": options.quick,
        "machine": machine.about(device),
        "processors": os.cpu_count(),
        "sizes": sizes.described(),
        "parts": {},
    }
    for part in options.only:
        print(f"measuring {part} ...", flush=True)
        record["parts"][part] = (
            apart(part, said) if device.type == "cuda" else measure(part, sizes, device)
        )
        if out:
            write(out, record)
    print(f"\n{record['machine']['device']}, torch {torch.__version__}\n{table(record)}")
    return int(any("failed" in found for found in record["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
