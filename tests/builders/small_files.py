"""Small generated files for the tests of data reading: Sentinel-2-like GeoTIFFs and photos."""

import json
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from PIL import Image

from gairlib.bands import BANDS

UTM = "EPSG:32654"  # Tokyo
ORIGIN = (388_000.0, 3_950_000.0)


def ramp(count: int, height: int, width: int, low: int = 100) -> np.ndarray:
    """DN [count, h, w] in which band, row and column can be read off a value's neighbourhood."""
    band, row, column = np.meshgrid(
        np.arange(count), np.arange(height), np.arange(width), indexing="ij"
    )
    return (low + 4000 * band // max(1, count) + 7 * row + 3 * column).astype(np.uint16)


def write_scene(
    path: Path,
    values: np.ndarray,
    *,
    crs=UTM,
    origin=ORIGIN,
    pixel=10.0,
    names=BANDS,
    transform=None,
    nodata=0,
    baseline=None,
    scl=None,
    **options,
) -> Path:
    """A GeoTIFF of values [C, h, w] (and SCL as last band); baseline: STAC item beside it.

    options: of rasterio, such as tiled or compress.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(names) if names is not None else [None] * len(values)
    if scl is not None:
        values, names = np.concatenate([values, scl[None].astype(values.dtype)]), [*names, "SCL"]
    if transform is None:
        transform = Affine(pixel, 0, origin[0], 0, -pixel, origin[1])
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(values),
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        **options,
    ) as target:
        target.write(values)
        for i, name in enumerate(names, 1):
            if name:
                target.set_band_description(i, name)
    if baseline is not None:
        item = {
            "type": "Feature",
            "id": path.stem,
            "assets": {},
            "properties": {
                "s2:processing_baseline": baseline,
                "eo:cloud_cover": 12.5,
                "datetime": "2023-05-01T10:00:00Z",
            },
        }
        path.with_suffix(".json").write_text(json.dumps(item))
    return path


def write_photo(path: Path, size=(48, 32), seed: int = 0) -> Path:
    """A JPEG of noise, size = (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path
