"""The remote-sensing tasks: land cover of tiles, EuroSAT in RGB, and street labels from above.

`rs-street-<column>`: what a photo is labelled with (its visible green, its buildings) is guessed
from the chip alone, read at the photo's position: the local embedding must know what a street
looks like. No photo is used.

`rs-landcover`: each scene is cut into 64-px tiles (640 m) every 32 px; the label is the class that
covers most of the tile. Tiles overlap, so only whole sites are held out and resampled.

`rs-built_up`: the share of the same tiles that is built up, a number in [0, 1].

`rs-eurosat`: 64-px RGB JPEGs in folders named by class. The missing bands are filled with the
training mean by the band adapter; no coordinates are given, so folds are random and stratified, and
the bootstrap is over images: its intervals are optimistic about new places.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from gairlib import bands, geo
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.data.photos import IMAGES
from gairlib.errors import BadInput
from gairlib.pairs import store
from research.evaluation.splits import stratified
from research.tasks import registry
from research.tasks.task_labels import MIN_CLASS, MIN_ROWS, check_split, label_kind, labelled


def scene_sites(dataset: Dataset) -> tuple[dict[str, str], dict[str, str]]:
    """Scene id -> site, and scene id -> split, as far as scenes.csv and sites.csv tell."""
    site, split = {}, {}
    table, places = dataset.folder / "scenes.csv", dataset.folder / "sites.csv"
    if table.is_file():
        rows = pd.read_csv(table, dtype=str)
        for column, found in (("site", site), ("split", split)):
            if column in rows:
                known = rows[rows[column].notna()]
                found.update(zip(known["scene_id"], known[column]))
    if places.is_file() and site:
        rows = pd.read_csv(places, dtype=str)
        if {"site", "split"} <= set(rows):
            by_site = dict(zip(rows["site"], rows["split"]))
            split.update({s: by_site[p] for s, p in site.items() if p in by_site})
    return site, split


def window_of(cover: np.ndarray, scene, transform, size: int) -> np.ndarray:
    """The part of a map on a scene's grid [H, W] that a tile of `size` pixels covers."""
    col, row = ~scene.transform @ (transform.c, transform.f)
    col_end, row_end = ~scene.transform @ (transform @ (size, size))
    return cover[
        max(int(round(row)), 0) : int(round(row_end)), max(int(round(col)), 0) : int(round(col_end))
    ]


def _majority(window: np.ndarray, classes: dict) -> str:
    """Name of the class that covers most of a tile, "" where none is known."""
    values, counts = np.unique(window, return_counts=True)
    known = [(n, v) for v, n in zip(values.tolist(), counts.tolist()) if v in classes]
    return classes[max(known)[1]] if known else ""


def _built_share(window: np.ndarray, classes: dict) -> float:
    """Share of the known cells whose class is of buildings; NaN where none is known."""
    known = np.isin(window, list(classes))
    built = np.isin(window, [v for v, name in classes.items() if is_built(name)])
    return float(built.sum() / known.sum()) if known.any() else np.nan


def is_built(name: str) -> bool:
    """Whether a class name of a land-cover map means buildings ("built-up", "low buildings")."""
    return "built" in name.lower() or "building" in name.lower()


def _tiles(dataset: Dataset, label_of, empty) -> tuple[np.ndarray, pd.DataFrame]:
    """Every tile of the scenes with a map: chips [n, 10, 64, 64], and label, site, split and the
    middle's lon and lat."""
    site_of, split_of = scene_sites(dataset)
    chips, rows = [], []
    for scene in dataset.scenes():
        found = dataset.landcover(scene.id)
        if found is None:
            continue
        cover, classes = found
        for chip, transform in scenes.tiles(
            scene, registry.TILE_PX, registry.TILE_M, registry.TILE_STRIDE
        ):
            label = label_of(window_of(cover, scene, transform, registry.TILE_PX), classes)
            if label != empty and label == label:
                chips.append(chip)
                ((lon, lat),) = geo.chip_lonlat([[0.0, 0.0]], scene.crs, transform, chip.shape[1:])
                rows.append(
                    (label, site_of.get(scene.id, scene.id), split_of.get(scene.id, ""), lon, lat)
                )
    table = pd.DataFrame(rows, columns=["label", "site", "split", "lon", "lat"])
    return np.stack(chips), table.assign(row=np.arange(len(table)))


def built_up(dataset: Dataset) -> registry.TaskData:
    """Tiles [n, 10, 64, 64] in DN with the share of their ground that is built up, in [0, 1]."""
    chips, table = _tiles(dataset, _built_share, "")
    split = table["split"] if (table["split"] != "").all() else None
    sites = table["site"].to_numpy(dtype=str)
    return registry.TaskData(
        "rs-built_up",
        "rs",
        "regression",
        "built-up share",
        chips,
        table["label"].to_numpy(np.float64),
        sites,
        "site",
        registry.site_schemes(split, sites),
        dataset.synthetic,
        "10",
        [],
        table[["lon", "lat"]].to_numpy(np.float64),
    )


def landcover(dataset: Dataset) -> registry.TaskData:
    """Tiles [n, 10, 64, 64] in DN with the name of their dominant class."""
    chips, table = _tiles(dataset, _majority, "")
    notes: list[str] = []
    table, labels = labelled(
        table.rename(columns={"label": "landcover"}), "landcover", "classification", "tiles", notes
    )
    if table["landcover"].nunique() < 2:
        raise BadInput(
            f"{dataset.name}: fewer than two land-cover classes dominate "
            f"{MIN_CLASS} tiles; rs-landcover needs two"
        )
    sites = table["site"].to_numpy(dtype=str)
    split = table["split"] if (table["split"] != "").all() else None
    check_split(labels, split, f"{dataset.name}: landcover/, dominant class of tiles")
    data = chips[table["row"]]
    return registry.TaskData(
        "rs-landcover",
        "rs",
        "classification",
        "dominant land cover",
        data,
        labels,
        sites,
        "site",
        registry.site_schemes(split, sites),
        dataset.synthetic,
        "10",
        notes,
        table[["lon", "lat"]].to_numpy(np.float64),
    )


def without_eurosat(dataset: Dataset) -> str:
    """Why rs-eurosat cannot run, "" where eurosat_rgb/ holds images. Images outside class folders
    count as well: `eurosat` then says what is wrong with them."""
    folder = dataset.folder / "eurosat_rgb"
    loose = folder.is_dir() and any(p.suffix.lower() in IMAGES for p in folder.iterdir())
    there = loose or "eurosat_rgb" in dataset.benchmarks()
    return "" if there else "no folder eurosat_rgb/<class>/*.jpg"


def eurosat(dataset: Dataset) -> registry.TaskData:
    """EuroSAT RGB images as chips [n, 10, 64, 64] in DN; missing bands hold the training mean."""
    folder = dataset.folder / "eurosat_rgb"
    images, labels = [], []
    if "eurosat_rgb" not in dataset.benchmarks():
        raise BadInput(
            f"{folder}: no class folders with images; EuroSAT's layout is eurosat_rgb/<class>/*.jpg"
        )
    for path in sorted(folder.glob("*/*.jp*g")):
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"))
        if rgb.shape != (registry.TILE_PX, registry.TILE_PX, 3):
            raise BadInput(
                f"{path}: {rgb.shape[1]} x {rgb.shape[0]} pixels; EuroSAT images are "
                f"{registry.TILE_PX} x {registry.TILE_PX}"
            )
        images.append(rgb)
        labels.append(path.parent.name)
    if len(set(labels)) < 2 or len(labels) < MIN_ROWS:
        raise BadInput(
            f"{folder}: {len(labels)} images in {len(set(labels))} class folders; "
            f"rs-eurosat needs two classes and {MIN_ROWS} images"
        )
    chips, present = bands.from_rgb(np.stack(images))
    labels, rows = np.array(labels), np.arange(len(labels))
    k = min(registry.FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    if k < 2:
        raise BadInput(f"{folder}: every class folder needs two images or more")
    scheme = registry.Scheme(
        f"random stratified, {k} folds", lambda seed: stratified(labels, k, seed), rows
    )
    notes = [
        f"only {', '.join(present)} are given; the other bands hold the training mean",
        "EuroSAT has no coordinates: random folds, bootstrap over images",
    ]
    return registry.TaskData(
        "rs-eurosat",
        "rs",
        "classification",
        "EuroSAT class",
        chips,
        labels,
        rows.astype(str),
        "image",
        [scheme],
        dataset.synthetic,
        ",".join(present),
        notes,
    )


@dataclass(frozen=True)
class Places:
    """Positions in chips: row i lies at xy[i] (in [-1, 1]) of chips[chip[i]]."""

    chips: np.ndarray  # [c, 10, px, px] uint16, DN
    chip: np.ndarray  # [n]
    xy: np.ndarray  # [n, 2] float64

    def __len__(self) -> int:
        return len(self.chip)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.chips[self.chip[row]]


def street_from_above(name: str, dataset: Dataset, pairs_folder) -> registry.TaskData:
    """A label of the paired photos, to be read off their chips. One chip a photo, its first."""
    column = name.removeprefix("rs-street-")
    notes = [
        "features are the RS tokens, read bilinearly where the photo stands; `chip mean` is "
        "their mean over the chip, by the same encoder"
    ]
    pairs = store.load(pairs_folder)
    rows = pairs.manifest.drop_duplicates("photo_id").reset_index(drop=True)
    if column not in rows or len(rows) < MIN_ROWS:
        raise BadInput(
            f"{name}: {len(rows)} paired photos"
            + ("" if column in rows else f" without a column `{column}`")
            + f"; {MIN_ROWS} with that label are needed"
        )
    kind = label_kind(rows[column])[0]
    rows, labels = labelled(rows, column, kind, "photos", notes)
    if kind == "classification":
        check_split(labels, rows["split"], f"street.csv, column `{column}`, paired photos")
    sites, cluster = registry.photo_sites(rows)
    used, chip = np.unique(rows["chip"].to_numpy(), return_inverse=True)
    chips = pairs.chips["chips"].isel(chip=used).to_numpy()
    places = Places(chips, chip, rows[["x", "y"]].to_numpy(np.float64))
    return registry.TaskData(
        name,
        "rs",
        kind,
        f"{column} from above",
        places,
        labels,
        sites,
        cluster,
        registry.site_schemes(rows["split"], sites),
        dataset.synthetic,
        "10",
        notes,
        rows[["lon", "lat"]].to_numpy(np.float64),
    )
