"""Pairing a table of ten million photos, start to end: time, and memory against a quarter of them.

World: that of `bench.join` (photos clustered as cities are), with eight scenes of 512 x 512 px in
the eight largest of its cities; most photos lie outside every scene and are rejected one by one, as
in a real table of which one has few scenes. The table is Parquet, made beforehand; photos are not
opened. Each size runs in a fresh process; bytes are the most that it held. If memory is bounded, it
does not grow with the table; the ratio says how much it did.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from affine import Affine
from pyproj import Transformer

from gairlib import bands, geo
from research.speed import join, measure

FULL, QUICK = 10_000_000, 20_000
SCENES, EDGE = 8, 512
EACH = 500_000


def write_world(folder: Path, photos: int) -> None:
    """street.parquet and scenes/*.tif."""
    (folder / "scenes").mkdir(parents=True)
    lon, lat = join.points(photos)
    with pq.ParquetWriter(
        folder / "street.parquet",
        pa.schema(
            [
                ("photo_id", pa.string()),
                ("path", pa.string()),
                ("lon", pa.float64()),
                ("lat", pa.float64()),
                ("heading", pa.float64()),
                ("captured_at", pa.string()),
            ]
        ),
    ) as writer:
        for start in range(0, photos, EACH):
            rows = np.arange(start, min(start + EACH, photos))
            ids = pd.Series(rows).astype(str)
            writer.write_table(
                pa.table(
                    {
                        "photo_id": "p" + ids,
                        "path": "street/" + ids + ".jpg",
                        "lon": lon[rows],
                        "lat": lat[rows],
                        "heading": (rows * 37 % 360).astype(float),
                        "captured_at": np.where(
                            rows % 2, "2021-06-01T12:00:00Z", "2022-03-01T12:00:00Z"
                        ),
                    },
                    schema=writer.schema,
                )
            )
    centre, people = join.cities()
    random = np.random.default_rng(1)
    for i in np.argsort(-people, kind="stable")[:SCENES]:
        crs = f"EPSG:{geo.utm_epsg(*centre[i])}"
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(*centre[i])
        with rasterio.open(
            folder / f"scenes/{i:04d}.tif",
            "w",
            driver="GTiff",
            width=EDGE,
            height=EDGE,
            count=10,
            dtype="uint16",
            crs=crs,
            nodata=0,
            tiled=True,
            compress="deflate",
            transform=Affine(10, 0, x - 5 * EDGE, 0, -10, y + 5 * EDGE),
        ) as file:
            file.write(random.integers(200, 3000, (10, EDGE, EDGE), dtype=np.uint16))
            file.descriptions = bands.BANDS
            file.update_tags(PROCESSING_BASELINE="05.09")


def paired(folder: str) -> dict:
    """Pair the world in `folder`; the counts of the report."""
    from gairlib.data import scenes
    from gairlib.pairs.pairing import pair

    here = Path(folder)
    found = [scenes.open_scene(p) for p in sorted((here / "scenes").glob("*.tif"))]
    pairs = pair(
        here / "street.parquet",
        found,
        folder=here / "pairs",
        chip_px=32,
        chip_m=320.0,
        progress=False,
    )
    return {k: pairs.report[k] for k in ("photos_in", "paired", "chips")} | {
        "rejected": sum(pairs.report["rejected"].values())
    }


def run(quick: bool = False) -> dict:
    """Seconds, photos a second and peak bytes of all photos and of a quarter of them."""
    result: dict = {}
    for name, photos in (
        ("all", QUICK if quick else FULL),
        ("quarter", (QUICK if quick else FULL) // 4),
    ):
        with tempfile.TemporaryDirectory() as folder:
            write_world(Path(folder) / "world", photos)
            done = measure.peak("research.speed.pairing:paired", str(Path(folder) / "world"))
        counts = done["value"]
        if counts["photos_in"] != photos or counts["paired"] + counts["rejected"] != photos:
            raise RuntimeError(f"of {photos} photos {counts} are accounted for")
        result |= {f"{name}_{k}": v for k, v in counts.items()}
        result |= {
            f"{name}_seconds": done["seconds"],
            f"{name}_peak_bytes": done["peak_bytes"],
            f"{name}_photos_per_second": photos / done["seconds"],
        }
    result["peak_growth"] = result["all_peak_bytes"] / result["quarter_peak_bytes"]
    return result
