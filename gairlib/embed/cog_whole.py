"""Reads back a COG that was just written: whether any byte of it is lacking.

GDAL keeps errors of its last writes to itself: on a full disk it leaves half a file and says
nothing. A write that failed leaves the file short, or a hole in it; and in a COG the length of each
tile stands before it, and its last four bytes again after it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError


def check(part: Path, target: Path, shape: tuple[int, int, int]) -> None:
    """OSError unless every tile of every overview of `part`, and of its bands themselves, is wholly
    there. target: what it is to become, for the message; shape: bands, height, width."""
    size = part.stat().st_size
    with part.open("rb") as raw, _reading(part, target) as file:
        same = (file.count, file.height, file.width) == shape
        if not same or not size or _first_hole(raw) < size:
            raise _cut_short(target)
        for start, length in _tiles(part, target, file):
            raw.seek(max(0, start - 4))
            before = raw.read(4)
            raw.seek(max(0, start + length - 4))
            end, again = raw.read(4), raw.read(4)
            # What ends a tile is a checksum, so zeros are none.
            if int.from_bytes(before, "little") != length or end != again or not any(end):
                raise _cut_short(target)


def _tiles(part: Path, target: Path, file: rasterio.DatasetReader) -> Iterator[tuple[int, int]]:
    """(first byte, length) of every tile; 0, 0 of one that is not there."""
    for level in (None, *range(len(file.overviews(1)))):
        options = {} if level is None else {"overview_level": level}
        with _reading(part, target, **options) as opened:
            places = [place for place, _ in opened.block_windows(1)]
        for row, column in places:
            names = (f"BLOCK_{what}_{column}_{row}" for what in ("OFFSET", "SIZE"))
            start, length = (file.get_tag_item(n, "TIFF", 1, level) or 0 for n in names)
            yield int(start), int(length)


@contextmanager
def told(target: Path) -> Iterator[None]:
    """Around what is written of `target`, or read back: all errors become one OSError."""
    try:
        yield
    except (OSError, RasterioError, CPLE_BaseError) as problem:
        raise _cut_short(target) from problem


@contextmanager
def _reading(part: Path, target: Path, **options) -> Iterator[rasterio.DatasetReader]:
    """An open GeoTIFF that is to become (a piece of) `target`."""
    with told(target), rasterio.open(part, driver="GTiff", **options) as file:
        yield file


def _first_hole(file: BinaryIO) -> int:
    """Where an open file has its first hole; its end where it has none, or none can be known."""
    if not hasattr(os, "SEEK_HOLE"):
        return os.fstat(file.fileno()).st_size
    return os.lseek(file.fileno(), 0, os.SEEK_HOLE)


def _cut_short(target: Path) -> OSError:
    return OSError(
        f"{target}: could not be written, or not read back, as on a full disk; make room and "
        "repeat the call, which goes on from its finished pieces"
    )
