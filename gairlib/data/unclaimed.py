"""What lies in a dataset folder and belongs to none of its parts, by name alone.

A table that is named as no part is told only where no photo can be used: it may be the photos' own.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from gairlib.data import boundary, photo_folders, table_files
from gairlib.data.scene_assets import SUFFIXES
from gairlib.errors import BadInput, Missing

PHOTOS = ("photo_id", "path", "lon", "lat")  # what a table of photos has
TABLES = ("street", "scenes", "areas")
NOWHERE = "in no place that is read"
OTHERS = {*table_files.UNREAD, *table_files.BESIDE}
PICTURES = "in no place that is read; name the photos in street.csv, or move them into street/"
PLACE = "tables/ takes those of places (lon, lat, targets)"


def find(dataset, parts: Collection[str], lost: Collection[str]) -> list[tuple[str, str]]:
    """(name, with what a folder holds: "drive/ (60 pictures)"; what would be right) of each. parts:
    names of parts. lost: of what they reject, a scene's without its suffix."""
    homes = [h.relative_to(dataset.folder).parts for h in dataset.benchmarks().values()]
    if () in homes:  # the folder is one itself
        return []
    paths = dataset.street()["path"].dropna().str.removeprefix("./")
    photos = len(paths) > 0
    taken = {*parts, *paths.str.split(r"[/\\]", n=1, regex=True).str[0]}
    taken |= {home[0] for home in homes}
    for scene in dataset.scenes():
        for path in map(Path, {scene.path, *(asset.href for asset in scene.assets)}):
            if path.is_relative_to(dataset.folder):
                taken |= set(path.relative_to(dataset.folder).parts[:1])

    def known(path: Path) -> bool:
        used = not {path.name, path.name.lower()}.isdisjoint(taken)
        return used or not {path.name, path.stem}.isdisjoint(lost)

    inside, found = boundary.listing(dataset.folder), []
    for path in inside.folders:
        kinds = Counter(map(kind, boundary.listing(path, deep=True).files))
        del kinds["notes"]
        if kinds and not known(path) and not table_files.suffix_of(path):
            holds = ", ".join(f"{n} {what}" for what, n in sorted(kinds.items()))
            reason = PICTURES if kinds["pictures"] and not photos else NOWHERE
            found.append((f"{path.name}/ ({holds})", reason))
    for path in inside.files:
        if known(path):
            continue
        if table_files.suffix_of(path):
            if not photos and not _named(path):
                found.append((path.name, _table(path)))
        elif kind(path) != "notes" and path.suffix.lower() not in OTHERS:
            found.append((path.name, _file(path, photos)))
    return found


def _named(path: Path) -> bool:
    """Whether it is named as a part's table or as that of a tool."""
    stem = table_files.stem_of(path)
    return stem.lower() in TABLES or stem in photo_folders.SOURCES


def _file(path: Path, photos: bool) -> str:
    """Why a file is not taken. photos: whether some of the folder's are."""
    suffix = path.suffix.lower()
    if suffix in boundary.ARCHIVES:
        return boundary.PACKED
    if suffix in boundary.UNREAD:
        return str(boundary.unknown_kind(path))
    return PICTURES if kind(path) == "pictures" and not photos else NOWHERE


def _table(path: Path) -> str:
    try:
        names = table_files.columns(path)
    except (BadInput, Missing):
        names = []
    lacking = [name for name in PHOTOS if names and name not in names]
    more = f" and has {', '.join(lacking)}, which this one lacks" if lacking else ""
    return f"a table {NOWHERE}; one of photos is named street.csv{more}; {PLACE}"


def kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in photo_folders.PICTURES:
        return "pictures"
    if suffix in SUFFIXES:
        return "rasters"
    if suffix in boundary.UNREAD:
        return f"{suffix} files"
    return "notes" if suffix in boundary.NOTES else "other files"
