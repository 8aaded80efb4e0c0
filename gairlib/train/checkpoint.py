"""Training checkpoints that a killed run goes on from, bit for bit, and that need no pickle.

A checkpoint is a folder `step-0000500/` with `state.safetensors` (weights, optimiser moments,
coordinate queue), `state.json` (step, history, fingerprint of the run) and SHA256SUMS, the digests
of both; without the last, of an older version, it is read as it is. Random states are not
stored: every random draw of step k comes from (seed, k).

What it withstands:

- a kill: it is written under another name and renamed when complete and on the disk, so a reader
  never meets half of one; what a killed process left is removed at the next save;
- a full or failing disk: `NotSaved`, and every earlier checkpoint is as it was, because an old one
  goes only after the new one is in place;
- a power cut: files and folders are synced before and after the rename, and a checkpoint cut short
  nevertheless is passed over for the one before;
- a flipped bit: a checkpoint whose files are not those that were written is passed over too.

Names and tensors are those of the bare model on one device, whatever wraps it (DDP, Fabric,
torch.compile, activation checkpointing) and however it is sharded (`fully_shard`, FSDP2): a run can
go on with another engine. Sharded tensors are gathered one at a time and leave the device at once.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gairlib import files
from gairlib.errors import BadInput, NotSaved
from gairlib.train.engine import full, sharded

# what reading a file that is gone, cut short or altered can raise
DAMAGED = (OSError, ValueError, LookupError, TypeError, SafetensorError)
# attributes under which torch and Fabric keep the module that they wrap
WRAPPERS = ("_orig_mod", "_forward_module", "_checkpoint_wrapped_module")


def fingerprint(*parts: object) -> str:
    """Hash of what a run depends on: a checkpoint of another run is never resumed from."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


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
    write: bool = True,
) -> Path:
    """Writes `folder/step-...` whole or not at all, then removes all but the `keep` newest.

    model, optimiser: bare, wrapped or sharded; of a sharded model every rank must call this, since
    gathering is a collective, and rank 0 alone has write=True. history: plain rows; nan and inf are
    kept. A complete checkpoint of the same run and step is left as it is. Other runs' checkpoints
    stay, damaged ones go.

    Returns the checkpoint's folder, also where write=False. Raises NotSaved where the system
    refuses to write: the earlier checkpoints are then untouched and nothing of this one remains.
    """
    folder = Path(folder)
    target = folder / f"step-{step:07d}"
    tensors = _gather(model, optimiser, write)  # by all ranks, before anything can fail on one
    if not write or (_complete(target) == run and files.damaged(target) is None):
        return target
    tensors |= {f"buffer.{k}": v.detach().cpu().contiguous() for k, v in buffers.items()}
    about = json.dumps({"step": step, "run": run, "history": history})
    need = len(about) + sum(v.nbytes + 256 for v in tensors.values())  # 256: its line in the header
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with files.atomic_folder(target) as fresh:  # takes the place of a damaged one
            save_file(tensors, fresh / "state.safetensors")
            (fresh / "state.json").write_text(about)
            files.seal(fresh)
    except (OSError, SafetensorError) as error:  # save_file has an error class of its own
        raise NotSaved(_why(error, folder, step, need, run)) from error
    _prune(folder, run, keep)
    return target


def latest(folder: Path, run: str) -> Path | None:
    """The newest checkpoint of this very run whose files are as they were written, or None."""
    mine = (p for p in reversed(_steps(Path(folder))) if _complete(p) == run)
    return next((p for p in mine if files.damaged(p) is None), None)


def load(
    path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict], dict[str, Tensor]]:
    """Puts a checkpoint's state into model and optimiser; returns step, history and buffers.

    model, optimiser: as they will train, on their device and, if at all, already sharded: every
    rank reads the file and keeps its own part, without communication. Optimiser state held before
    is dropped. Raises BadInput where the file is damaged or fits another model; model and optimiser
    are untouched then.
    """
    path = Path(path)
    try:
        if wrong := files.damaged(path):
            raise ValueError(wrong)
        step, history = _progress(path)
        with safe_open(path / "state.safetensors", "pt") as file:
            buffers = _restore(path, file, model, optimiser)
    except BadInput:
        raise
    except (*DAMAGED, RuntimeError) as error:  # RuntimeError: lists in lists without end
        raise BadInput(
            f"{path}: this checkpoint is damaged ({type(error).__name__}: {error}); remove its "
            "folder to go on from the one before"
        ) from None
    return step, history, buffers


def _progress(path: Path) -> tuple[int, list[dict]]:
    """Step and history; TypeError where they are something else."""
    state = json.loads((path / "state.json").read_text())
    step, history = state["step"], state["history"]
    if type(step) is not int or step < 0 or type(history) is not list:
        raise TypeError("no step or no history in state.json")
    return step, history


def _restore(
    path: Path, file: safe_open, model: nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Tensor by tensor from the open file into model and optimiser; returns the buffers."""
    names = set(file.keys())
    own = {f"model.{k}": v for k, v in _weights(model).items()}
    parameters = _parameters(model, optimiser)
    fitting = {k: _form(v) for k, v in own.items()}
    stored = {}
    for key in names:
        kind, _, rest = key.partition(".")
        tensor = file.get_slice(key)
        found = tuple(tensor.get_shape()), "F" in tensor.get_dtype()
        if kind == "model":
            stored[key] = found
        elif kind == "optimiser" and rest.partition(".")[2] in parameters:
            moment, _, name = rest.partition(".")
            stored[key] = found
            fitting[key] = found if moment == "step" else _form(parameters[name])
        elif kind != "buffer":
            stored[key] = found
    odd = sorted({k for k, _ in stored.items() ^ fitting.items()})
    if odd:
        raise BadInput(
            f"{path}: these weights do not fit the model ({len(odd)} differ in name or "
            f"shape, {odd[0].removeprefix('model.')} first); remove the checkpoint "
            "folder to start anew"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(_like(file.get_tensor(name), tensor))
        optimiser.state.clear()
        on_device = {
            p
            for g in optimiser.param_groups
            if g.get("fused") or g.get("capturable")
            for p in g["params"]
        }
        for key in sorted(k for k in names if k.startswith("optimiser.")):
            _, moment, name = key.split(".", 2)
            parameter, value = parameters[name], file.get_tensor(key)
            if moment == "step":  # on the CPU unless the update runs as one kernel on the device
                value = value.clone().to(parameter.device if parameter in on_device else "cpu")
            else:  # moments lie as their parameter does: device, shards, memory format
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(
                    _like(value, parameter)
                )
            optimiser.state[parameter][moment] = value
    return {
        k.removeprefix("buffer."): file.get_tensor(k).clone()  # not a view of the file
        for k in names
        if k.startswith("buffer.")
    }


def _form(tensor: Tensor) -> tuple[tuple[int, ...], bool]:
    """Shape of a tensor, and whether it holds fractions: what a stored one must share."""
    return tuple(tensor.shape), tensor.is_floating_point()


def _gather(model: nn.Module, optimiser: torch.optim.Optimizer, write: bool) -> dict[str, Tensor]:
    """Name -> whole tensor on the CPU; empty without `write`. The same order on every rank."""
    named = {f"model.{k}": v for k, v in _weights(model).items()}
    for name, parameter in _parameters(model, optimiser).items():
        state = optimiser.state.get(parameter, {})
        named |= {
            f"optimiser.{moment}.{name}": torch.as_tensor(state[moment]) for moment in sorted(state)
        }
    whole = {}
    for name, tensor in named.items():
        tensor = full(tensor.detach())
        if write:
            whole[name] = tensor.cpu().contiguous()
    return whole


def _like(whole: Tensor, own: Tensor) -> Tensor:
    """`whole` as is, or this rank's part of it where `own` is sharded."""
    if not sharded(own):
        return whole
    from torch.distributed.tensor import distribute_tensor

    # source None: every rank holds the whole and takes its part, nothing is sent
    return distribute_tensor(whole, own.device_mesh, own.placements, src_data_rank=None)


def _bare(model: nn.Module) -> nn.Module:
    """The model inside DDP, Fabric's module and torch.compile."""
    while True:
        inner = next((model._modules[w] for w in WRAPPERS if w in model._modules), None)
        if isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def _plain(name: str) -> str:
    """The name without the wrappers of inner modules."""
    parts = name.split(".")
    if "_fsdp_wrapped_module" in parts:
        raise BadInput(
            f"{name}: FullyShardedDataParallel hides the parameters' shapes; shard with "
            "torch.distributed.fsdp.fully_shard instead"
        )
    return ".".join(p for p in parts if p not in WRAPPERS)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by plain name: the model's own storage, not copies.

    To be called before `_parameters`: state_dict() makes FSDP2 take back what a forward pass
    without a backward one (validation) left unsharded.
    """
    return {_plain(k): v for k, v in _bare(model).state_dict().items() if torch.is_tensor(v)}


def _parameters(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """Parameters by plain name; the optimiser's must be among them."""
    named = {_plain(k): p for k, p in _bare(model).named_parameters()}
    strangers = {p for g in optimiser.param_groups for p in g["params"]} - set(named.values())
    if strangers:
        raise BadInput(
            f"{len(strangers)} parameters of the optimiser are not the model's: sharding"
            " replaces them, make the optimiser after it"
        )
    return named


def _steps(folder: Path) -> list[Path]:
    """The folders of checkpoints, complete or not, oldest first."""
    return sorted(
        (p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name)),
        key=lambda p: int(p.name.removeprefix("step-")),
    )


def _complete(path: Path) -> str | None:
    """The run that this checkpoint belongs to; None where a file is absent or cut short.

    Opening compares the header of the safetensors file with the file's size; the tensors are not
    read, which `files.damaged` does.
    """
    try:
        with safe_open(path / "state.safetensors", "pt"):
            return json.loads((path / "state.json").read_text())["run"]
    except (*DAMAGED, RecursionError):
        return None


def _prune(folder: Path, run: str, keep: int) -> None:
    """Removes this run's checkpoints but the newest, and whatever is damaged."""
    runs = {path: _complete(path) for path in _steps(folder)}
    mine = [path for path, of in runs.items() if of == run]
    for path in [*mine[:-keep], *(path for path, of in runs.items() if of is None)]:
        files.remove(path)


def _why(error: Exception, folder: Path, step: int, need: int, run: str) -> str:
    """The sentence of NotSaved."""
    try:
        free = f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free"
    except OSError:
        free = "the free space is unknown"
    reason = getattr(error, "strerror", None) or error
    return (
        f"{folder}: the checkpoint of step {step} was not saved ({reason}); it needs "
        f"{need / 1e6:,.1f} MB, {free}; the last good checkpoint is "
        f"{latest(folder, run) or 'none'}"
    )
