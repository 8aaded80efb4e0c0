"""`rs-eurosat`: 64-px RGB JPEGs of EuroSAT in folders named by class.

The missing bands are filled with the training mean by the band adapter; no coordinates are given,
so folds are random and stratified, and the bootstrap is over images: its intervals are optimistic
about new places.
"""

import os
from pathlib import Path

import numpy as np

from gairlib import bands
from gairlib.data import photos
from gairlib.data.boundary import listing
from gairlib.data.dataset import Dataset
from gairlib.data.photos import IMAGES
from gairlib.errors import BadInput, Missing
from research.evaluation.splits import stratified
from research.tasks.data import FOLDS, Scheme, TaskData
from research.tasks.labels import MIN_ROWS
from research.tasks.probing import ProbeTask
from research.tasks.task import DEFAULTS, Options
from research.tasks.tiles import TILE_PX

FOLDER = "eurosat_rgb"
SHOWN = 5  # images that are left out, named one by one


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGES


def pictures(folder: Path) -> list[Path]:
    """The pictures in the class folders of a folder, sorted, as `boundary.listing` shows them."""
    classes = listing(folder).folders
    return sorted(p for c in classes for p in listing(c).files if _is_picture(p))


class EuroSAT(ProbeTask):
    """The class of a EuroSAT image."""

    name = "rs-eurosat"
    question = "Does the chip tell its EuroSAT class?"
    claim = "telling the EuroSAT class of a chip"
    subject = "chip"
    held_out = "row"

    def available(self, dataset: Dataset) -> str | None:
        """Images outside class folders count as well: `load` then says what is wrong with them."""
        folder = dataset.folder / FOLDER
        loose = any(map(_is_picture, listing(folder).files))
        there = loose or FOLDER in dataset.benchmarks()
        return None if there else f"no folder {FOLDER}/<class>/*.jpg"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Images as chips [n, 10, 64, 64] in DN; missing bands hold the training mean."""
        folder = dataset.folder / FOLDER
        images, labels, lost = [], [], []
        if FOLDER not in dataset.benchmarks():
            raise BadInput(
                f"{folder}: no class folders with images; EuroSAT's layout is "
                f"{FOLDER}/<class>/*.jpg"
            )
        for path in pictures(folder):
            try:
                rgb = photos.load(path)
                if rgb.shape != (TILE_PX, TILE_PX, 3):
                    raise BadInput(
                        f"{path}: {rgb.shape[1]} x {rgb.shape[0]} pixels; EuroSAT images are "
                        f"{TILE_PX} x {TILE_PX}"
                    )
            except (BadInput, Missing) as problem:
                lost.append(str(problem).replace(f"{folder}{os.sep}", ""))
                continue
            images.append(rgb)
            labels.append(path.parent.name)
        if len(set(labels)) < 2 or len(labels) < MIN_ROWS:
            raise BadInput(
                f"{folder}: {len(labels)} images in {len(set(labels))} class folders; "
                f"{self.name} needs two classes and {MIN_ROWS} images"
                + (f" ({len(lost)} left out, the first: {lost[0]})" if lost else "")
            )
        chips, present = bands.from_rgb(np.stack(images))
        labels, rows = np.array(labels), np.arange(len(labels))
        k = min(FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
        if k < 2:
            raise BadInput(f"{folder}: every class folder needs two images or more")
        scheme = Scheme(
            f"random stratified, {k} folds", lambda seed: stratified(labels, k, seed), rows, "row"
        )
        notes = [
            f"only {', '.join(present)} are given; the other bands hold the training mean",
            "EuroSAT has no coordinates: random folds, bootstrap over images",
        ]
        if lost:
            few = "; ".join(lost[:SHOWN]) + ("; ..." if len(lost) > SHOWN else "")
            notes.append(f"{len(lost)} images left out: {few}")
        return self.data(
            dataset,
            kind="classification",
            target="EuroSAT class",
            inputs=chips,
            labels=labels,
            clusters=rows.astype(str),
            cluster="image",
            schemes=[scheme],
            bands=",".join(present),
            notes=notes,
        )
