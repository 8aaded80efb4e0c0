"""`segmentation-landcover`: every pixel of the folder's scenes that landcover/ has a map for.

Scenes are cut into tiles of 64 px (640 m) side by side. Sites of the test split are judged, all
others are trained on; without a split by site every fifth scene is held out.
"""

import numpy as np

from gairlib import bands
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.model import GAIR
from research.tasks import registry
from research.tasks.segmentation import benchmark
from research.tasks.segmentation.data import IGNORE, SegmentationData, Tiles
from research.tasks.tiles import scene_sites, window_of

NAME = "segmentation-landcover"


def available(dataset: Dataset) -> dict[str, str]:
    """The task and "" where two scenes have a map in landcover/, else the reason."""
    covered = sum(
        (dataset.folder / "landcover" / f"{s.id}.tif").is_file() for s in dataset.scenes()
    )
    return {
        NAME: "" if covered >= 2 else f"landcover/ holds maps for {covered} scenes, two are needed"
    }


def load(dataset: Dataset) -> SegmentationData:
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
            scenes.tiles(scene, registry.TILE_PX, registry.TILE_M, registry.TILE_PX)
        ):
            mask = window_of(cover, scene, transform, registry.TILE_PX)
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
        raise BadInput(f"{dataset.name}: {len(kept)} named class(es) in landcover/, two are needed")

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
        NAME,
        bands.BANDS,
        tuple(names[v] for v in kept),
        "site",
        splits,
        dataset.synthetic,
        split_name="held-out sites",
    )


def run(task: str, dataset: Dataset, model: GAIR, *, pairs_folder, seeds: int, device: str):
    """See `research.tasks.registry.FAMILIES`; pairs are not needed."""
    return benchmark.run(load(dataset), model, seeds=seeds, device=device, first=benchmark.LINEAR)
