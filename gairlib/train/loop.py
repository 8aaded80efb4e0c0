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
import shutil
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gairlib.errors import BadInput
from gairlib.model import GAIR
from gairlib.train import checkpoint, gradient_cache, inputs
from gairlib.train.batches import PairBatches
from gairlib.train.coordinate_queue import CoordinateQueue
from gairlib.train.curves import Curves
from gairlib.train.engine import Engine, full
from gairlib.train.interrupts import deferred
from gairlib.train.options import PretrainOptions, adamw, learning_rate, limit_queue
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
    train: PairBatches,
    validation: PairBatches | None,
    out: str | Path,
    options: PretrainOptions,
    *,
    checkpoints: str | Path,
    engine: Engine | None = None,
    begun: str = "",
    progress: bool = True,
    finish: bool = True,
) -> dict:
    """Trains in place and writes `out/model` and `out/live`; returns a summary of plain numbers.

    train: the batches of this rank (`share`); validation: all of them, on each rank. Goes on from
    the newest checkpoint of the same run (same config, options, pairs and `begun`, which says what
    weights it began with) below `checkpoints`; they are removed when training is complete. A loss
    that is not finite stops the run with the step and the photos of that batch; the last good
    checkpoint stays. A checkpoint that cannot be written (a full disk) is said and tried again
    later.

    finish=False, and several ranks in any case, leave a checkpoint of the last step and nothing
    else: the same call in a single process then writes what is to be written.
    """
    engine = engine or Engine()
    run = _Run(model, train, validation, Path(out), options, Path(checkpoints), engine, begun)
    # ranks would hear of a signal at different steps; they go on from their last checkpoint
    with deferred() if engine.ranks == 1 else nullcontext(False) as asked:
        run.loop(asked, progress)
    return run.finish() if finish and engine.ranks == 1 else run.leave()


class _Run:
    """The state of one training run on one rank."""

    def __init__(
        self,
        model: GAIR,
        train: PairBatches,
        validation: PairBatches | None,
        out: Path,
        options: PretrainOptions,
        checkpoints: Path,
        engine: Engine,
        begun: str,
    ):
        self.model, self.train, self.validation, self.options = model, train, validation, options
        self.out, self.checkpoints = out, checkpoints
        torch.manual_seed(options.seed)
        self.fabric = engine.fabric(options.precision)
        self.wrapped, self.optimiser = engine.setup(
            self.fabric, model, lambda m: adamw(m, options), parts=options.gradient_parts
        )
        self.queue = CoordinateQueue(limit_queue(options, len(train)), self.fabric.device)
        self.identity = checkpoint.fingerprint(
            options.identity(),
            model.config.to_dict(),
            train.chips,
            begun,
            [list(map(str, train.rows[c])) for c in ("photo_id", "x", "y")],
        )
        self.step, self.history = 0, []
        found = self.fabric.broadcast(checkpoint.latest(self.checkpoints, self.identity))
        if found:
            self.step, self.history, buffers = checkpoint.load(
                found, model=model, optimiser=self.optimiser.optimizer
            )
            self.queue.load_state_dict(buffers)
            self.fabric.print(f"going on from {found} at step {self.step} of {options.steps}")
        self.start = self.step
        # the first step whose loss was not finite, kept on the device: looking at it would wait
        self.bad = torch.full((), -1, device=self.fabric.device)
        self.pairs_seen, self.waited, self.seconds = 0, 0.0, 0.0
        self.curves = None

    # ---- the loop

    def loop(self, asked, progress: bool) -> None:
        """From where the run stands to its last step; a request to stop ends it between two."""
        options, began = self.options, time.monotonic()
        if self.fabric.is_global_zero:
            shutil.rmtree(self.out / "live", ignore_errors=True)
            self.curves = Curves(self.out / "live", self.history)
        self.wrapped.train()
        bar = tqdm(
            total=options.steps,
            initial=self.start,
            desc="pretraining",
            unit="step",
            disable=not (progress and self.fabric.is_global_zero),
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
                        asked or self.step % options.checkpoint_every == 0
                    ):
                        self._save()
                    if asked and self.step < options.steps:
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
            share=self.train.share,
        )
        return inputs.Ahead(
            lambda step: make(self.train.batch(step), step=step),
            range(self.start, self.options.steps),
            ahead=int(self.fabric.device.type != "cpu"),
            device=self.fabric.device,
        )

    def _one(self, step: int, batch: inputs.Inputs, bar, rate: float) -> None:
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, options)
        queued = self.queue.valid()
        terms, lonlat = gradient_cache.backward(
            self.fabric, self.wrapped, batch, queued, options, seed=options.seed * 1_000_003 + step
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
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.queue.push(lonlat)
        self.pairs_seen += len(lonlat)
        row = {"step": step}
        if log:
            row |= {k: float(v) for k, v in terms.items()}
            row |= {"gradient_norm": float(norm), "lr": learning_rate(step, options)}
            bar.set_postfix_str(f"loss {row['loss']:.3f}, {rate:.0f} pairs/s")
        if look:
            row |= validate(self.wrapped, self.validation, self.model.config, self.fabric.device)
        if log or look:
            self.history.append(row)
            if self.curves:
                self.curves.log(row)

    def _refuse_nan(self, norm: Tensor) -> None:
        step = int(self.bad)
        if step < 0:
            return
        ids = self.train.batch(step).photo_ids
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
            (self.checkpoints / "speed.json").write_text(json.dumps(speed))
        self.fabric.barrier()
        return self._summary()

    def finish(self) -> dict:
        """Weights in `out/model`; the checkpoints are no longer needed."""
        self.model.save_pretrained(self.out / "model")
        speed, file = {}, self.checkpoints / "speed.json"
        if self.start == self.options.steps and file.is_file():  # other processes did the work
            speed = json.loads(file.read_text())
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        return self._summary() | speed

    def _summary(self) -> dict:
        last = {k: v for row in self.history for k, v in row.items()}
        return {
            "steps": self.options.steps,
            "train_photos": len(self.train),
            "train_chips": self.train.chips,
            "pairs_per_second": round(self.pairs_seen / max(self.seconds, 1e-9), 1),
            "seconds": round(self.seconds, 1),
            "waited_seconds": round(self.waited, 1),
            "resumed_from_step": self.start,
            "device": str(self.fabric.device),
            "ranks": self.fabric.world_size,
            "queue": self.queue.size,
        } | {k: last[k] for k in SUMMARY if k in last}
