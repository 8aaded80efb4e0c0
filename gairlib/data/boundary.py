"""Where a user's files come in: what may go wrong with them, said once for all readers.

Libraries raise what they please at a damaged file (struct.error, ProjError, zlib.error,
RecursionError ...). `reading` turns whatever comes into a `BadInput` that names the file, so that
the caller can put it into the list of what was rejected and go on. `listing` says what a folder
holds: what computers leave there for themselves does not count, and what cannot be opened is named
and stops nothing.
"""

import json
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from gairlib.errors import BadInput, Missing, Skipped

TOLERANT = "GAIRLIB_TOLERANT"  # environment variable: 1 for `Dataset(tolerant=True)` by default
LITTER = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "__pycache__", "$recycle.bin"}
# Kinds of picture and film that are met in photo folders and are not read, with the way out.
UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), "camera raw"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".insv", ".360"), "a film"),
    ".insp": "a camera's raw panorama",
}
ARCHIVES = {".zip", ".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
PACKED = "an archive is not read; unpack it"
NOTES = {  # files that stand beside data and say something of them
    *(".json", ".geojson", ".xml", ".xmp", ".csv", ".tsv", ".txt", ".md", ".gpx", ".kml", ".html"),
    *(".pdf", ".log", ".yaml", ".yml", ".dvc", ".msk", ".ovr", ".prj", ".tfw", ".jgw", ".pgw"),
    *(".wld", ".hdr", ".gml", ".safe", ".gfs", ".pkl", ".part"),
}


@contextmanager
def reading(what: str | Path, reason: str = "cannot be read") -> Iterator[None]:
    """Around whatever reads something of a user's: every error becomes a BadInput.

    what: the file, and the row where there is one. The project's own errors pass unchanged, and so
    do a package that is not installed, an interrupt and an exit.
    """
    try:
        yield
    except (BadInput, Missing, Skipped, ImportError):
        raise
    except Exception as problem:
        text = " ".join(str(problem).split())[:200]
        kind = type(problem).__name__
        raise BadInput(f"{what}: {reason} ({kind}{': ' if text else ''}{text})") from problem


def parsed(text: str | bytes) -> Any:
    """What JSON text holds; halves of characters (a lone \\ud800), which no table, page or file can
    hold, as "?"."""
    found = json.loads(text)
    odd = "\\ud" if isinstance(text, str) else b"\\ud"
    if odd in text.lower():
        found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return found


def settings(path: str | Path) -> dict:
    """The sections of a YAML file; Missing or BadInput where it is none."""
    import yaml

    path = Path(path)
    if not path.is_file():
        raise Missing(f"{path}: there is no such parameter file")
    with reading(path, "not readable as YAML"):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"{path}: sections (`data:`) are needed, not {str(found)[:60]!r}")
    return found


@dataclass(frozen=True)
class Listing:
    """What a folder holds: files and folders in order of their names, and (name, reason) of the
    entries that cannot be opened; names of `odd` are relative to the folder."""

    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)


def hidden(name: str) -> bool:
    """Whether a name is that of something that computers keep for themselves: dot files and the
    "._" twins of a Mac, Jupyter's checkpoints, thumbnails of Windows and of network drives, the
    locks of an office program (~$)."""
    return name.startswith((".", "~$")) or name.lower() in LITTER


def listing(folder: str | Path, deep: bool = False) -> Listing:
    """Files and folders in `folder` (deep: and below it), without what is `hidden`.

    Links are followed, but not to a folder that holds them; of two ways to one folder the one that
    is no link is taken. A folder that is not there or cannot be opened is empty; what it cannot
    show stands in `odd`. Raises nothing.
    """
    root = Path(folder)
    found = Listing()
    _list(root, root, deep, found, set())
    for part in (found.files, found.folders):
        part.sort()
    found.odd.sort()
    return found


def _list(folder: Path, root: Path, deep: bool, found: Listing, seen: set) -> None:
    try:
        about = folder.stat()
        if (about.st_dev, about.st_ino) in seen:
            return
        seen.add((about.st_dev, about.st_ino))
        names = os.listdir(folder)
    except OSError as problem:
        if folder != root:
            found.odd.append(_odd(folder, root, f"cannot be opened ({problem.strerror})"))
        return
    paths = [folder / name for name in names if not hidden(name)]
    for linked, path in sorted((os.path.islink(path), path) for path in paths):
        if linked and Path(resolved(folder)).is_relative_to(resolved(path)):
            continue  # it leads back up
        reason, mode = _usable(path)
        if reason is not None:
            found.odd.append(_odd(path, root, reason))
        elif stat.S_ISDIR(mode):
            found.folders.append(path)
            if deep:
                _list(path, root, deep, found, seen)
        else:
            found.files.append(path)


def _usable(path: Path) -> tuple[str | None, int]:
    """Why an entry of a folder cannot be opened (None: it can), and its mode."""
    try:
        str(path).encode("utf-8")
        mode = path.stat().st_mode
    except UnicodeEncodeError:
        return "its name is not UTF-8 text; rename it", 0
    except OSError as problem:
        if path.is_symlink():
            return "a link that leads nowhere", 0
        return f"cannot be opened ({problem.strerror})", 0
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        return "neither a file nor a folder", mode
    if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        return "no permission to read it", mode
    return None, mode


def _odd(path: Path, root: Path, reason: str) -> tuple[str, str]:
    name = path.relative_to(root).as_posix()
    return name.encode("utf-8", "backslashreplace").decode("utf-8"), reason


def unknown_kind(path: str | Path) -> str | None:
    """Why a file of a photo folder is not taken, by its suffix; None for notes beside the data."""
    suffix = Path(path).suffix.lower()
    if suffix in UNREAD:
        return f"{suffix} ({UNREAD[suffix]}) is not read here; convert it to JPEG"
    if suffix in NOTES:
        return None
    return f"files of the kind {suffix or 'without a suffix'} are not read here"


def image_hint(path: str | Path, start: bytes = b"") -> str:
    """What to do about a picture that cannot be opened: "; convert ..." or nothing."""
    kind = UNREAD.get(Path(str(path)).suffix.lower())
    if kind is None and start[4:8] == b"ftyp":
        brand = start[8:12]
        kind = "AVIF" if brand in (b"avif", b"avis") else "HEIC or a film"
    return f"; {kind} is not read here, convert it to JPEG" if kind else ""


def inside(root: str | Path, path: str | Path) -> Path:
    """`path` of a table, relative to `root`, as a path on this computer.

    Windows' separators count as separators. A name that is not there is looked for in the other
    Unicode form (NFC, as most computers write it; NFD, as a Mac does) and in other cases, which are
    one file on Windows and on a Mac; it is taken where it means one entry alone.
    """
    text = os.path.normpath(str(path).replace("\\", "/"))
    found = Path(root) / text
    if os.path.exists(found):
        return found
    other = Path(root)
    for part in Path(text).parts:
        if not os.path.exists(other / part):
            near = _alike(str(other), changed(other)).get(_folded(part), [])
            exact = [name for name in near if _composed(name) == _composed(part)]
            part = next((names[0] for names in (exact, near) if len(names) == 1), part)
        other /= part
    return other if os.path.exists(other) else found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(_composed(name).casefold())


def changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def twins(paths: Iterable[Path]) -> dict[Path, Path]:
    """Of paths that links make two names of one file or folder, each but one -> the one that is
    kept: no link where there is such."""
    first: dict[str, Path] = {}
    return {
        path: first[real]
        for path in sorted(paths, key=os.path.islink)
        if first.setdefault(real := resolved(path), path) is not path
    }


def resolved(path: str | Path) -> str:
    """Where links in a path lead; the path itself, where no file can have its name."""
    with suppress(ValueError):
        return os.path.realpath(path)
    return str(path)


@lru_cache(maxsize=64)
def _alike(folder: str, changed: int) -> dict[str, list[str]]:
    """The entries of a folder by their folded names; changed: when, as part of the cache's key."""
    found: dict[str, list[str]] = {}
    with suppress(OSError):
        for name in os.listdir(folder):
            found.setdefault(_folded(name), []).append(name)
    return found
