"""The open files of a scene: which of the ten bands each holds, and windows of the scene's grid."""

import math
from dataclasses import dataclass

import rasterio
from rasterio.windows import Window

from gairlib.data.scene import Scene, upright
from gairlib.data.scene_values import nodata_to_zero, unmasked


@dataclass
class OpenFile:
    """An open file of a scene: which of its bands go to which of the ten places."""

    dataset: rasterio.DatasetReader
    name: str
    indexes: list[int]
    places: list[int]
    ratio: int  # scene pixels across one of the file's
    nodata: float
    scl: int | None = None
    mask: int | None = None  # see scene.mask_of
    top: float = math.inf  # see scene.ceiling
    flipped: tuple[bool, bool] = (False, False)  # rows, columns: see scene.flips

    def read(self, column: int, row: int, width: int, height: int):
        """(raw [n, h, w] with nodata 0, SCL [h, w] or None) of a window of the scene's grid."""
        k = self.ratio
        c, r = column // k, row // k
        window = Window(c, r, -(-(column + width) // k) - c, -(-(row + height) // k) - r)
        wanted = self.indexes + ([self.scl] if self.scl else [])
        if any(self.flipped):
            rows, columns = self.flipped
            left = self.dataset.width - c - window.width if columns else c
            top = self.dataset.height - r - window.height if rows else r
            window = Window(left, top, window.width, window.height)
        raw = self.dataset.read(wanted, window=window)
        raw = unmasked(raw, self.dataset, self.mask, wanted[0], window=window)
        if any(self.flipped):
            raw = upright(raw, self.dataset)
        if k > 1:
            raw = raw.repeat(k, axis=1).repeat(k, axis=2)
            raw = raw[:, row - r * k :, column - c * k :][:, :height, :width]
        raw, scl = (raw[:-1], raw[-1]) if self.scl else (raw, None)
        return nodata_to_zero(raw, self.nodata, self.top), scl


def by_file(scene: Scene) -> list[tuple]:
    """(href, band indexes, places, ratio, nodata, SCL index) of each file of a scene."""
    if not scene.assets:
        return [
            (
                str(scene.path),
                list(scene.band_indexes),
                list(range(10)),
                1,
                scene.nodata,
                scene.scl_index,
            )
        ]
    groups: dict[tuple, tuple] = {}
    for place, asset in enumerate(scene.assets):
        key = (asset.href, asset.ratio, asset.nodata)
        _, indexes, places, *_ = groups.setdefault(
            key, (asset.href, [], [], asset.ratio, asset.nodata, None)
        )
        indexes.append(asset.index)
        places.append(place)
    found = list(groups.values())
    if scene.scl_asset is not None:
        scl = scene.scl_asset
        found.append((scl.href, [], [], scl.ratio, 0.0, scl.index))
    return found
