"""Our loss and training step beside open_clip's (issue 3), on the same towers and batches.

open_clip knows pairs of two modalities: here a photo, and the RS field where it stands. Its own
`ClipLoss` and its own `train_one_epoch` run unchanged (its AdamW, gradient clipping, clamped
scale) on our towers, in float32 with two threads. Compared:
- *loss*: ClipLoss against `losses.info_nce` with its rows in chunks, value and gradients.
- *step*: one image for each pair, as open_clip has it, so that the work is the same, without
  a location encoder worth its name. Ours still takes out negatives at one point.
- *shared*: the sample's batches, 4.3 photos a chip on average. open_clip encodes each photo's chip,
  ours each chip once; `full` adds the objectives and the queue that open_clip does not have.
- *accumulate*: a large batch in parts, by `--accum-freq` (each part encoded again among the cached
  features of the others, with a loss of all pairs for each part) and by our gradient cache (one
  loss). Towers without batch norm, which would make parts differ from the whole.

Pairs a second alternate in one process; ratios are medians over rounds. Memory is that of fresh
processes: the most held, less what was held before the first step (interpreter, packages, model
and inputs of both), and in `peak_bytes` as a whole. Targets: ratios of speed of at least 1, of
memory of at most 1.
"""

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import open_clip
import psutil
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from open_clip_train.train import train_one_epoch
from torch import Tensor, nn

from gairlib import GAIR, GAIRConfig, losses
from gairlib.train import inputs
from gairlib.train.inputs import Inputs
from gairlib.train.options import PretrainOptions
from research.speed import measure as bench
from research.speed import pretraining

THREADS = 2
LOSS = {"full": (8192, 512, 1024), "quick": (64, 8, 16)}  # N, D, rows a chunk
PAIRS = {"full": 128, "quick": 8}  # a step, each with its own chip
PARTS = {"full": 4, "quick": 2}  # of PAIRS each, in the large batch
# all but the one term that open_clip has
WEIGHTS = {"field_points": 0, "field_weight": 0.0, "secl_weight": 0.0, "rs_location_weight": 0.0}
# a model has a location encoder; open_clip's has none, so its weights shall not count
SMALL_LOCATION = {"hidden": 1, "layers": 1}
# the sample's network with norms that do not look at other photos
NO_BATCH_NORM = {"norm_layer": "groupnorm"}


# ---- open_clip's


@dataclass
class Place:
    """What stands where open_clip has its texts: chips [N, C, S, S] and one position each."""

    chips: Tensor
    xy: Tensor  # [N, 1, 2]

    def to(self, **_) -> "Place":
        return self


class TwoTowers(nn.Module):
    """Our towers as open_clip calls a model."""

    def __init__(self, towers: GAIR) -> None:
        super().__init__()
        self.towers = towers
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / towers.config.temperature)))

    def forward(self, photos: Tensor, place: Place) -> dict[str, Tensor]:
        features = self.towers.encode_rs(place.chips)
        return {
            "image_features": self.towers.encode_sv(photos, normalize=True),
            "text_features": self.towers.query_rs(features, place.xy, normalize=True)[:, 0],
            "logit_scale": self.logit_scale.exp(),
        }


class Loader(list):
    """Batches as open_clip's loop asks for them."""

    @property
    def num_batches(self) -> int:
        return len(self)

    @property
    def num_samples(self) -> int:
        return sum(len(photos) for photos, _ in self)


class Theirs:
    """open_clip's training of `accumulate` batches a step."""

    def __init__(self, towers: GAIR, options: PretrainOptions, accumulate: int = 1) -> None:
        self.model, self.seen = TwoTowers(towers), []
        few = [p for p in self.model.parameters() if p.ndim < 2]
        many = [p for p in self.model.parameters() if p.ndim >= 2]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": few, "weight_decay": 0.0},
                {"params": many, "weight_decay": options.weight_decay},
            ],
            lr=options.lr,
            betas=(0.9, 0.98),
            eps=1e-6,
        )
        self.loss = ClipLoss()
        self.loss.register_forward_hook(
            lambda _m, _i, found: self.seen.append(found["contrastive_loss"].detach())
        )
        self.args = SimpleNamespace(
            device="cpu",
            precision="fp32",
            distill=False,
            accum_freq=accumulate,
            skip_scheduler=True,
            horovod=False,
            grad_clip_norm=options.clip_norm,
            rank=0,
            world_size=1,
            batch_size=1,
            log_every_n_steps=1 << 30,
            wandb=False,
        )

    def loader(self, x: Inputs) -> Loader:
        """The batch as open_clip's loader gives it: one chip for each photo, in parts."""
        shared = len(x.chips) < len(x.keep)
        chips = x.chips[x.chip] if shared else x.chips
        xy = x.xy.flatten(0, 1)[x.keep][:, None]
        parts = (v.chunk(self.args.accum_freq) for v in (x.photos, chips, xy))
        return Loader((photos, Place(*place)) for photos, *place in zip(*parts))

    def step(self, loader: Loader) -> float:
        """A step on all parts; the loss before it."""
        data = {"train": SimpleNamespace(set_epoch=lambda _: None, dataloader=loader)}
        self.seen.clear()
        train_one_epoch(self.model, data, self.loss, 0, self.optimiser, None, None, None, self.args)
        return float(self.seen[0])


# ---- ours


class Ours(pretraining.Ours):
    """Our step on inputs that are made already; without a queue unless one is asked for."""

    def __init__(self, towers: GAIR, options: PretrainOptions, queue: int = 0) -> None:
        super().__init__(towers, options)
        self.queue = pretraining.CoordinateQueue(queue)

    def step(self, x: Inputs) -> float:
        return self.learn(x, 0)


# ---- what is compared


def made(config: GAIRConfig, options: PretrainOptions, chips: int, photos: int) -> Inputs:
    """Inputs of one batch: chips with up to so many photos each."""
    return inputs.make(pretraining.draw(0, config, chips, photos), config, options, 0)


def problem(kind: str, size: str) -> tuple[GAIR, PretrainOptions, Inputs, int]:
    """Model, options of our side, inputs and parts of "step", "shared", "full", "accumulate"."""
    config, options = pretraining.sample(size == "quick")
    parts, pairs = PARTS[size] if kind == "accumulate" else 1, PAIRS[size]
    if kind == "accumulate":
        config = config.replace(sv_options=config.sv_options | NO_BATCH_NORM)
        options = replace(
            options, chips_per_batch=pairs * parts, gradient_parts=parts, loss_chunk=1024
        )
    if kind != "full":
        options = replace(options, **WEIGHTS)
        config = config.replace(location="direct", location_options=SMALL_LOCATION)
    torch.manual_seed(0)
    if kind in ("shared", "full"):
        x = made(config, options, options.chips_per_batch, options.photos_per_chip)
    else:
        x = made(config, options, pairs * parts, 1)
    return GAIR(config), options, x, parts


def sides(kind: str, size: str) -> tuple[dict[str, Callable[[], float]], int]:
    """A step of either side on the same batch, from the same weights; pairs in the batch."""
    model, options, x, parts = problem(kind, size)
    queue = pretraining.QUEUE if kind == "full" else 0
    theirs = Theirs(copy.deepcopy(model), options, parts)
    ours, loader = Ours(model, options, queue), theirs.loader(x)
    return {"theirs": lambda: theirs.step(loader), "ours": lambda: ours.step(x)}, len(x.keep)


def loss_sides(size: str) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Loss and its three gradients by either side, on the same unit vectors."""
    n, d, chunk = LOSS[size]
    g = torch.Generator().manual_seed(0)
    values = [F.normalize(torch.randn(n, d, generator=g), dim=-1) for _ in range(2)]

    def leaves() -> list[Tensor]:
        return [v.clone().requires_grad_() for v in (*values, torch.tensor(0.07))]

    def theirs() -> tuple[Tensor, ...]:
        a, b, temperature = leaf = leaves()
        loss = ClipLoss()(a, b, 1 / temperature)
        return loss.detach(), *torch.autograd.grad(loss, leaf)

    def ours() -> tuple[Tensor, ...]:
        a, b, temperature = leaf = leaves()
        loss = losses.info_nce(a, b, temperature=temperature, chunk_size=chunk)["loss"]
        return loss.detach(), *torch.autograd.grad(loss, leaf)

    return {"theirs": theirs, "ours": ours}


def alone(kind: str, size: str, side: str) -> int:
    """For a fresh process: one step or loss of one side; bytes held before it."""
    torch.set_num_threads(1 if size == "quick" else THREADS)
    logging.disable()
    step = (loss_sides(size) if kind == "loss" else sides(kind, size)[0])[side]
    before = psutil.Process().memory_info().rss
    step()
    return before


def memory(kind: str, size: str) -> dict[str, float]:
    """Bytes that a step of each side adds, and holds at most as a whole; ours over theirs.

    Both processes hold the same before the step; what the allocator has not given back by then
    differs by chance, so the smaller of the two counts for both.
    """
    sides = {
        side: bench.peak("research.speed.open_clip:alone", kind, size, side)
        for side in ("theirs", "ours")
    }
    before = min(process["value"] for process in sides.values())
    added = {side: process["peak_bytes"] - before for side, process in sides.items()}
    return {
        **{f"{kind}_{side}_added_bytes": v for side, v in added.items()},
        **{f"{kind}_{side}_peak_bytes": v["peak_bytes"] for side, v in sides.items()},
        f"{kind}_memory_ratio": added["ours"] / added["theirs"],
    }


def speed(kind: str, steps: dict[str, Callable], pairs: int, repeat: int) -> dict[str, float]:
    """Pairs a second of each side, and the median over rounds of ours over theirs."""
    seconds, ratio = bench.race(steps, repeat)
    return {f"{kind}_pairs": pairs, f"{kind}_speed_ratio": ratio} | {
        f"{kind}_{name}_pairs_per_second": pairs / s for name, s in seconds.items()
    }


def run(quick: bool = False) -> dict:
    """Speed and memory of loss, step, shared chips and accumulation, and how far losses differ."""
    size, found = "quick" if quick else "full", {}
    logging.disable()
    with bench.threads(1 if quick else THREADS):  # small ones only wait for each other
        both = loss_sides(size)
        (a, *slopes), (b, *others) = both["theirs"](), both["ours"]()
        found["loss_relative_difference"] = float((a - b).abs() / a)
        found["loss_gradient_relative_difference"] = max(
            float((p - q).abs().max() / p.abs().max()) for p, q in zip(slopes, others)
        )
        found |= speed("loss", both, LOSS[size][0], 1 if quick else 4)
        for kind in ("step", "shared", "full", "accumulate"):
            steps, pairs = sides(kind, size)
            first = {name: step() for name, step in steps.items()}  # warm
            if kind in ("step", "accumulate"):  # elsewhere the objectives differ
                found[f"{kind}_loss_relative_difference"] = abs(first["ours"] / first["theirs"] - 1)
            found |= speed(kind, steps, pairs, 1 if quick else 2 if kind == "accumulate" else 6)
        for kind in () if quick else ("loss", "step", "shared", "accumulate"):
            found |= memory(kind, size)
    logging.disable(logging.NOTSET)
    n, d, chunk = LOSS[size]
    return {
        "open_clip": open_clip.__version__,
        "threads": THREADS,
        "loss_dim": d,
        "loss_chunk": chunk,
        "accumulate_parts": PARTS[size],
        "target_speed_ratio": 1.0,
        "target_memory_ratio": 1.0,
        **found,
    }
