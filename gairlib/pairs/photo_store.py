"""Photos as encoded bytes (JPEG, PNG) in a Zarr store, and how single ones come back fast.

All photos lie one after the other in `photo_bytes` (uint8, not compressed: they are already), and
photo i is photo_bytes[photo_start[i] : photo_start[i] + photo_size[i]], whose CRC-32 is compared as
it is read. Inner chunks of 64 KiB in shards of 64 MiB keep the number of files small, and any Zarr
reader fetches a photo with one or two of them; on a local disk exactly its own bytes are read
(`shards`). Bytes decode through `photos.decode_into`; of a spherical photo its views are stored,
already cut.

A file's own bytes are kept where nothing has to be cut or shrunk, so nothing is lost and nothing is
encoded twice. Views out of spherical photos, and photos that shall be stored at the size the model
reads, are written as JPEG of quality 92 without subsampling of colour; a smaller store reads
faster, since decoding takes time by the pixel.
"""

import io
import math
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
import zarr
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm
from zarr.core.dtype import VariableLengthUTF8

from gairlib.data import photos
from gairlib.data.dataset import Dataset
from gairlib.pairs import shards

INNER_BYTES = 64 << 10
INDEX_ROWS = 1 << 16
QUALITY = 92  # of JPEG


def encode_photo(path: str | Path, view_yaw: float | None = None, size: int = 0) -> bytes:
    """JPEG or PNG bytes of a photo (`view_yaw`: of that view out of a spherical one).

    size: edge in pixels that it is squashed to, as the published preprocessing does; 0: as it is.
    Raises Missing or BadInput naming the file.
    """
    cut = view_yaw is not None and math.isfinite(view_yaw)
    path = Path(path)
    if not cut and not size and path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return path.read_bytes()
    image = Image.fromarray(photos.load(path, view_yaw=view_yaw, size=size or None))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


class Writer:
    """Adds the photos of part after part; their number and bytes in all are known before."""

    def __init__(self, group: zarr.Group, count: int, total_bytes: int):
        def column(name: str, dtype, about: str) -> shards.Appender:
            return shards.Appender(
                group.create_array(
                    name,
                    shape=(count,),
                    dtype=dtype,
                    chunks=(INDEX_ROWS,),
                    dimension_names=("photo",),
                    attributes={"description": about},
                )
            )

        self.start = column("photo_start", np.int64, "first byte of the photo in photo_bytes")
        self.size = column("photo_size", np.int64, "bytes of the photo")
        self.check = column("photo_crc32", np.uint32, "CRC-32 of the photo")
        self.name = column("photo_id", VariableLengthUTF8(), "photo, or view of a spherical one")
        self.bytes = shards.Appender(
            shards.create(
                group,
                "photo_bytes",
                (total_bytes,),
                np.uint8,
                ("byte",),
                inner=INNER_BYTES,
                about="encoded photos (JPEG, PNG), one after the other",
            )
        )
        self.at = 0

    def add(self, ids: np.ndarray, sizes: np.ndarray, file: Path) -> None:
        """Photos of one part: ids and sizes [n], and the file in which they follow each other."""
        sizes = np.asarray(sizes, np.int64)
        self.name.add(np.asarray(ids, object))
        self.size.add(sizes)
        self.start.add(self.at + np.cumsum(sizes) - sizes)
        self.at += int(sizes.sum())
        checks = []
        with file.open("rb") as source:
            for size in sizes.tolist():
                photo = source.read(size)
                checks.append(zlib.crc32(photo))
                self.bytes.add(np.frombuffer(photo, np.uint8))
        self.check.add(np.array(checks, np.uint32))

    def close(self) -> None:
        """Write what is still held; photo_bytes of some other length than announced is an error."""
        for column in (self.start, self.size, self.check, self.name, self.bytes):
            column.flush()
        if self.at != self.bytes.array.shape[0]:
            raise ValueError(f"{self.at} bytes of photos instead of {self.bytes.array.shape[0]}")


class Photos:
    """The stored photos by number (`photo` of the manifest). Safe to use from threads."""

    def __init__(self, store: xr.Dataset, folder: Path):
        """store: with photo_bytes, photo_start, photo_size and, but for an older version's,
        photo_crc32, which is compared as photos are read; folder: of the Zarr store."""
        self.folder = folder
        self.start = store["photo_start"].to_numpy()
        self.size = store["photo_size"].to_numpy()
        self.checks = store["photo_crc32"].to_numpy() if "photo_crc32" in store else None
        self.values = store["photo_bytes"]
        self.shards = shards.open_local(folder / "photo_bytes")  # None: laid out otherwise

    def __len__(self) -> int:
        return len(self.start)

    def encoded(self, number: int) -> bytes:
        """A photo's bytes; IndexError: no such number, BadInput: they are damaged."""
        if not 0 <= number < len(self.start):
            raise IndexError(f"photo {number} of {len(self.start)}")
        start = int(self.start[number])
        stop = start + int(self.size[number])
        if self.shards is not None:
            try:
                found = self.shards.span(start, stop)
            except RuntimeError as problem:  # the index of a shard
                raise shards.damaged(self.folder, f"photo {number}") from problem
        else:
            found = self.values[start:stop].to_numpy().tobytes()
        if self.checks is not None and zlib.crc32(found) != self.checks[number]:
            raise shards.damaged(self.folder, f"photo {number}")
        return found

    def decode_into(self, out: np.ndarray, number: int) -> None:
        """Fill `out`, uint8 [3, S, S], with a photo squashed to it; see `photos.decode_into`."""
        photos.decode_into(out, self.encoded(number), f"stored photo {number}")


class PhotoReader:
    """Photos of table rows by position, squashed as published, from the store or from files."""

    def __init__(
        self, dataset: Dataset, rows: pd.DataFrame, size: int, stored: Photos | None = None
    ):
        """rows: path and view_yaw; where there are `stored` photos, `photo` too (-1: not there)."""
        self.folder, self.size, self.stored = dataset.folder, size, stored
        self.path, self.yaw = rows["path"].to_numpy(), rows["view_yaw"].to_numpy()
        known = stored is not None and "photo" in rows
        self.number = rows["photo"].to_numpy() if known else np.full(len(rows), -1)

    def __len__(self) -> int:
        return len(self.path)

    def read(self, i: int, out: np.ndarray) -> None:
        """Fill `out`, uint8 [3, size, size], with the photo of row i."""
        if self.number[i] >= 0:  # a stored view is cut already
            self.stored.decode_into(out, int(self.number[i]))
        else:
            path = self.folder / self.path[i]
            values = photos.load(path, view_yaw=self.yaw[i], size=self.size)
            out[...] = values.transpose(2, 0, 1)

    def batches(self, batch: int, *, workers: int = 2) -> Iterator[Tensor]:
        """uint8 [<= batch, 3, size, size] one after the other: no more than that is held."""
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(self), batch):
                rows = range(start, min(start + batch, len(self)))
                out = np.empty((len(rows), 3, self.size, self.size), np.uint8)
                list(pool.map(self.read, rows, out))
                yield torch.from_numpy(out)

    def read_all(self, *, workers: int = 2) -> Tensor:
        """uint8 [n, 3, size, size], with a progress bar."""
        out = np.empty((len(self), 3, self.size, self.size), np.uint8)

        with ThreadPoolExecutor(workers) as pool:
            list(
                tqdm(
                    pool.map(self.read, range(len(self)), out),
                    total=len(self),
                    desc="photos",
                    unit="photo",
                    mininterval=1,
                )
            )
        return torch.from_numpy(out)
