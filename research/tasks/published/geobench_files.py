"""GEO-Bench 1.0 in its published layout: partitions, labels and HDF5 samples, without a pickle.

    geobench/classification_v1.0/m-eurosat/default_partition.json   {"train": [ids], ...}
    geobench/classification_v1.0/m-eurosat/label_map.json           {"<class>": [ids]}
    geobench/classification_v1.0/m-eurosat/label_stats.json         {"<id>": one or several hot}
    geobench/classification_v1.0/m-eurosat/band_stats.json          {"<band>": {"mean", "std", ..}}
    geobench/classification_v1.0/m-eurosat/<id>.hdf5                one 2-D dataset a band
    geobench/segmentation_v1.0/m-cashew-plant/...                   and a dataset "label"

(The folders `classification_v1.0` and `segmentation_v1.0` may be left out.) Every sample also has
an attribute `pickle`, and every set a `task_specs.pkl`: these are never opened. A pickle can run
any code when it is read, and nothing is needed from them but the class of a sample, which
`label_map.json` or `label_stats.json` give as well. Where neither is there, write one with the
`geobench` package in an environment where you trust the files.

Bands are told by the names of the HDF5 datasets, such as "08A - Vegetation Red Edge" (a date may
follow). Two published sets name most of their bands wrongly, which is mended here: m-eurosat
(B8A stands last) and m-brick-kiln (ten bands and a true-colour picture).

Sources: ServiceNow/geo-bench, geobench/dataset.py, geobench/task.py and its dataset converters;
its issues #28 (m-eurosat) and #29 (m-brick-kiln) and the converters' band lists. The band means of
m-brick-kiln quoted in public code (83, 91 and 69 for "10" to "12") fit issue #29.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from gairlib.bands import BANDS, MEAN, STD, place
from gairlib.data.tables import path_reason
from gairlib.errors import BadInput
from research.tasks.published.folders import PARTITION
from research.tasks.published.pictures import as_dn

SPLITS = {"train": "train", "val": "valid", "test": "test"}  # ours: theirs

# Code at the start of a dataset's name -> the Sentinel-2 band that it holds (None: none of ours).
SENTINEL2 = {**{f"{n:02d}": f"B{n:02d}" for n in range(1, 13)}, "08A": "B8A"}
EUROSAT = SENTINEL2 | {"08A": "B09", "09": "B10", "10": "B11", "11": "B12", "12": "B8A"}
BRICK_KILN = SENTINEL2 | {
    "06": "B07",
    "07": "B8A",
    "08": "B08",
    "08A": "B11",
    "09": "B12",
    "10": None,
    "11": None,
    "12": None,
}
LANDSAT8 = {"02": "B02", "03": "B03", "04": "B04", "05": "B8A", "06": "B11", "07": "B12"}
COLOURS = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}

# What a set's numbers are: reflectance x 10000, reflectance, or no physical scale.
NAMES = {"m-eurosat": EUROSAT, "m-brick-kiln": BRICK_KILN, "m-forestnet": LANDSAT8}
SCALES = {
    "m-eurosat": 1.0,
    "m-brick-kiln": 1.0,
    "m-bigearthnet": 1.0,
    "m-cashew-plant": 1.0,
    "m-cashew-plantation": 1.0,
    "m-so2sat": 10_000.0,
}


def read_json(path: Path) -> dict:
    """A JSON object; BadInput names the file where it is none."""
    if not path.is_file():
        raise BadInput(f"{path}: this file of the published layout is not there")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise BadInput(f"{path}: not valid JSON ({problem})") from problem
    if not isinstance(found, dict):
        raise BadInput(f"{path}: must hold one JSON object")
    return found


def partition(folder: Path) -> dict[str, list[str]]:
    """Sample ids by split (train, val, test), as published. No id may be in two splits."""
    path = folder / PARTITION
    table = read_json(path)
    found, seen = {}, set()
    for ours, theirs in SPLITS.items():
        ids = table.get(theirs)
        if not isinstance(ids, list) or not ids:
            raise BadInput(f"{path}: the split {theirs!r} must be a list of sample names")
        found[ours] = [str(i) for i in ids]
        double = seen & set(found[ours])
        if double:
            raise BadInput(f"{path}: {sorted(double)[0]} is in two splits")
        seen |= set(found[ours])
        for name in found[ours]:
            if reason := path_reason(f"{name}.hdf5"):
                raise BadInput(f"{path}: {reason}")
            if not (folder / f"{name}.hdf5").is_file():
                raise BadInput(f"{path}: {name}.hdf5 is not in the folder")
    return found


def labels(folder: Path, ids: Sequence[str]) -> np.ndarray:
    """Class names [n] of text, or 0/1 [n, K] where a sample may have several.

    Raises BadInput where a sample has no label, and where only pickles hold them.
    """
    by_class, by_sample = folder / "label_map.json", folder / "label_stats.json"
    if by_class.is_file():
        of = {}
        for name, members in read_json(by_class).items():
            for member in members:
                if of.setdefault(str(member), str(name)) != str(name):
                    raise BadInput(
                        f"{by_class}: {member} has two classes, {of[str(member)]} and {name}"
                    )
        missing = [i for i in ids if i not in of]
        if missing:
            raise BadInput(f"{by_class}: no class for {missing[0]}")
        return np.array([of[i] for i in ids], dtype=str)
    if not by_sample.is_file():
        raise BadInput(
            f"{folder}: neither label_map.json nor label_stats.json; the labels then stand only in "
            "pickled attributes, which are not read since a pickle can run any code. Write "
            "label_map.json ({class: [sample names]}) with the geobench package"
        )
    table = read_json(by_sample)
    missing = [i for i in ids if i not in table]
    if missing:
        raise BadInput(f"{by_sample}: no label for {missing[0]}")
    rows = [np.asarray(table[i], np.float64).reshape(-1) for i in ids]
    if len({len(r) for r in rows}) != 1 or not all(np.isin(r, (0, 1)).all() for r in rows):
        raise BadInput(
            f"{by_sample}: every sample needs as many zeros and ones as there are classes"
        )
    hot = np.stack(rows).astype(np.int64)
    if (hot.sum(1) == 1).all():
        return hot.argmax(1).astype(str)
    return hot


def band_of(name: str, dataset: str) -> str | None:
    """The Sentinel-2 band in an HDF5 dataset of this name; None for radar, masks and labels."""
    if "VH" in name or "VV" in name:
        return None
    plain = COLOURS.get(re.sub(r"[^a-z]", "", re.sub(r"_\d{4}-.*", "", name).lower()))
    code = re.match(r"(\d{2}A?)\s*-", name)
    return NAMES.get(dataset, SENTINEL2).get(code[1]) if code else plain


class Samples:
    """The images of a set, read when they are asked for: [i] -> [10, H, W], [a:b] -> [n, 10, H, W],
    float32 DN. Bands that are not there hold the training mean."""

    def __init__(self, folder: Path, ids: Sequence[str]):
        self.folder, self.ids = folder, list(ids)
        self.dataset = folder.name
        found = {band_of(name, self.dataset): name for name in content(self._path(0))}
        self.names = {b: found[b] for b in BANDS if b in found}
        if not self.names:
            raise BadInput(f"{self._path(0)}: no band of {', '.join(BANDS)} by its name")
        self.bands = ",".join(self.names) if len(self.names) < len(BANDS) else "10"
        self.scale = SCALES.get(self.dataset)
        self.stats = None if self.scale else self._statistics()

    def __len__(self) -> int:
        return len(self.ids)

    def _path(self, i: int) -> Path:
        return self.folder / f"{self.ids[i]}.hdf5"

    def _statistics(self) -> Mapping[str, tuple[float, float]]:
        """Mean and standard deviation of each band as published, by our band name."""
        path = self.folder / "band_stats.json"
        table = read_json(path)
        by_band = {band_of(name, self.dataset): entry for name, entry in table.items()}
        found = {}
        for band in self.names:
            entry = by_band.get(band) or {}
            mean, std = entry.get("mean"), entry.get("std")
            if mean is None or std is None or not std > 0:
                raise BadInput(
                    f"{path}: mean and std of {self.names[band]!r} are needed, since "
                    "the set's numbers have no physical scale"
                )
            found[band] = (float(mean), float(std))
        return found

    def __getitem__(self, row) -> np.ndarray:
        if isinstance(row, slice):
            return np.stack([self[i] for i in range(*row.indices(len(self)))])
        return place(self.image(row)[None], list(self.names))[0][0]

    def image(self, row: int) -> np.ndarray:
        """The bands that are there [k, H, W] in DN, in the order of `names`."""
        row = int(row)
        parts = read_bands(self._path(row), self.names)
        if self.scale is None:  # onto the mean and spread that the encoder knows
            for i, band in enumerate(self.names):
                mean, std = self.stats[band]
                at = BANDS.index(band)
                parts[i] = MEAN[at] + (parts[i] - mean) / std * STD[at]
        return as_dn(parts, self.scale or 1.0)


def content(path: Path) -> list[str]:
    """Sorted names of the datasets in a sample; BadInput where it is no HDF5."""
    try:
        with h5py.File(path, "r") as file:
            return sorted(file)
    except OSError as problem:
        raise BadInput(f"{path}: not readable as HDF5 ({problem})") from problem


def read_bands(path: Path, names: Mapping[str, str]) -> np.ndarray:
    """The datasets of a sample [k, H, W], float64, coarser ones enlarged by repeating pixels."""
    try:
        with h5py.File(path, "r") as file:
            lost = [name for name in names.values() if name not in file]
            if lost:
                raise BadInput(f"{path}: no band {lost[0]!r}, which the first sample has")
            parts = [np.squeeze(np.asarray(file[name], np.float64)) for name in names.values()]
    except OSError as problem:
        raise BadInput(f"{path}: not readable as HDF5 ({problem})") from problem
    side = max(p.shape for p in parts)
    for i, part in enumerate(parts):
        if part.ndim != 2 or side[0] % part.shape[0]:
            raise BadInput(f"{path}: a band of shape {list(part.shape)} beside one of {list(side)}")
        factor = side[0] // part.shape[0]
        parts[i] = part.repeat(factor, 0).repeat(factor, 1)
    return np.stack(parts)


def mask(path: Path) -> np.ndarray:
    """The dataset "label" of a segmentation sample, int64 [H, W]."""
    name = next((n for n in content(path) if n.startswith("label")), None)
    if name is None:
        raise BadInput(f"{path}: no dataset 'label', as segmentation samples have")
    with h5py.File(path, "r") as file:
        return np.squeeze(np.asarray(file[name])).astype(np.int64)
