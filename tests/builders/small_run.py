"""Parameters and pairs of a run on the tiny dataset: small chips, a small model, four steps."""

from pathlib import Path

from gairlib.data.dataset import Dataset
from gairlib.pairs.pairing import pair

SMALL = {
    "pair": {"chip_px": 32, "chip_m": 320.0, "max_photos": 4, "repeats_train": 2},
    "coordbench": {"scenes": 2, "bootstrap": 20},
    "model": {
        "changes": {
            "dim": 32,
            "rs_size": 32,
            "rs_patch": 8,
            "rs_depth": 1,
            "rs_heads": 2,
            "sv_size": 32,
            "sv_options": {
                "img_size": 32,
                "patch_size": 8,
                "embed_dim": 32,
                "depth": 1,
                "num_heads": 2,
            },
        }
    },
    "pretrain": {
        "init": "",
        "towers": {},
        "min_pairs": 5,
        "steps": 4,
        "chips_per_batch": 4,
        "photos_per_chip": 3,
        "validate_every": 2,
        "checkpoint_every": 2,
    },
    "benchmark": {"seeds": 2, "bootstrap": 50, "weights": {}},
    "tasks": ["sv-green_view", "location-warmth-warmth", "retrieval"],
}


def small_pairs(tiny: Path, folder: Path, **options) -> Dataset:
    """Pairs of the tiny dataset, with chips of SMALL, into a folder; the dataset."""
    dataset, pixels = Dataset(tiny), {"chip_px": 32, "chip_m": 320.0}
    pair(
        dataset.street(),
        dataset.scenes(),
        folder=folder,
        seed=0,
        progress=False,
        **pixels,
        **options,
    )
    return dataset
