"""Where chips are put so that photos lie inside them: geometry and chance, no pixels.

A photo must lie in its chip and need not be at its centre: chips are drawn at random around a
photo, so that positions spread over the chip and the model cannot learn "the photo is in the
middle". Of several draws the one that holds most photos without a chip is preferred: photos that
share a chip are encoded once and are each other's hard negatives.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gairlib.errors import BadInput
from gairlib.scenes import Scene, corner

SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)  # of spatial blocks, in the order of SPLITS


def split_by_block(lon: np.ndarray, lat: np.ndarray, block_deg: float, seed: int) -> np.ndarray:
    """A split for each position, the same for all of a lon/lat block of block_deg degrees.

    A block's split is a hash of its place and the seed: adding photos elsewhere changes nothing.
    """
    blocks = np.floor(np.column_stack([lon, lat]) / block_deg).astype(np.int64)
    unique, inverse = np.unique(blocks, axis=0, return_inverse=True)
    digests = [hashlib.blake2b(f"{seed}:{i}:{j}".encode(), digest_size=8) for i, j in unique]
    u = np.array([int.from_bytes(d.digest(), "big") / 2**64 for d in digests])
    names = np.array(SPLITS, dtype=object)
    return names[np.searchsorted(np.cumsum(SHARES)[:-1], u, side="right")][inverse.ravel()]


def locate(scenes: list[Scene], lon: np.ndarray, lat: np.ndarray) -> pd.DataFrame:
    """Every (photo, scene) where the photo lies in the scene, decided on the scene's own grid.

    Returns photo and scene (positions in the inputs), column, row (pixels, float64), rank (0 for
    the scene that a photo should use: least cloudy, cloud unknown last, then by id).
    """
    found = []
    order = sorted(range(len(scenes)), key=lambda i: (_cloud(scenes[i]), scenes[i].id))
    for preference, i in enumerate(order):
        scene = scenes[i]
        west, south, east, north = scene.footprint.bounds
        pad = 0.01 * max(east - west, north - south)  # straight edges between outline points
        turn = np.abs((lon - (west + east) / 2 + 180.0) % 360.0 - 180.0)
        near = (lat >= south - pad) & (lat <= north + pad) & (turn <= (east - west) / 2 + pad)
        near = np.flatnonzero(near)
        if not near.size:
            continue
        column, row = scene.to_pixels(lon[near], lat[near])
        inside = (column >= 0) & (column <= scene.width) & (row >= 0) & (row <= scene.height)
        found.append(
            pd.DataFrame({"photo": near[inside], "scene": i, "preference": preference,
                          "column": column[inside], "row": row[inside]})
        )  # fmt: skip
    if not found:
        return pd.DataFrame({"photo": [], "scene": [], "column": [], "row": [], "rank": []})
    table = pd.concat(found).sort_values(["photo", "preference"], kind="stable")
    table["rank"] = table.groupby("photo").cumcount()
    return table.drop(columns="preference").reset_index(drop=True)


def _cloud(scene: Scene) -> float:
    return math.inf if math.isnan(scene.cloud_cover) else scene.cloud_cover


@dataclass(frozen=True)
class Placed:
    """A chip's corner and extent in the scene's pixels, and who is inside (indexes, seed first)."""

    column: float
    row: float
    width: float
    height: float
    members: np.ndarray


def candidates(
    scene: Scene, seed_photo: int, column: np.ndarray, row: np.ndarray, weight: np.ndarray,
    waiting: np.ndarray, *, chip_m: float, max_photos: int, margin: float, tries: int,
    rng: np.random.Generator,
) -> Iterator[Placed]:  # fmt: skip
    """Chips at random offsets around one photo, those with most waiting photos first.

    column, row, weight [n]: photos of this scene and how many slots each takes; waiting: bool [n].
    The margin, in units of the chip, holds on all sides but those where the chip touches the
    scene's edge: there it would exclude photos that no chip of this scene could hold better.
    """
    width, height = scene.chip_pixels(chip_m, column[seed_photo], row[seed_photo])
    if width > scene.width or height > scene.height:
        return
    found = []
    for _ in range(tries):
        c = _start(column[seed_photo], width, scene.width, margin, rng)
        r = _start(row[seed_photo], height, scene.height, margin, rng)
        inside = waiting & _within(column, c, width, scene.width, margin)
        inside &= _within(row, r, height, scene.height, margin)
        inside[seed_photo] = False
        others = rng.permutation(np.flatnonzero(inside))
        fits = np.cumsum(weight[others]) + weight[seed_photo] <= max_photos
        found.append(Placed(c, r, width, height, np.append(seed_photo, others[fits])))
    yield from sorted(found, key=lambda p: -len(p.members))  # stable: ties keep the order of draws


def _start(
    at: float, extent: float, available: int, margin: float, rng: np.random.Generator
) -> float:
    """A random first column (or row) of a chip that holds `at`; whole where the extent is."""
    low, high = at - (1.0 - margin) * extent, at - margin * extent
    if extent == round(extent):
        whole = math.ceil(low), math.floor(high)
        start = rng.integers(whole[0], max(whole) + 1) if whole[0] <= whole[1] else round(low)
    else:
        start = rng.uniform(low, high)
    return corner(float(start), extent, available)


def _within(at: np.ndarray, start: float, extent: float, available: int, margin: float):
    low = start + margin * extent if start > 0 else start
    high = start + extent - (margin * extent if start + extent < available else 0.0)
    return (at >= low) & (at <= high)


class Occupied:
    """Lon/lat boxes of the chips of each split, to keep the chips of other splits away.

    Boxes hold the chips' outlines, so what passes does not overlap; next to a border between
    splits a little more than necessary may be refused.
    """

    def __init__(self):
        self._boxes: dict[str, list] = {s: [] for s in SPLITS}

    def others(self, split: str) -> np.ndarray:
        """[n, 4] (lon of the middle, half width, south, north) of the chips of other splits."""
        boxes = [b for s, bs in self._boxes.items() if s != split for b in bs]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)

    def add(self, split: str, box: tuple[float, float, float, float]) -> None:
        self._boxes[split].append(box)


def box_of(polygon) -> tuple[float, float, float, float]:
    """A lon/lat outline as (lon of the middle, half width, south, north); see Occupied."""
    west, south, east, north = polygon.bounds
    return (west + east) / 2, (east - west) / 2, south, north


def overlaps(box: tuple[float, float, float, float], others: np.ndarray) -> bool:
    """Whether a box shares ground with any of the others [n, 4]; longitudes modulo 360."""
    middle, half, south, north = box
    apart = np.abs((others[:, 0] - middle + 180.0) % 360.0 - 180.0)
    return bool(
        ((apart < others[:, 1] + half) & (others[:, 2] < north) & (others[:, 3] > south)).any()
    )


def check_settings(chip_px: int, chip_m: float, max_photos: int, margin: float) -> None:
    """BadInput unless the settings of a pairing make sense."""
    if not (isinstance(chip_px, int) and chip_px >= 1 and chip_m > 0):
        raise BadInput(f"chip_px={chip_px}, chip_m={chip_m}: both must be positive, chip_px whole")
    if max_photos < 1:
        raise BadInput(f"max_photos must be 1 or more, not {max_photos}")
    if not 0.0 <= margin < 0.5:
        raise BadInput(f"margin is a share of the chip in [0, 0.5), not {margin}")
