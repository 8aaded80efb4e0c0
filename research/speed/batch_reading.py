"""Reading training batches against decoding alone (issue 7, third figure).

Two processes each time, the same decoder (`photos.decode_into`), the same photos, files in the
page cache of the operating system:
- decode: each process has encoded photos in memory and turns one after the other into the same RGB
  array, nothing else;
- read: each process draws shuffled batches of 32 chips with 8 photos each from the store on disk
  (`PairBatches`, streaming): ranges of files, decoding of chips and photos, tensors.
Target: `read` reaches at least 80% of `decode`, in photos a second. The store is synthetic: chips
of 96 px whose entropy is that of real ones (they shrink to a half), photos of 224 px with
natural image statistics (amplitude falls with spatial frequency), JPEG of quality 90.
"""

import io
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from PIL import Image

from gairlib.bands import BANDS
from gairlib.data import photos
from gairlib.pairs import shards
from gairlib.pairs import store as pairs_store
from gairlib.pairs.photo_store import INNER_BYTES
from gairlib.train.batches import PairBatches

PHOTO_PX, CHIP_PX, QUALITY = 224, 96, 90
CHIPS_PER_BATCH, PHOTOS_PER_CHIP = 32, 8
CHIPS_PER_PART = 250


def smooth_noise(rng: np.random.Generator, px: int, power: float) -> np.ndarray:
    """[px, px], mean 0, deviation 1, amplitude falling with frequency to the given power."""
    f = np.fft.fftfreq(px)
    radius = np.hypot(f[:, None], f[None, :])
    radius[0, 0] = 1.0
    values = np.fft.ifft2(np.fft.fft2(rng.normal(size=(px, px))) / radius**power).real
    return (values - values.mean()) / values.std()


def make_photo(rng: np.random.Generator) -> bytes:
    """A JPEG whose size is that of a street photo squashed to 224 px: some 14 kB."""
    grey = smooth_noise(rng, PHOTO_PX, 1.6)
    rgb = [grey + 0.2 * smooth_noise(rng, PHOTO_PX, 1.8) for _ in range(3)]
    values = np.clip(np.stack(rgb, -1) * 45 + 120, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def make_chip(rng: np.random.Generator) -> np.ndarray:
    """uint16 [10, 96, 96]: bands that mostly agree; those of 20 m have each value four times."""
    ground = smooth_noise(rng, CHIP_PX, 1.3)
    own = np.stack([smooth_noise(rng, CHIP_PX, 1.5) for _ in BANDS])
    values = (1800 + 450 * ground + 200 * own).clip(1, 10_000).astype(np.uint16)
    coarse = [i for i, band in enumerate(BANDS) if band not in ("B02", "B03", "B04", "B08")]
    values[coarse] = values[coarse, ::2, ::2].repeat(2, 1).repeat(2, 2)
    return values


def write_part(folder: Path, chips: list[np.ndarray], encoded: list[bytes]) -> None:
    """A part folder (`gairlib.pairs.parts`) with PHOTOS_PER_CHIP photos for each chip."""
    folder.mkdir(parents=True)
    n, rng = len(chips), np.random.default_rng(1)
    np.save(folder / "chips.npy", np.stack(chips))
    pd.DataFrame(
        {
            "scene_id": "scene",
            "split": "train",
            "crs": "EPSG:32632",
            "scene_datetime": None,
            "transform": [[10.0, 0.0, 4e5, 0.0, -10.0, 5e6]] * n,
            "footprint": [[0.0] * 34] * n,
            "repeat": 0,
            "lon": 9.0,
            "lat": 45.0,
            "cloud_share": 0.0,
            "nodata_share": 0.0,
            "scene_cloud": 0.0,
            "photos": PHOTOS_PER_CHIP,
        }
    ).to_parquet(folder / "chips.parquet", index=False)
    k = len(encoded)
    ids = [f"p{i:06d}" for i in range(k)]
    pd.DataFrame(
        {
            "photo_id": ids,
            "chip": np.arange(k) // PHOTOS_PER_CHIP,
            "slot": np.arange(k) % PHOTOS_PER_CHIP,
            "x": rng.uniform(-1, 1, k),
            "y": rng.uniform(-1, 1, k),
            "path": "",
            "view_yaw": np.nan,
            "heading": np.nan,
            "lon": 9.0,
            "lat": 45.0,
            "split": "train",
            "scene_id": "scene",
            "repeat": 0,
            "source_photo_id": ids,
            "photo": np.arange(k),
        }
    ).to_parquet(folder / "manifest.parquet", index=False)
    pd.DataFrame({"photo_id": ids, "bytes": [len(e) for e in encoded]}).to_parquet(
        folder / "photos.parquet", index=False
    )
    (folder / "photos.bin").write_bytes(b"".join(encoded))


def build(folder: Path, chips: int) -> pairs_store.Pairs:
    """The synthetic store, assembled from parts. To save time 500 photos and 100 chips are drawn
    and each is used again, chips moved by some pixels, photos with another JPEG comment."""
    rng, parts = np.random.default_rng(0), []
    drawn = [make_photo(rng) for _ in range(min(500, chips * PHOTOS_PER_CHIP))]
    grounds = [make_chip(rng) for _ in range(min(100, chips))]
    for first in range(0, chips, CHIPS_PER_PART):
        n = min(CHIPS_PER_PART, chips - first)
        pixels = [
            np.roll(grounds[i % len(grounds)], 2 * i, axis=1) for i in range(first, first + n)
        ]
        encoded = []
        for i in range(first * PHOTOS_PER_CHIP, (first + n) * PHOTOS_PER_CHIP):
            photo, mark = drawn[i % len(drawn)], f"{i:08d}".encode()
            encoded.append(photo[:2] + b"\xff\xfe\x00\x0a" + mark + photo[2:])  # a JPEG comment
        parts.append(folder / f"parts/{first:06d}")
        write_part(parts[-1], pixels, encoded)
    return pairs_store.assemble(
        parts,
        folder / "pairs",
        chip_px=CHIP_PX,
        report={"rejected": {}},
        settings={},
        rejected=pd.DataFrame({"photo_id": [], "reason": []}, dtype=str),
    )


def batches(
    pairs: pairs_store.Pairs,
    folder: Path,
    workers: int,
    *,
    photo_size: int = PHOTO_PX,
    chips: int = CHIPS_PER_BATCH,
    photos_per_chip: int = PHOTOS_PER_CHIP,
) -> PairBatches:
    """Batches of the store as training streams them: nothing is held in memory."""
    return PairBatches(
        pairs,
        SimpleNamespace(folder=folder),
        split="train",
        photo_size=photo_size,
        chips_per_batch=chips,
        photos_per_chip=photos_per_chip,
        memory_bytes=0,
        workers=workers,
    )


_state: dict = {}  # of a worker process: what it has opened before the clock starts


def _prepare(folder: str) -> None:
    torch.set_num_threads(1)
    pairs = pairs_store.load(folder)
    _state["batches"] = batches(pairs, Path(folder), workers=0)
    stored = pairs.photos()
    _state["encoded"] = [stored.encoded(i) for i in range(len(stored))]


def _decode(steps: list[int]) -> tuple[int, float]:
    """Photos decoded, as many as `_read` reads, and the processor's seconds."""
    encoded, per = _state["encoded"], CHIPS_PER_BATCH * PHOTOS_PER_CHIP
    done, out = 0, np.empty((3, PHOTO_PX, PHOTO_PX), np.uint8)
    start = time.process_time()
    for step in steps:
        for i in range(step * per, (step + 1) * per):
            photos.decode_into(out, encoded[i % len(encoded)])
            done += 1
    return done, time.process_time() - start


def _read(steps: list[int]) -> tuple[int, float]:
    start = time.process_time()
    count = sum(len(_state["batches"].batch(s).photo_ids) for s in steps)
    return count, time.process_time() - start


def _rate(pools: list[ProcessPoolExecutor], work, steps: range) -> tuple[float, float]:
    """Photos a second of two processes that share the steps, and a second of their processors."""
    start = time.perf_counter()
    done = [pool.submit(work, list(steps[i::2])) for i, pool in enumerate(pools)]
    counts, seconds = zip(*(d.result() for d in done))
    return sum(counts) / (time.perf_counter() - start), sum(counts) / sum(seconds)


def _threads_rate(folder: Path, steps: int) -> float:
    """Photos a second of one process that streams with two threads."""
    streamed = batches(pairs_store.load(folder), folder, workers=2)
    streamed.batch(0)
    start = time.perf_counter()
    count = sum(len(streamed.batch(s).photo_ids) for s in range(1, steps + 1))
    return count / (time.perf_counter() - start)


def run(quick: bool = False) -> dict:
    """Rates and their ratio: the median of many short rounds' own ratios, since another process on
    the machine disturbs a round, but seldom half of them. `cpu_ratio` counts the processors' time
    in place of the clock's; it leaves out all waiting."""
    chips, rounds, steps = (2 * CHIPS_PER_BATCH, 1, 2) if quick else (2000, 9, 12)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = time.perf_counter()
        pairs = build(folder, chips)
        built = time.perf_counter() - start
        store = folder / "pairs/pairs.zarr"
        size = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
        on_disk = sum(f.stat().st_size for f in (store / "chips").rglob("*") if f.is_file())
        stored = pairs.chips
        pools = [
            ProcessPoolExecutor(1, get_context("spawn"), _prepare, (str(folder / "pairs"),))
            for _ in range(2)
        ]
        try:
            for work in (_decode, _read):  # start the processes, warm the page cache
                _rate(pools, work, range(chips // CHIPS_PER_BATCH if work is _read else 2))
            found = []
            for k in range(rounds):
                part = range(k * steps, (k + 1) * steps)
                found.append([*_rate(pools, _decode, part), *_rate(pools, _read, part)])
        finally:
            for pool in pools:
                pool.shutdown()
        decode, decode_cpu, read, read_cpu = np.array(found).T
        threads = _threads_rate(folder / "pairs", 2 if quick else 16)
        return {
            "photos": stored.sizes["photo"],
            "chips": stored.sizes["chip"],
            "chip_px": CHIP_PX,
            "photo_px": PHOTO_PX,
            "jpeg_quality": QUALITY,
            "photos_per_chip": PHOTOS_PER_CHIP,
            "chips_per_batch": CHIPS_PER_BATCH,
            "processes": 2,
            "page_cache": "warm",
            "kb_per_photo": round(stored.sizes["byte"] / stored.sizes["photo"] / 1e3, 1),
            "decode_photos_per_second": round(median(decode)),
            "read_photos_per_second": round(median(read)),
            "ratio": round(median(read / decode), 3),
            "cpu_ratio": round(median(read_cpu / decode_cpu), 3),
            "threads_read_photos_per_second": round(threads),
            "chip_codec": "blosc lz4hc level 5, bitshuffle",
            "photo_codec": "none beyond the JPEG",
            "chip_chunk": f"1 chip, {_rows(store, 'chips')} a shard",
            "photo_chunk_kb": INNER_BYTES >> 10,
            "photo_shard_mb": shards.SHARD_BYTES >> 20,
            "store_mb": round(size / 1e6, 1),
            "chips_share_of_raw": round(on_disk / stored["chips"].nbytes, 3),
            "build_seconds": round(built, 1),
            "target_ratio": 0.8,
        }


def _rows(store: Path, name: str) -> int:
    import zarr

    return zarr.open_array(store / name, mode="r").shards[0]
