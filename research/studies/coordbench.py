"""CoordBench's question, put to a dataset folder's own tables: what does a frozen encoder know of
places, and how much of it is only that test points lie beside training points?

Encoders answer as they do in torchgeo-bench (`encode(lon, lat)` -> [N, D], see torchgeo_adapter)
and are probed twice: over random rows, and over whole blocks (10 degrees, smaller where a table
covers one region). Ridge and R2 for numbers, 5 nearest neighbours of standardised features and
accuracy for classes, five folds, as in its coordbench/probe.py and run.py (commit 0096e58).

Where we differ: the ridge penalty is chosen inside the training rows, where CoordBench takes the
one that scores best on the test folds; the score is pooled over all folds with a bootstrap interval
over blocks, where it gives the mean and spread of five fold scores; a block may lie across the
antimeridian.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.neighbors import KNeighborsClassifier

from gairlib import torchgeo_inputs
from gairlib.bands import BANDS, LAYOUTS
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.data.scenes import read_chip, tiles
from gairlib.errors import BadInput
from gairlib.model import GAIR
from gairlib.torchgeo_adapter import LocationEncoderLike, SceneEncoder
from research.evaluation import neighbours, probes, stats
from research.tasks import registry
from research.tasks.data import TaskData
from research.tasks.encoders import Encoder, near
from research.tasks.location import Location
from research.tasks.probing import guesses

NEIGHBOURS = 5
NEAREST = "5 nearest rows"  # reads the training rows' labels by distance: no encoder at all
COLUMNS = "task target metric encoder split value low high n clusters cluster synthetic".split()


class SphereEncoder(LocationEncoderLike):
    """The bare position on the unit sphere, [N, 3]: what any encoder has to beat."""

    name = "xyz"

    def _encode(self, lon: np.ndarray, lat: np.ndarray, _year: Any) -> np.ndarray:
        return neighbours.sphere(np.stack([lon, lat], 1))


def questions(dataset: Dataset) -> list[Location]:
    """The location tasks that the folder's tables hold: all numbers, and countries."""
    tasks = [task for task in registry.default_for(dataset) if isinstance(task, Location)]
    return [t for t in tasks if t.column == "country" or t.load(dataset).kind == "regression"]


def evaluate(
    dataset: Dataset, encoders: Mapping[str, Any], *, bootstrap: int = 1000
) -> pd.DataFrame:
    """One row a task, encoder and split ("random", "blocked"), with 95% intervals over blocks.

    encoders: name -> anything with encode(lon, lat). NEAREST is added as a reference.
    """
    rows = []
    for task in questions(dataset):
        data = task.load(dataset)
        lon, lat = data.inputs.T
        readers = [_probe(data, label, e.encode(lon, lat)) for label, e in encoders.items()]
        readers.append(replace(near(data, data.inputs, neighbours.NEAREST), name=NEAREST))
        for split, scheme in zip(("random", "blocked"), data.schemes):
            for reader in readers:
                at, guess, _ = guesses(data, reader, scheme, seed=0)
                codes, clusters = stats.encode_clusters(data.clusters[at])
                truth = data.labels[at]
                regression = data.kind == "regression"
                score = (
                    stats.r2(truth, guess, codes)
                    if regression
                    else stats.mean(truth == guess, codes)
                )
                found = stats.cluster_bootstrap([score], clusters, draws=bootstrap)
                rows.append(
                    (
                        f"{task.table}-{task.column}",
                        data.target,
                        "R2" if regression else "accuracy",
                        reader.name,
                        split,
                        found.value,
                        found.low,
                        found.high,
                        len(at),
                        clusters,
                        data.cluster,
                        data.synthetic,
                    )
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def _probe(data: TaskData, name: str, features: np.ndarray) -> Encoder:
    """Ridge for numbers, nearest neighbours in feature space for classes."""

    def predict(train, test, scheme, seed):
        x, y, z = features[train], data.labels[train], features[test]
        if data.kind == "regression":
            return probes.ridge(x, y, z, scheme.groups[train], seed=seed)[0]
        x, z = probes.standardise(x, z, far=np.inf)
        return KNeighborsClassifier(min(NEIGHBOURS, len(x))).fit(x, y).predict(z)

    return Encoder(name, "ridge" if data.kind == "regression" else "5-NN", predict)


# ---------------------------------------------------------------------------------- scenes


def centre_chips(
    dataset: Dataset, count: int, chip_px: int, chip_m: float
) -> tuple[list[str], np.ndarray]:
    """Scene ids and their middles in harmonised DN [n, 10, px, px], n <= count spread evenly."""
    scenes = dataset.scenes()
    pick = sorted({int(i) for i in np.linspace(0, len(scenes) - 1, min(count, len(scenes)))})
    found = [_centre_chip(scenes[i], chip_px, chip_m) for i in pick]
    shape = (0, len(BANDS), chip_px, chip_px)
    return [scenes[i].id for i in pick], np.stack(found) if found else np.zeros(shape, np.uint16)


def _centre_chip(scene: Scene, chip_px: int, chip_m: float) -> np.ndarray:
    """The whole scene, resampled, where it is smaller than a chip."""
    try:
        middle = (scene.width / 2, scene.height / 2)
        return read_chip(scene, *middle, size_px=chip_px, size_m=chip_m)[0]
    except BadInput:
        return next(tiles(scene, chip_px, chip_m))[0]


def as_level_1c(dn: np.ndarray) -> torch.Tensor:
    """Chips [n, 10, h, w] in torchgeo's thirteen-band order, float32; B1, B9 and B10 are 0."""
    images = torch.zeros(len(dn), 13, *dn.shape[2:])
    for band, position in zip(BANDS, LAYOUTS["l1c"][0]):
        images[:, position - 1] = torch.from_numpy(dn[:, BANDS.index(band)].astype(np.float32))
    return images


@torch.inference_mode()
def by_name_or_count(model: GAIR, dn: np.ndarray) -> pd.DataFrame:
    """RS features of thirteen-band images, read by name and, wrongly, by twelve-band positions.

    The wrong reading is the published code's: cirrus lands where B11 belongs, B11 where B12 does.
    `by_name`, `by_count` [n]: distance from the features of the ten bands themselves, in medians
    of the distances between the scenes (1: as far off as another scene).
    """
    if not len(dn):
        return pd.DataFrame({"by_name": [], "by_count": []}, dtype=float)
    right = SceneEncoder(model, BANDS, offset=0)(torch.from_numpy(dn.astype(np.float32)))
    images = as_level_1c(dn)
    named = SceneEncoder(model, torchgeo_inputs.SENTINEL2_TOA, offset=0)(images)
    wrong: list[str | None] = [None] * 13
    for band, position in zip(BANDS, LAYOUTS["l2a-12"][0]):
        wrong[position - 1] = band
    counted = SceneEncoder(model, wrong, offset=0)(images)
    apart = torch.pdist(right).median() if len(right) > 1 else torch.tensor(torch.nan)
    apart = torch.where(apart > 0, apart, torch.nan)  # copies of one scene are no distance apart
    return pd.DataFrame(
        {
            "by_name": ((named - right).norm(dim=1) / apart).numpy(),
            "by_count": ((counted - right).norm(dim=1) / apart).numpy(),
        }
    )


# --------------------------------------------------------------------------- what came out


def summary(rows: pd.DataFrame, readings: pd.DataFrame, ours: str) -> dict[str, float]:
    """Flat numbers for a metrics file."""
    numbers: dict[str, float] = {"tasks": rows["task"].nunique(), "scenes": len(readings)}
    own = rows[rows["encoder"] == ours].pivot_table(index="task", columns="split", values="value")
    if len(own):
        fall = own["random"] - own["blocked"]
        numbers["fall_from_random_rows_to_blocks"] = round(float(fall.median()), 4)
    for r in rows[rows["encoder"] == ours].itertuples():
        numbers[f"{r.task}_{r.metric.lower()}_{r.split}"] = round(r.value, 4)
    if len(readings) > 1 and readings["by_count"].notna().any():
        numbers["wrong_order_in_scene_distances"] = round(float(readings["by_count"].median()), 4)
    return numbers


def by_task(rows: pd.DataFrame, ours: str, untrained: str) -> list[dict]:
    """Each task's metric: our score over random rows and over blocks, the untrained encoder's, and
    the best other encoder over blocks."""
    table = rows.pivot_table(index=["task", "metric"], columns=["encoder", "split"], values="value")
    found = []
    for (task, metric), r in table.iterrows():
        others = r.xs("blocked", level="split").drop(ours)
        made_up = rows.loc[rows["task"] == task, "synthetic"].any()
        found.append(
            {"task": task, "metric": metric, "data": "synthetic" if made_up else "real"}
            | {split: r[ours, split] for split in ("random", "blocked")}
            | {f"untrained_{split}": r[untrained, split] for split in ("random", "blocked")}
            | {"best": others.idxmax(), "best_blocked": others.max()}
        )
    return found
