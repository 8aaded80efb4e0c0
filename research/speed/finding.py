"""What asking a photo adds to reading a scene: `gairlib.find` beside the field itself.

The field is read over the whole of a synthetic scene, chip by chip, and nothing is written; `find`
reads it in the same way, compares each cell with a photo's vector, writes the similarities as a COG
and looks for the likely places. The model is that of `dense`, with random weights, of which time
does not depend.

Target: `find` within 10% of the field itself.
"""

import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch

from gairlib import GAIR, GAIRConfig
from gairlib.data import scenes
from gairlib.data.scene_reader import Reader
from gairlib.embed.finding import find
from gairlib.embed.reading import Reading
from gairlib.embed.walker import OVERLAP, Walker, lay_out
from research.speed import measure, scene_reading
from research.speed.dense import CHIP, MODEL, THREADS

FULL, QUICK, ROUNDS = 1098, 96, 5  # pixels a side; rounds of which the medians are


def read(model: GAIR, scene) -> int:
    """The field of all pixels, strip by strip; how many rows there were."""
    rows = 0
    with Reader(scene) as reader:
        walker = Walker(
            reader,
            Reading(model),
            lay_out(scene, CHIP["chip_m"], OVERLAP),
            CHIP["chip_px"],
            np.arange(scene.width) + 0.5,
            np.arange(scene.height) + 0.5,
        )
        for strip in walker.strips:
            rows += sum(len(values) for _, values in walker.strip(*strip))
    return rows


def run(quick: bool = False) -> dict:
    """Seconds of each, and the ratio to the field of the same round, medians."""
    side = QUICK if quick else FULL
    torch.manual_seed(0)
    model = GAIR(GAIRConfig.preset("small", **MODEL)).eval()
    vector = np.random.default_rng(0).normal(size=model.config.dim)
    with tempfile.TemporaryDirectory() as folder, measure.threads(THREADS):
        path = Path(folder) / "scene.tif"
        scene_reading.write(path, side)
        scene = scenes.open_scene(path)
        seconds = measure.rounds(
            {
                "field": lambda: read(model, scene),
                "find": lambda: find(vector, scene, model, device="cpu", progress=False, **CHIP),
            },
            1 if quick else ROUNDS,
        )
    found = {"side_px": side, "rounds": len(seconds["field"]), "threads": THREADS}
    for name, each in seconds.items():
        found[f"{name}_seconds"] = median(each)
    found["find_over_field"] = median(a / b for a, b in zip(seconds["find"], seconds["field"]))
    return found
