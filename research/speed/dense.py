"""A whole Sentinel-2 tile to an embedding COG: seconds, pixels a second, peak memory.

A synthetic scene of 10,980 x 10,980 px and ten bands (smooth land cover with noise on it, tiled,
deflate) is read with chips that overlap by a quarter and written at 10 m, projected to 8 principal
components, by the model of the sample (params.yaml: 16 x 16 tokens of 40 m, D = 128) with random
weights: neither time nor memory depends on them.

The whole tile takes the linear decoder. The MLP decoder is measured on a smaller window with chips
laid out in the same way, and so is the linear one beside it: the ratio says what the MLP costs.

Target: peak memory below 4 GiB, interpreter, PyTorch and GDAL included.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from rasterio.windows import Window

from gairlib import GAIR, GAIRConfig, bands
from gairlib.data import scenes
from gairlib.embed import dense, pca
from research.speed import measure

FULL, QUICK = 10_980, 96  # pixels a side
PART = 549  # ... of the window on which the decoders are compared
CHIP = {"chip_px": 64, "chip_m": 640.0}
MODEL = {
    "rs_patch": 4,
    "rs_depth": 2,
    "sv_size": 48,
    "sv_model": "resnet10t",
    "sv_options": {"channels": [32, 64, 128, 256], "stem_type": ""},
}
TILE = 512
THREADS = 2


def make_scene(path: str, side: int) -> None:
    """Write the scene, tile by tile, from one seed."""
    rng = np.random.default_rng(0)
    levels = rng.uniform(300, 3500, (8, 10))  # eight kinds of land cover
    noise = rng.normal(0, 60, (10, TILE, TILE))
    with (
        rasterio.Env(GDAL_NUM_THREADS="2"),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=side,
            height=side,
            count=10,
            dtype="uint16",
            nodata=0,
            crs="EPSG:32632",
            transform=from_origin(600_000, 5_300_040, 10, 10),
            tiled=True,
            blockxsize=TILE,
            blockysize=TILE,
            compress="deflate",
            zlevel=1,
            predictor=2,
            bigtiff="IF_SAFER",
        ) as file,
    ):
        file.descriptions = bands.BANDS
        for row in range(0, side, TILE):
            for column in range(0, side, TILE):
                h, w = min(TILE, side - row), min(TILE, side - column)
                y, x = np.mgrid[row : row + h, column : column + w]
                kind = np.sin(x / 37) + np.cos(y / 53) + np.sin((x + y) / 211)
                kind = np.clip((kind + 3) / 6 * 8, 0, 7).astype(int)
                values = levels[kind].transpose(2, 0, 1) + noise[:, :h, :w]
                file.write(values.clip(1).astype(np.uint16), window=Window(column, row, w, h))


def write(scene: str, out: str, decoder: str, window: list | None) -> dict:
    """One COG, for a fresh process: seconds of the fit and of the file, and its bytes."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = GAIR(GAIRConfig.preset("small", decoder=decoder, **MODEL)).eval()
    if decoder == "mlp":
        torch.nn.init.normal_(model.field.last.weight, std=0.05)
    opened = scenes.open_scene(Path(scene), row={"processing_baseline": "02.14"})
    start = time.perf_counter()
    axes = pca.fit(dense.sample(model, opened, **CHIP, chips=32), 8)
    fitted = time.perf_counter()
    dense.write_cog(model, opened, out, projection=axes, window=window, progress=False, **CHIP)
    end = time.perf_counter()
    return {
        "fit_seconds": fitted - start,
        "seconds": end - fitted,
        "file_bytes": Path(out).stat().st_size,
    }


def run(quick: bool = False, side: int | None = None) -> dict:
    """Seconds, pixels a second and peak bytes of the whole scene; both decoders on a window."""
    side = side or (QUICK if quick else FULL)
    part = min(side, QUICK if quick else PART)
    with tempfile.TemporaryDirectory() as folder:
        scene, out = f"{folder}/scene.tif", f"{folder}/field.tif"
        make_scene(scene, side)
        whole = measure.peak("research.speed.dense:write", scene, out, "linear", None)
        result = {
            "side_px": side,
            "pixels": side**2,
            "bands": 8,
            "threads": THREADS,
            **{f"whole_{k}": v for k, v in whole["value"].items()},
            "whole_pixels_per_second": side**2 / whole["value"]["seconds"],
            "whole_peak_bytes": whole["peak_bytes"],
        }
        for decoder in ("linear", "mlp"):
            done = measure.peak(
                "research.speed.dense:write", scene, out, decoder, [0, 0, part, part]
            )
            result[f"window_{decoder}_pixels_per_second"] = part**2 / done["value"]["seconds"]
            result[f"window_{decoder}_peak_bytes"] = done["peak_bytes"]
    result["window_px"] = part
    return result
