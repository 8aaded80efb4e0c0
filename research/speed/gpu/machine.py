"""What is measured on a device, and how: time between events, peak memory, who the device is.

A GPU runs behind the host. Times are those of CUDA events on the stream that does the work, put
between steps without waiting; the host waits once, after the last of them. On the CPU the same
functions read the clock, so that every path runs in a test; memory is a number on a GPU only.
"""

import gc
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch


def wait(device: torch.device) -> None:
    """Until all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(step: Callable, device: torch.device, *, warmup: int, repeat: int) -> list[float]:
    """Seconds of each of `repeat` calls in a row, after `warmup` calls that do not count."""
    for _ in range(warmup):
        step()
    wait(device)
    if device.type != "cuda":
        seconds = []
        for _ in range(repeat):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        return seconds
    with torch.cuda.device(device):  # events are of the current device
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeat + 1)]
        marks[0].record()
        for mark in marks[1:]:
            step()
            mark.record()
        wait(device)
    return [a.elapsed_time(b) / 1e3 for a, b in zip(marks, marks[1:])]


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and most of some times, in milliseconds."""
    return {
        "median_ms": 1e3 * median(seconds),
        "least_ms": 1e3 * min(seconds),
        "most_ms": 1e3 * max(seconds),
        "steps": len(seconds),
    }


def free() -> None:
    """Gives a GPU's memory back that nothing holds any more; call it outside of `except`."""
    if not torch.cuda.is_available():
        return
    if "torch._dynamo" in sys.modules:  # compiled graphs hold their models
        torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


@dataclass
class Memory:
    """Peak since `start`, in bytes: what tensors took, what the allocator took from the device."""

    device: torch.device

    def start(self) -> "Memory":
        if self.device.type == "cuda":
            wait(self.device)
            torch.cuda.empty_cache()  # what an earlier step left reserved is not this one's
            torch.cuda.reset_peak_memory_stats(self.device)
            self._retries = torch.cuda.memory_stats(self.device).get("num_alloc_retries", 0)
        return self

    def stop(self) -> dict[str, int | None]:
        """`alloc_retries`: how often the allocator had to give memory back before it got more."""
        if self.device.type != "cuda":
            return {"allocated_bytes": None, "reserved_bytes": None, "alloc_retries": None}
        wait(self.device)
        retries = torch.cuda.memory_stats(self.device).get("num_alloc_retries", 0)
        return {
            "allocated_bytes": torch.cuda.max_memory_allocated(self.device),
            "reserved_bytes": torch.cuda.max_memory_reserved(self.device),
            "alloc_retries": retries - self._retries,
        }


def limit_memory(device: torch.device, most: float | None) -> None:
    """Lets this process take at most so many bytes (None: all), also where the card has more."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (most or total) / total), device)


def waits(step: Callable, device: torch.device) -> list[str]:
    """Where the host waits for the device in one call of `step`, as torch reports it.

    Each wait leaves the device without work for a moment. None is possible to see on the CPU.
    """
    if device.type != "cuda":
        return []
    wait(device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    wait(device)
    places = [w for w in caught if "synchronizing" in str(w.message)]
    return [f"{w.filename.rsplit('/', 1)[-1]}:{w.lineno}" for w in places]


def about(device: torch.device) -> dict:
    """The device, its driver, and the settings that decide how fast and exactly it multiplies."""
    found = {
        "device": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "driver": None,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "bf16_reduced_precision_reduction": str(
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        ),
    }
    if device.type == "cuda":
        it = torch.cuda.get_device_properties(device)
        found |= {
            "device": it.name,
            "memory_bytes": it.total_memory,
            "multiprocessors": it.multi_processor_count,
            "gpus": torch.cuda.device_count(),
            "capability": f"{it.major}.{it.minor}",
            "cudnn": torch.backends.cudnn.version(),
        } | _from_driver()
    return found


def _from_driver() -> dict[str, str]:
    """Driver and power limit of the first GPU, where the driver's own tool can be asked."""
    fields = {"driver": "driver_version", "power_limit": "power.limit", "clock": "clocks.max.sm"}
    query = f"--query-gpu={','.join(fields.values())}"
    try:
        said = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader", "--id=0"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [v.strip() for v in said.stdout.strip().split(",")]
    return dict(zip(fields, values)) if len(values) == len(fields) else {}
