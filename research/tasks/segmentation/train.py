"""Features once for each encoder, then heads trained on them; a network on pixels beside them.

Frozen features of all tiles are computed once and kept in half precision; a head's training then
costs no encoder. AdamW and cross-entropy that leaves IGNORE out. What is trained by steps is judged
by its mIoU on validation tiles: a published validation split, or a fifth of the training groups
(sites, images), which is kept aside. The learning rate falls where that no longer rises, the
network ends with its best weights, and `Fit` says how it went. Batches and weights come from the
seed alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from gairlib import bands, devices, preprocess
from gairlib.model import GAIR
from research.evaluation.fit import Fit, batches, fit_network, seeded
from research.evaluation.supervised import inner_split
from research.tasks.segmentation import scores
from research.tasks.segmentation.data import IGNORE

VALIDATION = 0.2  # of the training groups


@dataclass(frozen=True)
class Tiles:
    """What a head reads of n tiles (tensors of n rows each), masks [n, H, W], groups [n]."""

    inputs: list[Tensor]
    masks: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def size(self) -> int:
        return self.masks.shape[-1]

    def take(self, rows: np.ndarray) -> Self:
        at = torch.from_numpy(rows)
        return Tiles([x[at] for x in self.inputs], self.masks[rows], self.groups[rows])


def apart(tiles: Tiles, seed: int) -> tuple[Tiles, Tiles]:
    """Training tiles in two parts that share no group: to learn from, and to judge by."""
    learn, judge = inner_split(np.arange(len(tiles)), tiles.groups, seed, VALIDATION)
    return tiles.take(learn), tiles.take(judge)


@dataclass(frozen=True)
class Schedule:
    """At most `steps` of `batch` tiles each. Every `every` steps the network is judged; where
    `patience` judgements bring no gain, the learning rate falls to a fifth, and training ends where
    that has happened `plateaus` times.

    epochs: instead so many passes over the tiles, judged every `every` passes, at the end of which
    the best checkpoint is taken; the rate falls to a tenth after each of the shares `milestones`.
    """

    steps: int = 3000
    batch: int = 16
    lr: float = 2e-3
    weight_decay: float = 1e-4
    every: int = 50
    patience: int = 5
    plateaus: int = 2
    epochs: int = 0
    milestones: tuple[float, ...] = ()


# PANGAEA's own (arXiv 2412.04204, and the defaults of its code): dear, for a GPU
PANGAEA = Schedule(batch=8, lr=1e-4, weight_decay=0.05, every=5, epochs=80, milestones=(0.6, 0.9))
# UPerNet: its channels and its training, by `benchmark.upernet`
UPERNETS = {"narrow": (32, Schedule()), "pangaea": (512, PANGAEA)}


@devices.on_device
@torch.inference_mode()
def features(
    model: GAIR, chips: np.ndarray, *, layers: int = 4, batch: int = 32, device: str = "auto"
) -> list[Tensor]:
    """Chips [n, 10, H, W] in DN -> `layers` token grids [n, h, w, width], float16 on the CPU."""
    model = model.to(device).eval()
    prep, size = preprocess.get(model.config.preprocessing), model.config.rs_size
    parts: list[list[Tensor]] = []
    for start in tqdm(range(0, len(chips), batch), desc="tiles", mininterval=1, leave=False):
        x = prep.rs(torch.from_numpy(chips[start : start + batch]), size).to(device)
        parts.append([g.half().cpu() for g in model.rs.layers(x, layers)])
    return [torch.cat(level) for level in zip(*parts)]


def standardised(chips: np.ndarray) -> Tensor:
    """Chips in DN [n, 10, H, W] -> centred and scaled by the published band statistics."""
    mean, std = (torch.from_numpy(v).float()[:, None, None] for v in (bands.MEAN, bands.STD))
    return (torch.from_numpy(np.asarray(chips, np.float32)) - mean) / std


def fit(
    head: Callable[[], nn.Module],
    tiles: Tiles,
    *,
    seed: int,
    schedule: Schedule = Schedule(),
    validation: Tiles | None = None,
    pixels: bool = False,
    device: str = "auto",
) -> tuple[nn.Module, Fit]:
    """Train a new `head` on tiles, and say how it went. validation: a published split; None: a
    fifth of the training groups is kept aside.

    pixels: the inputs are images, which are turned and mirrored at random with their masks, and
    the head takes the one tensor itself instead of the list.
    """
    device, order = devices.find(device), torch.Generator().manual_seed(seed)
    network = seeded(head, seed).to(device)
    learn, judge = apart(tiles, seed) if validation is None else (tiles, validation)
    target = torch.from_numpy(learn.masks.astype(np.int64))
    rows = batches(len(target), schedule.batch, order)
    a_pass = len(target) // min(schedule.batch, len(target)) if schedule.epochs else 1

    def loss() -> Tensor:
        batch = next(rows)
        x, y = [v[batch].float().to(device) for v in learn.inputs], target[batch].to(device)
        if pixels:
            turn, mirror = torch.randint(4, (1,), generator=order), torch.rand(1, generator=order)
            *x, y = [
                torch.rot90(v.flip(-1) if mirror < 0.5 else v, int(turn), (-2, -1)) for v in (*x, y)
            ]
        return F.cross_entropy(network(x[0] if pixels else x), y, ignore_index=IGNORE)

    found = fit_network(
        network,
        loss,
        steps=schedule.epochs * a_pass or schedule.steps,
        lr=schedule.lr,
        weight_decay=schedule.weight_decay,
        milestones=schedule.milestones,
        fused=False,
        judge=(lambda: error(network, judge, pixels=pixels, device=device)) if len(judge) else None,
        every=schedule.every * a_pass,
        patience=schedule.epochs or schedule.patience,
        plateaus=0 if schedule.epochs else schedule.plateaus,
        title=type(network).__name__,
    )
    # passes whose number was published beforehand are no limit that cut a training short
    return network, replace(found, at_limit=found.at_limit and not schedule.epochs)


@devices.on_device
def error(network: nn.Module, tiles: Tiles, *, pixels: bool = False, device: str = "auto") -> float:
    """1 - mIoU of a network in evaluation mode on tiles."""
    guess = predict(network, tiles.inputs, pixels=pixels, device=device)
    classes = 1 + int(max(guess.max(), tiles.masks[tiles.masks != IGNORE].max(initial=0)))
    whole = np.zeros(len(tiles), dtype=int)  # one cluster
    matrix = scores.confusion(tiles.masks, guess, whole, classes)[0]
    return 1 - float(np.nanmean(scores.class_iou(matrix)))


@devices.on_device
@torch.inference_mode()
def predict(
    network: nn.Module,
    inputs: list[Tensor],
    *,
    pixels: bool = False,
    batch: int = 32,
    device: str = "auto",
) -> np.ndarray:
    """Classes [n, H, W] uint8 for the inputs of `Tiles`; pixels: as in `fit`."""
    found = []
    for start in range(0, len(inputs[0]), batch):
        x = [v[start : start + batch].float().to(device) for v in inputs]
        found.append(network(x[0] if pixels else x).argmax(1).byte().cpu())
    return torch.cat(found).numpy()
