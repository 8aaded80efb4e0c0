"""Reading one chip per photo out of one large scene.

2,000 photos in one scene of 10,980 x 10,980 px and ten bands of 16 bits (GeoTIFF, tiles of 512 px,
deflate, band-interleaved as COGs are), one 96-px window each, for photos clustered as in cities and
for photos spread evenly, in random order. Side by side, equal values:

- open:    rasterio opens the file and reads one window, for each photo (every fifth is timed);
- window:  the same with the file held open, so that GDAL's own cache of blocks (by default 5% of
           the machine's memory) is at work;
- chip:    `Reader.chip` in the order given (500 photos): its cache alone, 512 MiB;
- chips:   `Reader.chips`, ordered by block: each block is decoded once;
- pairing: what pairing does: photos in the order of blocks, a chip at a random offset around each
           that has none, up to eight photos in a chip (their places in other chips than above);
- whole:   reading the scene for each photo: a quarter of one read is timed.

Target: at least 3 times the throughput of a window per photo. Where GDAL's cache happens to
hold all blocks that are touched (photos in a few cities, much memory), each block is decoded once
there too; what chips can gain over it is decoding on several cores, and what pairing gains is that
photos share chips. Processor time is given beside the clock's because a busy machine has no second
core to give.

`stac` compares chips of a scene of one file a band (local COGs of 10 m and 20 m) read by `Reader`
and by `odc.stac.load`.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from gairlib.bands import BANDS
from gairlib.data.scene import Scene
from gairlib.data.scene_reader import Reader
from gairlib.data.scenes import open_scene
from gairlib.pairs import placement
from research.speed.measure import timed

TILE = 512


def run(quick: bool = False) -> dict:
    """Milliseconds per photo, blocks decoded and ratios; see the module's docstring."""
    size, photos = (1024, 50) if quick else (10980, 2000)
    found = {"size_px": size, "photos": photos, "window_px": 96}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        found["write_s"] = timed(write, path, size, repeat=1)
        found["file_mb"] = path.stat().st_size / 1e6
        scene = open_scene(path)
        for spread in ("city", "even"):
            boxes = places(spread, size, photos)
            found |= {f"{spread}_{k}": v for k, v in compare(scene, boxes).items()}
        if quick:
            found["whole_s"] = timed(_whole, scene, repeat=1)
        else:  # 2.4 GB: a quarter of the rows, times four
            found["whole_s"] = 4 * timed(_whole, scene, size // 4, repeat=1)
        found |= stac(Path(folder) / "bands", 1024 if quick else 4096, 5 if quick else 100)
    return found


def write(path: Path, size: int) -> None:
    """A scene of smooth relief with sensor noise; deflate leaves about 60%, as of real ones."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (TILE, TILE)).astype(np.uint16)
    y, x = np.arange(TILE)[:, None], np.arange(TILE)[None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=10,
        dtype="uint16",
        nodata=0,
        crs="EPSG:32632",
        transform=Affine(10, 0, 399_960, 0, -10, 5_300_040),
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        compress="deflate",
        zlevel=1,
        interleave="band",
        num_threads="all_cpus",
        bigtiff="yes",
    ) as target:
        target.descriptions = BANDS
        target.update_tags(PROCESSING_BASELINE="05.09")
        for r in range(0, size, TILE):
            for c in range(0, size, TILE):
                relief = 3000 + 800 * np.sin((y + r) / 90) * np.cos((x + c) / 70)
                relief = relief.astype(np.uint16)
                tile = np.stack(
                    [
                        relief
                        + 37 * b
                        + np.roll(noise, (r // TILE * 7 + b * 31, c // TILE), (0, 1))
                        for b in range(10)
                    ]
                )
                h, w = min(TILE, size - r), min(TILE, size - c)
                target.write(tile[:, :h, :w], window=Window(c, r, w, h))


def places(spread: str, size: int, photos: int, px: int = 96) -> list[tuple]:
    """Boxes (column, row, px, px) in random order. "city": nine in ten of the photos lie around
    eight centres, normally distributed with 3 km; the others, and "even", anywhere."""
    rng = np.random.default_rng(7)
    at = rng.uniform(0, size - px, (photos, 2))
    if spread == "city":
        centres = rng.uniform(0.1, 0.9, (8, 2)) * size
        near = centres[rng.integers(0, 8, photos)] + rng.normal(0, min(300, size / 8), (photos, 2))
        at = np.where(rng.random(photos)[:, None] < 0.9, near, at)
    return [(float(c), float(r), px, px) for c, r in np.clip(at, 0, size - px).round()]


def compare(scene: Scene, boxes: list[tuple]) -> dict:
    """One turn of each way: {way}_ms and {way}_cpu_ms per photo, {way}_blocks, ratios to chips.

    Every chip is compared through its sum, every fortieth value by value; AssertionError where one
    differs.
    """
    sums, kept, found = {}, {}, {}

    def keep(i, values):
        sums.setdefault(i, int(values.sum(dtype=np.int64)))
        whole = kept.setdefault(i, values.copy()) if i % 40 == 0 else values
        if sums[i] != int(values.sum(dtype=np.int64)) or (whole != values).any():
            raise AssertionError(f"chip {i} has other values than the plain window")

    def plain(source, box):
        raw = source.read(scene.band_indexes, window=Window(*box))
        return np.maximum(raw, scene.offset) - scene.offset

    def window():
        with rasterio.open(scene.path) as source:
            for i, box in enumerate(boxes):
                keep(i, plain(source, box))
        return len(boxes)

    def opened():
        for i in range(0, len(boxes), 5):
            with rasterio.open(scene.path) as source:
                keep(i, plain(source, boxes[i]))
        return len(boxes[::5])

    def chip():
        with Reader(scene) as reader:
            for i, box in enumerate(boxes[:500]):
                keep(i, reader.chip(*box, int(box[2])).values)
            found["chip_blocks"] = reader.blocks_read
        return len(boxes[:500])

    def chips():
        with Reader(scene) as reader:
            for i, one in reader.chips(boxes, int(boxes[0][2])):
                keep(i, one.values)
            found["chips_blocks"] = reader.blocks_read
        return len(boxes)

    def pairing():
        px, rng = int(boxes[0][2]), np.random.default_rng(1)
        column, row = (np.array(boxes)[:, :2] + rng.uniform(0.05, 0.95, (len(boxes), 2)) * px).T
        waiting, one = np.ones(len(boxes), bool), np.ones(len(boxes), int)
        found["pairing_chips"] = 0
        with Reader(scene) as reader:
            for i in reader.order(column, row):
                if waiting[i]:
                    placed = next(
                        placement.candidates(
                            scene,
                            i,
                            column,
                            row,
                            one,
                            waiting,
                            chip_m=10.0 * px,
                            max_photos=8,
                            margin=0.05,
                            tries=8,
                            rng=rng,
                        )
                    )
                    reader.chip(placed.column, placed.row, placed.width, placed.height, px)
                    waiting[placed.members] = False
                    found["pairing_chips"] += 1
        return len(boxes)

    ways = {"window": window, "open": opened, "chip": chip, "chips": chips, "pairing": pairing}
    for name, way in ways.items():
        start, cpu = time.perf_counter(), time.process_time()
        count = way()
        found[f"{name}_ms"] = 1000 * (time.perf_counter() - start) / count
        found[f"{name}_cpu_ms"] = 1000 * (time.process_time() - cpu) / count
    for name in ("open", "window"):
        for ours in ("chips", "pairing"):
            found[f"{ours}_times_{name}"] = found[f"{name}_ms"] / found[f"{ours}_ms"]
            found[f"{ours}_times_{name}_cpu"] = found[f"{name}_cpu_ms"] / found[f"{ours}_cpu_ms"]
    return found


def _whole(scene: Scene, rows: int | None = None) -> None:
    with rasterio.open(scene.path) as source:
        source.read(scene.band_indexes, window=Window(0, 0, scene.width, rows or scene.height))


def stac(folder: Path, size: int, windows: int) -> dict:
    """A scene of ten local COGs read chip by chip: Reader, and odc.stac.load on the same grid."""
    import odc.stac
    import pystac
    from odc.geo.geobox import GeoBox

    from gairlib.data import stac_item

    item = pystac.Item.from_dict(write_bands(folder, size))
    scene = stac_item.from_item(item)
    boxes = places("even", size, windows)

    def ours():
        with Reader(scene) as reader:
            return {i: chip.values for i, chip in reader.chips(boxes, 96)}

    def theirs():
        found = {}
        for i, (c, r, w, h) in enumerate(boxes):
            grid = GeoBox((h, w), scene.transform @ Affine.translation(c, r), scene.crs)
            loaded = odc.stac.load([item], bands=BANDS, geobox=grid, fail_on_error=True)
            found[i] = np.stack([loaded[b].values[0] for b in BANDS])
        return found

    result, seconds = {}, {}
    for name, function in (("odc", theirs), ("reader", ours)):
        start = time.perf_counter()
        result[name] = function()
        seconds[name] = time.perf_counter() - start
    for i in result["odc"]:
        if (result["odc"][i] - 1000 != result["reader"][i]).any():
            raise AssertionError("Reader gives other values than odc.stac.load")
    ms = {f"stac_{name}_ms": 1000 * s / windows for name, s in seconds.items()}
    return ms | {"stac_ratio": seconds["odc"] / seconds["reader"], "stac_windows": windows}


def write_bands(folder: Path, size: int) -> dict:
    """Ten COGs, 10 m and 20 m, and their STAC item."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    assets = {}
    for band in BANDS:
        metres = 10 if band in ("B02", "B03", "B04", "B08") else 20
        n = size * 10 // metres
        transform = Affine(metres, 0, 399_960, 0, -metres, 5_300_040)
        path = folder / f"{band}.tif"
        with rasterio.open(
            path,
            "w",
            driver="COG",
            width=n,
            height=n,
            count=1,
            dtype="uint16",
            nodata=0,
            crs="EPSG:32632",
            transform=transform,
            blocksize=TILE,
            compress="deflate",
            num_threads="all_cpus",
            overviews="none",
        ) as target:
            target.write(rng.integers(1200, 1800, (n, n)).astype(np.uint16), 1)
        assets[band] = {
            "href": str(path.resolve()),
            "roles": ["data"],
            "proj:shape": [n, n],
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "proj:transform": list(transform)[:6],
            "raster:bands": [{"nodata": 0}],
        }
    ring = [[8.0, 47.0], [8.0, 48.0], [7.0, 48.0], [7.0, 47.0], [8.0, 47.0]]
    base = "https://stac-extensions.github.io"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "bench",
        "links": [],
        "assets": assets,
        "stac_extensions": [
            f"{base}/projection/v1.1.0/schema.json",
            f"{base}/raster/v1.1.0/schema.json",
        ],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [7, 47, 8, 48],
        "properties": {
            "datetime": "2023-05-01T10:00:00Z",
            "s2:processing_baseline": "05.09",
            "proj:epsg": 32632,
        },
    }
