"""Labelled tiles of one data set, split by split; what every loader of a published set returns.

Images are [C, H, W] in digital numbers (reflectance x 10000), masks [H, W] with classes 0..K-1 and
IGNORE where nothing is known. A tile is read when it is asked for, so a loader holds no pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gairlib import bands
from gairlib.errors import BadInput

IGNORE = 255


@dataclass(frozen=True)
class Tiles:
    """One split: names of the tiles, read(i) -> (image [C, H, W] float32, mask [H, W] int64), and
    what the bootstrap draws together (a site, an image) [n]."""

    ids: list[str]
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]
    clusters: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class SegmentationData:
    """bands: names of the C bands as `gairlib.bands` knows them; classes: K names; cluster: what
    one of `Tiles.clusters` is ("site", "image"); splits: train, test and, where published, val;
    split_name: what results call them, and held_out: what the test tiles share with no training
    tile (`research.tasks.result.Split`; published splits may share a place or an event)."""

    name: str
    bands: tuple[str, ...]
    classes: tuple[str, ...]
    cluster: str
    splits: dict[str, Tiles]
    synthetic: bool = False
    notes: list[str] = field(default_factory=list)
    split_name: str = "published split"
    held_out: str = "published split"


def load(data: SegmentationData, split: str) -> tuple[np.ndarray, np.ndarray]:
    """All tiles of a split: chips [n, 10, H, W] float32 with absent bands filled, masks [n, H, W]
    uint8. BadInput names the tile with a label out of range, or of another size than the first."""
    tiles = data.splits[split]
    if not len(tiles):
        raise BadInput(f"{data.name}: the split {split!r} holds no tile")
    chips, masks = [], []
    for i, name in enumerate(tiles.ids):
        image, mask = tiles.read(i)
        mask = np.asarray(mask)
        if mask.shape != image.shape[1:] or (masks and mask.shape != masks[0].shape):
            raise BadInput(
                f"{data.name}, {name}: mask {list(mask.shape)} and image "
                f"{list(image.shape)} do not match each other and the first tile"
            )
        wrong = np.setdiff1d(mask, [*range(len(data.classes)), IGNORE])
        if len(wrong):
            raise BadInput(
                f"{data.name}, {name}: label {wrong[0]} in the mask; labels are 0 to "
                f"{len(data.classes) - 1}, and {IGNORE} where nothing is known"
            )
        chips.append(bands.place(image[None], data.bands)[0][0])
        masks.append(mask.astype(np.uint8))
    return np.stack(chips), np.stack(masks)


def check_classes(data: SegmentationData, masks: dict[str, np.ndarray]) -> None:
    """BadInput where a class that is judged was never seen in training, or training has one class.

    A class of the list that is in no test mask is left out of mIoU and is no error.
    """
    train, test = (np.setdiff1d(masks[s], [IGNORE]) for s in ("train", "test"))
    if len(train) < 2:
        raise BadInput(
            f"{data.name}: the training masks hold {len(train)} class(es), two are needed"
        )
    if not len(test):
        raise BadInput(f"{data.name}: the test masks hold no label")
    unseen = np.setdiff1d(test, train)
    if len(unseen):
        raise BadInput(
            f"{data.name}: class {data.classes[unseen[0]]!r} is in the test split and "
            "in no training mask; check the split's files"
        )
