"""Pictures in folders named by class: what can be read of them, and what cannot, by name."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gairlib.data.boundary import listing, twins
from gairlib.data.photos import IMAGES
from gairlib.data.scene_folders import RASTERS
from gairlib.errors import BadInput, Missing

IMAGE_PX = 64


def is_picture(path: Path) -> bool:
    """Whether a file counts, by its name."""
    return path.suffix.lower() in (*IMAGES, *RASTERS)


def pictures(folder: Path) -> list[Path]:
    """The pictures in the class folders of a folder, sorted, as `boundary.listing` shows them."""
    classes = listing(folder).folders
    return sorted(p for c in classes for p in listing(c).files if is_picture(p))


def read(
    folder: Path, image: Callable[[Path], np.ndarray]
) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Images of EuroSAT's size, their classes (two images each at least), and a line for each file
    that is left out.

    image: reads one, [64, 64, 3] or [10, 64, 64].
    """
    images, labels = [], []
    classes = listing(folder).folders
    lost = [f"{c.name}/{name}: {why}" for c in classes for name, why in listing(c).odd]
    again = twins(found := pictures(folder))
    lost += [
        f"{p.relative_to(folder)}: a link to {q.relative_to(folder)}" for p, q in again.items()
    ]
    for path in found:
        if path in again:
            continue
        try:
            values = image(path)
            if values.shape not in ((IMAGE_PX, IMAGE_PX, 3), (10, IMAGE_PX, IMAGE_PX)):
                height, width = values.shape[-2:] if len(values) == 10 else values.shape[:2]
                raise BadInput(
                    f"{path}: {width} x {height} pixels; EuroSAT images are {IMAGE_PX} x {IMAGE_PX}"
                )
        except (BadInput, Missing) as problem:
            lost.append(str(problem).replace(f"{folder}{os.sep}", ""))
            continue
        images.append(values)
        labels.append(unicodedata.normalize("NFC", path.parent.name))  # a Mac writes NFD
    alone = {label for label, count in Counter(labels).items() if count == 1}
    lost += [f"{label}: one image; a class needs two" for label in sorted(alone)]
    kept = [k for k, label in enumerate(labels) if label not in alone]
    return [images[k] for k in kept], [labels[k] for k in kept], lost
