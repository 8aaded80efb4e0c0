"""Files of LocBench's geo-aware image classification, as TorchSpatial lays them out.

    locbench/inat_2017/  train2017.json, train2017_locations.json, val2017.json,
                         val2017_locations.json, features_inception/inat2017_val_preds_sparse.npz
    locbench/inat_2018/  the same, of 2018
    locbench/birdsnap/   birdsnap_with_loc_2019.json,
                         features_inception/birdsnap_test_preds_sparse.npz
    locbench/nabirds/    nabirds_with_loc_2019.json,
                         features_inception/nabirds_test_preds_sparse.npz
    locbench/yfcc/       train_test_split.csv, features_inception/YFCC_test_preds.npy
    locbench/fmow/       train.json, train_location.json, val.json, val_location.json,
                         feature_moco/fmow_val_preds.npy

(`geo_prior_data/data/`, as TorchSpatial's own paths are, is taken for `locbench/` as well.)

- annotations of iNaturalist and fMoW: {"images": [{"id"}], "annotations": [{"image_id",
  "category_id"}]}; their locations: [{"id", "lon", "lat", "user_id", "date_c"}].
- birds: {"train", "val", "test": [{"valid_image", "class_id", "orig_meta", "ebird_meta": {"lon",
  "lat", "date", "user_id"}}], "classes"}. orig_meta is where the photo was taken, as far as that is
  known; ebird_meta, the sets with a dagger, a place simulated from eBird.
- YFCC: lon, lat, class, split (train, test).
- P(y | image) of the published classifiers, one row a test image in the order of the annotations
  (of birds with a valid image), one column a class; scipy's sparse format, or NumPy's.

Photographers and dates are not read; public code leaves out training images without them, here
they teach. Test images without a place count, with the classifier's answer as it is (so Mac Aodha
et al. 2019). Sources: file names, keys and order as github.com/seai-lab/TorchSpatial
(main/datasets.py, main/paths.py, main/eva_sh) and github.com/macaodha/geo_prior read them. The
downloads could not be had where this was written: the tests read files generated in their layout.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from gairlib.data import table_files, tables
from gairlib.data.boundary import reading
from gairlib.data.tables import Piece
from gairlib.errors import BadInput, Missing

SHOWN = 3  # reasons that a note tells
LONLAT = ("lon", "lat")
META = ("orig_meta", "ebird_meta")


def annotated(folder: Path, images: str, locations: str) -> Piece:
    """lon, lat, label of the images of one part, and a reason a row or None."""
    path, places_path = folder / images, folder / locations
    about, listed_places = _json(path), _json(places_path)
    names = [str(one) for one in _column(_entries(path, about, "images"), "id")]
    labels = _frame(_entries(path, about, "annotations"), "image_id", "category_id")
    where = _frame(_entries(places_path, listed_places), "id", *LONLAT)
    labels = labels.assign(image_id=labels["image_id"].map(str)).drop_duplicates("image_id")
    where = where.assign(id=where["id"].map(str)).drop_duplicates("id")
    frame = where.set_index("id").reindex(names)
    frame["label"] = labels.set_index("image_id")["category_id"].reindex(names)
    unplaced = ~frame.index.isin(where["id"])
    frame = frame.reset_index(drop=True)
    reasons = tables.no_reasons(frame.index)
    reasons[unplaced] = f"its id is not in {locations}"
    return frame, reasons


def birds(folder: Path, annotations: str, part: str, meta: str) -> Piece:
    """The same of the images of one part of a file of birds that are valid."""
    path = folder / annotations
    entries = [e for e in _entries(path, _json(path), part) if e.get("valid_image")]
    place = [e.get(meta) for e in entries]
    known = [p if isinstance(p, dict) else {} for p in place]
    frame = _frame(known, *LONLAT)
    frame["label"] = pd.Series(_column(entries, "class_id"), dtype=object)
    reasons = tables.no_reasons(frame.index)
    reasons[[not isinstance(p, dict) for p in place]] = f"no {meta}"
    return frame, reasons


def listed(folder: Path, name: str, part: str) -> Piece:
    """The same of the rows of one split of a CSV table."""
    path = folder / name
    frame, reasons = table_files.read(path, (*LONLAT, "class", "split"), text=True)
    rows = frame["split"].eq(part).to_numpy()
    if not rows.any():
        raise BadInput(f"{path}: no row has the split {part!r}")
    frame = frame[rows].rename(columns={"class": "label"})[[*LONLAT, "label"]]
    return frame.reset_index(drop=True), reasons[rows].reset_index(drop=True)


@dataclass(frozen=True)
class Layout:
    """Where a set lies and how it is read. train, test: what `read` is called with."""

    folder: str
    read: Callable[..., Piece]
    train: tuple[str, ...]
    test: tuple[str, ...]
    predictions: str


def _inat(year: int) -> Layout:
    parts = [(f"{part}{year}.json", f"{part}{year}_locations.json") for part in ("train", "val")]
    answers = f"features_inception/inat{year}_val_preds_sparse.npz"
    return Layout(f"inat_{year}", annotated, *parts, answers)


def _birds(name: str, meta: str) -> Layout:
    parts = [(f"{name}_with_loc_2019.json", part, meta) for part in ("train", "test")]
    return Layout(name, birds, *parts, f"features_inception/{name}_test_preds_sparse.npz")


SETS = {
    "inat_2017": _inat(2017),
    "inat_2018": _inat(2018),
    "birdsnap": _birds("birdsnap", META[0]),
    "birdsnap-ebird": _birds("birdsnap", META[1]),
    "nabirds-ebird": _birds("nabirds", META[1]),
    "yfcc": Layout(
        "yfcc",
        listed,
        ("train_test_split.csv", "train"),
        ("train_test_split.csv", "test"),
        "features_inception/YFCC_test_preds.npy",
    ),
    "fmow": Layout(
        "fmow",
        annotated,
        ("train.json", "train_location.json"),
        ("val.json", "val_location.json"),
        "feature_moco/fmow_val_preds.npy",
    ),
}


@dataclass
class Observations:
    """One set, usable rows only. lonlat [n, 2], labels [n] of the training images, all with a
    place; test_lonlat [m, 2] with NaN where no place is known, test_labels [m]; classes K."""

    lonlat: np.ndarray
    labels: np.ndarray
    test_lonlat: np.ndarray
    test_labels: np.ndarray
    classes: int
    answers: sparse.csr_matrix | np.ndarray = field(repr=False)
    answer_rows: np.ndarray = field(repr=False)  # [m] row of `answers` of each test image
    notes: list[str] = field(default_factory=list)

    def image(self, at: slice) -> np.ndarray:
        """P(y | image) [c, K] of a slice of the test images."""
        part = self.answers[self.answer_rows[at]]
        return np.asarray(part.toarray() if sparse.issparse(part) else part, np.float64)


def load(folder: Path, layout: Layout) -> Observations:
    """Reads a set. Rows that cannot be used are left out one by one, with their reasons in the
    notes; BadInput or Missing, naming file and key, where a file is none of this layout."""
    answers = predictions(folder / layout.predictions)
    classes, notes, parts = answers.shape[1], [], []
    for part in (layout.train, layout.test):
        frame, reasons = layout.read(folder, *part)
        parts.append(_checked(frame, reasons, classes))
    (train, lost), (test, spoilt) = parts
    where = folder / layout.test[0]
    if len(test) != answers.shape[0]:
        raise BadInput(
            f"{folder / layout.predictions}: {answers.shape[0]} rows, but {layout.test[0]} has "
            f"{len(test)} test images; one row an image is needed"
        )
    spoilt = tables.first_of(spoilt, _odd_answers(answers))
    for frame, reasons, path in ((train, lost, folder / layout.train[0]), (test, spoilt, where)):
        if reasons.notna().any():
            notes.append(_told(reasons, path.name))
        if not (reasons.isna() & frame["lon"].notna()).any():
            why = reasons.dropna().iloc[0] if reasons.notna().any() else "none has a place"
            raise BadInput(f"{path}: no usable image of {len(frame)} ({why})")
    placed = train["lon"].notna()
    if not placed[lost.isna()].all():
        count = int((~placed[lost.isna()]).sum())
        notes.append(f"{count:,} training images without a place teach nothing")
    train = train[lost.isna() & placed]
    good = np.flatnonzero(spoilt.isna())
    test = test.iloc[good]
    return Observations(
        train[[*LONLAT]].to_numpy(np.float64),
        train["label"].to_numpy(np.int64),
        test[[*LONLAT]].to_numpy(np.float64),
        test["label"].to_numpy(np.int64),
        classes,
        answers,
        good,
        notes,
    )


def predictions(path: Path) -> sparse.csr_matrix | np.ndarray:
    """P(y | image) [m, K] as a file holds it; dense ones stay on the disk."""
    if not path.is_file():
        raise Missing(f"{path}: there is no such file; it holds the image classifier's answers")
    with reading(path, "not readable as a table of a classifier's answers"):
        if path.suffix == ".npz":
            found = sparse.csr_matrix(sparse.load_npz(path))
        else:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim != 2 or found.shape[1] < 2 or found.dtype.kind not in "fiu":
        raise BadInput(f"{path}: {found.dtype} {found.shape}; numbers [images, classes] are needed")
    return found


def _checked(frame: pd.DataFrame, reasons: pd.Series, classes: int) -> Piece:
    """lon and lat as degrees (NaN: no place is known), label as a whole number, and reasons."""
    frame = frame.copy()
    known = frame[[*LONLAT]].notna().any(axis=1)
    places = frame.loc[known, [*LONLAT]].reset_index(drop=True)
    odd = tables.positions(places, grid=True)
    found = np.full((len(frame), 2), np.nan)
    found[known] = places
    frame[[*LONLAT]] = found
    wrong = tables.no_reasons(frame.index)
    wrong[known] = odd.to_numpy()
    numbers = tables.numbers(frame["label"])
    whole = numbers.between(0, classes - 1) & (numbers % 1 == 0)
    texts = frame["label"].map(repr).astype(object)
    unclassed = tables.no_reasons(frame.index)
    unclassed[~whole] = "class " + texts[~whole] + f": not a whole number from 0 to {classes - 1}"
    frame["label"] = numbers.where(whole, -1).astype(np.int64)
    return frame, tables.first_of(reasons, wrong, unclassed)


def _odd_answers(answers) -> pd.Series:
    """Why a row of answers is none, for each row."""
    reasons = tables.no_reasons(pd.RangeIndex(answers.shape[0]))
    for start in range(0, answers.shape[0], 4096):
        part = answers[start : start + 4096]
        part = part.toarray() if sparse.issparse(part) else np.asarray(part)
        bad = ~((part >= 0) & (part < np.inf)).all(1) | ~(part > 0).any(1)
        reasons.iloc[start + np.flatnonzero(bad)] = (
            "the classifier's answers are not all finite and from 0 on, one of them above 0"
        )
    return reasons


def _told(reasons: pd.Series, name: str) -> str:
    """A sentence on the rows that are left out: how many, and the first reasons."""
    lost = reasons.dropna()
    shown = "; ".join(f"image {row}: {why}" for row, why in lost.iloc[:SHOWN].items())
    more = f"; {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
    return f"{len(lost):,} of {len(reasons):,} images of {name} left out ({shown}{more})"


def _json(path: Path):
    if not path.is_file():
        raise Missing(f"{path}: there is no such file")
    with reading(path, "not valid JSON"):
        return json.loads(path.read_text(encoding="utf-8-sig"))


def _entries(path: Path, about, key: str | None = None) -> list[dict]:
    """The list of objects under a key (None: the file itself)."""
    if key is not None:
        if not isinstance(about, dict) or key not in about:
            have = ", ".join(list(about)[:8]) if isinstance(about, dict) else "no object"
            raise BadInput(f"{path}: no key {key!r}; it has {have}")
        about = about[key]
    named = f"{path}, {key!r}" if key else f"{path}"
    if not isinstance(about, list):
        raise BadInput(f"{named}: a list is needed, not {type(about).__name__}")
    odd = Counter(type(one).__name__ for one in about if not isinstance(one, dict))
    if odd:
        raise BadInput(f"{named}: its entries must be objects, not {odd.most_common(1)[0][0]}")
    return about


def _column(entries: Sequence[dict], key: str) -> list:
    """The values of a key, None where an entry lacks it."""
    return [one.get(key) for one in entries]


def _frame(entries: Sequence[dict], *keys: str) -> pd.DataFrame:
    return pd.DataFrame({key: _column(entries, key) for key in keys}, dtype=object)
