"""Where training runs: devices, sharding and compilation, by Lightning Fabric's own switches.

Nothing here changes what is learnt beyond rounding. One process trains on one device. Several are
started by torchrun, one a device, on one machine or many:

    torchrun --standalone --nproc-per-node 8 -m gairlib.train --params params.yaml

The notebook does the same for `devices` > 1 and then goes on from the last checkpoint. What only
sharding needs is imported where it is used: it takes seconds, and most runs have one device.

Ctrl-C, the stop button of JupyterLab and the end of a batch job's time arrive as signals. Raised in
the middle of an optimiser's step they would leave weights that belong to no step, so a first one
ends the step that is running (`catch_stop_signals`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gairlib.errors import BadInput, extra
from gairlib.model import GAIR
from gairlib.train import loggers

with extra("train"):
    from lightning_fabric import Fabric

STRATEGIES = ("auto", "ddp", "fsdp")


@dataclass(frozen=True)
class Engine:
    """accelerator: Fabric's names ("auto", "cpu", "cuda"); devices: a node; strategy: "ddp"
    replicates the model (as "auto" does on several devices), "fsdp" shards it (FSDP2);
    compile: torch.compile, which needs a C++ compiler on the CPU; activation_checkpointing:
    recompute the towers' blocks in the backward pass, a third more work for far less memory;
    loggers: of curves beside DVCLive's, names or objects (gairlib.train.loggers)."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    compile: bool = False
    activation_checkpointing: bool = False
    loggers: Sequence[Any] = ()

    def __post_init__(self) -> None:
        loggers.check(self.loggers)
        if self.strategy not in STRATEGIES:
            raise BadInput(
                f"pretrain.strategy is {self.strategy!r}; choose one of {', '.join(STRATEGIES)}"
            )
        for name in ("devices", "nodes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"pretrain.{name} is {value!r}, a whole number from 1 is needed")

    @property
    def ranks(self) -> int:
        """Processes that train together."""
        return self.devices * self.nodes

    def alone(self) -> Engine:
        """The same in a single process."""
        return replace(self, devices=1, nodes=1, strategy="auto")

    def fabric(self, precision: str) -> Fabric:
        """Fabric, launched: with several ranks torchrun has started this process."""
        strategy = self.strategy
        if strategy == "fsdp":
            from lightning_fabric.strategies import ModelParallelStrategy

            strategy = ModelParallelStrategy(
                _shard, data_parallel_size=self.ranks, tensor_parallel_size=1
            )
        elif self.ranks == 1:
            strategy = "auto"
        else:
            strategy = "ddp"
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            strategy=strategy,
            precision=precision,
        )
        fabric.launch()
        return fabric

    def setup(
        self, fabric: Fabric, model: GAIR, optimiser, *, parts: int, held: Collection[str] = ()
    ):
        """(wrapped model to call, optimiser); `optimiser` makes one of the parameters it is given.

        `model` itself stays usable, and holds the weights (sharded ones with "fsdp"). held: names
        of modules in eval mode, whose batch norms do not look at the batch.
        """
        normed = [
            n
            for n, m in model.named_modules()
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and n not in held
        ]
        on_gpu = fabric.device.type == "cuda"
        if normed and (parts > 1 or (self.ranks > 1 and not on_gpu)):
            raise BadInput(
                f"{normed[0]} is a batch norm, whose statistics would be those of a part of the "
                "batch: set pretrain.gradient_parts to 1 and train in one process, or choose an SV "
                "tower without (a ViT, or norm_layer: groupnorm in model.changes.sv_options)"
            )
        if normed and self.ranks > 1:
            model.sv = nn.SyncBatchNorm.convert_sync_batchnorm(model.sv)
        if self.activation_checkpointing:
            from torch.distributed.algorithms._checkpoint import checkpoint_wrapper

            chosen = set(_blocks(model))
            checkpoint_wrapper.apply_activation_checkpointing(
                model, check_fn=lambda module: module in chosen
            )
        called = torch.compile(model) if self.compile else model
        wrapped = fabric.setup_module(called)
        return wrapped, fabric.setup_optimizers(optimiser(model))


def _blocks(model: GAIR) -> list[nn.Module]:
    """What is recomputed or sharded as one: transformer blocks, or a residual net's stages."""
    found = [*model.rs.blocks]
    for tower in (model.sv.tower, model.sv.side):
        stages = getattr(tower, "blocks", None)
        if stages is None and tower is not None:
            stages = [m for n, m in tower.named_children() if n.startswith(("layer", "stages"))]
        found += stages or []
    return found


def _shard(model: nn.Module, mesh) -> nn.Module:
    """FSDP2 over the blocks, then over what is left."""
    from torch.distributed.fsdp import fully_shard

    shard = partial(fully_shard, mesh=mesh["data_parallel"])
    bare = getattr(model, "_orig_mod", model)
    for block in _blocks(bare):
        shard(block)
    shard(bare)
    return model


def sharded(value: Tensor) -> bool:
    """Whether this rank holds a part of the tensor only."""
    return hasattr(value, "full_tensor")  # a DTensor; importing its module takes seconds


def full(value: Tensor) -> Tensor:
    """A tensor as it is, or gathered from its shards (then every rank has to call)."""
    return value.full_tensor() if sharded(value) else value


class StopRequest:
    """True once somebody has asked to stop."""

    def __init__(self) -> None:
        self.made = False

    def __bool__(self) -> bool:
        return self.made


@contextmanager
def catch_stop_signals(catch: bool = True) -> Iterator[StopRequest]:
    """Within it a first SIGINT or SIGTERM is noted; a second one interrupts at once.

    Yields an object that is true once a signal has come. With catch=False, and in a thread other
    than the main one, where Python allows no handlers, signals do what they did before.
    """
    request = StopRequest()
    if not catch or threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number, frame):
        if request.made:
            raise KeyboardInterrupt
        request.made = True

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
