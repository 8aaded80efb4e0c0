"""Small files in the layouts of published benchmarks, generated: a few images of each set.

Images are such that the class can be read off the pixels: bright where the class is 1.
"""

import json
import pickle
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

STUDIES = {"safe": "50a68a51fdc9f05596000002", "lively": "50f62c41a84ea7c5fdd2e454"}
S2_NAMES = [
    "01 - Coastal aerosol",
    "02 - Blue",
    "03 - Green",
    "04 - Red",
    "05 - Vegetation Red Edge",
    "06 - Vegetation Red Edge",
    "07 - Vegetation Red Edge",
    "08 - NIR",
    "08A - Vegetation Red Edge",
    "09 - Water vapour",
    "10 - SWIR - Cirrus",
    "11 - SWIR",
    "12 - SWIR",
]


def write(path: Path, values: np.ndarray) -> Path:
    """A GeoTIFF without a position: [k, H, W] or [H, W]."""
    values = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(values),
            width=values.shape[2],
            height=values.shape[1],
            dtype=values.dtype,
        ) as file:
            file.write(values)
    return path


def halves(side: int, k: int) -> np.ndarray:
    """Classes 0 and 1 [side, side], the border another one in each image."""
    mask = np.zeros((side, side), np.int16)
    mask[:, side // 4 + k % 4 :] = 1
    return mask


def sen1floods11(folder: Path, side: int = 40) -> Path:
    """Two events; 13 bands of DN 1000 + 10 x band, 3000 more on land; a row without data."""
    root = folder / "pangaea/sen1floods11/v1.1"
    hand = root / "data/flood_events/HandLabeled"
    names = {
        "train": ["Ghana_1", "Ghana_2", "Spain_3"],
        "valid": ["Ghana_4"],
        "test": ["Spain_5", "Spain_6", "Ghana_7"],
    }
    (root / "splits/flood_handlabeled").mkdir(parents=True)
    for split, stems in names.items():
        rows = [f"{s}_S1Hand.tif,{s}_LabelHand.tif" for s in stems]
        table = root / f"splits/flood_handlabeled/flood_{split}_data.csv"
        table.write_text("\n".join(rows) + "\n")
        for k, stem in enumerate(stems):
            mask = halves(side, k)
            image = 1000 + 10 * np.arange(13)[:, None, None] + 3000 * (1 - mask)
            mask[0] = -1
            write(hand / f"S2Hand/{stem}_S2Hand.tif", image.astype(np.int16))
            write(hand / f"LabelHand/{stem}_LabelHand.tif", mask)
    return root


def hlsburnscars(folder: Path, side: int = 40) -> Path:
    """Ten training and two validation chips: reflectance 0.1, 0.4 where burnt; a pixel of 9999."""
    root = folder / "pangaea/hlsburnscars"
    for part, count in (("training", 10), ("validation", 2)):
        for k in range(count):
            stem = f"subsetted_512x512_HLS.S30.T10SE{'GHJK'[k % 4]}.2018{100 + k}.v1.4"
            mask = halves(side, k)
            image = (0.1 + 0.3 * mask + np.zeros((6, 1, 1))).astype(np.float32)
            image[:, 0, 0] = 9999
            mask[-1] = -1
            write(root / part / f"{stem}_merged.tif", image)
            write(root / part / f"{stem}.mask.tif", mask)
    return root


def mados(folder: Path, side: int = 24) -> Path:
    """Two satellites' band names, 20-m and 60-m bands at their own size, all 15 classes sparse."""
    root = folder / "pangaea/mados"
    bands = [
        ((443, 442), 60),
        ((492, 492), 10),
        ((560, 559), 10),
        ((665, 665), 10),
        ((704, 704), 20),
        ((740, 739), 20),
        ((783, 780), 20),
        ((833, 833), 10),
        ((865, 864), 20),
        ((1614, 1610), 20),
        ((2202, 2186), 20),
    ]
    (root / "splits").mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        names = []
        for crop in (1, 2):
            scene = f"Scene_{number}"
            for nms, metres in bands:
                nm, size = nms[crop - 1], side * 10 // metres
                values = np.full((size, size), nm / 10_000, np.float32)
                values[0, 0] = np.nan if metres == 10 else -0.002
                write(root / scene / f"{metres}/{scene}_L2R_rhorc_{nm}_{crop}.tif", values)
            mask = np.zeros((side, side), np.uint8)
            mask[2, :15] = np.arange(1, 16)
            write(root / scene / f"10/{scene}_L2R_cl_{crop}.tif", mask)
            names.append(f"{scene}_{crop}")
        (root / f"splits/{split}_X.txt").write_text("\n".join(names) + "\n")
    return root


def ai4smallfarms(folder: Path, side: int = 40) -> Path:
    """One to three tiles a part, four bands, masks of 0 and 255."""
    root = folder / "pangaea/ai4smallfarms/sentinel-2-asia"
    for part, count in (("train", 3), ("validate", 1), ("test", 2)):
        for k in range(count):
            mask = halves(side, k)
            image = np.array([700, 1000, 1100, 2400])[:, None, None] + 1500 * mask
            write(root / part / f"images/{k}_vietnam.tif", image.astype(np.uint16))
            write(root / part / f"masks/{k}_vietnam.tif", (mask * 255).astype(np.uint8))
    return root


class Trap:
    """A pickle that leaves a trace when it is opened: no reader may do that."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def sample(path: Path, bands: dict[str, np.ndarray]) -> None:
    """One HDF5 sample with the pickled attribute that published files have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in bands.items():
            file.create_dataset(name, data=values)
        file.attrs["pickle"] = str(pickle.dumps(Trap(path.parent / "opened")))


def geobench(
    folder: Path,
    name: str,
    *,
    kind: str = "classification",
    count: int = 36,
    side: int = 16,
    bands: list[str] = S2_NAMES,
    scale: float = 1.0,
) -> Path:
    """A set of GEO-Bench; kind: "classification", "multilabel" or "segmentation". Band number b
    holds 1000 + 10 b, and 2000 more where the class is 1."""
    benchmark = "segmentation_v1.0" if kind == "segmentation" else "classification_v1.0"
    root = folder / "geobench" / benchmark / name
    ids = [f"id_{i:04d}" for i in range(count)]
    parts = {
        "train": ids[: count // 2],
        "valid": ids[count // 2 : count * 2 // 3],
        "test": ids[count * 2 // 3 :],
    }
    rng = np.random.default_rng(0)
    by_class, by_sample = {"0": [], "1": []}, {}
    for i, one in enumerate(ids):
        bright = halves(side, i) if kind == "segmentation" else np.full((side, side), i % 2)
        content = {
            n: ((1000 + 10 * b + 2000 * bright + rng.integers(0, 5, (side, side))) * scale).astype(
                np.float32
            )
            for b, n in enumerate(bands)
        }
        if kind == "segmentation":
            content["label"] = bright.astype(np.uint8)
        sample(root / f"{one}.hdf5", content)
        by_class[str(i % 2)].append(one)
        by_sample[one] = [i % 2, 1 - i % 2, int(i % 3 > 0)]
    (root / "default_partition.json").write_text(json.dumps(parts))
    if kind == "classification":
        (root / "label_map.json").write_text(json.dumps(by_class))
    if kind == "multilabel":
        (root / "label_stats.json").write_text(json.dumps(by_sample))
    (root / "band_stats.json").write_text(
        json.dumps(
            {n: {"mean": (2000 + 10 * b) * scale, "std": 1000 * scale} for b, n in enumerate(bands)}
        )
    )
    (root / "task_specs.pkl").write_bytes(pickle.dumps(Trap(root / "opened")))
    return root


def place_pulse(folder: Path, *, photos: int = 40, cities: int = 10, qscores: bool = False) -> Path:
    """Photos whose brightness is how safe they are, votes of all pairs of neighbours by it."""
    root = folder / "placepulse"
    (root / "images").mkdir(parents=True)
    ids = [f"50b{i:03d}" for i in range(photos)]
    for i, one in enumerate(ids):
        city = f"City{i % cities}"
        lat, lon = 40 + i % cities, 10 + 0.001 * i
        Image.new("RGB", (24, 24), (5 * i % 256,) * 3).save(
            root / f"images/{lat:.6f}_{lon:.6f}_{one}_{city}.JPG"
        )
    rows = []
    for i in range(photos):
        for step in range(1, 7):
            j = (i + step) % photos
            left, right = (i, j) if step % 2 else (j, i)
            choice = "equal" if step == 6 else "left" if left > right else "right"
            rows.append((f"v{len(rows)}", choice, ids[left], ids[right], STUDIES["safe"]))
    rows.append(("other", "right", ids[0], ids[1], STUDIES["lively"]))
    pd.DataFrame(rows, columns=["_id", "choice", "left", "right", "study_id"]).to_csv(
        root / "votes.tsv", sep="\t", index=False
    )
    if qscores:
        pd.DataFrame(
            {
                "location_id": ids,
                "study_id": STUDIES["safe"],
                "trueskill.score": np.linspace(1, 9, photos),
            }
        ).to_csv(root / "qscores.tsv", sep="\t", index=False)
    return root


def read(part):
    """All images and masks of a split, as the loader gives them."""
    pairs = [part.read(i) for i in range(len(part))]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
