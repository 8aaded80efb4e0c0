"""`segmentation-landcover`: every pixel of the folder's scenes that landcover/ has a map for.

Scenes are cut into tiles of 64 px (640 m) side by side. Sites of the test split are judged, all
others are trained on; without a split by site every fifth scene is held out.
"""

import numpy as np

from gairlib import bands
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from research.tasks.segmentation.benchmark import LINEAR, SegmentationTask
from research.tasks.segmentation.data import IGNORE, SegmentationData, Tiles
from research.tasks.task import DEFAULTS, Options
from research.tasks.tiles import TILE_M, TILE_PX, no_maps, scene_sites, window_of


class LandCoverSegmentation(SegmentationTask):
    """Land cover of every pixel."""

    name = "segmentation-landcover"
    question = "Do the chip's tokens tell the land cover of every pixel?"
    claim = "telling the land cover of each pixel of a chip"
    held_out = "site"
    first = LINEAR

    def available(self, dataset: Dataset) -> str | None:
        return no_maps(dataset)

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> SegmentationData:
        """Tiles of all scenes with a map; classes are those of landcover/classes.csv that occur."""
        site_of, split_of = scene_sites(dataset)
        found, names = [], {}
        for scene in dataset.scenes():
            mapped = dataset.landcover(scene.id)
            if mapped is None:
                continue
            cover, classes = mapped
            names |= classes
            for number, (chip, transform) in enumerate(
                scenes.tiles(scene, TILE_PX, TILE_M, TILE_PX)
            ):
                mask = window_of(cover, scene, transform, TILE_PX)
                if mask.shape != chip.shape[1:]:
                    raise BadInput(
                        f"landcover/{scene.id}.tif: its tile {number} has {mask.shape} "
                        f"cells where the scene has {chip.shape[1:]}; the map must lie on "
                        "the scene's own grid"
                    )
                found.append(
                    (
                        f"{scene.id}/{number}",
                        site_of.get(scene.id, scene.id),
                        split_of.get(scene.id, ""),
                        chip,
                        mask,
                    )
                )
        seen = np.unique(np.concatenate([np.unique(f[4]) for f in found]))
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

        sites = sorted({f[1] for f in found})
        held = {f[1] for f in found if f[2] == "test"} or set(sites[::5])

        def tiles(rows) -> Tiles:
            return Tiles(
                [f[0] for f in rows],
                lambda i: (rows[i][3].astype(np.float32), codes(rows[i][4])),
                np.array([f[1] for f in rows]),
            )

        splits = {
            "train": tiles([f for f in found if f[1] not in held]),
            "test": tiles([f for f in found if f[1] in held]),
        }
        return SegmentationData(
            self.name,
            bands.BANDS,
            tuple(names[v] for v in kept),
            "site",
            splits,
            dataset.synthetic,
            split_name="held-out sites",
            held_out="site",
        )
