"""What a part of the GPU figures is measured with, and how its record is kept."""

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

import torch

from gairlib.config import GAIRConfig
from gairlib.files import atomic_write

RESULTS = Path(__file__).resolve().parents[3] / "metrics/bench_gpu.json"
PARTS = ("utilisation", "large_batch", "loader", "exactness", "ranks")


@dataclass(frozen=True)
class Sizes:
    """What is measured. The default is the issue's; `quick()` is for tests."""

    config: GAIRConfig = field(default_factory=lambda: GAIRConfig.preset("base"))
    precision: str = "bf16-mixed"
    chips: int = 64  # of the plain step; halved while it does not fit
    photos: int = 8  # a chip
    queue: int = 4096
    compiled: tuple[bool, ...] = (False, True)  # steps with torch.compile, and without
    warmup: int = 5
    repeat: int = 30
    squares: tuple[int, ...] = (4096, 8192, 16384)
    product_seconds: float = 1.0  # of products of each shape
    large_chips: int = 2048  # 16,384 pairs
    large_part: int = 1024  # pairs a part at most; halved while it does not fit
    large_repeat: int = 3
    loss_chunk: int = 2048
    memory_bytes: float = 80e9
    stored_chips: int = 2000  # of the paired data that the loader reads
    loader_chips: int = 32  # a batch
    loader_steps: int = 60
    workers: int = 0  # threads that decode; 0: one less than there are processors
    exact_chips: int = 16
    exact_parts: int = 4
    ranks: int = 0  # 0: as many as there are GPUs
    tiny: bool = False

    @classmethod
    def quick(cls) -> "Sizes":
        """Tiny sizes: seconds on a CPU."""
        config = GAIRConfig.preset(
            "base",
            dim=16,
            rs_size=16,
            rs_depth=1,
            rs_heads=2,
            sv_size=16,
            sv_model="vit_tiny_patch16_224",
            sv_options={
                "img_size": 16,
                "patch_size": 8,
                "embed_dim": 16,
                "depth": 1,
                "num_heads": 2,
            },
            location_options={"features": 8, "hidden": 16},
        )
        return cls(
            config=config,
            chips=2,
            photos=2,
            queue=6,
            warmup=1,
            repeat=2,
            squares=(32,),
            product_seconds=0.01,
            large_chips=8,
            large_part=8,
            large_repeat=1,
            loss_chunk=5,
            stored_chips=4,
            loader_chips=2,
            loader_steps=2,
            workers=1,
            exact_chips=4,
            exact_parts=2,
            tiny=True,
        )

    def described(self) -> dict:
        """For the record: plain values."""
        return {
            f.name: self.config.to_dict() if f.name == "config" else getattr(self, f.name)
            for f in fields(self)
        }


class Failed(RuntimeError):
    """A measurement that could not be made; the sentence says why."""


def short_of_memory(error: Exception) -> bool:
    """Whether an error says that the device's memory is used up."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


def attempt(function: Callable[..., dict], *arguments, **options) -> dict:
    """What the function returns; or {"failed": why, "where": file:line}, out of memory included.

    Nothing of a failed call stays alive: its frames, and with them its tensors, are let go of.
    """
    try:
        return function(*arguments, **options)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        why = "out of memory" if short_of_memory(error) else type(error).__name__
        first = (str(error).strip().splitlines() or [""])[0]
        found = {"failed": f"{why}: {first}", "where": f"{Path(last.filename).name}:{last.lineno}"}
        traceback.clear_frames(error.__traceback__)
    return found


def reached(target: str, measured: str, yes: bool | None) -> dict:
    """A row of the table at the end; None: not measured here."""
    return {"target": target, "measured": measured, "reached": yes}


def table(record: dict) -> str:
    """Target, measured, reached, one line each."""
    rows = [("target", "measured", "reached")]
    for name, part in record["parts"].items():
        if "failed" in part:
            rows.append((name, part["failed"], "no"))
        for row in part.get("targets", []):
            rows.append(
                (
                    row["target"],
                    row["measured"],
                    {True: "yes", False: "no", None: "not measured"}[row["reached"]],
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def write(path: Path, record: dict) -> None:
    """The record as JSON, whole or not at all; numbers to six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = record | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
    with atomic_write(path) as part:
        part.write_text(json.dumps(_rounded(record), indent=1) + "\n", encoding="utf-8")


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value
