"""Networks that answer for every pixel of a chip: a head of `pixel_heads` on the RS tower.

The head is linear or UPerNet. Beside the tower's tokens, which cover 40 m and more, it reads each
pixel's bands and their 3 x 3 means. The tower stays as it is ("frozen"), is trained with the head
("full"), or gets a correction of low rank on each linear layer of its blocks ("lora", Hu et al.
2021, arXiv 2106.09685), which alone is trained and kept. PyTorch's parametrisations hold it: peft
would bring transformers and accelerate along for what are ten lines here.

Chips overlap as the map's do. The loss is over the labelled pixels; a pixel is answered by all
chips that hold it, blended as `gairlib.embed.walker` blends a field, which also draws the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils.parametrize import register_parametrization
from torch.optim.lr_scheduler import CosineAnnealingLR

from gairlib import preprocess
from gairlib.mapping.features import PIXEL
from gairlib.mapping.lessons import Lessons
from gairlib.mapping.pixel_heads import LinearHead, UPerNet, around
from gairlib.rs.base import Features

HEADS, TOWERS = ("linear", "upernet"), ("frozen", "lora", "full")
RANK = 8  # of the corrections
STEPS, BATCH = 200, 16  # of chips
RATES = {"frozen": 0.0, "lora": 1e-3, "full": 1e-4}  # of the tower
LINEAR, DEEP, DECAY = 2e-2, 2e-3, 1e-4  # of linear heads, which start at next to nothing; UPerNet


class LowRank(nn.Module):
    """A weight [out, in] plus up [out, r] @ down [r, in]; nothing is added before training."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, inside = weight.shape
        self.down = nn.Parameter(torch.randn(rank, inside) / inside**0.5)
        self.up = nn.Parameter(torch.zeros(out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


class Network(nn.Module):
    """Preprocessed chips [B, 10, S, S] -> [B, K, S, S]: logits of classes, or standardised numbers.
    The tower is a copy: that of the model is left alone."""

    def __init__(self, model, head: str, tower: str, outputs: int) -> None:
        super().__init__()
        self.config, size = model.config, model.config.rs_size
        self.rs = deepcopy(model.rs).requires_grad_(tower == "full").eval()
        if tower == "lora":
            for layer in [m for m in self.rs.blocks.modules() if isinstance(m, nn.Linear)]:
                register_parametrization(layer, "weight", LowRank(layer.weight, RANK))
        self.trained = tower != "frozen"
        self.depth = UPerNet.layers if head == "upernet" else 1
        with torch.no_grad():
            probe = torch.zeros(1, PIXEL // 2, size, size, device=self.rs.device)
            width = self.rs.layers(probe, 1)[0].shape[-1]
        self.head = {"linear": LinearHead, "upernet": UPerNet}[head](width, outputs, size)
        self.skip = LinearHead(PIXEL, outputs, size)
        self.register_buffer("centre", torch.zeros(()))  # of numbers
        self.register_buffer("spread", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            layers = self.rs.layers(images, self.depth)
        pixels = around(images.permute(0, 2, 3, 1), (3,))  # [B, S, S, PIXEL]
        return self.head(layers) + self.skip([pixels])

    def answer(self, images: Tensor, classes: int) -> Tensor:
        """Probabilities, or numbers in their own unit: [B, K, S, S]."""
        found = self(images)
        return found.softmax(1) if classes else found * self.spread + self.centre

    def learnt(self) -> dict[str, Tensor]:
        """What `load_state_dict` needs beside the model's weights."""
        fixed = {f"rs.{name}" for name, _ in self.rs.named_buffers()}
        fixed |= {name for name, p in self.named_parameters() if not p.requires_grad}
        return {k: v.detach().cpu() for k, v in self.state_dict().items() if k not in fixed}


@dataclass(frozen=True)
class Trained:
    """What a network has learnt, in the place of a `gairlib.mapping.heads.Head`."""

    name: str
    tower: str
    classes: int  # 0: numbers
    state: dict[str, Tensor]

    @property
    def about(self) -> dict:
        return {"name": self.name, "tower": self.tower, "classes": self.classes}

    def to(self, device) -> Trained:
        return Trained(**self.about, state={k: v.to(device) for k, v in self.state.items()})

    def network(self, model) -> Network:
        found = Network(model, self.name, self.tower, self.classes or 1)
        found.load_state_dict(self.state, strict=False)
        return found.to(model.rs.device).eval()

    def reading(self, model) -> Drawn:
        return Drawn(self.network(model), self.classes)

    def __call__(self, answers: np.ndarray) -> Tensor:
        """Blended answers of the network [n, K] -> probabilities [n, K], or numbers with the
        spread of the training's [n, 2], which calibration sets right."""
        found = torch.from_numpy(answers)
        if self.classes:
            return found
        return torch.cat([found, self.state["spread"].cpu().expand(len(found), 1)], -1)

    @torch.inference_mode()
    def at(self, model, lessons: Lessons, rows: np.ndarray) -> Tensor:
        """Answers [sum of rows, K or 2] at the labels `rows` (bool [n])."""
        network = self.network(model)
        total = torch.zeros(len(rows), self.classes or 1)
        for images, at in _batches(network, lessons, np.flatnonzero(rows[lessons.label])):
            found = network.answer(images, self.classes).cpu()
            share = torch.from_numpy(lessons.weight[at.pair]).float()[:, None]
            label = torch.from_numpy(lessons.label[at.pair])
            total.index_add_(0, label, share * found[at.chip, :, at.row, at.column])
        weight = np.bincount(lessons.label, lessons.weight, len(rows))
        return self((total.numpy() / weight[:, None])[rows].astype(np.float32))


class Drawn:
    """A network's answers, read by `gairlib.embed.walker` as a field is."""

    def __init__(self, network: Network, classes: int) -> None:
        self.network, self.classes, self.config = network, classes, network.config
        self.model, self.device = self, network.rs.device
        self.bands = classes or 1
        self.shift = np.zeros(self.bands)

    def encode_rs(self, images: Tensor, **_) -> Features:
        grid = self.network.answer(images, self.classes).permute(0, 2, 3, 1)
        return Features(grid, grid.mean((1, 2)), grid.mean((1, 2)))

    def rows(self, grid: Tensor) -> Tensor:
        return grid

    def slabs(self, rows: Tensor, _grid, x: np.ndarray, y: np.ndarray, _features=None):
        at = (torch.from_numpy(cell_of(v, len(rows))) for v in (y, x))
        yield slice(0, len(y)), rows.cpu()[torch.meshgrid(*at, indexing="ij")]


def cell_of(position: np.ndarray, size: int) -> np.ndarray:
    """The pixels of a chip of `size` pixels at positions in [-1, 1] along one axis."""
    return np.floor((position + 1) / 2 * size).astype(int).clip(0, size - 1)


def train(
    model,
    lessons: Lessons,
    values: np.ndarray,
    classes: int,
    rows: np.ndarray,
    *,
    head: str,
    tower: str,
    seed: int,
) -> Trained:
    """Learn from the labels `rows` (bool [n]) of values [n], codes of classes or numbers. Chips are
    turned and mirrored at random; batches and weights come from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(model, head, tower, classes or 1).to(model.rs.device)
        target = torch.from_numpy(values).to(model.rs.device)
        if not classes:
            known = values[rows]
            network.centre.fill_(float(known.mean()))
            network.spread.fill_(max(float(known.std()), 1e-12))
            target = ((target - network.centre) / network.spread).float()
        parts = [
            {"params": network.skip.parameters(), "lr": LINEAR},
            {"params": network.head.parameters(), "lr": DEEP if head == "upernet" else LINEAR},
            {"params": [p for p in network.rs.parameters() if p.requires_grad], "lr": RATES[tower]},
        ]
        optimiser = torch.optim.AdamW(parts, weight_decay=DECAY)
        rate = CosineAnnealingLR(optimiser, STEPS)
        for module in (network.head, network.skip):
            module.train()
        pairs, rng, step = np.flatnonzero(rows[lessons.label]), np.random.default_rng(seed), 0
        while step < STEPS:
            for images, at in _batches(network, lessons, pairs, rng):
                turns, mirror = int(rng.integers(4)), [-1] * int(rng.integers(2))
                found = network(torch.rot90(images, turns, (-2, -1)).flip(mirror))
                found = torch.rot90(found.flip(mirror), -turns, (-2, -1))
                found = found[at.chip, :, at.row, at.column]
                wanted = target[lessons.label[at.pair]]
                loss = (
                    cross_entropy(found, wanted.long())
                    if classes
                    else mse_loss(found[:, 0], wanted)
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                rate.step()
                if (step := step + 1) == STEPS:
                    break
    return Trained(head, tower, classes, network.learnt())


@dataclass(frozen=True)
class _At:
    """Of the labels in a batch: their pairs of `Lessons`, and chip, row and column there."""

    pair: np.ndarray
    chip: np.ndarray
    row: np.ndarray
    column: np.ndarray


def _batches(
    network: Network, lessons: Lessons, pairs: np.ndarray, rng: np.random.Generator | None = None
) -> Iterator[tuple[Tensor, _At]]:
    """One pass over the chips that hold `pairs`; rng: in random order."""
    prepare, size = preprocess.get(network.config.preprocessing).rs, network.config.rs_size
    pairs = pairs[np.argsort(lessons.chip[pairs], kind="stable")]
    chips, first = np.unique(lessons.chip[pairs], return_index=True)
    held = np.split(pairs, first[1:])
    order = np.arange(len(chips)) if rng is None else rng.permutation(len(chips))
    for start in range(0, len(chips), BATCH):
        some = order[start : start + BATCH]
        dn = torch.from_numpy(lessons.chips[chips[some]].astype(np.float32))
        pair = np.concatenate([held[i] for i in some])
        chip = np.repeat(np.arange(len(some)), [len(held[i]) for i in some])
        row, column = (cell_of(v[pair], size) for v in (lessons.y, lessons.x))
        yield prepare(dn, size).to(network.rs.device), _At(pair, chip, row, column)
