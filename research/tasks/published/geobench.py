"""Tasks `geobench-<set>`: GEO-Bench 1.0 (Lacoste et al. 2023, arXiv 2306.03831), published splits.

Classification sets get a linear probe on frozen features, segmentation sets the UPerNet of
`research.tasks.segmentation`, m-bigearthnet one ridge a class (`geobench_multilabel`). The layout is in
`geobench_files`. The published validation part is not trained on; a probe chooses its
regularisation inside the training part.

Sets without a physical scale (8-bit aerial pictures, m-forestnet, m-SA-crop-type) are brought onto
the mean and spread that the encoder knows, band by band, with the published `band_stats.json`.
m-so2sat is reflectance. Not certain: the order of m-forestnet's bands, which its names may tell
wrongly as well (torchgeo-bench issue #256).
"""

import numpy as np

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.model import GAIR
from research.evaluation.splits import Folds
from research.tasks import probing as benchmark_probe
from research.tasks import registry
from research.tasks.published import folders, geobench_multilabel
from research.tasks.published import geobench_files as files

PREFIX = "geobench-"
CLASSIFIED = ("m-eurosat", "m-bigearthnet", "m-so2sat", "m-brick-kiln", "m-forestnet", "m-pv4ger")
SEGMENTED = (
    "m-cashew-plant",
    "m-SA-crop-type",
    "m-pv4ger-seg",
    "m-chesapeake-landcover",
    "m-NeonTree",
    "m-nz-cattle",
)


def available(dataset: Dataset) -> dict[str, str]:
    """Task name -> "" where the folder has the set, else the reason. Nothing is read."""
    found = dict.fromkeys(
        (f"{PREFIX}{n}" for n in CLASSIFIED + SEGMENTED),
        f"no folder {folders.WHERE['geobench']} with {folders.PARTITION}",
    )
    return found | {f"{PREFIX}{name}": "" for name in folders.geobench(dataset.folder)}


def notes_on(name: str, bands: str) -> list[str]:
    found = [] if bands == "10" else [f"only {bands} are there; the others hold the training mean"]
    if name not in files.SCALES:
        found.append("brought onto the training data's mean and spread by the published statistics")
    if files.NAMES.get(name) in (files.EUROSAT, files.BRICK_KILN):
        found.append("bands taken by their true order, not by their names (geo-bench #28, #29)")
    return found


def probing(name: str, dataset: Dataset) -> registry.TaskData:
    """A classification set: images that are read when needed, labels and the published split."""
    folder = folders.geobench(dataset.folder)[name]
    parts = files.partition(folder)
    ids = parts["train"] + parts["test"]
    labels = files.labels(folder, ids)
    train, test = np.arange(len(parts["train"])), np.arange(len(parts["train"]), len(ids))
    check_classes(labels, train, test, folder / folders.PARTITION)
    rows = np.arange(len(ids))

    def few(seed: int) -> Folds:
        return [(np.sort(np.random.default_rng(seed).permutation(train)[: registry.FEW]), test)]

    schemes = [
        registry.Scheme(f"published split, {registry.FEW} labels", few, rows),
        registry.Scheme("published split", lambda seed: [(train, test)], rows),
    ]
    samples = files.Samples(folder, ids)
    kind = "classification" if labels.ndim == 1 else "multilabel"
    schemes = schemes[1:] if kind == "multilabel" else schemes
    return registry.TaskData(
        f"{PREFIX}{name}",
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


def run(
    task: str,
    dataset: Dataset,
    model: GAIR,
    *,
    pairs_folder,
    seeds: int,
    device: str,
    extra: benchmark_probe.Options,
):
    """What `research.tasks.registry.FAMILIES` asks of a family. extra: read by sets with one label an image;
    the example also holds their errors by region (`geographic_bias`)."""
    name = task.removeprefix(PREFIX)
    folder = folders.geobench(dataset.folder)[name]
    first = files.partition(folder)["train"][0]
    if any(n.startswith("label") for n in files.content(folder / f"{first}.hdf5")):
        from research.tasks.published import geobench_segmentation
        from research.tasks.segmentation import benchmark

        data = geobench_segmentation.load(name, dataset, model.config.rs_size)
        return benchmark.run(data, model, seeds=seeds, device=device)
    data = probing(name, dataset)
    if data.kind == "multilabel":
        return geobench_multilabel.run(data, dataset, model, seeds=seeds, device=device)
    table, images, regions = benchmark_probe.run(
        data, dataset, model, seeds=seeds, device=device, extra=extra
    )
    example = {"data": data, "images": images, "regions": regions}
    return table, benchmark_probe.mainline(data), data.notes, example
