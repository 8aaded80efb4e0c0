"""Published images with labels for each pixel, cut into chips of the model's size.

A chip has the side that the model was trained on, so an image of 512 px becomes a grid of chips.
Where the side does not divide the image, the last row and column of chips are shifted inwards; the
pixels that another chip has already are ignored there, so that every pixel is in exactly one chip
and none is judged twice. An image smaller than a chip is padded with its own edge, unlabelled.

All masks are read once when a set is opened: a label out of range, or a class that a split lacks,
is told before anything is trained, with the file's name.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from gairlib.data.raster import open_raster
from gairlib.errors import BadInput
from research.tasks.segmentation.data import IGNORE, SegmentationData, Tiles

HELD = 8  # decoded images that are kept: chips of one image are read one after the other
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Picture:
    """One published image. image(): float32 [C, H, W] in DN; mask(): int64 [H, W], classes from 0
    and IGNORE. labels: the file that errors name. cluster: what the bootstrap draws."""

    id: str
    cluster: str
    labels: Path
    image: Callable[[], np.ndarray]
    mask: Callable[[], np.ndarray]


def starts(length: int, size: int) -> list[tuple[int, int]]:
    """(first pixel, pixels at its start that an earlier chip has) of the chips along one side."""
    if length <= size:
        return [(0, 0)]
    found = [(at, 0) for at in range(0, length - size + 1, size)]
    end = found[-1][0] + size
    return found + ([(length - size, end - (length - size))] if end < length else [])


def cut(values: np.ndarray, row: int, col: int, size: int, fill=None) -> np.ndarray:
    """[..., size, size] from (row, col); beyond the edge it is `fill`, or the edge's own value."""
    part = values[..., row : row + size, col : col + size]
    missing = [(0, 0)] * (values.ndim - 2) + [(0, size - n) for n in part.shape[-2:]]
    if not any(after for _, after in missing):
        return part
    if fill is None:
        return np.pad(part, missing, mode="edge")
    return np.pad(part, missing, constant_values=fill)


def tiles(pictures: Sequence[Picture], shapes: Sequence[tuple[int, int]], size: int) -> Tiles:
    """The chips of all pictures, in order. shapes: (height, width) of each picture."""
    where = [
        (k, top, left)
        for k, (h, w) in enumerate(shapes)
        for top in starts(h, size)
        for left in starts(w, size)
    ]

    @lru_cache(maxsize=HELD)
    def whole(k: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = pictures[k].image(), pictures[k].mask()
        if image.shape[-2:] != mask.shape:
            raise BadInput(
                f"{pictures[k].labels}: {mask.shape[1]} x {mask.shape[0]} px, but its "
                f"image has {image.shape[2]} x {image.shape[1]}"
            )
        return image, mask

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        k, (row, above), (col, before) = where[i]
        image, mask = whole(k)
        labels = cut(mask, row, col, size, IGNORE).copy()
        labels[:above], labels[:, :before] = IGNORE, IGNORE
        return cut(image, row, col, size).astype(np.float32), labels

    return Tiles(
        ids=[f"{pictures[k].id} row {row} col {col}" for k, (row, _), (col, _) in where],
        read=read,
        clusters=np.array([pictures[k].cluster for k, _, _ in where]),
    )


def assemble(
    name: str,
    splits: Mapping[str, Sequence[Picture]],
    classes: Sequence[str],
    *,
    size: int,
    bands: Sequence[str],
    cluster: str,
    notes: Sequence[str],
    where: Path,
    complete: bool = True,
    synthetic: bool = False,
) -> SegmentationData:
    """The set, its masks checked. bands: those of the images; the band adapter fills the others.
    where: the file or folder that tells the splits, for errors.

    Raises BadInput for an empty split, a label out of range, and a class that one split has and
    another lacks; with `complete` also for one that no split has.
    """
    parts, present = {}, {}
    for split in SPLITS:
        if not splits.get(split):
            raise BadInput(f"{where}: no image in the split {split!r}")
        shapes, seen = [], set()
        for picture in splits[split]:
            mask = picture.mask()
            found = set(np.unique(mask).tolist()) - {IGNORE}
            wrong = sorted(v for v in found if not 0 <= v < len(classes))
            if wrong:
                raise BadInput(
                    f"{picture.labels}: label {wrong[0]} is out of range; the classes "
                    f"are 0..{len(classes) - 1}"
                )
            shapes.append(mask.shape)
            seen |= found
        present[split] = seen
        parts[split] = tiles(splits[split], shapes, size)
    needed = set(range(len(classes))) if complete else set.union(*present.values())
    for split, seen in present.items():
        if needed - seen:
            missing = classes[min(needed - seen)]
            raise BadInput(f"{where}: class {missing!r} has no pixel in the split {split!r}")
    notes = list(notes)
    absent = [c for i, c in enumerate(classes) if i not in needed]
    if absent:
        notes.append(f"no pixel of {', '.join(absent)} in any split")
    return SegmentationData(
        name=name,
        bands=tuple(bands),
        classes=tuple(classes),
        cluster=cluster,
        splits=parts,
        synthetic=synthetic,
        notes=notes,
    )


def raster(path: Path, count: int | None = None) -> np.ndarray:
    """All bands [k, H, W] of a file; BadInput where it is absent, broken or has other bands."""
    if not path.is_file():
        raise BadInput(f"{path}: this file of the published layout is not there")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # cut-outs often are not
            with open_raster(path) as source:
                values = source.read()
    except RasterioIOError as problem:
        raise BadInput(f"{path}: not readable as a raster ({problem})") from problem
    if count is not None and len(values) != count:
        raise BadInput(f"{path}: {len(values)} bands, the published files have {count}")
    return values


def codes(path: Path, known: Mapping[int, int]) -> np.ndarray:
    """A mask file's first band with each value translated: value -> class or IGNORE, int64 [H, W].
    BadInput for a value that `known` lacks."""
    values = raster(path)[0]
    out = np.full(values.shape, IGNORE, np.int64)
    rest = np.ones(values.shape, bool)
    for value, label in known.items():
        here = values == value
        out[here], rest[here] = label, False
    if rest.any():
        raise BadInput(
            f"{path}: label {values[rest][0]} is out of range; known are "
            f"{', '.join(str(k) for k in known)}"
        )
    return out


def as_dn(values: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Digital numbers float32 in 0..65535 from values x scale; NaN becomes 0 (nodata).

    A negative reflectance, as atmospheric correction leaves over dark water, becomes 1 and not
    0, which would say that there are no data.
    """
    dn = np.asarray(values, np.float32) * np.float32(scale)
    low = np.where(dn < 0, np.float32(1), dn)
    return np.nan_to_num(low, nan=0.0).clip(0, 65535)
