"""The towers that are judged, taught by their own images alone: rivals for frozen features.

Momentum contrast as in MoCo v3 (Chen et al. 2021, arXiv 2104.02057, algorithm 1), one of the two
rivals in GAIR's own evaluation: two changed views of each image; the tower with a projector and a
predictor looks for the other view among the batch's, which a slowly following copy of tower and
projector encodes. No label, no position, no other view of the place is seen.

Written here, for it is ten lines: lightly would bring Hydra, an older pydantic and a client of its
own service with them. The views are those of our own pretraining
(`gairlib.train.augment`) with crops beside them. Where we differ from the paper: batches are small
(there is no queue, as in the paper), and projector and predictor are as wide as small towers need.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gairlib import devices, preprocess
from gairlib.model import GAIR
from gairlib.sv import width
from gairlib.train import augment
from research.evaluation.fit import batches, seeded

WIDTH, OUT = 512, 128  # of projector and predictor


@dataclass(frozen=True)
class Schedule:
    """batch: images, each seen twice a step. crop: least share of an image's side that a view
    keeps; jitter: of colours and bands. momentum: of the copy, which rises to 1 along a cosine.
    Looked at on validation sites, not searched (docs/choices.md)."""

    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1  # share of the steps
    momentum: float = 0.99
    temperature: float = 0.2
    crop: float = 0.5
    jitter: float = 0.1


CHIPS, PHOTOS = Schedule(), Schedule(batch=64, crop=0.4)


# -------------------------------------------------------------------------------------- the method


def contrastive(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """MoCo v3's ctr(q, k): cross-entropy of each query's own key among all keys [B, D], times
    2 * temperature. Keys are constants."""
    q, k = F.normalize(queries, dim=1), F.normalize(keys.detach(), dim=1)
    own = torch.arange(len(q), device=q.device)
    return 2 * temperature * F.cross_entropy(q @ k.T / temperature, own)


def mlp(inputs: int, outputs: int, last_norm: bool) -> nn.Sequential:
    """Two layers with batch norm, the paper's projector and predictor."""
    layers = [nn.Linear(inputs, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU()]
    layers.append(nn.Linear(WIDTH, outputs, bias=False))
    return nn.Sequential(*layers, *([nn.BatchNorm1d(outputs, affine=False)] if last_norm else []))


class Projected(nn.Module):
    """A tower and its projector: preprocessed images [B, C, S, S] -> [B, OUT]."""

    def __init__(self, tower: nn.Module, features: Callable[[nn.Module, Tensor], Tensor], width):
        super().__init__()
        self.tower, self.features = tower, features
        self.projector = mlp(width, OUT, last_norm=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.projector(self.features(self.tower, x))


def teach(
    create: Callable[[], Projected],
    images: Callable[[Tensor, torch.Generator], Tensor],
    n: int,
    steps: int,
    schedule: Schedule,
    seed: int,
    device: str = "auto",
) -> tuple[nn.Module, list[float]]:
    """A tower taught for so many steps, and the loss of each. images(rows [b], generator): one view
    of each of these images out of n. The same seed gives the same tower on a CPU."""
    s, order, device = schedule, torch.Generator().manual_seed(seed), devices.find(device)
    network = seeded(create, seed).to(device).train()
    predictor = seeded(lambda: mlp(OUT, OUT, last_norm=False), seed).to(device)
    follower = deepcopy(network).requires_grad_(False)
    learnt = [*network.parameters(), *predictor.parameters()]
    optimiser = torch.optim.AdamW(learnt, lr=s.lr, weight_decay=s.weight_decay)
    draw, losses = batches(n, s.batch, order), []
    for step in range(steps):
        fall = 0.5 + 0.5 * np.cos(np.pi * step / steps)  # from 1 to 0
        for group in optimiser.param_groups:
            group["lr"] = s.lr * min(1.0, (step + 1) / max(1.0, s.warmup * steps)) * fall
        rows = next(draw)
        first, second = (images(rows, order).to(device) for _ in range(2))
        with torch.no_grad():
            for slow, fast in zip(follower.parameters(), network.parameters()):
                slow.lerp_(fast, (1 - s.momentum) * fall)
            keys = follower(first), follower(second)
        queries = predictor(network(first)), predictor(network(second))
        loss = contrastive(queries[0], keys[1], s.temperature)
        loss = loss + contrastive(queries[1], keys[0], s.temperature)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return network.tower.eval().cpu(), losses


# ---------------------------------------------------------------------------------------- of GAIR


def teach_chips(
    model: GAIR, dn: np.ndarray, views: int, *, seed=0, schedule=CHIPS, device: str = "auto"
) -> list[float]:
    """Put a chip tower that was taught from nothing in the place of `model`'s; the loss by step.
    dn: chips [n, 10, H, W]; views: how many of them are seen in all, again and again."""
    config, prep = model.config, preprocess.get(model.config.preprocessing)

    def images(rows: Tensor, order: torch.Generator) -> Tensor:
        x = torch.from_numpy(np.asarray(dn[rows.numpy()], np.float32))
        x, draws = prep.rs(x, config.rs_size), augment.draw(len(rows), 1, x.shape[1], order)
        x = cropped(x, draws, schedule.crop)
        x, _, _ = augment.turn_chips(
            x, torch.zeros(len(x), 1, 2), torch.zeros(len(x), 1), draws.symmetry
        )
        return augment.jitter_bands(x, schedule.jitter, draws.bands)

    def create() -> Projected:
        return Projected(GAIR(config).rs, lambda tower, x: tower(x).pooled, config.dim)

    steps = steps_of(views, len(dn), schedule)
    model.rs, losses = teach(create, images, len(dn), steps, schedule, seed, device)
    return losses


def teach_photos(
    model: GAIR, photos: Tensor, views: int, *, seed=0, schedule=PHOTOS, device: str = "auto"
) -> list[float]:
    """The same for the photo tower, at its own features, or for the net that learns beside a held
    one; photos: uint8 [n, 3, S, S]. Photos are mirrored at random."""
    config, prep = model.config, preprocess.get(model.config.preprocessing)

    def images(rows: Tensor, order: torch.Generator) -> Tensor:
        draws = augment.draw(len(rows), 1, photos.shape[1], order)
        x = augment.jitter_photos(
            photos[rows],
            schedule.jitter,
            shift=draws.shift[:, 0],
            colour=draws.colour[:, 0],
            mirror=draws.symmetry >= 4,
        )
        x = cropped(x, draws, schedule.crop)
        return prep.sv(x.round().to(torch.uint8), config.sv_size)

    def create() -> Projected:
        sv = GAIR(config).sv
        if sv.side is None:
            return Projected(sv, lambda tower, x: tower.backbone(x), sv.width)
        return Projected(sv.side, lambda net, x: net(x), width(sv.side))

    steps = steps_of(views, len(photos), schedule)
    tower, losses = teach(create, images, len(photos), steps, schedule, seed, device)
    if model.sv.side is None:
        model.sv = tower
    else:
        model.sv.side = tower
    return losses


def steps_of(views: int, n: int, schedule: Schedule) -> int:
    """Steps that show so many views of n images, two of each image a step."""
    return max(1, views // (2 * min(schedule.batch, n)))


def cropped(x: Tensor, draws: augment.Draws, least: float) -> Tensor:
    """Images [B, C, S, S], each cut to a random square of at least this share of its side and
    enlarged to the size it had."""
    half = least + (1 - least) * draws.side[:, None]  # [B, 1], in units of half the image's side
    centre = (2 * draws.place - 1) * (1 - half)
    somewhere = torch.zeros(len(x), 1, 2, dtype=torch.float64)
    valid = torch.ones(len(x), 1, dtype=torch.bool)
    return augment.crop_chips(x, somewhere, valid, torch.cat([centre, half], 1))[0]
