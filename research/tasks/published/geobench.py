"""Tasks `geobench-<set>`: GEO-Bench 1.0 (Lacoste et al. 2023, arXiv 2306.03831), published splits.

Classification sets get a linear probe on frozen features, segmentation sets the UPerNet of
`research.tasks.segmentation`, m-bigearthnet one ridge a class (`geobench_multilabel`). The layout
is in `geobench_files`. The published validation part is not trained on; a probe chooses its
regularisation inside the training part.

Sets without a physical scale (8-bit aerial pictures, m-forestnet, m-SA-crop-type) are brought onto
the mean and spread that the encoder knows, band by band, with the published `band_stats.json`.
m-so2sat is reflectance. Not certain: the order of m-forestnet's bands, which its names may tell
wrongly as well (torchgeo-bench issue #256).

In m-cashew-plant and m-SA-crop-type class 0 is "no data" and a class like the others, as in
GEO-Bench. Names of classes are those of its converters; of other sets they stand in a pickle alone,
and their number is that of the paper (arXiv 2306.03831, table 2). 255 is ignored.
"""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.evaluation.splits import Folds
from research.tasks import probing as probe_tasks
from research.tasks.data import FEW, Scheme, TaskData
from research.tasks.published import folders, geobench_multilabel
from research.tasks.published import geobench_files as files
from research.tasks.published.pictures import Picture, assemble
from research.tasks.segmentation import benchmark
from research.tasks.segmentation.data import IGNORE, SegmentationData
from research.tasks.task import DEFAULTS, Measured, Options, Task

PUBLISHED = "published split"
CLASSIFIED = ("m-eurosat", "m-bigearthnet", "m-so2sat", "m-brick-kiln", "m-forestnet", "m-pv4ger")
SEGMENTED = (
    "m-cashew-plant",
    "m-SA-crop-type",
    "m-pv4ger-seg",
    "m-chesapeake-landcover",
    "m-NeonTree",
    "m-nz-cattle",
)


CLASSES = {
    "m-cashew-plant": (
        "no data",
        "well-managed plantation",
        "poorly-managed plantation",
        "non-plantation",
        "residential",
        "background",
        "uncertain",
    ),
    "m-SA-crop-type": (
        "No Data",
        "Lucerne/Medics",
        "Planted pastures",
        "Fallow",
        "Wine grapes",
        "Weeds",
        "Small grain grazing",
        "Wheat",
        "Canola",
        "Rooibos",
    ),
}
CLASSES["m-cashew-plantation"] = CLASSES["m-cashew-plant"]
COUNTS = {"m-pv4ger-seg": 2, "m-chesapeake-landcover": 7, "m-NeonTree": 2, "m-nz-cattle": 2}


@dataclass(frozen=True)
class GeoBench(Task):
    """A set of GEO-Bench. What kind it is of is seen in its files, so a result may say
    "segmentation" instead of "probe"."""

    set: str
    subject = "chip"
    held_out = PUBLISHED
    kind = "probe"

    @property
    def name(self) -> str:
        return f"geobench-{self.set}"

    @property
    def question(self) -> str:
        return f"Does the chip tell the classes of GEO-Bench's {self.set}?"

    @property
    def claim(self) -> str:
        return f"telling the classes of GEO-Bench's {self.set}"

    @classmethod
    def instances(cls, dataset: Dataset) -> list[Self]:
        there = folders.geobench(dataset.folder)
        return [cls(name) for name in dict.fromkeys((*CLASSIFIED, *SEGMENTED, *there))]

    def available(self, dataset: Dataset) -> str | None:
        """None where the folder has the set. Nothing is read."""
        if self.set in folders.geobench(dataset.folder):
            return None
        return f"no folder {folders.WHERE['geobench']} with {folders.PARTITION}"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData | SegmentationData:
        folder = folders.geobench(dataset.folder)[self.set]
        first = files.partition(folder)["train"][0]
        if any(n.startswith("label") for n in files.content(folder / f"{first}.hdf5")):
            return segmentation(self.set, dataset, options.model.config.rs_size)
        return probing(self.set, dataset)

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        data = self.load(dataset, options)
        if isinstance(data, SegmentationData):
            found = benchmark.measure(data, options)
            found.kind = "segmentation"
            return found
        if data.kind == "multilabel":
            return geobench_multilabel.measure(data, dataset, options)
        return probe_tasks.measure(data, dataset, options)


def notes_on(name: str, bands: str) -> list[str]:
    found = [] if bands == "10" else [f"only {bands} are there; the others hold the training mean"]
    if name not in files.SCALES:
        found.append("brought onto the training data's mean and spread by the published statistics")
    if files.NAMES.get(name) in (files.EUROSAT, files.BRICK_KILN):
        found.append("bands taken by their true order, not by their names (geo-bench #28, #29)")
    return found


def probing(name: str, dataset: Dataset) -> TaskData:
    """A classification set: images that are read when needed, labels and the published split."""
    folder = folders.geobench(dataset.folder)[name]
    parts = files.partition(folder)
    ids = parts["train"] + parts["test"]
    labels = files.labels(folder, ids)
    train, test = np.arange(len(parts["train"])), np.arange(len(parts["train"]), len(ids))
    check_classes(labels, train, test, folder / folders.PARTITION)
    rows = np.arange(len(ids))

    def few(seed: int) -> Folds:
        return [(np.sort(np.random.default_rng(seed).permutation(train)[:FEW]), test)]

    schemes = [
        Scheme(f"{PUBLISHED}, {FEW} labels", few, rows, PUBLISHED, FEW),
        Scheme(PUBLISHED, lambda seed: [(train, test)], rows, PUBLISHED),
    ]
    samples = files.Samples(folder, ids)
    kind = "classification" if labels.ndim == 1 else "multilabel"
    schemes = schemes[1:] if kind == "multilabel" else schemes
    return TaskData(
        GeoBench(name).name,
        "rs",
        kind,
        f"{name} class",
        samples,
        labels,
        rows.astype(str),
        "image",
        schemes,
        dataset.synthetic,
        samples.bands,
        notes_on(name, samples.bands),
    )


def segmentation(name: str, dataset: Dataset, size: int) -> SegmentationData:
    """A segmentation set in chips of `size` px; its samples are what the bootstrap draws."""
    folder = folders.geobench(dataset.folder)[name]
    splits, notes, samples = {}, [], None
    for split, ids in files.partition(folder).items():
        samples = files.Samples(folder, ids)
        paths = [folder / f"{i}.hdf5" for i in ids]
        splits[split] = [
            Picture(i, i, path, partial(samples.image, k), partial(files.mask, path))
            for k, (i, path) in enumerate(zip(ids, paths))
        ]
    names = CLASSES.get(name)
    if names is None:
        count = COUNTS.get(name) or _count(splits)
        names = tuple(f"class {k}" for k in range(count))
        notes.append("the published file with the classes' names is a pickle and is not read")
    notes += notes_on(name, samples.bands)
    return assemble(
        GeoBench(name).name,
        splits,
        names,
        size=size,
        bands=[*samples.names],
        cluster="image",
        synthetic=dataset.synthetic,
        complete=False,
        where=folder / folders.PARTITION,
        notes=notes,
    )


def _count(splits: dict[str, list[Picture]]) -> int:
    """Classes of a set that nothing else is known of: its largest label and one more."""
    masks = (p.mask() for part in splits.values() for p in part)
    return 1 + max(int(m[m != IGNORE].max(initial=0)) for m in masks)


def check_classes(labels: np.ndarray, train, test, path) -> None:
    """BadInput where a class occurs in one part and not in the other. Labels [n] or 0/1 [n, K]."""
    if labels.ndim == 1:
        kinds = [set(labels[part]) for part in (train, test)]
    else:
        kinds = [set(np.flatnonzero(labels[part].any(0)).tolist()) for part in (train, test)]
    for have, lack, split in ((kinds[0], kinds[1], "test"), (kinds[1], kinds[0], "train")):
        if have - lack:
            raise BadInput(
                f"{path}: class {sorted(have - lack)[0]} has no image in the split {split!r}"
            )
    if len(kinds[0]) < 2:
        raise BadInput(f"{path}: fewer than two classes")
