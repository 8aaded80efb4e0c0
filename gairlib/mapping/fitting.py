"""Teach a frozen encoder a map: labels of some places in, a `Mapper` for any place out.

    fitted = gairlib.fit(model, scene, "landuse.gpkg", column="fclass")
    print(fitted.report)
    fitted.predict(other_scene, "landuse.tif")

The features of the labelled pixels (`gairlib.mapping.features`) are read once. Blocks of ground are
dealt out to folds; a head learns from all folds but one, the strength of its regularisation chosen
inside them, and answers for the blocks left out. What it says there is the report, with intervals
over blocks, beside the same head on a pixel's bands and their 3 x 3 means; by it probabilities and
deviations are set right too. The head that makes maps is then fitted to all labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import torch

from gairlib import devices, scale
from gairlib.data import scenes as scene_files
from gairlib.data.scene import Scene
from gairlib.data.scene_reader import Reader
from gairlib.embed.walker import OVERLAP
from gairlib.errors import BadInput
from gairlib.geo import fold_numbers
from gairlib.mapping import blocks, heads, network
from gairlib.mapping.colours import colours_of
from gairlib.mapping.features import PIXEL, Chips, Features, window_of
from gairlib.mapping.labels import RASTERS, Labels, kind_of, on_scene, palette_of
from gairlib.mapping.lessons import joined, lessons
from gairlib.mapping.mapper import Mapper
from gairlib.mapping.report import judged

FOLDS = 5
LEAST = 30  # labelled pixels
MOST_CLASSES = 255

Source = str | Path | gpd.GeoDataFrame
Answer = Callable[[np.ndarray], torch.Tensor]  # rows (bool [n]) -> answers [sum of rows, K or 2]
Teach = Callable[[np.ndarray], tuple[heads.Head | network.Trained, Answer]]  # by rows (bool [n])


@devices.on_device
def fit(
    model,
    scenes: Scene | str | Path | Sequence[Scene | str | Path],
    labels: Source,
    *,
    column: str | None = None,
    kind: str | None = None,
    names: Mapping | None = None,
    colours: Mapping[str, str] | None = None,
    head: str = "linear",
    tower: str = "frozen",
    mode: str = "bilinear",
    chip_px: int | None = None,
    chip_m: float | None = None,
    overlap: float = OVERLAP,
    block_m: float | None = None,
    each: int = 64,
    most: int = 20_000,
    seed: int = 0,
    device: str = "auto",
) -> Mapper:
    """A map learnt from labels that lie in one or more scenes.

    labels: a GeoDataFrame or a file of points or polygons, whose labels are in `column`, or a
    raster with labels in its first band. kind: "classes" or "numbers"; by default floating-point
    values are numbers. names: value -> name of the class, values without one are left out; colours:
    name -> "#rrggbb"; a raster's own colour table is taken otherwise. head: "linear" (discriminants
    or logistic regression of classes, ridge regression of numbers), "neighbours", or "upernet", a
    network. tower: "frozen", or trained with a linear head or UPerNet: by corrections of low rank
    ("lora") or whole ("full"). mode: how the field is read where no network is trained; "bilinear"
    reads the tokens, which know more of the ground than the space that photos share ("nili").
    chip_px, chip_m: a chip's side, default that of the training (gairlib.scale). block_m: side of
    the blocks, by default the largest that makes thirty. each: pixels of a polygon; most: of a
    scene.
    """
    scenes = [scenes] if isinstance(scenes, Scene | str | Path) else list(scenes)
    scenes = [s if isinstance(s, Scene) else scene_files.open_scene(s) for s in scenes]
    trained = _by_network(head, tower)
    chips = Chips(mode, *scale.of(model.config, chip_px, chip_m), overlap)
    model = model.eval()
    found, features, lonlat, objects, taught = [], [], [], [], []
    for number, scene in enumerate(scenes):
        part = on_scene(scene, labels, column, each=each, most=most, seed=seed)
        if names is not None:
            part = part.of(pd.Series(part.values).isin(list(names)).to_numpy())
        if not len(part):
            continue
        x = _features(model, scene, chips, part)
        known = np.isfinite(x).all(1)
        found.append(part.values[known])
        features.append(x[known])
        lonlat.append(_middles(scene, part)[known])
        objects.append(np.column_stack([np.full(known.sum(), number), part.objects[known]]))
        if trained and known.any():
            taught.append(lessons(scene, chips, part.pixels[known]))
    if sum(map(len, found)) < LEAST:
        where = ", ".join(scene.id for scene in scenes)
        raise BadInput(
            f"{sum(map(len, found))} labelled pixels with data in {where}: at least {LEAST} are "
            "needed; do labels and scene overlap?"
        )
    values, features, lonlat = (np.concatenate(v) for v in (found, features, lonlat))
    values, classes = _coded(values, kind_of(values, kind), names)
    size = block_m or blocks.fitting_size(lonlat)
    groups = blocks.blocks(lonlat, size)
    if groups.max() == 0:
        raise BadInput(
            f"all {len(values)} labelled pixels lie in one block of {size:g} m: nothing can be "
            "held out; smaller blocks (block_m) or labels of more places are needed"
        )
    if isinstance(labels, str | Path) and Path(labels).suffix.lower() in RASTERS:
        own = {str((names or {}).get(k, k)): v for k, v in palette_of(labels).items()}
        colours = own | dict(colours or {})

    def by_head(name: str, x: np.ndarray) -> Teach:
        def teach(rows: np.ndarray) -> tuple[heads.Head, Answer]:
            fitted = heads.choose(name, x[rows], values[rows], len(classes), groups[rows], seed)
            return fitted, lambda out: fitted(x[out])

        return teach

    def by_network(rows: np.ndarray) -> tuple[network.Trained, Answer]:
        fitted = network.train(
            model, every, values, len(classes), rows, head=head, tower=tower, seed=seed
        )
        return fitted, lambda out: fitted.at(model, every, out)

    if trained:
        every, rival = joined(taught), "linear"
        teach = by_network
    else:
        rival, teach = head, by_head(head, features)
    both = [
        _held_out(one, groups, len(classes), seed)
        for one in (teach, by_head(rival, features[:, :PIXEL]))
    ]
    factors = [heads.calibration(answers, values, len(classes)) for answers in both]
    both = [heads.calibrated(a, f, len(classes)).numpy() for a, f in zip(both, factors)]
    report = judged(
        values,
        *both,
        groups,
        classes=classes,
        objects=len(np.unique(np.concatenate(objects), axis=0)),
        block_m=float(size),
    )
    fitted, _ = teach(np.ones(len(values), bool))
    palette = colours_of(classes, colours or {})
    return Mapper(model, chips, fitted, factors[0], list(zip(classes, palette)), report)


def _features(model, scene: Scene, chips: Chips, labels: Labels) -> np.ndarray:
    with Reader(scene) as reader:
        return Features(model, reader, chips, window_of(scene, labels.pixels)).at(labels.pixels)


def _middles(scene: Scene, labels: Labels) -> np.ndarray:
    """(lon, lat) [n, 2] of the middle of each label's object, which a block holds whole."""
    codes = np.unique(labels.objects, return_inverse=True)[1]
    sums = blocks.per_block(labels.pixels + 0.5, codes, codes.max() + 1)
    middles = sums / np.bincount(codes)[:, None]
    return np.column_stack(scene.to_lonlat(*middles[codes].T))


def _coded(values: np.ndarray, kind: str, names: Mapping | None) -> tuple[np.ndarray, list[str]]:
    """Codes of classes and their names, or numbers and no names."""
    if kind == "numbers":
        numbers = np.asarray(values, np.float32)
        if np.ptp(numbers) == 0:
            raise BadInput(f"labels: all are {numbers[0]:g}, so there is nothing to learn")
        return numbers, []
    given, codes = np.unique(values, return_inverse=True)
    if not 2 <= len(given) <= MOST_CLASSES:
        raise BadInput(
            f"labels: {len(given)} classes, 2 to {MOST_CLASSES} are needed; kind='numbers' reads "
            "them as numbers"
        )
    return codes.reshape(-1), [str((names or {}).get(v, v)) for v in given.tolist()]


def _by_network(head: str, tower: str) -> bool:
    """Whether a network is trained; BadInput for what does not go together."""
    if tower not in network.TOWERS:
        raise BadInput(f"tower {tower!r}: choose {', '.join(network.TOWERS)}")
    trained = head == "upernet" or tower != "frozen"
    if trained and head not in network.HEADS:
        raise BadInput(f"head {head!r} with tower {tower!r}: choose {' or '.join(network.HEADS)}")
    if not trained and head not in heads.HEADS:
        raise BadInput(f"head {head!r}: choose {', '.join((*heads.HEADS, 'upernet'))}")
    return trained


def _held_out(teach: Teach, groups: np.ndarray, classes: int, seed: int) -> torch.Tensor:
    """Answers [n, K or 2] for all rows, each by a head that its block had no part in."""
    fold = fold_numbers(groups, FOLDS, seed)
    answers = torch.zeros(len(groups), classes or 2)
    for f in range(fold.max() + 1):
        out = fold == f
        answers[torch.from_numpy(out)] = teach(~out)[1](out).float()
    return answers
