"""Sharded Zarr arrays (format 3): written a shard at a time, read by byte range.

zarr-python spends about a millisecond on every small read; a training batch is some three hundred
of them. The format itself is simple (Zarr sharding codec, specification 1.0): a shard file holds
encoded inner chunks and, at its end, an index of (offset, size) for each, with a CRC-32C. `Shards`
reads that index once and then takes each chunk with one `pread`, which other threads can overlap.
It knows the layout that `create` writes and no other: `open_local` gives None for anything else,
and the caller reads through xarray instead.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from gairlib.errors import BadInput

SHARD_BYTES = 64 << 20  # of pixels, decoded: what `Appender` holds in memory
# Measured on 40 real chips of 96 px (184 kB), bit-shuffled: LZ4-HC level 5 makes them 0.50 of their
# size and decodes one in 0.10 ms; zstd level 1 0.41 in 0.27 ms; plain LZ4 0.63 in 0.10 ms; zstd
# without shuffling 0.48 in 0.29 ms. A chip is written once (2.3 ms) and read every epoch. Blosc is
# among the codecs that the format's specification itself names. A flipped bit would decode into
# other pixels: the checksum takes 3 us a chip.
PIXEL_CODECS = (
    BloscCodec(cname="lz4hc", clevel=5, shuffle="bitshuffle", typesize=2),
    Crc32cCodec(),
)
MISSING = 2**64 - 1  # the index entry of a chunk of zeros, which is not written


def _without_checksum(data: bytes) -> np.ndarray:
    """What Zarr's codec crc32c holds, uint8, not a copy; RuntimeError where it does not fit.

    In half the time of numcodecs' own `decode`: 3 us of a chip's 60.
    """
    held = np.frombuffer(data, np.uint8, len(data) - 4)
    if numcodecs.CRC32C.checksum(held) != int.from_bytes(data[-4:], "little"):
        raise RuntimeError("the checksum does not fit")
    return held


DECODERS = {
    "blosc": numcodecs.Blosc().decode,
    "zstd": numcodecs.Zstd().decode,
    "crc32c": _without_checksum,
}


def create(
    group: zarr.Group,
    name: str,
    shape: tuple,
    dtype,
    dims: tuple,
    *,
    inner: int = 1,
    codecs: Sequence = (),
    about: str = "",
) -> zarr.Array:
    """An array in shards of about SHARD_BYTES, cut along its first dimension alone.

    inner: rows of an inner chunk, the smallest part that any reader fetches. codecs: without
    one the bytes are as they are, so that parts of a chunk can be read too.
    """
    row = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    rows = max(1, min(SHARD_BYTES // (row * inner), 512 if codecs else 1 << 20)) * inner
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(inner, *shape[1:]),
        shards=(rows, *shape[1:]),
        compressors=codecs or None,
        filters=None,
        dimension_names=dims,
        attributes={"description": about} if about else None,
    )


class Appender:
    """Fills an array of known length from its start, whole shards (or chunks) at a time."""

    def __init__(self, array: zarr.Array):
        self.array, self.at, self.waiting, self.count = array, 0, [], 0
        self.step = (array.shards or array.chunks)[0]

    def add(self, rows: np.ndarray) -> None:
        """The next rows [n, ...]."""
        while len(rows):
            take = min(self.step - self.count, len(rows))
            self.waiting.append(np.array(rows[:take]))  # a copy: not a view into a mapped file
            self.count, rows = self.count + take, rows[take:]
            if self.count == self.step:
                self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.count:
            self.array[self.at : self.at + self.count] = np.concatenate(self.waiting)
            self.at, self.waiting, self.count = self.at + self.count, [], 0


def damaged(where: str | os.PathLike, what: str) -> BadInput:
    return BadInput(f"{where}: {what} is not what was written; run the pairing stage again")


def open_local(folder: Path) -> "Shards | None":
    """A reader of an array's folder; None where it is not laid out as `create` does."""
    try:
        about = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
        (sharding,) = about["codecs"]
        outer = about["chunk_grid"]["configuration"]["chunk_shape"]
        options = sharding["configuration"]
        inner, (first, *rest) = options["chunk_shape"], options["codecs"]
        index = [c["name"] for c in options["index_codecs"]]
        known = (
            sharding["name"] == "sharding_indexed"
            and options.get("index_location", "end") == "end"
            and index == ["bytes", "crc32c"]
            and first["name"] == "bytes"
            and first.get("configuration", {}).get("endian", "little") == "little"
            and all(c["name"] in DECODERS for c in rest)
            and about["chunk_key_encoding"]
            == {"name": "default", "configuration": {"separator": "/"}}
            and about["fill_value"] == 0
            and outer[1:] == inner[1:] == about["shape"][1:]
        )
    except (OSError, KeyError, ValueError, TypeError):
        return None
    if not known:
        return None
    dtype = np.dtype(about["data_type"]).newbyteorder("<")
    decoders = [DECODERS[c["name"]] for c in reversed(rest)]
    return Shards(folder, dtype, inner, outer[0] // inner[0], decoders)


class Shards:
    """Inner chunks of one array, by number along its first dimension. Safe to use from threads."""

    def __init__(self, folder: Path, dtype: np.dtype, inner: list[int], per_shard: int, decoders):
        self.folder, self.dtype, self.inner = folder, dtype, tuple(inner)
        self.per_shard, self.decoders = per_shard, decoders
        self.zeros = math.prod(inner) * dtype.itemsize
        self._index: dict[int, np.ndarray] = {}

    def chunk(self, number: int) -> np.ndarray:
        """One inner chunk, decoded, [inner rows, ...]; of the last one the tail is padding."""
        shard, place = divmod(int(number), self.per_shard)
        offset, size = self._entries(shard)[place]
        if offset == MISSING:
            return np.zeros(self.inner, self.dtype)
        data = self._read(shard, int(offset), int(size))
        for decode in self.decoders:
            data = decode(data)
        return np.frombuffer(data, self.dtype).reshape(self.inner)

    def span(self, start: int, stop: int) -> bytes:
        """Values start:stop of a one-dimensional array of bytes that is not compressed."""
        if self.decoders or self.inner != self.inner[:1] or self.dtype.itemsize != 1:
            raise TypeError(f"{self.folder}: spans are for plain bytes")
        parts, width = [], self.inner[0]
        while start < stop:
            shard, place = divmod(start // width, self.per_shard)
            entries, skip, want = self._entries(shard), start % width, stop - start
            first = int(entries[place, 0])
            if first == MISSING:
                parts.append(bytes(min(width - skip, want)))
            else:  # chunks that follow each other in the file are one read
                end = place + 1
                while (
                    end < self.per_shard
                    and (end - place) * width - skip < want
                    and entries[end, 0] == first + (end - place) * width
                ):
                    end += 1
                length = min((end - place) * width - skip, want)
                parts.append(self._read(shard, first + skip, length))
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _entries(self, shard: int) -> np.ndarray:
        """(offset, size) of a shard's inner chunks, uint64 [chunks, 2]; its CRC is checked."""
        if shard not in self._index:
            size = self.per_shard * 16 + 4
            try:
                length = os.stat(self._path(shard)).st_size
            except FileNotFoundError:  # a shard of nothing but zeros is not written
                self._index[shard] = np.full((self.per_shard, 2), MISSING, np.uint64)
                return self._index[shard]
            data = self._read(shard, max(0, length - size), size)
            self._index[shard] = np.frombuffer(DECODERS["crc32c"](data), "<u8").reshape(-1, 2)
        return self._index[shard]

    def _path(self, shard: int) -> str:
        return os.path.join(self.folder, "c", str(shard), *["0"] * (len(self.inner) - 1))

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        file = os.open(self._path(shard), os.O_RDONLY)
        try:
            data = os.pread(file, size, offset)
        finally:
            os.close(file)
        if len(data) != size:
            raise OSError(f"{self._path(shard)}: cut short; run the pairing stage again")
        return data
