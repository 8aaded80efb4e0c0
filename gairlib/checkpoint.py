"""Training checkpoints that a killed run goes on from, bit for bit, and that need no pickle.

A checkpoint is a folder `step-000500/` with `state.safetensors` (weights, optimiser moments,
coordinate queue) and `state.json` (step, history, fingerprint of the run). It is written under
another name and renamed when complete, so a reader never meets half of one; the two newest are
kept, so a full disk costs the newest at most. Random states are not stored: every random draw of
step k comes from (seed, k).
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gairlib.errors import BadInput


def fingerprint(*parts: object) -> str:
    """Hash of what a run depends on: a checkpoint of another run is never resumed from."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _optimiser_tensors(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = {p: n for n, p in model.named_parameters()}
    return {
        f"optimiser.{key}.{names[p]}": value if torch.is_tensor(value) else torch.tensor(value)
        for p, state in optimiser.state.items()
        for key, value in state.items()
    }


def save(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    buffers: dict[str, Tensor],
    history: list[dict],
    run: str,
    keep: int = 2,
) -> Path:
    """Writes `folder/step-...` atomically and removes all but the `keep` newest checkpoints."""
    target, partial = folder / f"step-{step:07d}", folder / f".step-{step:07d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= _optimiser_tensors(model, optimiser)
    tensors |= {f"buffer.{k}": v for k, v in buffers.items()}
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()},
              partial / "state.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step, "run": run, "history": history}))
    for file in partial.iterdir():  # the rename must not overtake the content
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: Path, run: str) -> Path | None:
    """The newest complete checkpoint of this very run, or None."""
    for candidate in sorted(Path(folder).glob("step-*"), reverse=True):
        try:
            state = json.loads((candidate / "state.json").read_text())
        except (OSError, ValueError):
            continue
        if state.get("run") == run and (candidate / "state.safetensors").exists():
            return candidate
    return None


def load(
    path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict], dict[str, Tensor]]:
    """Puts a checkpoint's state into model and optimiser; returns step, history and buffers."""
    state = json.loads((path / "state.json").read_text())
    tensors = load_file(path / "state.safetensors")
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BadInput(f"{path}: these weights do not fit the model ({error}); remove the "
                       "checkpoint folder to start anew") from None
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, field, name = key.split(".", 2)
            parameter = parameters[name]
            # AdamW keeps its step count on the CPU, its moments beside the parameter
            where = "cpu" if value.ndim == 0 else parameter.device
            optimiser.state[parameter][field] = value.to(where)
    buffers = {k.removeprefix("buffer."): v for k, v in tensors.items() if k.startswith("buffer.")}
    return state["step"], state["history"], buffers
