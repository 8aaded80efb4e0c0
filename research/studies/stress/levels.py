"""The stresses: for each level of each, where every photo's place is read, and in which chip.

    noise        coordinates wrong by so many metres, a direction for each photo at random
    shift_east   the chip's content displaced: every place is read so many metres further east
    shift_north  ... further north
    scale        the chip cut at so many times the trained ground size, at the same pixels
    position     the chip cut anew, so that the photo stands so far from centre to edge
    heading      the field read so many metres ahead of the camera (negative: behind it)
    compass      the direction of view wrong by so many degrees, to one side or the other at random;
                 of models whose field reads directions

With noise and along the heading the photo's own chip is read; it moves only where the place would
come nearer to its edge than a tenth of its half side. Under a shift and at another scale the chip
moves with the place, which keeps its position in it. Every place is the stated distance off in
metres, whatever the pixels. At the neutral level (0, or scale 1) the pair is as it was made, except
for `position`, whose neutral level is the centre. A stress takes the photos that all its levels can
take inside their scene: `usable`. All places of a gallery are moved alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from affine import Affine

from gairlib.data.scene import Scene
from gairlib.errors import BadInput
from gairlib.pairs.store import Pairs
from research.studies.stress import perturb

NEUTRAL = {
    "noise": 0.0,
    "shift_east": 0.0,
    "shift_north": 0.0,
    "scale": 1.0,
    "position": 0.0,
    "heading": 0.0,
    "compass": 0.0,
}
NONE = "none"  # the pairs as they are, all photos
BOUNDS = {
    "scale": (0.1, 10.0),
    "position": (0.0, 1.0),
    "noise": (0.0, np.inf),
    "compass": (0.0, 180.0),
}


@dataclass(frozen=True)
class Level:
    """targets [n, 2]: (column, row) that is read; boxes [n, 4]: the chip, both in scene pixels;
    looks [n]: the direction in which it is read, degrees clockwise from north, NaN unknown."""

    stress: str
    value: float
    targets: np.ndarray
    boxes: np.ndarray
    looks: np.ndarray


def check(levels: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """`stress.levels` as sorted floats; BadInput says what is wrong with them."""
    found = {}
    for name, values in levels.items():
        if name not in NEUTRAL:
            raise BadInput(f"stress.levels: unknown {name!r}; known are {', '.join(NEUTRAL)}")
        low, high = BOUNDS.get(name, (-np.inf, np.inf))
        numbers = sorted({float(v) for v in values})
        if NEUTRAL[name] not in numbers or not low <= numbers[0] <= numbers[-1] <= high:
            raise BadInput(
                f"stress.levels.{name}: {list(values)} must have the neutral level "
                f"{NEUTRAL[name]:g} and lie in {low:g}..{high:g}"
            )
        found[name] = numbers
    if not found:
        raise BadInput(f"stress.levels: none given; known are {', '.join(NEUTRAL)}")
    return found


def own_boxes(pairs: Pairs, rows: pd.DataFrame, scenes: Mapping[str, Scene]) -> np.ndarray:
    """The chips that the manifest's rows stand in, as boxes [n, 4] in their scenes' pixels."""
    chosen = pairs.chips["transform"].isel(chip=rows["chip"].to_numpy()).to_numpy()
    pixels, boxes = pairs.chips["chips"].shape[-1], []
    for six, scene_id in zip(chosen, rows["scene_id"]):
        t = ~scenes[scene_id].transform @ Affine(*six)  # chip pixels -> scene pixels
        boxes.append([t.c, t.f, t.a * pixels, t.e * pixels])
    return np.round(np.array(boxes).reshape(-1, 4), 6)


def make_levels(
    rows: pd.DataFrame,
    boxes: np.ndarray,
    scenes: Mapping[str, Scene],
    wanted: Mapping[str, Sequence[float]],
    seed: int = 0,
) -> tuple[list[Level], dict[str, np.ndarray]]:
    """All levels, and for each stress the photos that it takes (bool [n]).

    rows: scene_id, lon, lat, heading; boxes: their chips. The first level is NONE, all photos.
    """
    lonlat = rows[["lon", "lat"]].to_numpy(np.float64)
    ids = rows["scene_id"].to_numpy()
    parts = {name: np.flatnonzero(ids == name) for name in dict.fromkeys(ids)}
    sizes = {name: (scenes[name].width, scenes[name].height) for name in parts}

    def pixels(points):
        out = np.zeros((len(rows), 2))
        for name, of in parts.items():
            out[of] = np.stack(scenes[name].to_pixels(*points[of].T), 1)
        return out

    def each(function, *columns):
        """A function of a scene's rows and its size, over all scenes."""
        done = {
            name: function(*(c[of] for c in columns), sizes[name]) for name, of in parts.items()
        }
        width = next(iter(done.values())).shape[1:]
        out = np.zeros((len(rows), *width))
        for name, of in parts.items():
            out[of] = done[name]
        return out

    size = np.array([sizes[name] for name in ids], np.float64)

    def inside(points):
        at = pixels(points)
        return ((at >= 0) & (at <= size)).all(1)

    true = pixels(lonlat)
    xy, extent = perturb.box_xy(true, boxes), boxes[:, 2:]
    heading = _headings(rows)
    side = np.random.default_rng(seed).choice([-1.0, 1.0], len(rows))
    found, usable = [Level(NONE, 0.0, true, boxes, heading)], {NONE: np.ones(len(rows), bool)}
    for name, values in check(wanted).items():
        able = np.ones(len(rows), bool)
        azimuth = {"shift_east": 90.0, "shift_north": 0.0}.get(name, 0.0)
        if name == "noise":
            azimuth, able = perturb.directions(lonlat, max(values), inside, seed)
        elif name == "heading":
            able, azimuth = np.isfinite(heading), np.nan_to_num(heading)
        elif name == "compass":
            able = np.isfinite(heading)
        elif name == "position":
            edge, able = perturb.ring(true, extent, size, seed)
        for value in values:
            target, box, looks = true, boxes, heading
            if name in ("noise", "heading", "shift_east", "shift_north") and value:
                target = pixels(perturb.moved(lonlat, azimuth, value))
                able = able & ((target >= 0) & (target <= size)).all(1)
            if name in ("noise", "heading") and value:
                box = each(perturb.least_moved, boxes, target)
            elif name.startswith("shift") and value:
                box = each(perturb.place_box, target, xy, extent)
            elif name == "scale" and value != 1:
                able = able & (extent * value <= size).all(1)
                box = each(perturb.place_box, true, xy, np.minimum(extent * value, size))
            elif name == "position":
                box = each(perturb.place_box, true, edge * value, extent)
            elif name == "compass":
                looks = (heading + side * value) % 360
            found.append(Level(name, value, target, box, looks))
        usable[name] = able
    return found, usable


def _headings(rows: pd.DataFrame) -> np.ndarray:
    if "heading" not in rows:
        return np.full(len(rows), np.nan)
    return pd.to_numeric(rows["heading"], errors="coerce").to_numpy(np.float64)
