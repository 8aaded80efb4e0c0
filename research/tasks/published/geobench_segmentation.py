"""GEO-Bench's segmentation sets as labelled pictures, in chips of the model's size.

In m-cashew-plant and m-SA-crop-type class 0 is "no data" and a class like the others, as in
GEO-Bench. Names of classes are those of its converters; of other sets they stand in a pickle alone,
and their number is that of the paper (arXiv 2306.03831, table 2). 255 is ignored.
"""

from functools import partial

from gairlib.data.dataset import Dataset
from research.tasks.published import folders, geobench
from research.tasks.published import geobench_files as files
from research.tasks.published.pictures import Picture, assemble
from research.tasks.segmentation.data import IGNORE, SegmentationData

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


def load(name: str, dataset: Dataset, size: int) -> SegmentationData:
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
    notes += geobench.notes_on(name, samples.bands)
    return assemble(
        f"{geobench.PREFIX}{name}",
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
