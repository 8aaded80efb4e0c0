"""Sen1Floods11, hand-labelled part: water in 512-px Sentinel-2 chips of eleven flood events.

    pangaea/sen1floods11/v1.1/splits/flood_handlabeled/flood_{train,valid,test}_data.csv
    pangaea/sen1floods11/v1.1/data/flood_events/HandLabeled/S2Hand/<event>_<id>_S2Hand.tif
    pangaea/sen1floods11/v1.1/data/flood_events/HandLabeled/LabelHand/<event>_<id>_LabelHand.tif

(`v1.1/` may be left out.) A split file has no header; a row is the name of the Sentinel-1 file and
that of the label. S2Hand has the 13 bands B1..B8 B8A B9..B12 of level L1C in reflectance x 10000;
labels are 1 water, 0 no water, -1 no data. PANGAEA reads Sentinel-1 as well; our encoder is
optical, so these are its optical numbers only.

Sources: Bonafilia et al. 2020 (CVPR EarthVision) and its bucket; layout, bands, classes and split
as in pangaea/datasets/sen1floods11.py and configs/dataset/sen1floods11.yaml of pangaea-bench (in
the copies of yurujaja and sig-gis). L1C follows from B10 being there and from the paper.
"""

import csv
from functools import partial
from pathlib import Path

import numpy as np

from gairlib import bands
from gairlib.errors import BadInput
from research.tasks.published.pictures import Picture, as_dn, assemble, codes, raster
from research.tasks.segmentation.data import IGNORE, SegmentationData

CLASSES = ("Not Water", "Water")
CODES = {-1: IGNORE, 0: 0, 1: 1}
FILES = {"train": "train", "val": "valid", "test": "test"}


def _image(path: Path) -> np.ndarray:
    values = raster(path, 13)
    return as_dn(values[[p - 1 for p in bands.LAYOUTS["l1c"][0]]])


def _rows(table: Path, hand: Path) -> list[Picture]:
    if not table.is_file():
        raise BadInput(f"{table}: this split file of the published layout is not there")
    found = []
    with open(table, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row:
                continue
            label = row[1].strip() if len(row) == 2 else ""
            if not label.endswith("_LabelHand.tif"):
                raise BadInput(
                    f"{table} row {number}: must be <event>_<id>_S1Hand.tif,"
                    "<event>_<id>_LabelHand.tif"
                )
            stem = label.removesuffix("_LabelHand.tif")
            image, mask = hand / "S2Hand" / f"{stem}_S2Hand.tif", hand / "LabelHand" / label
            if not image.is_file():
                raise BadInput(f"{table} row {number}: {image} is not there")
            found.append(
                Picture(
                    stem,
                    stem.split("_")[0],
                    mask,
                    partial(_image, image),
                    partial(codes, mask, CODES),
                )
            )
    return found


def load(folder: Path, size: int) -> SegmentationData:
    """The published splits in chips of `size` px. Raises BadInput for another layout."""
    root = folder / "v1.1" if (folder / "v1.1").is_dir() else folder
    tables = {
        split: root / "splits" / "flood_handlabeled" / f"flood_{name}_data.csv"
        for split, name in FILES.items()
    }
    hand = root / "data" / "flood_events" / "HandLabeled"
    return assemble(
        "pangaea-sen1floods11",
        {split: _rows(table, hand) for split, table in tables.items()},
        CLASSES,
        size=size,
        bands=bands.BANDS,
        cluster="flood event",
        where=tables["train"].parent,
        notes=[
            "level L1C (top of atmosphere): blue is brighter than the encoder knows it",
            "Sentinel-2 only; PANGAEA's table adds Sentinel-1",
        ],
    )
