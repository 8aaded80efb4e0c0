"""Files and folders that are whole or not there, known to be damaged where they are, and owned.

- `atomic_write`, `atomic_folder`: written under a name of their own beside the target, flushed to
  the disk, renamed. The old one stays until then. What a killed process left goes at the next
  writing into that folder.
- `seal` and `damaged`: digests beside the files, for what is trusted later.
- `owner`: a folder or file that one process at a time works on.
"""

import errno
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from gairlib.errors import BadInput

SUMS = "SHA256SUMS"  # as `sha256sum -c` reads it
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_OWN = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-\d+\.part$")
_numbers = count()  # two threads may write the same path
_swept: set[tuple[int, Path]] = set()  # once a process and folder: listing a large one takes long


# ------------------------------------------------------------------ whole or not there


@contextmanager
def atomic_write(
    path: Path, check: Callable[[Path], object] | None = None, durable: bool = True
) -> Iterator[Path]:
    """A name beside `path` to write to; at the end of the block it takes the place of `path`.

    What stood there stays until then, and for good where the block or `check` raises or the process
    ends. check: reads back what was written, for writers that hide errors. durable: on the disk
    before the rename, so a power cut leaves the old or the new one; False for what has a checksum
    and can be made anew. Two processes may write the same path: the last one's file stays.
    """
    path = Path(path)
    part = _own_name(path)
    try:
        yield part
        if check is not None:
            check(part)
        if durable:
            sync([part])
        os.replace(part, path)
        if durable:
            sync([path.parent])
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, durable: bool = True, keep: bool = False) -> Iterator[Path]:
    """An empty folder beside `path` to fill; at the end of the block it takes the place of `path`.

    As `atomic_write`. keep: a folder that another task has put there meanwhile stays instead.
    """
    path = Path(path)
    fresh = _own_name(path)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if durable:
            sync(sorted(fresh.rglob("*")))
            sync([fresh])
        while fresh.exists():
            try:
                os.replace(fresh, path)  # nothing, or an empty folder
            except OSError:
                if not path.exists():
                    raise
                if keep:
                    break
                remove(path)
        if durable:
            sync([path.parent])
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def replace_folder(fresh: Path, folder: Path, ours: Collection[str]) -> None:
    """Rename `fresh` to `folder`; entries there that are not `ours` by name (figures) move along.

    A kill between any two steps leaves the old folder or the new one under its name or under that
    which `recover_folder` looks for, and everybody's files in one of the two.
    """
    old = beside(folder, "old")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    sync([folder.parent])
    recover_folder(folder, ours)


def recover_folder(folder: Path, ours: Collection[str]) -> None:
    """Finish what `replace_folder` had begun when its process was killed."""
    old = beside(folder, "old")
    if not old.is_dir():
        return
    if not folder.is_dir():
        old.rename(folder)
        return
    for entry in old.iterdir():
        if entry.name not in ours and not os.path.lexists(folder / entry.name):
            entry.rename(folder / entry.name)
    remove(old)


def beside(path: Path, what: str) -> Path:
    """A hidden name beside `path`."""
    return path.with_name(f".{path.name}.{what}")


def remove(path: Path) -> None:
    """Remove a folder or file, if it is there: first out of the way, so that no moment shows a
    part of it."""
    path = Path(path)
    gone = _own_name(path)
    with suppress(FileNotFoundError):
        os.rename(path, gone)
        _discard(gone)


def sync(paths: Iterable[Path]) -> None:
    """Wait until files' content, or folders' entries, are on the disk."""
    # A disk writes many at once as fast as one: 80 small files 0.3 s instead of 4.7 s.
    paths = list(paths)
    if len(paths) < 2:
        list(map(_sync, paths))
        return
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    folder = path.is_dir()
    if folder and os.name == "nt":  # which opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL or not folder:  # some file systems sync no folders
            raise
    finally:
        os.close(handle)


def _own_name(path: Path) -> Path:
    """A name beside `path` that no other process, thread or call uses."""
    _sweep(path.parent)
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{next(_numbers)}.part")


def _sweep(folder: Path) -> None:
    """Remove what processes of this machine that have ended left in a folder."""
    if (os.getpid(), folder) in _swept or not folder.is_dir():
        return
    _swept.add((os.getpid(), folder))
    for path in folder.iterdir():
        found = _OWN.match(path.name)
        if found and found[1] == _HOST and not _alive(int(found[2])):
            _discard(path)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


# ------------------------------------------------------------------ known to be damaged


def sha256(path: Path) -> str:
    """Of a file's content, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, names: Iterable[str] | None = None, sums: str = SUMS) -> None:
    """Write down the digests of files below a folder (default: all), in the file `sums` there."""
    folder = Path(folder)
    if names is None:
        found = (p for p in folder.rglob("*") if p.is_file() and p.name != sums)
        names = [p.relative_to(folder).as_posix() for p in found]
    lines = "".join(f"{sha256(folder / name)}  {name}\n" for name in sorted(names))
    own = hashlib.sha256(lines.encode()).hexdigest()  # to `sha256sum -c` a comment
    with atomic_write(folder / sums, durable=False) as part:
        part.write_text(f"{lines}# {own}\n", encoding="utf-8")


def damaged(
    folder: Path, sums: str = SUMS, content: Callable[[str], bool] = lambda name: True
) -> str | None:
    """What is wrong with the files of a `seal`, the first; None where nothing is, or no seal is.

    content: of which names the bytes are compared; the others must be there.
    """
    folder = Path(folder)
    try:
        text = (folder / sums).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except ValueError:
        text = ""
    if own := re.fullmatch(
        r"(.*\n)# ([0-9a-f]{64})\n", text, re.DOTALL
    ):  # else: an older version's
        text = own[1] if hashlib.sha256(own[1].encode()).hexdigest() == own[2] else ""
    lines = text.removesuffix("\n").split("\n")
    known = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    if not known or not all(known):
        return f"{folder / sums} is damaged"
    for digest, name in (found.groups() for found in known):
        if not (folder / name).is_file():
            return f"{folder / name} is not there"
        if content(name) and sha256(folder / name) != digest:
            return f"{folder / name} is not what was written ({sums})"
    return None


def stamp(path: str | Path) -> list:
    """Size and time of a file's last change, [-1, 0] where there is none: what tells its state."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return [-1, 0]
    return [found.st_size, found.st_mtime_ns]


# ------------------------------------------------------------------ one owner


@contextmanager
def owner(path: Path) -> Iterator[None]:
    """Within it this process alone works on a folder or file; BadInput names who does instead.

    The lock goes with the process, however it ends, and holds between machines where their file
    system has locks; where there are none, or nothing can be written, nothing is held.
    """
    import fcntl

    path = Path(path)
    lock = beside(path, "lock")
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = open(lock, "a+", encoding="utf-8")
        except OSError:
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise BadInput(f"{path}: {holder} is working on it; wait until it has ended") from None
        except OSError:  # no locks here
            break
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
                break
        file.close()  # its owner has removed it meanwhile
    with file:
        with suppress(OSError):  # a full disk
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()
