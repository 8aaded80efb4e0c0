"""Brings photos together by scene, out of files that are in the order of the photo table.

A photo's row is read, given the number of the scene it tries next, and written to one of several
buckets by that scene; a bucket is then small enough to be held and grouped. One bucket needs no
files. A scene with more photos than a task should hold (a whole city's) is divided into tiles of
0.1 degrees: photos of different tiles never share a chip.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CROWD = 50_000  # photos of one scene that a task takes
BUCKET = 200_000  # rows held at a time
TILE_DEG = 0.1


def by_scene(
    files: list[Path],
    rank: int,
    leave_out: np.ndarray,
    scratch: Path,
    crowd: int = CROWD,
    bucket: int = BUCKET,
) -> Iterator[tuple[int, int, pd.DataFrame]]:
    """(scene, tile, photos) of every group that tries its scene of this rank now.

    files: prepared rows or failed.parquet of earlier tasks; rows without a scene of this rank are
    not for us. leave_out: sorted rows of the photo table to skip. The order of groups, and of the
    rows in one, depends on the order of the files; tasks sort by photo_id.
    """
    counts: Counter = Counter()
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(columns=["_candidates"]):
            scene = _scene(batch.column("_candidates"), rank)
            numbers, times = np.unique(scene[scene >= 0], return_counts=True)
            counts.update(dict(zip(numbers.tolist(), times.tolist())))
    crowded = np.array(sorted(s for s, n in counts.items() if n > crowd), np.int64)
    buckets = max(1, -(-sum(counts.values()) // bucket))
    if buckets == 1:
        tables = [t for f in files for t in _tables(f, rank, leave_out, crowded)]
        yield from _groups(tables)
        return
    scratch.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        for part, table in enumerate(_tables(file, rank, leave_out, crowded)):
            where = _bucket(table, buckets)
            for b in np.unique(where):
                pq.write_table(
                    table.filter(pa.array(where == b)),
                    scratch / f"{b:06d}-{number:06d}-{part:06d}.parquet",
                )
    for b in range(buckets):
        found = sorted(scratch.glob(f"{b:06d}-*.parquet"))
        yield from _groups([pq.read_table(f) for f in found])
    shutil.rmtree(scratch)


def _scene(candidates: pa.Array, rank: int) -> np.ndarray:
    """The scene of this rank, -1 where a photo has none."""
    longer = pc.greater(pc.list_value_length(candidates), rank)
    kept = pc.if_else(longer, candidates, pa.scalar([-1] * (rank + 1), candidates.type))
    return pc.list_element(kept, rank).to_numpy(zero_copy_only=False).astype(np.int64)


def _tables(file: Path, rank: int, leave_out, crowded: np.ndarray) -> Iterator[pa.Table]:
    """The file's rows with columns _scene and _tile, those without a scene of this rank gone."""
    for batch in pq.ParquetFile(file).iter_batches(batch_size=100_000):
        table = pa.Table.from_batches([batch])
        scene = _scene(batch.column("_candidates"), rank)
        keep = scene >= 0
        if len(leave_out):
            row = table.column("_row").to_numpy()
            at = np.minimum(np.searchsorted(leave_out, row), len(leave_out) - 1)
            keep &= leave_out[at] != row
        lon, lat = (np.asarray(table.column(c), np.float64) for c in ("lon", "lat"))
        tile = np.floor((lat + 90.0) / TILE_DEG) * 3600 + np.floor((lon + 180.0) / TILE_DEG) + 1
        tile = np.where(np.isin(scene, crowded), tile, 0).astype(np.int64)
        table = table.append_column("_scene", pa.array(scene))
        table = table.append_column("_tile", pa.array(tile))
        yield table.filter(pa.array(keep))


def _bucket(table: pa.Table, buckets: int) -> np.ndarray:
    key = table.column("_scene").to_numpy() * 7_000_003 + table.column("_tile").to_numpy()
    return pd.util.hash_array(key) % np.uint64(buckets)


def _groups(tables: list[pa.Table]) -> Iterator[tuple[int, int, pd.DataFrame]]:
    tables = [t for t in tables if len(t)]
    if not tables:
        return
    frame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    for (scene, tile), group in frame.groupby(["_scene", "_tile"], sort=True):
        yield int(scene), int(tile), group.drop(columns=["_scene", "_tile"])
