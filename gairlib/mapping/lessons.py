"""The chips that hold labels, and where in them: what a network learns a map from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gairlib.data.scene import Scene
from gairlib.data.scene_reader import Reader
from gairlib.embed.walker import lay_out, ramp
from gairlib.mapping.features import Chips


@dataclass(frozen=True)
class Lessons:
    """chips uint16 [c, 10, px, px] in DN. Of each pair of a chip and a label that it holds: chip
    and label, their numbers; x, y in [-1, 1], where in the chip, y from the north; weight, the
    chip's share in a map there: [m] each."""

    chips: np.ndarray
    chip: np.ndarray
    label: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def lessons(scene: Scene, chips: Chips, pixels: np.ndarray) -> Lessons:
    """Of the labelled pixels (column, row) [n, 2] of a scene; chips lie as a map's do."""
    layout = lay_out(scene, chips.chip_m, chips.overlap)
    column, row = pixels.T + 0.5
    images, found = [], []
    with Reader(scene) as reader:
        for r in layout.rows:
            y = 2 * (row - r) / layout.height - 1
            inside = np.flatnonzero(np.abs(y) <= 1)
            for c in layout.columns if len(inside) else ():
                x = 2 * (column[inside] - c) / layout.width - 1
                there = np.abs(x) <= 1
                if not there.any():
                    continue
                labels, x = inside[there], x[there]
                chip = reader.chip(c, r, layout.width, layout.height, chips.chip_px)
                weight = ramp(x, layout.overlap) * ramp(y[labels], layout.overlap)
                number = np.full(len(x), len(images))
                found.append((number, labels, x, y[labels], weight))
                images.append(chip.values)
    return Lessons(np.stack(images), *(np.concatenate(part) for part in zip(*found)))


def joined(parts: list[Lessons]) -> Lessons:
    """The lessons of several scenes, whose labels come one after the other."""
    chips = np.cumsum([0, *(len(part.chips) for part in parts)])
    labels = np.cumsum([0, *(part.label.max() + 1 for part in parts)])
    return Lessons(
        np.concatenate([part.chips for part in parts]),
        np.concatenate([part.chip + n for part, n in zip(parts, chips)]),
        np.concatenate([part.label + n for part, n in zip(parts, labels)]),
        *(np.concatenate([getattr(part, key) for part in parts]) for key in ("x", "y", "weight")),
    )
