"""Land cover of tiles: `rs-landcover`, the dominant class, and `rs-built_up`, the share built up.

Each scene is cut into 64-px tiles (640 m) every 32 px. Tiles overlap, so only whole sites are held
out and resampled.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gairlib import geo
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks.data import TaskData, site_schemes
from research.tasks.labels import MIN_CLASS, check_split, labelled
from research.tasks.probing import ProbeTask
from research.tasks.task import DEFAULTS, Options

TILE_PX, TILE_STRIDE, TILE_M = 64, 32, 640.0


def no_maps(dataset: Dataset, least: int = 2) -> str | None:
    """None where `least` scenes have a map in landcover/, else the reason why not."""
    covered = len(dataset.landcover_scenes())
    needed = f"landcover/ holds maps for {covered} scenes, {least} needed"
    return None if covered >= least else needed


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


@dataclass(frozen=True)
class Mapped:
    """A tile of a scene with its part of the map: chip [10, px, px], cover [h, w] of class values,
    the middle's (lon, lat). split: "" where none is known."""

    name: str
    site: str
    split: str
    chip: np.ndarray
    cover: np.ndarray
    lonlat: tuple[float, float]


def mapped(dataset: Dataset, stride: int) -> Iterator[Mapped]:
    """Tiles of TILE_PX every `stride` px of all scenes that have a map."""
    site_of, split_of = scene_sites(dataset)
    for scene in map(dataset.scene, dataset.landcover_scenes()):
        cover, _ = dataset.landcover(scene.id)
        cuts = scenes.tiles(scene, TILE_PX, TILE_M, stride)
        for number, (chip, transform) in enumerate(cuts):
            (lonlat,) = geo.chip_lonlat([[0.0, 0.0]], scene.crs, transform, chip.shape[1:])
            yield Mapped(
                f"{scene.id}/{number}",
                site_of.get(scene.id, scene.id),
                split_of.get(scene.id, ""),
                chip,
                window_of(cover, scene, transform, TILE_PX),
                tuple(lonlat),
            )


class TileTask(ProbeTask):
    """A label of tiles, read off the map."""

    subject = "chip"
    held_out = "site"

    def available(self, dataset: Dataset) -> str | None:
        return no_maps(dataset)

    def tiles(self, dataset: Dataset, label_of, empty) -> tuple[np.ndarray, pd.DataFrame]:
        """Every tile with a label: chips [n, 10, 64, 64] in DN, and label, site, split, lon, lat.
        label_of: a tile's cover and the classes' names -> its label, or `empty`."""
        classes, chips, rows = dataset.landcover_names(), [], []
        for tile in mapped(dataset, TILE_STRIDE):
            label = label_of(tile.cover, classes)
            if label != empty and label == label:
                chips.append(tile.chip)
                rows.append((label, tile.site, tile.split, *tile.lonlat))
        table = pd.DataFrame(rows, columns=["label", "site", "split", "lon", "lat"])
        return np.stack(chips), table.assign(row=np.arange(len(table)))

    def of_tiles(
        self, dataset: Dataset, kind: str, target: str, chips, table: pd.DataFrame, labels, notes
    ) -> TaskData:
        """Data of chips and their rows of `tiles`, split as the scenes are where all say how."""
        split = table["split"] if (table["split"] != "").all() else None
        if kind == "classification":
            check_split(labels, split, f"{dataset.name}: landcover/, dominant class of tiles")
        sites = table["site"].to_numpy(dtype=str)
        return self.data(
            dataset,
            kind=kind,
            target=target,
            inputs=chips,
            labels=labels,
            clusters=sites,
            cluster="site",
            schemes=site_schemes(split, sites),
            notes=notes,
            lonlat=table[["lon", "lat"]].to_numpy(np.float64),
        )


class LandCover(TileTask):
    """The class that covers most of a tile."""

    name = "rs-landcover"
    question = "Does the chip tell its dominant land cover?"
    claim = "telling the dominant land cover of a chip"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Tiles [n, 10, 64, 64] in DN with the name of their dominant class."""
        chips, table = self.tiles(dataset, _majority, "")
        notes: list[str] = []
        table = table.rename(columns={"label": "landcover"})
        table, labels = labelled(table, "landcover", "classification", "tiles", notes)
        if table["landcover"].nunique() < 2:
            raise BadInput(
                f"{dataset.name}: fewer than two land-cover classes dominate "
                f"{MIN_CLASS} tiles; {self.name} needs two"
            )
        kind, target = "classification", "dominant land cover"
        return self.of_tiles(dataset, kind, target, chips[table["row"]], table, labels, notes)


class BuiltUp(TileTask):
    """The share of a tile that is built up."""

    name = "rs-built_up"
    question = "Does the chip tell how much of it is built up?"
    claim = "telling the built-up share of a chip"

    def available(self, dataset: Dataset) -> str | None:
        if why := no_maps(dataset):
            return why
        if any(map(is_built, dataset.landcover_names().values())):
            return None
        return "landcover/classes.csv names no class of buildings (`built` or `building`)"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Tiles [n, 10, 64, 64] in DN with the share of ground that is built up, in [0, 1]."""
        chips, table = self.tiles(dataset, _built_share, "")
        labels = table["label"].to_numpy(np.float64)
        return self.of_tiles(dataset, "regression", "built-up share", chips, table, labels, [])
