"""Pretraining: three encoders, one space (GAIR, arXiv 2503.16683; sections on INCL and SECL).

One step: encode B chips once, read each chip's field at its Q photos, encode the photos and their
coordinates, and pull matching pairs together:

    INCL   photo <-> localised RS embedding      negatives: the batch, photos of the chip included
    SECL   photo <-> location embedding          negatives: the batch and a queue of coordinates
    RSLL   localised RS <-> location (ours)      negatives: the batch

Where we differ from the published form: Q photos per chip instead of one (the chip's encoding is
paid once, and neighbours in a chip are the negatives that make local alignment necessary), false
negatives are taken out by distance, one distance for each objective, and the temperature is
learnt. Lightning Fabric moves the same loop to a GPU and to mixed precision.

Every random draw of step k derives from (seed, k): a run that is killed goes on from its last
checkpoint to bit-identical weights (on CPU).
"""

import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm.auto import tqdm

from gairlib import augment, checkpoint, losses, preprocess, retrieval
from gairlib.batches import Batch, PairBatches
from gairlib.coordinate_queue import CoordinateQueue
from gairlib.errors import BadInput
from gairlib.model import GAIR


@dataclass(frozen=True)
class PretrainOptions:
    """What pretraining needs beside the model's own config; params.yaml says why each value."""

    steps: int = 1000
    chips_per_batch: int = 32
    photos_per_chip: int = 8
    lr: float = 1.0e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps with rising learning rate; cosine to zero after it
    clip_norm: float = 1.0
    queue_size: int = 4096  # at most a quarter of the training photos, see `limit_queue`
    incl_exclude_m: float = 25.0  # photos nearer than this are no negatives for the RS field
    secl_exclude_m: float = 5000.0  # ... and for the location encoder, which sees kilometres
    secl_weight: float = 1.0
    rs_location_weight: float = 0.2
    band_jitter: float = 0.05
    photo_jitter: float = 0.15
    log_every: int = 10
    validate_every: int = 100
    checkpoint_every: int = 100
    precision: str = "32-true"  # Fabric's names: "bf16-mixed" on a recent GPU
    seed: int = 0


def limit_queue(size: int, photos: int) -> int:
    """A queue longer than a quarter of the training photos would mostly hold the batch's own."""
    return min(size, photos // 4)


def learning_rate(step: int, options: PretrainOptions) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    warm = max(1, round(options.warmup * options.steps))
    if step < warm:
        return options.lr * (step + 1) / warm
    t = (step - warm) / max(1, options.steps - warm)
    return options.lr * 0.5 * (1 + math.cos(math.pi * t))


def parameter_groups(model: GAIR, weight_decay: float) -> list[dict]:
    """Weight decay on matrices only, not on biases, norms, tokens or the temperature."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0}]


def make_inputs(batch: Batch, model: GAIR, options: PretrainOptions, step: int) -> dict:
    """Augmented, normalised inputs of one step; randomness from (seed, step) alone."""
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
    prep = preprocess.get(model.config.preprocessing)
    b, q = batch.valid.shape
    chips = prep.rs(batch.chips, model.config.rs_size)
    chips, xy, mirrored = augment.turn_chips_at_random(chips, batch.xy, generator)
    chips = augment.jitter_bands(chips, options.band_jitter, generator)
    keep = batch.valid.reshape(-1).nonzero().squeeze(1)
    photos = batch.photos.reshape(b * q, *batch.photos.shape[2:])[keep]
    flip = mirrored.repeat_interleave(q)[keep]
    photos = torch.where(flip[:, None, None, None], photos.flip(-1), photos)
    photos = augment.jitter_photos(photos, options.photo_jitter, generator)
    return {
        "chips": chips,
        "xy": xy,
        "keep": keep,
        "photos": prep.sv(photos, model.config.sv_size),
        "lonlat": batch.lonlat.reshape(b * q, 2)[keep],
    }


def objectives(model: GAIR, inputs: dict, queued: Tensor, options: PretrainOptions) -> dict:
    """All terms of one batch: named scalars, `loss` their weighted sum."""
    features = model.encode_rs(inputs["chips"])
    local = model.query_rs(features, inputs["xy"]).flatten(0, 1)[inputs["keep"]]  # [N, D]
    photos = model.encode_sv(inputs["photos"])  # [N, D]
    lonlat = inputs["lonlat"]
    places = model.encode_location(torch.cat((lonlat, queued)))
    here, elsewhere = places[: len(lonlat)], places[len(lonlat):]  # [N, D], [M, D]
    temperature = model.temperatures()

    incl = losses.incl(photos, local, temperature=temperature["incl"], lonlat=lonlat,
                       exclude_metres=options.incl_exclude_m)
    far = {"lonlat": lonlat, "exclude_metres": options.secl_exclude_m}
    secl = losses.secl(photos, here, temperature=temperature["secl"], queue=elsewhere,
                       queue_lonlat=queued, **far)
    rsll = losses.secl(local, here, temperature=temperature["rs_location"], **far)
    loss = (incl["loss"] + options.secl_weight * secl["loss"]
            + options.rs_location_weight * rsll["loss"])
    return {"loss": loss, "incl_loss": incl["loss"], "incl_accuracy": incl["accuracy"],
            "secl_loss": secl["loss"], "secl_accuracy": secl["accuracy"],
            "rs_location_loss": rsll["loss"], "temperature": temperature["incl"]}


@torch.inference_mode()
def validate(model: GAIR, data: PairBatches, device: torch.device) -> dict[str, float]:
    """Retrieval photo -> localised RS embedding over all photos of the split, no augmentation."""
    model.eval()
    prep = preprocess.get(model.config.preprocessing)
    photos, local, seen = [], [], set()
    steps = math.ceil(data.chips / data.chips_per_batch)
    for step in range(steps):
        batch = data.batch(step)
        valid = batch.valid
        features = model.encode_rs(prep.rs(batch.chips, model.config.rs_size).to(device))
        at = model.query_rs(features, batch.xy.to(device), normalize=True)
        own = model.encode_sv(prep.sv(batch.photos[valid], model.config.sv_size).to(device),
                              normalize=True)
        at = at[valid.to(device)]
        fresh = [i for i, p in enumerate(batch.photo_ids) if not (p in seen or seen.add(p))]
        photos.append(own[fresh].float().cpu())
        local.append(at[fresh].float().cpu())
    model.train()
    similarity = torch.cat(photos) @ torch.cat(local).T
    ranks = retrieval.ranks(similarity.numpy())
    return {"val_photos": len(ranks), "val_recall_at_1": retrieval.recall_at_k(ranks, 1),
            "val_recall_at_10": retrieval.recall_at_k(ranks, 10),
            "val_median_rank": retrieval.median_rank(ranks)}


class Curves:
    """Training curves as DVCLive writes them (`dvc plots show`), rebuilt from the history."""

    def __init__(self, folder: Path, history: list[dict]):
        from dvclive import Live

        self.live = Live(str(folder), save_dvc_exp=False, report=None, dvcyaml=None)
        for row in history:
            self.log(row)

    def log(self, row: dict) -> None:
        self.live.step = row["step"]
        for key, value in row.items():
            if key != "step":
                self.live.log_metric(key, value)
        self.live.make_summary()

    def close(self) -> None:
        self.live.end()


def pretrain(
    model: GAIR,
    train: PairBatches,
    validation: PairBatches | None,
    out: str | Path,
    options: PretrainOptions,
    *,
    checkpoints: str | Path,
    accelerator: str = "auto",
    progress: bool = True,
) -> dict:
    """Trains in place and writes `out/model` and `out/live`; returns a summary of plain numbers.

    Goes on from the newest checkpoint of the same run (same config, options and pairs) below
    `checkpoints`; they are removed when training is complete. A loss that is not finite stops the
    run with the step and the photos of that batch; the last good checkpoint stays.
    """
    out, checkpoints = Path(out), Path(checkpoints)
    torch.manual_seed(options.seed)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=options.precision)
    optimiser = torch.optim.AdamW(parameter_groups(model, options.weight_decay), lr=options.lr,
                                  betas=(0.9, 0.98))
    queue = CoordinateQueue(limit_queue(options.queue_size, len(train)))
    run = checkpoint.fingerprint(asdict(options), model.config.to_dict(), train.chips,
                                 [list(map(str, train.rows[c])) for c in ("photo_id", "x", "y")])
    bare, start, history = model, 0, []
    found = checkpoint.latest(checkpoints, run)
    if found:
        start, history, buffers = checkpoint.load(found, model=bare, optimiser=optimiser)
        queue.load_state_dict(buffers)
        print(f"going on from {found} at step {start} of {options.steps}")
    wrapped, optimiser = fabric.setup(model, optimiser)
    for method in ("encode_rs", "query_rs", "encode_sv", "encode_location", "temperatures"):
        wrapped.mark_forward_method(method)
    wrapped.train()
    shutil.rmtree(out / "live", ignore_errors=True)
    curves = Curves(out / "live", history)

    def save(step: int) -> None:
        checkpoint.save(checkpoints, step=step, model=bare, optimiser=optimiser,
                        buffers=queue.state_dict(), history=history, run=run)

    began, pairs_seen, step = time.monotonic(), 0, start
    bar = tqdm(total=options.steps, initial=start, desc="pretraining", unit="step",
               disable=not progress, mininterval=2)
    try:
        for step in range(start, options.steps):
            batch = train.batch(step)
            inputs = {k: v.to(fabric.device)
                      for k, v in make_inputs(batch, bare, options, step).items()}
            queued = queue.valid().to(fabric.device)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, options)
            terms = objectives(wrapped, inputs, queued, options)
            fabric.backward(terms["loss"])
            norm = fabric.clip_gradients(wrapped, optimiser, max_norm=options.clip_norm,
                                         error_if_nonfinite=False)
            pairs_seen += len(batch.photo_ids)
            log = step % options.log_every == 0 or step + 1 == options.steps
            # a look at the loss waits for the device: only where it is logged, or on the CPU
            if (log or fabric.device.type == "cpu") and not torch.isfinite(terms["loss"]):
                raise BadInput(
                    f"the loss is {terms['loss'].item()} at step {step} (gradient norm "
                    f"{float(norm):.3g}); the last good checkpoint is "
                    f"{checkpoint.latest(checkpoints, run) or 'none'}; look at the photos "
                    f"{', '.join(batch.photo_ids[:8])} ... of this batch, or lower the lr")
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            queue.push(inputs["lonlat"])
            if log:
                row = {"step": step} | {k: float(v.detach()) for k, v in terms.items()}
                row |= {"gradient_norm": float(norm), "lr": learning_rate(step, options)}
            done = step + 1
            if validation is not None and (done % options.validate_every == 0
                                           or done == options.steps):
                row = row if log else {"step": step}
                row |= validate(wrapped, validation, fabric.device)
                log = True
            if log:
                history.append(row)
                curves.log(row)
                rate = pairs_seen / (time.monotonic() - began)
                bar.set_postfix_str(f"loss {terms['loss'].detach():.3f}, {rate:.0f} pairs/s")
            bar.update()
            if done % options.checkpoint_every == 0 and done < options.steps:
                save(done)
    except KeyboardInterrupt:
        save(step)  # the interrupted step is repeated
        raise
    finally:
        bar.close()
        curves.close()

    bare.save_pretrained(out / "model")
    shutil.rmtree(checkpoints, ignore_errors=True)
    seconds = time.monotonic() - began
    last = {k: v for row in history for k, v in row.items()}
    return {"steps": options.steps, "train_photos": len(train), "train_chips": train.chips,
            "pairs_per_second": round(pairs_seen / max(seconds, 1e-9), 1),
            "seconds": round(seconds, 1), "resumed_from_step": start,
            "device": str(fabric.device), "queue": queue.size} | {
        k: last[k] for k in ("loss", "incl_loss", "incl_accuracy", "secl_loss", "temperature",
                             "val_photos", "val_recall_at_1", "val_recall_at_10",
                             "val_median_rank") if k in last}
