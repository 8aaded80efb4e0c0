"""AI4SmallFarms: fields of smallholders in Vietnam and Cambodia, Sentinel-2 tiles of 5 x 5 km.

    pangaea/ai4smallfarms/sentinel-2-asia/{train,validate,test}/images/<n>_<country>.tif
    pangaea/ai4smallfarms/sentinel-2-asia/{train,validate,test}/masks/<n>_<country>.tif

(`val` for `validate` is taken too: PANGAEA renames it.) GeoTIFFs of four bands, B2 B3 B4 B8, in
reflectance x 10000; masks are 0 and 255 (or 1). The other six bands hold the training mean. A
file's own band names win over this order.

Sources: Persello et al. 2023 (IEEE GRSL 20, doi 10.17026/dans-xy6-ngg6); folders as quoted in
fiboa/data-survey data/VM-KH-AI4SmallFarms.md; pangaea/datasets/ai4smallfarms.py and
configs/dataset/ai4smallfarms.yaml of pangaea-bench (copy of sig-gis), whose band means 750 1033
1165 2416 fit that order and scale. Not certain: PANGAEA pairs images and masks by the order of
their sorted names, which hints that the names may differ; here equal names are paired, else the
leading numbers. It calls class 1 "Crop Field"; its share of 27% would fit field boundaries rather,
which is what the data set was made for.
"""

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from rasterio.errors import NotGeoreferencedWarning

from gairlib import bands
from gairlib.data.raster import open_raster
from gairlib.errors import BadInput
from research.tasks.published.folders import matching
from research.tasks.published.pictures import Picture, as_dn, assemble, codes, raster
from research.tasks.segmentation.data import SegmentationData

CLASSES = ("Background", "Crop Field")
CODES = {0: 0, 1: 1, 255: 1}
PRESENT = ("B02", "B03", "B04", "B08")
FOLDERS = {"train": ("train",), "val": ("validate", "val"), "test": ("test",)}


def _order(path: Path) -> tuple[str, ...]:
    """The file's bands: by its own names where it has them all, else as published."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with open_raster(path) as source:
            names = [bands.canonical(d) for d in source.descriptions]
    return tuple(names) if sorted(map(str, names)) == sorted(PRESENT) else PRESENT


def _image(path: Path) -> np.ndarray:
    values, order = raster(path, len(PRESENT)), _order(path)
    return as_dn(values[[order.index(band) for band in PRESENT]])


def _number(path: Path) -> str | None:
    found = re.match(r"\d+", path.name)
    return found[0] if found else None


def _mask_of(image: Path, masks: Path) -> Path:
    """The mask of an image: of the same name, else the only one with its leading number."""
    if (masks / image.name).is_file():
        return masks / image.name
    number = _number(image)
    near = [p for p in matching(masks, "*.tif", deep=False) if number and _number(p) == number]
    if len(near) != 1:
        raise BadInput(f"{masks / image.name}: the mask of {image.name} is not there")
    return near[0]


def _part(root: Path, names: tuple[str, ...]) -> list[Picture]:
    folder = next((root / n for n in names if (root / n).is_dir()), root / names[0])
    images = matching(folder / "images", "*.tif", deep=False)
    if not images:
        raise BadInput(f"{folder / 'images'}: no *.tif, as the published layout has them")
    masks = [_mask_of(path, folder / "masks") for path in images]
    return [
        Picture(path.stem, path.stem, mask, partial(_image, path), partial(codes, mask, CODES))
        for path, mask in zip(images, masks)
    ]


def load(folder: Path, size: int) -> SegmentationData:
    """The published splits in chips of `size` px. Raises BadInput for another layout."""
    root = folder / "sentinel-2-asia"
    if not root.is_dir():
        raise BadInput(f"{root}: this folder of the published layout is not there")
    splits = {split: _part(root, names) for split, names in FOLDERS.items()}
    return assemble(
        "pangaea-ai4smallfarms",
        splits,
        CLASSES,
        size=size,
        bands=PRESENT,
        cluster="tile",
        where=root,
        notes=["six of the ten bands are not there and hold the training mean"],
    )
