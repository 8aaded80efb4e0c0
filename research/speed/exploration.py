"""Exploration: from a click to its answer, with everything loaded, on two threads.

The largest field that a map shows (512 x 512 cells, D = 128, 134 MB) and a thousand photos with
thumbnails; vectors and values are random, since what they say costs nothing. An answer is complete
when its rows and its picture (warped, coloured, encoded as a data URI) are ready for the browser;
what the browser itself takes to draw it is not in here. `shown` is the same with the widgets'
values set, in a kernel without a front end. Target: below 0.3 seconds.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from gairlib import GAIR, GAIRConfig
from gairlib.data import scenes
from gairlib.embed import encode
from gairlib.embed.field import Field
from research.maps import explorer, explorer_widgets
from research.speed import scene_reading
from research.speed.measure import threads, timed

FULL = (512, 128, 1000, 40)  # cells a side, D, photos, clicks of each kind
QUICK = (48, 16, 20, 3)
THREADS = 2


def problem(folder: Path, side: int, dim: int, photos: int, seed: int = 0) -> explorer.Explorer:
    """A scene of `side` pixels with a random field and random photos, the encoder untrained."""
    rng = np.random.default_rng(seed)
    scene_reading.write(folder / "scene.tif", side)
    scene = scenes.open_scene(folder / "scene.tif")
    values = rng.standard_normal((side, side, dim), dtype=np.float32)
    field = Field(
        values, np.ones((side, side), bool), scene.transform, (0, 0, side, side), scene, "nili"
    )
    column, row = rng.uniform(1, side - 1, (2, photos))
    lon, lat = scene.to_lonlat(column, row)
    table = pd.DataFrame({"photo_id": [f"p{i}" for i in range(photos)], "lon": lon, "lat": lat})
    sv = {"img_size": 64, "patch_size": 32, "embed_dim": 8, "depth": 1, "num_heads": 1}
    model: GAIR = encode.random_init(GAIRConfig(dim=dim, rs_depth=1, sv_options=sv), seed)
    pictures = ["data:image/jpeg;base64," + "A" * 4000] * photos
    vectors = rng.standard_normal((photos, dim), dtype=np.float32)
    return explorer.Explorer(field, table, vectors, pictures, explorer.location_encoder(model))


def run(quick: bool = False) -> dict:
    """Median and 95th percentile of seconds a click, for each kind of question."""
    side, dim, photos, clicks = QUICK if quick else FULL
    rng = np.random.default_rng(1)

    def each(question, asked) -> list[float]:
        return [timed(question, *arguments, repeat=1) for arguments in asked]

    with threads(THREADS), tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        held = problem(Path(folder), side, dim, photos)
        loading = time.perf_counter() - start
        scene = explorer_widgets.SceneClicks(held, np.zeros((side, side, 3), np.uint8))
        earth = explorer_widgets.WorldClicks(held, held.lonlat)
        spots = held.lonlat[rng.integers(photos, size=clicks)]
        rows = [(int(i),) for i in rng.integers(photos, size=clicks)]
        places = np.stack([rng.uniform(-180, 180, clicks), rng.uniform(-70, 70, clicks)], 1)
        seconds = {
            "spot": each(held.at, spots),
            "photo": each(held.where, rows),
            "world": each(held.world, places),
            "spot_shown": each(scene.spot, spots),
            "photo_shown": each(scene.choose, rows),
            "world_shown": each(earth.place, places),
        }
    return {
        "cells": side * side,
        "dim": dim,
        "photos": photos,
        "clicks": clicks,
        "threads": THREADS,
        "loading_seconds": loading,
        **{f"{k}_median_seconds": float(np.median(v)) for k, v in seconds.items()},
        **{f"{k}_p95_seconds": float(np.percentile(v, 95)) for k, v in seconds.items()},
        "slowest_seconds": float(max(max(v) for v in seconds.values())),
    }
