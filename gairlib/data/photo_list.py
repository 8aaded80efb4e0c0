"""The photos of a dataset folder: which table or tool names them, and which of them can be used.

A table of photos (street.csv) comes first, then what download tools have left (`photo_folders`),
then the EXIF positions of the pictures in street/ (`exif`). Where a row of a table does not say
whether its photo is a full sphere, the picture's own metadata do (`photos.sphere`).
"""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pandas as pd

from gairlib.data import (
    boundary,
    exif,
    photo_folders,
    photo_tables,
    photos,
    streetscapes,
    table_files,
    tables,
)
from gairlib.errors import BadInput, Missing


def table_of(folder: Path) -> Path | None:
    """street.parquet, street.csv ... (`table_files.SUFFIXES`), else streetscapes/, or None."""
    found = table_files.find(folder, "street")
    published = folder / "streetscapes"
    return published if found is None and published.is_dir() else found


def source(folder: Path, look: bool) -> Path | tables.Piece:
    """What names a folder's photos: a table's path, or (photos, reasons). look: also at photos of
    which the table says whether they are spheres, to warn where their metadata say otherwise."""
    path = table_of(folder)
    if path is not None and not (path.is_dir() and photo_folders.in_batches(folder)):
        return _with_spheres(path, folder, look)
    with boundary.reading(folder, "its table of photos cannot be read"):
        found = photo_folders.read(folder)
    if found is not None:
        return found
    if (folder / "street").is_dir():
        return exif.folder_table(folder)
    none = tables.no_photos()
    return none, tables.no_reasons(none.index)


def read(table: Path) -> tables.Piece:
    with boundary.reading(table, "not readable as a table of photos"):
        return photo_tables.read_photos(table)


def check(frame: pd.DataFrame, reasons: pd.Series, inside: Callable[[str], Path]) -> None:
    """Decode every photo that has no reason yet (at an eighth of its size), and note what fails."""

    def reason(path: Path, sphere: bool) -> str | None:
        try:
            with boundary.reading(path):
                photos.check(path, bool(sphere))
        except (BadInput, Missing) as problem:
            return str(problem)
        return None

    good = reasons.index[reasons.isna()]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        paths = [inside(frame.at[i, "path"]) for i in good]
        for i, why in zip(good, pool.map(reason, paths, frame.loc[good, "is_spherical"])):
            reasons[i] = why


def _with_spheres(table: Path, folder: Path, look: bool) -> Path | tables.Piece:
    """The table as it is, or (photos, reasons) where pictures call themselves spheres of which it
    says nothing. A table that cannot be read is refused by whoever reads it."""
    try:
        names = [] if table.is_dir() else table_files.columns(table, photo_tables.CORE)
    except (BadInput, Missing):
        return table
    if "path" not in names or streetscapes.recognise(names):
        return table
    found, against = [], []
    for frame, _ in _pieces(table):
        given = frame["is_spherical"] if "is_spherical" in frame else pd.Series(None, frame.index)
        stated, silent = tables.truths(given), given.isna()
        asked = frame["path"].notna() & (silent | look)
        for row, path in frame.loc[asked, "path"].items():
            told = _told(folder, path)
            if told and silent[row]:
                found.append(row)
            elif told is not None and not silent[row] and told != stated[row]:
                against.append(path)
    if against:
        warnings.warn(
            f"{table.name}: of {len(against)} photo(s) is_spherical and the picture's own metadata "
            f"(GPano:ProjectionType) disagree ({', '.join(against[:3])}); the table counts",
            stacklevel=4,
        )
    if not found:
        return table
    frame, reasons = read(table)
    frame.loc[found, "is_spherical"] = True
    return frame, reasons


def _pieces(table: Path) -> Iterator[tables.Piece]:
    with suppress(BadInput, Missing):
        yield from table_files.pieces(table, 500_000, photo_tables.CORE)


def _told(folder: Path, path: str) -> bool | None:
    try:
        return photos.sphere(tables.inside(folder, path))
    except BadInput:
        return None
