"""A training step against the plain loop that encodes one chip for each photo (issue 3, CPU).

Two threads, float32, the sample's towers and batch (params.yaml): 32 chips with up to 8 photos
each, 4.3 on average. From the same weights, on the same raw batches with the same augmentation:
- *plain*: the loop as one would write it. Each photo brings its own copy of its chip [N, C, S, S],
  and the field is read at one position of it (and at the field term's random points, where that
  term is on); InfoNCE with haversine masks and F.cross_entropy; torch.optim.AdamW as it comes;
  one tensor of earlier coordinates.
- *ours*: `inputs`, `gradient_cache` and the optimiser of `gairlib.train`.
Both make their inputs with `gairlib.train.inputs.make`, so that both learn the same: the largest
relative difference of the first losses says so. Reading from the store is left out (it is in
`batch_reading`).

Target: ours reaches at least 1.5 times the plain loop's photos a second. `equal_work_ratio` is what
remains where each photo has a chip of its own, so that nothing is shared. `share_*` are the parts
of our step, forward and backward, each timed by itself.
"""

import copy
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from gairlib import GAIR, GAIRConfig, geo
from gairlib.train import gradient_cache, inputs, prepare
from gairlib.train.batches import Batch
from gairlib.train.engine import Engine
from gairlib.train.objective import CoordinateQueue, Embeddings, terms
from gairlib.train.options import (
    PretrainOptions,
    adamw,
    learning_rate,
    parameter_groups,
    set_learning_rate,
)
from research.speed import measure

THREADS = 2
BATCHES = 6  # different ones, met in turn
SITES = 32  # the sample's cities; photos of one lie within some kilometres
# the sample's training chips with 1, 2, ... 8 photos
CHIPS_WITH = (216, 137, 122, 103, 96, 91, 62, 235)
QUEUE = 384  # a quarter of the sample's 1,536 training photos


def sample(quick: bool) -> tuple[GAIRConfig, PretrainOptions]:
    """The sample's model and options; in small where `quick` is asked for."""
    values = yaml.safe_load((measure.RESULTS.parents[1] / "params.yaml").read_text())
    section = values["pretrain"]
    if quick:
        config = GAIRConfig.preset(
            "small",
            dim=16,
            rs_depth=1,
            rs_size=16,
            rs_patch=4,
            sv_size=16,
            sv_model="resnet10t",
            decoder_hidden=(8,),
            sv_options={"channels": [32] * 4, "stem_type": ""},
        )
        section = section | {"chips_per_batch": 4, "photos_per_chip": 3}
    else:
        config = GAIRConfig.preset(values["model"]["preset"], **values["model"]["changes"])
    return config, prepare.settings(section)[0]


def draw(seed: int, config: GAIRConfig, chips: int, photos: int) -> Batch:
    """A raw batch with the sample's statistics: digital numbers that vary slowly, photos alike."""
    g = torch.Generator().manual_seed(seed)

    def smooth(n: int, channels: int, px: int) -> Tensor:
        coarse = torch.randn(n, channels, max(px // 8, 2), max(px // 8, 2), generator=g)
        fine = torch.randn(n, channels, px, px, generator=g)
        return F.interpolate(coarse, size=(px, px), mode="bilinear") + 0.3 * fine

    share = torch.tensor(CHIPS_WITH[:photos], dtype=torch.float64)
    counts = 1 + torch.multinomial(share, chips, replacement=True, generator=g)
    valid = torch.arange(photos)[None] < counts[:, None]
    ground = smooth(chips, config.rs_bands, config.rs_size)
    # photos look a little like their chip: something can be learnt
    like = F.interpolate(ground[:, :3], size=(config.sv_size,) * 2, mode="bilinear")
    views = smooth(chips * photos, 3, config.sv_size) + like.repeat_interleave(photos, 0)
    site = torch.randint(SITES, (chips,), generator=g)
    middle = torch.stack([11.0 * site - 176, 1.7 * site - 30], -1).double()
    middle = middle + 0.03 * torch.randn(chips, 2, generator=g, dtype=torch.float64)
    xy = 1.9 * torch.rand(chips, photos, 2, generator=g, dtype=torch.float64) - 0.95
    metres = xy * torch.tensor([320.0, -320.0])  # east, north of the chip's middle
    east = 111_195 * torch.cos(torch.deg2rad(middle[:, None, 1:]))
    lonlat = middle[:, None] + torch.cat([metres[..., :1] / east, metres[..., 1:] / 111_195], -1)
    heading = 360 * torch.rand(chips, photos, generator=g, dtype=torch.float64)
    ids = [f"p{seed}-{i}" for i in range(int(valid.sum()))]
    return Batch(
        chips=(2000 + 600 * ground).clamp(1, 10_000),
        xy=xy,
        lonlat=lonlat,
        valid=valid,
        photos=(120 + 40 * views)
        .clamp(0, 255)
        .to(torch.uint8)
        .reshape(chips, photos, 3, config.sv_size, config.sv_size),
        heading=heading,
        side_m=torch.full((chips,), 640.0, dtype=torch.float64),
        number=torch.arange(chips * photos).reshape(chips, photos),
        photo_ids=ids,
    )


# ---- the plain loop


class Plain:
    """One chip for each photo, nothing else than PyTorch."""

    def __init__(self, model: GAIR, options: PretrainOptions) -> None:
        self.model, self.options = model.train(), options
        self.optimiser = torch.optim.AdamW(
            parameter_groups(model, options.weight_decay), lr=options.lr, betas=(0.9, 0.98)
        )
        self.queue = torch.zeros(0, 2, dtype=torch.float64)

    def step(self, step: int, batch: Batch) -> float:
        model, options = self.model, self.options
        x = inputs.make(batch, model.config, options, step)
        chips = x.chips[x.chip]  # [N, C, S, S]
        xy = x.xy.flatten(0, 1)[x.keep][:, None]  # [N, 1, 2]
        xy = torch.cat([xy, x.field_xy[x.chip]], 1)  # [N, 1 + F, 2]
        read = F.normalize(model.query_rs(model.encode_rs(chips), xy), dim=-1)
        local, field = read[:, 0], read[:, 1:]
        photos = F.normalize(model.encode_sv(x.photos), dim=-1)
        here = F.normalize(model.encode_location(x.lonlat), dim=-1)
        queued = F.normalize(model.encode_location(self.queue), dim=-1)
        temperature = model.log_temperature.exp()
        apart = haversine(x.lonlat, torch.cat([x.lonlat, self.queue]))  # [N, N + M]
        far, n = apart > options.secl_exclude_m, len(photos)
        loss = contrast(photos, local, temperature[0], apart[:, :n] > options.incl_exclude_m)
        loss = loss + options.secl_weight * contrast(photos, here, temperature[1], far, queued)
        loss = loss + options.rs_location_weight * contrast(local, here, temperature[2], far[:, :n])
        if options.field_weight and field.shape[1]:
            metres = (xy[:, 1:] - xy[:, :1]).norm(dim=-1) / 2 * x.side_m[x.chip][:, None]
            out = F.pad(metres <= options.field_exclude_m, (1, 0))  # never the photo's own place
            logits = torch.einsum("nd,nfd->nf", photos, read) / temperature[0]
            loss = loss + options.field_weight * F.cross_entropy(
                logits.masked_fill(out, float("-inf")), torch.zeros(n, dtype=torch.long)
            )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, options)
        self.optimiser.step()
        with torch.no_grad():
            model.log_temperature.clamp_(math.log(0.01), 0.0)
        self.queue = torch.cat([self.queue, x.lonlat])[-QUEUE:]
        return loss.item()


def haversine(a: Tensor, b: Tensor) -> Tensor:
    """Great circles in metres between (lon, lat) [N, 2] and [K, 2] -> [N, K]."""
    (lon, lat), (lon2, lat2) = a.deg2rad()[:, None].unbind(-1), b.deg2rad()[None].unbind(-1)
    h = ((lat2 - lat) / 2).sin() ** 2 + lat.cos() * lat2.cos() * ((lon2 - lon) / 2).sin() ** 2
    return 2 * geo.EARTH_RADIUS * h.clamp(0, 1).sqrt().asin()


def contrast(
    a: Tensor, b: Tensor, temperature: Tensor, far: Tensor, extra: Tensor | None = None
) -> Tensor:
    """Symmetric InfoNCE of unit vectors [N, D]; negatives where `far` [N, N + M] says so."""
    n = len(a)
    keys = b if extra is None else torch.cat([b, extra])
    target = torch.arange(n)
    logits = a @ keys.T / temperature
    out = (~far).index_put((target, target), torch.tensor(False))
    logits = logits.masked_fill(out, float("-inf"))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits[:, :n].T, target)) / 2


# ---- ours


class Ours:
    """What `gairlib.train` does in a step."""

    def __init__(self, model: GAIR, options: PretrainOptions) -> None:
        self.model, self.options = model, options
        engine = Engine(accelerator="cpu")
        self.fabric = engine.fabric(options.precision)
        self.wrapped, self.optimiser = engine.setup(
            self.fabric, model, lambda m: adamw(m, options), parts=options.gradient_parts
        )
        self.wrapped.train()
        self.queue = CoordinateQueue(QUEUE)

    def step(self, step: int, batch: Batch) -> float:
        return self.learn(inputs.make(batch, self.model.config, self.options, step), step)

    def learn(self, x: inputs.Inputs, step: int) -> float:
        """From inputs to changed weights; the loss."""
        set_learning_rate(self.optimiser, step, self.options)
        found, lonlat = gradient_cache.backward(
            self.fabric, self.wrapped, x, self.queue.valid(), self.options, seed=step
        )
        self.update()
        self.queue.push(lonlat)
        return float(found["loss"])

    def update(self) -> None:
        """Clip, step, and forget the gradients."""
        self.fabric.clip_gradients(
            self.wrapped, self.optimiser, max_norm=self.options.clip_norm, error_if_nonfinite=False
        )
        self.optimiser.step()
        self.model.hold_temperatures()
        self.optimiser.zero_grad(set_to_none=True)


# ---- side by side


def both(config: GAIRConfig, options: PretrainOptions) -> dict[str, Plain | Ours]:
    """Both loops, from the same weights."""
    torch.manual_seed(options.seed)
    model = GAIR(config)
    return {"plain": Plain(copy.deepcopy(model), options), "ours": Ours(model, options)}


def race(loops: dict, batches: list[Batch], first: int, repeat: int) -> dict[str, float]:
    """Photos a second of each, a block of one step of each batch at a time, in turn."""
    photos = sum(len(b.photo_ids) for b in batches)

    def block(loop) -> None:
        for k, batch in enumerate(batches):
            loop.step(first + k, batch)

    blocks = {name: partial(block, loop) for name, loop in loops.items()}
    seconds, ratio = measure.race(blocks, repeat)
    rates = {f"{name}_photos_per_second": photos / s for name, s in seconds.items()}
    return rates | {"ratio": ratio}


def shares(ours: Ours, batch: Batch, repeat: int) -> dict[str, float]:
    """Share of each part of our step, forward and backward, in the sum of all parts."""
    model, options = ours.model, ours.options
    x = inputs.make(batch, model.config, options, 0)
    queued = ours.queue.valid()
    points = torch.cat([x.lonlat, queued])
    with torch.no_grad():
        grid = model.encode_rs(x.chips)
        sv, local, here, temperature = model(x.chips, x.xy, x.keep, x.photos, points)
        field = model.query_rs(grid, x.field_xy)
    n, all_xy = len(sv), torch.cat([x.xy, x.field_xy], 1)

    def through(output: Callable) -> Callable:
        """Forward and backward, with some gradient."""

        def run() -> None:
            value = output()
            value.backward(torch.ones_like(value))

        return run

    def read() -> Tensor:
        leaf = grid._replace(grid=grid.grid.clone().requires_grad_())
        return model.query_rs(leaf, all_xy)

    def loss() -> Tensor:
        leaves = (sv, local, here[:n], here[n:], temperature, field)
        leaves = Embeddings(*(v.clone().requires_grad_() for v in leaves))
        found = terms(
            leaves,
            lonlat=x.lonlat,
            chip=x.chip,
            queued_lonlat=queued,
            near_field=x.near_field(options.field_exclude_m),
            options=options,
        )
        return found["loss"]

    parts = {
        "inputs": lambda: inputs.make(batch, model.config, options, 0),
        "rs": through(lambda: model.encode_rs(x.chips).grid),
        "nili": through(read),
        "sv": through(lambda: model.encode_sv(x.photos)),
        "location": through(lambda: model.encode_location(points)),
        "losses": through(loss),
        "optimiser": ours.update,  # with the gradients that the towers have just left
    }
    middle = measure.side_by_side(parts, repeat)
    return {f"share_{name}": s / sum(middle.values()) for name, s in middle.items()}


def run(quick: bool = False) -> dict:
    """Rates, their ratio with shared chips and at equal work, the losses' difference, shares."""
    config, options = sample(quick)
    curve, repeat, kinds = (3, 1, 2) if quick else (20, 4, BATCHES)
    q = options.photos_per_chip
    with measure.threads(1 if quick else THREADS):  # small ones only wait for each other
        shared = [draw(k, config, options.chips_per_batch, q) for k in range(kinds)]
        photos = sum(len(b.photo_ids) for b in shared)
        loops = both(config, options)
        losses = {
            name: [loop.step(k, shared[k % kinds]) for k in range(curve)]
            for name, loop in loops.items()
        }
        apart = [abs(a - b) / abs(b) for a, b in zip(losses["ours"], losses["plain"])]
        rates = race(loops, shared, curve, repeat)
        parts = shares(loops["ours"], shared[0], 3 * repeat)
        # as many photos a batch, each with its own chip
        alone = [draw(100 + k, config, round(photos / kinds), 1) for k in range(max(1, kinds // 3))]
        equal = both(config, options)
        race(equal, alone[:1], 0, 1)  # warm
        equal = race(equal, alone, 1, repeat)
    return {
        "threads": THREADS,
        "chips_per_batch": options.chips_per_batch,
        "photos_per_chip": round(photos / kinds / options.chips_per_batch, 2),
        **rates,
        "target_ratio": 1.5,
        **{f"equal_work_{k}": v for k, v in equal.items()},
        "curve_steps": curve,
        "curve_first_loss": losses["plain"][0],
        "curve_last_loss": losses["plain"][-1],
        "curve_max_relative_difference": max(apart),
        "curve_last_relative_difference": apart[-1],
        **parts,
    }
