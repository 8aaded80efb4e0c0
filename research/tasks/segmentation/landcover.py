"""`segmentation-landcover`: every pixel of the folder's scenes that landcover/ has a map for.

Scenes are cut into tiles of 64 px (640 m) side by side. Sites of the test split are judged, and
those of the split "shifted" by the same heads; all others are trained on. Without a split by site
every fifth scene is held out; of a single scene every fifth block of its ground.
"""

from dataclasses import replace

import numpy as np

from gairlib import bands
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.geo import blocks
from research.evaluation.splits import fitting_size
from research.tasks.data import CITY_BLOCK_DEGREES
from research.tasks.result import SHIFTED, TEST
from research.tasks.segmentation.benchmark import SegmentationTask
from research.tasks.segmentation.data import IGNORE, SegmentationData, Tiles
from research.tasks.task import DEFAULTS, Options
from research.tasks.tiles import TILE_PX, mapped, no_maps

SCENE_BLOCKS = 40  # of a single scene, eight of them held out


class LandCoverSegmentation(SegmentationTask):
    """Land cover of every pixel."""

    name = "segmentation-landcover"
    question = "Do the chip's tokens tell the land cover of every pixel?"
    claim = "telling the land cover of each pixel of a chip"
    held_out = "site"
    first = None

    def available(self, dataset: Dataset) -> str | None:
        return no_maps(dataset, least=1)

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> SegmentationData:
        """Tiles of all scenes with a map; classes are those of landcover/classes.csv that occur."""
        found, names = list(mapped(dataset, TILE_PX)), dataset.landcover_names()
        for tile in found:
            if tile.cover.shape != tile.chip.shape[1:]:
                scene, number = tile.name.rsplit("/", 1)
                raise BadInput(
                    f"landcover/{scene}.tif: its tile {number} has {tile.cover.shape} cells where "
                    f"the scene has {tile.chip.shape[1:]}; the map must lie on the scene's own grid"
                )
        seen = np.unique(np.concatenate([np.unique(tile.cover) for tile in found]))
        kept = [v for v in sorted(names) if v in seen]
        if len(kept) < 2:
            raise BadInput(
                f"{dataset.name}: {len(kept)} named class(es) in landcover/, two are needed"
            )

        def codes(mask: np.ndarray) -> np.ndarray:
            """Class values -> 0..K-1, nodata -> IGNORE."""
            out = np.full(mask.shape, IGNORE)
            for code, value in enumerate(kept):
                out[mask == value] = code
            return out

        cluster = "site"
        if len({tile.site for tile in found}) == 1:
            cluster, lonlat = "block", np.array([tile.lonlat for tile in found])
            degrees = fitting_size(lonlat, CITY_BLOCK_DEGREES, SCENE_BLOCKS)
            found = [replace(t, site=b, split="") for t, b in zip(found, blocks(lonlat, degrees))]
        sites = sorted({tile.site for tile in found})
        held = {tile.site for tile in found if tile.split == TEST} or set(sites[::5])

        def tiles(rows) -> Tiles:
            return Tiles(
                [tile.name for tile in rows],
                lambda i: (rows[i].chip.astype(np.float32), codes(rows[i].cover)),
                np.array([tile.site for tile in rows]),
            )

        apart = {tile.site for tile in found if tile.split == SHIFTED}
        splits = {
            "train": tiles([tile for tile in found if tile.site not in held | apart]),
            "test": tiles([tile for tile in found if tile.site in held - apart]),
        }
        if apart:
            splits[SHIFTED] = tiles([tile for tile in found if tile.site in apart])
        return SegmentationData(
            self.name,
            bands.BANDS,
            tuple(names[v] for v in kept),
            cluster,
            splits,
            dataset.synthetic,
            split_name=f"held-out {cluster}s",
            held_out=cluster,
        )
