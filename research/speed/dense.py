"""A whole Sentinel-2 tile to an embedding COG: seconds, pixels a second, peak memory.

The synthetic scene of `scene_reading` (10,980 x 10,980 px, ten bands, tiled, deflate) is read with
chips that overlap by a quarter and written at 10 m, projected to 8 principal components, by the
model of the sample (params.yaml: 16 x 16 tokens of 40 m, D = 128) with random weights: neither time
nor memory depends on them.

The whole tile takes the linear decoder. The MLP decoder is measured on a smaller window with chips
laid out in the same way, and so is the linear one beside it: the ratio says what the MLP costs.

Target: peak memory below 4 GiB, interpreter, PyTorch and GDAL included.
"""

import tempfile
import time
from pathlib import Path

import torch

from gairlib import GAIR, GAIRConfig
from gairlib.data import scenes
from gairlib.embed import dense, pca
from research.speed import measure, scene_reading

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
THREADS = 2


def write(scene: str, out: str, decoder: str, window: list | None) -> dict:
    """One COG, for a fresh process: seconds of the fit and of the file, and its bytes."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = GAIR(GAIRConfig.preset("small", decoder=decoder, **MODEL)).eval()
    if decoder == "mlp":
        torch.nn.init.normal_(model.field.last.weight, std=0.05)
    opened = scenes.open_scene(Path(scene))
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
        scene_reading.write(Path(scene), side)
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
