"""A small ViT trained end to end on a task's own labels: what the labels alone are worth.

The same compact network for photos and chips: a convolution of stride 2 before the patches (early
convolutions let a ViT learn from few steps; Xiao et al. 2021, arXiv 2106.14881), 8 x 8 tokens,
learned positions, the mean of the tokens, one linear layer. Images are standardised by the training
rows and mirrored at random; chips, which have no upright, are turned as well.

A fifth of the training *groups* (sites, blocks) is kept aside to choose the step at which training
stops; the test rows are never looked at. A network that saw every label it could would be somewhat
better for the fifth that this costs it.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from research.evaluation.fit import Target, fit_network, seeded

GRID = 8  # tokens a side
SIDES = (16, 64)  # pixels, least and most; larger images are averaged down


@dataclass(frozen=True)
class Schedule:
    """At most `steps` batches; judged every `every` of them, ended after `patience` judgements
    without a gain. inner: share of the training groups that judges, at most `judges` rows."""

    steps: int = 160
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 20
    every: int = 20
    patience: int = 4
    inner: float = 0.2
    judges: int = 300


SCHEDULE = Schedule()


class CompactViT(nn.Module):
    """Images [B, C, S, S], S a multiple of 16 -> [B, outputs]."""

    def __init__(self, channels: int, side: int, outputs: int) -> None:
        super().__init__()
        width, patch = 64, side // GRID // 2
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(32, width, patch, stride=patch),
        )
        self.positions = nn.Parameter(torch.randn(1, GRID**2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, 4, mlp_ratio=2.0) for _ in range(2)))
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).flatten(2).transpose(1, 2)  # [B, 64, width]
        return self.read(self.blocks(x + self.positions).mean(1))


def shrunk(images) -> Tensor:
    """Images [n, C, H, W] of any numbers -> float32 [n, C, S, S], S a multiple of 16 in SIDES."""
    images = (
        images if isinstance(images, Tensor) else torch.from_numpy(np.asarray(images, np.float32))
    )
    low, high = SIDES
    side = min(high, max(low, min(images.shape[-2:]) // 16 * 16))
    return torch.cat(
        [
            part.float()
            if part.shape[-2:] == (side, side)
            else F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
            for part in images.split(256)
        ]
    )


def crops(chips: np.ndarray, chip_of: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Squares around positions: chips [c, C, S, S], chip_of [n], xy [n, 2] in [-1, 1] (x east, y
    south) -> [n, C, S / 2, S / 2]; beyond the chip its edge is repeated."""
    size = chips.shape[-1]
    half = max(size // 4, 1)
    centres = np.clip(((np.asarray(xy) + 1) / 2 * size).astype(int), 0, size - 1)
    steps = np.arange(-half, half)
    columns, rows = (np.clip(centres[:, k, None] + steps, 0, size - 1) for k in (0, 1))  # [n, 2h]
    found = chips[np.asarray(chip_of)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return found.transpose(0, 3, 1, 2)  # indexed axes come first: [n, 2h, 2h, C] before


def inner_split(rows: np.ndarray, groups: np.ndarray, seed: int, share: float):
    """Training rows in two parts that share no group: (to learn from, to judge by). Where there is
    one group only, single rows are parted."""
    names = np.unique(groups[rows])
    of_row = groups[rows] if len(names) > 1 else np.arange(len(rows))
    names = np.unique(of_row)
    aside = np.random.default_rng(seed).permutation(names)[: max(1, round(share * len(names)))]
    judge = np.isin(of_row, aside)
    return rows[~judge], rows[judge]


def augmented(x: Tensor, upright: bool, order: torch.Generator) -> Tensor:
    """The batch, each image mirrored at random; unless `upright`, the batch also turned."""
    mirror = torch.rand(len(x), generator=order) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(-1), x)
    return x if upright else torch.rot90(x, int(torch.randint(4, (1,), generator=order)), (-2, -1))


def fit_predict(
    images: Tensor,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray,
    *,
    upright: bool,
    seed: int,
    schedule: Schedule | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Guesses [len(test)] of a network trained on the rows `train` of images [n, C, S, S].

    images: from `shrunk`. labels: [n] numbers or texts. groups: [n]. upright: whether up and down
    differ (photos). The same seed gives the same guesses on a CPU.
    """
    s = schedule or SCHEDULE
    learn, judge = inner_split(np.asarray(train), np.asarray(groups), seed, s.inner)
    judge = np.random.default_rng(seed).permutation(judge)[: s.judges]
    seen = images[torch.from_numpy(learn)]
    mean, std = seen.mean((0, 2, 3), keepdim=True), seen.std((0, 2, 3), keepdim=True) + 1e-6
    labels = np.asarray(labels)
    target = Target.of(labels, learn)

    def batch(rows) -> Tensor:
        return ((images[torch.as_tensor(rows)] - mean) / std).clamp(-5, 5)

    create = partial(CompactViT, images.shape[1], images.shape[-1], target.outputs)
    network = seeded(create, seed)
    network, order = network.to(device), torch.Generator().manual_seed(seed)
    if target.classes is not None:  # a class that no row teaches cannot be answered
        judge = judge[np.isin(labels[judge], target.classes)]

    def batch_loss() -> Tensor:
        rows = learn[torch.randint(len(learn), (s.batch,), generator=order).numpy()]
        return target.loss(network(augmented(batch(rows), upright, order).to(device)), rows)

    def error() -> float:
        return float(target.loss(_forward(network, batch, judge, device), judge))

    fit_network(
        network,
        batch_loss,
        steps=s.steps,
        lr=s.lr,
        weight_decay=s.weight_decay,
        warmup=s.warmup,
        judge=error if len(judge) else None,
        every=s.every,
        patience=s.patience,
    )
    return target.answer(_forward(network, batch, np.asarray(test), device))


@torch.inference_mode()
def _forward(network: nn.Module, batch, rows: np.ndarray, device: str) -> Tensor:
    network.eval()
    parts = [network(batch(rows[i : i + 256]).to(device)).cpu() for i in range(0, len(rows), 256)]
    return torch.cat(parts) if parts else torch.empty(0)
