"""GEO-Bench's segmentation sets as labelled pictures, in chips of the model's size.

In m-cashew-plant and m-SA-crop-type class 0 is "no data" and a class like the others, as in
GEO-Bench. Names of classes are those of its converters; of other sets they stand in a pickle alone.
"""

from functools import partial

from gairlib.dataset import Dataset
from gairlib.published import folders, geobench
from gairlib.published import geobench_files as files
from gairlib.published.pictures import Picture, assemble
from gairlib.segmentation.data import SegmentationData

CLASSES = {
    "m-cashew-plant": ("no data", "well-managed plantation", "poorly-managed plantation",
                       "non-plantation", "residential", "background", "uncertain"),
    "m-SA-crop-type": ("No Data", "Lucerne/Medics", "Planted pastures", "Fallow", "Wine grapes",
                       "Weeds", "Small grain grazing", "Wheat", "Canola", "Rooibos"),
}  # fmt: skip
CLASSES["m-cashew-plantation"] = CLASSES["m-cashew-plant"]


def load(name: str, dataset: Dataset, size: int) -> SegmentationData:
    """A segmentation set in chips of `size` px; its samples are what the bootstrap draws."""
    folder = folders.geobench(dataset.folder)[name]
    splits, notes, samples = {}, [], None
    for split, ids in files.partition(folder).items():
        samples = files.Samples(folder, ids)
        paths = [folder / f"{i}.hdf5" for i in ids]
        splits[split] = [Picture(i, i, path, partial(samples.image, k),
                                 partial(files.mask, path))
                         for k, (i, path) in enumerate(zip(ids, paths))]
    names = CLASSES.get(name)
    if names is None:
        top = max(int(p.mask().max()) for part in splits.values() for p in part)
        names = tuple(f"class {k}" for k in range(top + 1))
        notes.append("the published file with the classes' names is a pickle and is not read")
    notes += geobench.notes_on(name, samples.bands)
    return assemble(f"{geobench.PREFIX}{name}", splits, names, size=size, bands=[*samples.names],
                    cluster="image", synthetic=dataset.synthetic, complete=False,
                    where=folder / folders.PARTITION, notes=notes)
