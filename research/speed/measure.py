"""How the figures are measured: time side by side, memory in fresh processes.

What is compared runs side by side in the same process, or in fresh processes one after the other.
"""

import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).resolve().parents[2] / "metrics/bench.json"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """That many threads of torch in the block."""
    import torch  # 200 MB that a fresh process without it must not hold

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def timed(function: Callable, *arguments, repeat: int = 3) -> float:
    """Median seconds of `repeat` calls, after none to warm up: the callers say what is warm."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def rounds(
    functions: dict[str, Callable], repeat: int, *, first_in_turn: bool = False
) -> dict[str, list[float]]:
    """Seconds of each in every round (a b c a b c ...), so that all meet the same noise.

    first_in_turn: every second round runs backwards (c b a a b c ...).
    """
    seconds = {name: [] for name in functions}
    for k in range(repeat):
        backwards = first_in_turn and k % 2 == 0
        for name in list(functions)[:: -1 if backwards else 1]:
            seconds[name].append(timed(functions[name], repeat=1))
    return seconds


def race(functions: dict[str, Callable], repeat: int) -> tuple[dict[str, float], float]:
    """(median seconds of each of two, median over rounds of the first's seconds over the second's):
    a round's own ratio is of the same minute. Each is first in every second round."""
    seconds = rounds(functions, repeat, first_in_turn=True)
    ratios = [first / second for first, second in zip(*seconds.values())]
    return {name: median(values) for name, values in seconds.items()}, median(ratios)


def side_by_side(functions: dict[str, Callable], repeat: int = 3) -> dict[str, float]:
    """Median seconds of each, called in turn: see `rounds`."""
    return {name: median(values) for name, values in rounds(functions, repeat).items()}


def peak(target: str, *arguments) -> dict:
    """Call "module:function" with JSON-able arguments in a fresh process.

    Returns seconds (of the call, without imports), peak_bytes (the most memory that the process
    held, interpreter and imports included) and value (what the function returned, JSON-able).
    RuntimeError where the process does not end well, with its code and what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, target, json.dumps(arguments)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{target} ended with code {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def call(target: str, arguments: list) -> dict:
    """What `peak` runs in the fresh process."""
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    start = time.perf_counter()
    value = function(*arguments)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_bytes": _most_held(), "value": value}


def _most_held() -> int:
    """The most bytes of memory that this process has held.

    On Linux from /proc: getrusage also counts what the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def names() -> list[str]:
    """Every figure that `make bench` measures."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(f.stem for f in files if not f.stem.startswith("_") and f.stem != "measure")


def record(name: str, quick: bool = False) -> dict:
    """Measure one figure: its numbers, when and on what."""
    start = time.perf_counter()
    numbers = importlib.import_module(f"research.speed.{name}").run(quick)
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        "seconds": round(time.perf_counter() - start, 1),
        "numbers": {
            k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in numbers.items()
        },
    }


if __name__ == "__main__":  # the fresh process of `peak`
    print(json.dumps(call(sys.argv[1], json.loads(sys.argv[2]))))
