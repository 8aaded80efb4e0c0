"""`rs-eurosat`: 64-px RGB JPEGs of EuroSAT in folders named by class; `rs-eurosat-ms`: its tiles
of 13 bands in such folders.

The bands that the JPEGs lack are filled with the training mean by the band adapter; no coordinates
are used, so folds are random and stratified, and the bootstrap is over images: its intervals are
optimistic about new places.
"""

from pathlib import Path

import numpy as np

from gairlib import bands
from gairlib.data import photos, scenes
from gairlib.data.boundary import inside, listing
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.evaluation.splits import stratified
from research.tasks.class_folders import is_picture, read
from research.tasks.data import FOLDS, Scheme, TaskData
from research.tasks.labels import MIN_ROWS
from research.tasks.probing import ProbeTask
from research.tasks.task import DEFAULTS, Options, Task

SHOWN = 5  # images that are left out, named one by one


class EuroSAT(ProbeTask):
    """The class of a EuroSAT image."""

    name = "rs-eurosat"
    question = "Does the chip tell its EuroSAT class?"
    claim = "telling the EuroSAT class of a chip"
    subject = "chip"
    held_out = "row"
    folder, layout = "eurosat_rgb", "<class>/*.jpg"

    def available(self, dataset: Dataset) -> str | None:
        """Images outside class folders count as well: `load` then says what is wrong with them."""
        folder = inside(dataset.folder, self.folder)
        loose = any(map(is_picture, listing(folder).files))
        if loose or self.folder in dataset.benchmarks():
            return None
        lost = [r for r in dataset.rejected if r["kind"] == "benchmark"]
        why = {r["item"].lower(): f"{r['item']}/: {r['reason']}" for r in lost}
        return why.get(self.folder, f"no folder {self.folder}/{self.layout}")

    def image(self, path: Path) -> np.ndarray:
        """One image, uint8 [64, 64, 3]."""
        return photos.load(path)

    def chips(self, images: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], str]:
        """All images as chips [n, 10, 64, 64] in DN, the bands that are there, and a note."""
        chips, present = bands.from_rgb(images)
        rest = "the other bands hold the training mean"
        return chips, present, f"only {', '.join(present)} are given; {rest}"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Images as chips [n, 10, 64, 64] in DN; what cannot be read is left out by name."""
        folder = dataset.benchmarks().get(self.folder)
        if folder is None:
            raise BadInput(
                f"{dataset.folder / self.folder}: no class folders with images; EuroSAT's layout "
                f"is {self.folder}/{self.layout}"
            )
        images, labels, lost = read(folder, self.image)
        if len(set(labels)) < 2 or len(labels) < MIN_ROWS:
            raise BadInput(
                f"{folder}: {len(labels)} images in {len(set(labels))} class folders; "
                f"{self.name} needs two classes and {MIN_ROWS} images"
                + (f" ({len(lost)} left out, the first: {lost[0]})" if lost else "")
            )
        chips, present, note = self.chips(np.stack(images))
        labels, rows = np.array(labels), np.arange(len(labels))
        k = min(FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
        scheme = Scheme(
            f"random stratified, {k} folds", lambda seed: stratified(labels, k, seed), rows, "row"
        )
        notes = [note, "EuroSAT has no coordinates: random folds, bootstrap over images"]
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


class EuroSATMultispectral(EuroSAT):
    """The class of a EuroSAT tile with its 13 bands, GeoTIFFs as published (B8A last)."""

    name = "rs-eurosat-ms"
    question = "Do the ten bands of a chip tell its EuroSAT class?"
    claim = "telling the EuroSAT class of a chip with all bands"
    folder, layout = "eurosat_ms", "<class>/*.tif"

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Task]:
        """Only where its folder is there: `rs-eurosat` asks the same."""
        there = cls.folder in dataset.benchmarks() or inside(dataset.folder, cls.folder).is_dir()
        return [cls()] if there else []

    def image(self, path: Path) -> np.ndarray:
        """The ten bands, uint16 [10, 64, 64], by their names or in EuroSAT's order."""
        try:
            scene = scenes.open_scene(path, layout="eurosat-ms")
        except BadInput:  # named bands in another order, or ten of them; EuroSAT is of 2018
            scene = scenes.open_scene(path, row={"processing_baseline": "02.06"})
        return scenes.read(scene)

    def chips(self, images: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], str]:
        """The images are chips."""
        return images, bands.BANDS, "level 1C, top of the atmosphere: blue is too bright"
