"""Files that are there as a whole or not at all, and what tells one from another."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; at the end of the block it takes the place of `path`.

    What stood there stays until then, and for good where the block raises or the process ends.
    Two processes may write the same path: the last one's file stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    yield part
    os.replace(part, path)


def sha256(path: Path) -> str:
    """Of a file's content, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
