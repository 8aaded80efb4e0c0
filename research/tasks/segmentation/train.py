"""Features once for each encoder, then heads trained on them; a network on pixels beside them.

Frozen features of all tiles are computed once and kept in half precision; a head's training then
costs no encoder. AdamW, a learning rate that falls to zero along a half cosine, cross-entropy that
leaves IGNORE out. Batches and weights come from the seed alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from gairlib import bands, preprocess
from gairlib.model import GAIR
from research.evaluation.fit import batches, fit_network, seeded
from research.tasks.segmentation.data import IGNORE


@dataclass(frozen=True)
class Schedule:
    """steps of `batch` tiles each."""

    steps: int = 150
    batch: int = 16
    lr: float = 5e-3
    weight_decay: float = 1e-4


@torch.inference_mode()
def features(
    model: GAIR, chips: np.ndarray, *, layers: int = 4, batch: int = 32, device: str = "cpu"
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
    inputs: list[Tensor],
    masks: np.ndarray,
    *,
    seed: int,
    schedule: Schedule = Schedule(),
    pixels: bool = False,
    device: str = "cpu",
) -> nn.Module:
    """Train a new `head` on inputs (a list of tensors with n rows each) and masks [n, H, W].

    pixels: the inputs are images, which are turned and mirrored at random with their masks, and
    the head takes the one tensor itself instead of the list.
    """
    network, order = seeded(head, seed).to(device), torch.Generator().manual_seed(seed)
    target = torch.from_numpy(masks.astype(np.int64))
    rows = batches(len(target), schedule.batch, order)

    def loss() -> Tensor:
        batch = next(rows)
        x, y = [v[batch].float().to(device) for v in inputs], target[batch].to(device)
        if pixels:
            turn, mirror = torch.randint(4, (1,), generator=order), torch.rand(1, generator=order)
            *x, y = [
                torch.rot90(v.flip(-1) if mirror < 0.5 else v, int(turn), (-2, -1)) for v in (*x, y)
            ]
        return F.cross_entropy(network(x[0] if pixels else x), y, ignore_index=IGNORE)

    fit_network(
        network,
        loss,
        steps=schedule.steps,
        lr=schedule.lr,
        weight_decay=schedule.weight_decay,
        fused=False,
        title=type(network).__name__,
    )
    return network


@torch.inference_mode()
def predict(
    network: nn.Module,
    inputs: list[Tensor],
    *,
    pixels: bool = False,
    batch: int = 32,
    device: str = "cpu",
) -> np.ndarray:
    """Classes [n, H, W] uint8 for inputs as in `fit`."""
    found = []
    for start in range(0, len(inputs[0]), batch):
        x = [v[start : start + batch].float().to(device) for v in inputs]
        found.append(network(x[0] if pixels else x).argmax(1).byte().cpu())
    return torch.cat(found).numpy()
