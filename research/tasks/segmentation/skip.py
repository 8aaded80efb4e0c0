"""What stands beside a tower's tokens where a head reads both: grids of pixels, a skip past it.

Tokens of 40 m hold little that is finer. The skip is the standardised bands of every pixel with
their means over squares around it, and where a model's field is a cone with a pixel-guided map
(`gairlib.cone`), that map. How far around is chosen by what the bands say *without* tokens, on
validation tiles. That reading is a rival by itself, at its own best, and what tokens add to the
same squares is theirs.
"""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from gairlib import devices, preprocess
from gairlib.model import GAIR
from research.tasks.segmentation import linear
from research.tasks.segmentation.data import IGNORE
from research.tasks.segmentation.linear import Fitted
from research.tasks.segmentation.train import Tiles, standardised

PIXELS = 20_000  # of the training masks, for `by_pixel`
AROUND = ((3,), (3, 9), (3, 9, 21))  # sides of the squares, in pixels
ALONE = "pixels and around"


def bands(chips: np.ndarray) -> Tensor:
    """Chips in DN [n, 10, H, W] -> standardised bands of each pixel [n, H, W, 10]."""
    return standardised(chips).permute(0, 2, 3, 1)


@devices.on_device
@torch.inference_mode()
def guided(
    model: GAIR, chips: np.ndarray, *, batch: int = 32, device: str = "auto"
) -> list[Tensor]:
    """The pixel-guided map of chips [n, 10, H, W] in DN, [n, H, W, channels] float16 on the CPU;
    nothing where the model's field has none."""
    if not model.config.reads_headings or model.field.cone.stem is None:
        return []
    model = model.eval()
    prep, size = preprocess.get(model.config.preprocessing), model.config.rs_size
    parts = []
    for start in range(0, len(chips), batch):
        x = prep.rs(torch.from_numpy(chips[start : start + batch]), size).to(device)
        parts.append(model.encode_rs(x).map.permute(0, 2, 3, 1).half().cpu())
    return [torch.cat(parts)]


def alone(tiles: Mapping[str, Tiles], classes: int) -> tuple[tuple[int, ...], Fitted]:
    """The squares of AROUND with which the bands by themselves are best on validation tiles, and
    the head that reads them so. tiles: of `bands`, "train" and perhaps "val"."""
    found = {
        sides: linear.fit(
            tiles["train"], classes, seed=0, validation=tiles.get("val"), windows=(sides,)
        )
        for sides in AROUND
    }
    best = min(found, key=lambda sides: found[sides].missed)
    return best, found[best]


def by_pixel(chips: np.ndarray, masks: np.ndarray, asked: np.ndarray, classes: int) -> np.ndarray:
    """Logistic regression on each pixel's bands and their 3 x 3 means: classes [m, H, W]."""

    def table(x: np.ndarray) -> np.ndarray:
        x = standardised(x)
        around = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([x, around], 1).permute(0, 2, 3, 1).numpy()  # [n, H, W, 2C]

    labels = masks.reshape(-1)
    rows = np.flatnonzero(labels != IGNORE)
    rows = np.random.default_rng(0).permutation(rows)[:PIXELS]
    seen = table(chips).reshape(len(labels), -1)[rows]
    fitted = LogisticRegression(C=1.0, max_iter=200, tol=1e-3).fit(seen, labels[rows])
    found = [
        fitted.predict(table(asked[i : i + 64]).reshape(-1, seen.shape[1]))
        for i in range(0, len(asked), 64)
    ]
    return np.concatenate(found).reshape(len(asked), *masks.shape[1:]).astype(np.uint8)
