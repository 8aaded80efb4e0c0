"""Pretraining: three encoders, one space (GAIR, arXiv 2503.16683; sections on INCL and SECL).

One step: encode B chips once, read each chip's field at its Q photos, encode the photos and their
coordinates, and pull matching pairs together (gairlib.train.objective).

Where we differ from the published form: Q photos per chip instead of one (the chip's encoding is
paid once, and neighbours in a chip are the negatives that make local alignment necessary), false
negatives are taken out by distance, one distance for each objective, and the temperature is
learnt. Lightning Fabric takes the same loop to a GPU, to many and to mixed precision.

Every random draw of step k derives from (seed, k): a run that is killed goes on from its last
checkpoint to bit-identical weights (on CPU).
"""

import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gairlib import devices, files
from gairlib.errors import BadInput
from gairlib.model import GAIR
from gairlib.train import checkpoint, gradient_cache, inputs
from gairlib.train.batches import PairBatches
from gairlib.train.curves import Curves
from gairlib.train.engine import Engine, StopRequest, catch_stop_signals, full
from gairlib.train.held import keep
from gairlib.train.objective import CoordinateQueue
from gairlib.train.options import (
    PretrainOptions,
    adamw,
    learning_rate,
    limit_queue,
    set_learning_rate,
)
from gairlib.train.towers import Anchors, Tuning, held_modules, held_names, hold, train_mode
from gairlib.train.validation import validate

SUMMARY = (
    "loss",
    "incl_loss",
    "incl_accuracy",
    "field_loss",
    "secl_loss",
    "temperature",
    "val_photos",
    "val_recall_at_1",
    "val_recall_at_10",
    "val_median_rank",
)
SPEED = ("pairs_per_second", "seconds", "waited_seconds", "device", "ranks")


def pretrain(
    model: GAIR,
    batches: PairBatches,
    validation: PairBatches | None,
    out: str | Path,
    options: PretrainOptions,
    *,
    checkpoints: str | Path,
    engine: Engine | None = None,
    initial_weights: str = "",
    towers: Mapping[str, Tuning] | None = None,
    progress: bool = True,
    finish: bool = True,
) -> dict:
    """Trains in place and writes `out/model` and `out/live`; returns a summary of plain numbers.

    batches: this rank's share of the training batches; validation: all of them, on each rank.
    towers: those that are held, anchored or trained at a rate of their own (`prepare.Plan.tuning`).
    Goes on from the newest checkpoint of the same run below `checkpoints`: same config, options,
    pairs, towers and `initial_weights` (any name of the weights that `model` starts from, such as
    `prepare.initial_weights` gives). Raises BadInput at a loss that is not finite, with the step
    and the photos of its batch; the last good checkpoint stays. A checkpoint or a curve
    that cannot be written (a full disk) is reported, and tried again at the next one. BadInput
    where another process trains into `checkpoints`.

    finish: write `out/model` after the last step and remove the checkpoints. With finish=False, or
    with several ranks, the run ends at a checkpoint of its last step instead; the same call in one
    process with finish=True goes on from there, trains nothing and writes the model.
    """
    engine = engine or Engine()
    folders = {"out": Path(out), "checkpoints": Path(checkpoints)}
    about = initial_weights, dict(towers or {})
    first = devices.rank()[0] == 0  # of the ranks, whose checkpoints are the same
    with files.owner(folders["checkpoints"]) if first else nullcontext():
        run = _Run(
            model, batches, validation, options, engine, *about, **folders, progress=progress
        )
        # ranks would hear of a signal at different steps; they go on from their last checkpoint
        with catch_stop_signals(engine.ranks == 1) as stop:
            run.loop(stop)
        return run.finish() if finish and engine.ranks == 1 else run.leave()


class _Run:
    """The state of one training run on one rank."""

    def __init__(
        self,
        model: GAIR,
        batches: PairBatches,
        validation: PairBatches | None,
        options: PretrainOptions,
        engine: Engine,
        initial_weights: str,
        towers: dict[str, Tuning],
        *,
        out: Path,
        checkpoints: Path,
        progress: bool,
    ):
        self.model, self.options, self.towers = model, options, towers
        self.batches, self.validation = batches, validation
        self.loggers = engine.loggers
        self.out, self.checkpoints, self.progress = out, checkpoints, progress
        torch.manual_seed(options.seed)
        self.fabric = engine.fabric(options.precision)
        hold(model, towers)
        self.held = keep(model, towers, batches, self.fabric.device, progress=progress)
        self.wrapped, self.optimiser = engine.setup(
            self.fabric,
            model,
            lambda m: adamw(m, options, towers),
            parts=options.gradient_parts,
            held=held_modules(model, held_names(towers)),
        )
        self.anchors = Anchors(model, towers)  # before a checkpoint is loaded
        self.queue = CoordinateQueue(limit_queue(options, len(batches)), self.fabric.device)
        self.identity = checkpoint.fingerprint(
            options.identity(),
            model.config.to_dict(),
            batches.chips,
            initial_weights,
            {name: tuning.identity() for name, tuning in towers.items()},
            [list(map(str, batches.rows[c])) for c in ("photo_id", "x", "y")],
        )
        self.step, self.history = 0, []
        found = self.fabric.broadcast(checkpoint.latest(self.checkpoints, self.identity))
        if found:
            self.step, self.history, buffers = checkpoint.load(
                found, model=model, optimiser=self.optimiser.optimizer
            )
            self.model.hold_temperatures()
            self.queue.load_state_dict(buffers)
            self.fabric.print(f"going on from {found} at step {self.step} of {options.steps}")
        self.start = self.step
        # the first step whose loss was not finite, kept on the device: looking at it would wait
        self.bad = torch.full((), -1, device=self.fabric.device)
        self.pairs_seen, self.waited, self.seconds = 0, 0.0, 0.0
        self.curves = None

    # ---- the loop

    def loop(self, stop: StopRequest) -> None:
        """From where the run stands to its last step; a request to stop ends it between two."""
        options, began = self.options, time.monotonic()
        if self.fabric.is_global_zero:
            self.curves = Curves(self.out / "live", self.history, self.loggers)
        train_mode(self.wrapped, self.model, self.towers)
        bar = tqdm(
            total=options.steps,
            initial=self.start,
            desc="pretraining",
            unit="step",
            disable=not (self.progress and self.fabric.is_global_zero),
            mininterval=2,
        )
        try:
            with self._inputs() as ahead:
                for step, batch in ahead:
                    rate = self.pairs_seen / max(time.monotonic() - began, 1e-9)
                    self._one(step, batch, bar, rate)
                    bar.update()
                    self.step = step + 1
                    if self.step < options.steps and (
                        stop or self.step % options.checkpoint_every == 0
                    ):
                        self._save()
                    if stop and self.step < options.steps:
                        raise KeyboardInterrupt
                self.waited = ahead.waited
        finally:
            self.seconds = time.monotonic() - began
            bar.close()
            if self.curves:
                self.curves.close()

    def _inputs(self) -> inputs.Ahead:
        """Inputs of the steps to come; a GPU has the next ones made while it works."""
        make = partial(
            inputs.make,
            config=self.model.config,
            options=self.options,
            device=self.fabric.device,
            share=self.batches.share,
        )
        return inputs.Ahead(
            lambda step: make(self.batches.batch(step), step=step),
            range(self.start, self.options.steps),
            ahead=int(self.fabric.device.type != "cpu"),
            device=self.fabric.device,
        )

    def _one(self, step: int, batch: inputs.Inputs, bar, rate: float) -> None:
        options = self.options
        set_learning_rate(self.optimiser, step, options)
        queued = self.queue.valid()
        terms, lonlat = gradient_cache.backward(
            self.fabric,
            self.wrapped,
            batch,
            queued,
            options,
            seed=options.seed * 1_000_003 + step,
            held=self.held,
        )
        norm = full(
            self.fabric.clip_gradients(
                self.wrapped, self.optimiser, max_norm=options.clip_norm, error_if_nonfinite=False
            )
        )
        wrong = ~torch.isfinite(terms["loss"]) & (self.bad < 0)
        self.bad = torch.where(wrong, torch.full_like(self.bad, step), self.bad)
        done = step + 1
        log = step % options.log_every == 0 or done == options.steps
        look = self.validation is not None and (
            done % options.validate_every == 0 or done == options.steps
        )
        # what follows waits for the device: only where something is logged or kept, or on the CPU
        if log or look or done % options.checkpoint_every == 0 or self.fabric.device.type == "cpu":
            self._refuse_nan(norm)
        self.anchors.pull()
        self.optimiser.step()
        self.model.hold_temperatures()
        self.optimiser.zero_grad(set_to_none=True)
        self.queue.push(lonlat)
        self.pairs_seen += len(lonlat)
        row = {"step": step}
        if log:
            row |= {k: float(v) for k, v in terms.items()}
            row |= {"gradient_norm": float(norm), "lr": learning_rate(step, options)}
            row |= {"anchor_loss": self.anchors.penalty()} if self.anchors else {}
            bar.set_postfix_str(f"loss {row['loss']:.3f}, {rate:.0f} pairs/s")
        if look:
            row |= validate(self.wrapped, self.validation, self.model.config, self.fabric.device)
            train_mode(self.wrapped, self.model, self.towers)
        if log or look:
            self.history.append(row)
            if self.curves:
                self.curves.log(row)

    def _refuse_nan(self, norm: Tensor) -> None:
        step = int(self.bad)
        if step < 0:
            return
        ids = self.batches.batch(step).photo_ids
        raise BadInput(
            f"the loss is not finite at step {step} (gradient norm {float(norm):.3g}); the last "
            f"good checkpoint is {checkpoint.latest(self.checkpoints, self.identity) or 'none'}; "
            f"look at the photos {', '.join(ids[:8])} ... of this batch, or lower the lr"
        )

    # ---- what stays

    def _checkpoint(self) -> None:
        checkpoint.save(
            self.checkpoints,
            step=self.step,
            model=self.model,
            optimiser=self.optimiser.optimizer,
            buffers=self.queue.state_dict(),
            history=self.history,
            run=self.identity,
            write=self.fabric.is_global_zero,
        )

    def _save(self) -> None:
        try:
            self._checkpoint()
        except checkpoint.NotSaved as problem:
            tqdm.write(f"{problem}; training goes on, and tries again at the next checkpoint")

    def leave(self) -> dict:
        """A checkpoint of the last step, for another process to finish from."""
        self._checkpoint()
        if self.fabric.is_global_zero:
            speed = {k: v for k, v in self._summary().items() if k in SPEED}
            with files.atomic_write(self.checkpoints / "speed.json") as part:
                part.write_text(json.dumps(speed))
        self.fabric.barrier()
        return self._summary()

    def finish(self) -> dict:
        """Weights in `out/model`; the checkpoints are no longer needed."""
        self.model.save_pretrained(self.out / "model")
        speed, file = {}, self.checkpoints / "speed.json"
        if self.start == self.options.steps and file.is_file():  # other processes did the work
            speed = json.loads(file.read_text())
        files.remove(self.checkpoints)
        return self._summary() | speed

    def _summary(self) -> dict:
        last = {k: v for row in self.history for k, v in row.items()}
        return {
            "steps": self.options.steps,
            "train_photos": len(self.batches),
            "train_chips": self.batches.chips,
            "pairs_per_second": round(self.pairs_seen / max(self.seconds, 1e-9), 1),
            "seconds": round(self.seconds, 1),
            "waited_seconds": round(self.waited, 1),
            "resumed_from_step": self.start,
            "device": str(self.fabric.device),
            "ranks": self.fabric.world_size,
            "queue": self.queue.size,
        } | {k: last[k] for k in SUMMARY if k in last}
