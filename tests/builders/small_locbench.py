"""LocBench's classification sets in TorchSpatial's layout, generated: few images, four classes.

Classes 0 and 2 live in the west, 1 and 3 in the east. The classifier knows the pair (0 or 1; 2 or
3) of every image, and of every fourth test image prefers the wrong one of the pair, by 0.5 to 0.4:
alone it is right in 3 of 4 images, and with a prior that knows east from west in all.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

CLASSES = 4
WRONG = 4  # every so many images


def world(count: int, seed: int) -> pd.DataFrame:
    """lon, lat, label [count]."""
    rng = np.random.default_rng(seed)
    east, pair = rng.integers(0, 2, (2, count))
    lon = np.where(east, 1, -1) * rng.uniform(10, 170, count)
    return pd.DataFrame({"lon": lon, "lat": rng.uniform(-60, 60, count), "label": 2 * pair + east})


def answers(labels) -> np.ndarray:
    """P(y | image) [m, 4]."""
    found = np.full((len(labels), CLASSES), 0.05)
    other = np.asarray(labels) ^ 1
    wrong = np.arange(len(labels)) % WRONG == WRONG - 1
    rows = np.arange(len(labels))
    found[rows, labels] = np.where(wrong, 0.4, 0.5)
    found[rows, other] = np.where(wrong, 0.5, 0.4)
    return found


def parts(train: int = 240, test: int = 80) -> dict[str, pd.DataFrame]:
    return {"train": world(train, 1), "test": world(test, 2)}


def _saved(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        sparse.save_npz(path, sparse.csr_matrix(values))
    else:
        np.save(path, values)


def annotated(
    folder: Path,
    name: str = "inat_2018",
    images: str = "{part}2018.json",
    places: str = "{part}2018_locations.json",
    predictions: str = "features_inception/inat2018_val_preds_sparse.npz",
    **sizes,
) -> Path:
    """iNaturalist, or fMoW by its own names: the test part is "val"; ids start at 1000, and the
    annotations stand in another order than the images."""
    root = folder / "locbench" / name
    root.mkdir(parents=True)
    for part, frame in zip(("train", "val"), parts(**sizes).values()):
        ids = (1000 + np.arange(len(frame))).tolist()
        labels = [
            {"id": k, "image_id": i, "category_id": int(y)}
            for k, (i, y) in enumerate(zip(ids, frame["label"]))
        ]
        about = {"images": [{"id": i, "file_name": f"{i}.jpg"} for i in ids], "annotations": labels}
        about["annotations"] = labels[::-1]
        (root / images.format(part=part)).write_text(json.dumps(about))
        where = [
            {"id": i, "lon": x, "lat": y, "user_id": None, "date_c": 0.5}
            for i, x, y in zip(ids, frame["lon"], frame["lat"])
        ]
        (root / places.format(part=part)).write_text(json.dumps(where))
    _saved(root / predictions, answers(frame["label"]))
    return root


def fmow(folder: Path, **sizes) -> Path:
    return annotated(
        folder,
        "fmow",
        "{part}.json",
        "{part}_location.json",
        "feature_moco/fmow_val_preds.npy",
        **sizes,
    )


def birds(folder: Path, name: str = "birdsnap", **sizes) -> Path:
    """Simulated places for all, true ones (orig_meta) for two thirds; one image in ten is not
    valid, and has no row of answers."""
    root = folder / "locbench" / name
    root.mkdir(parents=True)
    about = {"classes": [f"bird {k}" for k in range(CLASSES)], "info": "generated", "val": []}
    for part, frame in parts(**sizes).items():
        about[part] = []
        for k, (lon, lat, label) in enumerate(frame.itertuples(index=False)):
            place = {"lon": lon, "lat": lat, "date": 0.5, "user_id": k}
            unknown = dict(place, lon=float("nan"), lat=float("nan"), user_id=None)
            entry = {
                "valid_image": True,
                "im_path": f"{k}.jpg",
                "class_id": int(label),
                "ebird_meta": place,
                "orig_meta": unknown if k % 3 == 2 else place,
            }
            about[part].append(entry)
            if k % 9 == 8:
                about[part].append(dict(entry, valid_image=False))
    (root / f"{name}_with_loc_2019.json").write_text(json.dumps(about))  # NaN, as published
    _saved(root / f"features_inception/{name}_test_preds_sparse.npz", answers(frame["label"]))
    return root


def yfcc(folder: Path, **sizes) -> Path:
    """Rows of both splits, mixed."""
    root = folder / "locbench/yfcc"
    root.mkdir(parents=True)
    split = parts(**sizes)
    table = pd.concat([frame.assign(split=part) for part, frame in split.items()])
    table = table.rename(columns={"label": "class"}).sample(frac=1, random_state=0)
    table.to_csv(root / "train_test_split.csv", index=False)
    pd.DataFrame({"id": range(CLASSES), "name": list("abcd")}).to_csv(
        root / "class_names.csv", index=False
    )
    order = table[table["split"] == "test"]["class"].to_numpy()
    _saved(root / "features_inception/YFCC_test_preds.npy", answers(order))
    return root
