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

from research.evaluation.fit import fit_network, seeded

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

    def __init__(
        self,
        channels: int,
        side: int,
        outputs: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        patch = side // GRID // 2
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(32, width, patch, stride=patch),
        )
        self.positions = nn.Parameter(torch.randn(1, GRID**2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio=2.0) for _ in range(depth)))
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


def crops(chips: np.ndarray, chip_of: np.ndarray, xy: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Squares around positions: chips [c, C, S, S], chip_of [n], xy [n, 2] in [-1, 1] (x east, y
    south) -> [n, C, share * S, share * S]; beyond the chip its edge is repeated."""
    size = chips.shape[-1]
    half = max(int(size * share) // 2, 1)
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
    kind: str,
    upright: bool,
    seed: int,
    schedule: Schedule | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Guesses [len(test)] of a network trained on the rows `train` of images [n, C, S, S].

    images: from `shrunk`. labels, groups: [n]. kind: "regression" or "classification". upright:
    whether up and down differ (photos). The same seed gives the same guesses on a CPU.
    """
    s = schedule or SCHEDULE
    learn, judge = inner_split(np.asarray(train), np.asarray(groups), seed, s.inner)
    judge = np.random.default_rng(seed).permutation(judge)[: s.judges]
    seen = images[torch.from_numpy(learn)]
    mean, std = seen.mean((0, 2, 3), keepdim=True), seen.std((0, 2, 3), keepdim=True) + 1e-6
    names, target, loss = _targets(np.asarray(labels), learn, kind)

    def batch(rows) -> Tensor:
        return ((images[torch.as_tensor(rows)] - mean) / std).clamp(-5, 5)

    outputs = 1 if names is None else len(names)
    network = seeded(partial(CompactViT, images.shape[1], images.shape[-1], outputs), seed)
    network, order = network.to(device), torch.Generator().manual_seed(seed)
    judged = judge[_known(labels, judge, names)]

    def batch_loss() -> Tensor:
        rows = learn[torch.randint(len(learn), (s.batch,), generator=order).numpy()]
        guess = network(augmented(batch(rows), upright, order).to(device))
        return loss(guess, target(rows).to(device))

    fit_network(
        network,
        batch_loss,
        steps=s.steps,
        lr=s.lr,
        weight_decay=s.weight_decay,
        warmup=s.warmup,
        judge=(lambda: float(loss(_forward(network, batch, judged, device), target(judged))))
        if len(judged)
        else None,
        every=s.every,
        patience=s.patience,
    )
    found = _forward(network, batch, np.asarray(test), device)
    if names is not None:
        return names[found.argmax(1).numpy()]
    values = np.asarray(labels, float)[learn]
    return found[:, 0].double().numpy() * (values.std() or 1.0) + values.mean()


def _targets(labels: np.ndarray, learn: np.ndarray, kind: str):
    """(class names or None, target(rows), loss) from the rows that are learnt from."""
    if kind == "regression":
        values = labels.astype(float)
        mean, std = values[learn].mean(), values[learn].std() or 1.0
        scaled = torch.from_numpy(((values - mean) / std).astype(np.float32))[:, None]
        return None, lambda rows: scaled[torch.as_tensor(rows)], F.mse_loss
    names = np.unique(labels[learn])
    codes = torch.from_numpy(np.searchsorted(names, labels))
    return names, lambda rows: codes[torch.as_tensor(rows)], F.cross_entropy


def _known(labels, rows: np.ndarray, names) -> np.ndarray:
    """Which rows [m] have a class that the network can answer."""
    return np.ones(len(rows), bool) if names is None else np.isin(np.asarray(labels)[rows], names)


@torch.inference_mode()
def _forward(network: nn.Module, batch, rows: np.ndarray, device: str) -> Tensor:
    network.eval()
    parts = [network(batch(rows[i : i + 256]).to(device)).cpu() for i in range(0, len(rows), 256)]
    return torch.cat(parts) if parts else torch.empty(0)
