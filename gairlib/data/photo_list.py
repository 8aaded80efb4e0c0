"""The photos of a dataset folder: which table or tool names them, and which of them can be used.

A table of photos (street.csv) comes first, then what download tools have left (`photo_folders`),
then the EXIF positions of the pictures in street/ (`exif`). Where a row of a table does not say
whether its photo is a full sphere, the picture's own metadata do, where it is opened: here for the
photos in memory, in pairing for tables of any length.
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from gairlib.data import (
    boundary,
    exif,
    photo_folders,
    photo_rows,
    photo_tables,
    photos,
    table_files,
    tables,
)
from gairlib.errors import BadInput, Missing


def table_of(folder: Path) -> Path | None:
    """street.parquet, street.csv ... (`table_files.SUFFIXES`), else streetscapes/, or None."""
    found = table_files.find(folder, "street")
    published = boundary.inside(folder, "streetscapes")
    return published if found is None and published.is_dir() else found


def source(folder: Path) -> Path | tables.Piece:
    """What names a folder's photos: a table's path, or (photos, reasons)."""
    path = table_of(folder)
    if path is not None and not (path.is_dir() and photo_folders.in_batches(folder)):
        return path
    with boundary.reading(folder, "its table of photos cannot be read"):
        found = photo_folders.read(folder)
    if found is not None:
        return found
    if boundary.inside(folder, "street").is_dir():
        return exif.folder_table(folder)
    none = photo_rows.none()
    return none, tables.no_reasons(none.index)


def read(table: Path) -> tables.Piece:
    with boundary.reading(table, "not readable as a table of photos"):
        return photo_tables.read_photos(table)


def look(
    frame: pd.DataFrame, reasons: pd.Series, inside: Callable[[str], Path], decode: bool
) -> pd.DataFrame:
    """Open every photo that has no reason yet: the frame with is_spherical known of each; what
    fails is noted. decode: all of it (at an eighth of its size); else the headers of those photos
    alone of which the table does not say whether they are spheres."""
    stated = frame["is_spherical"].astype(object)

    def opened(row) -> tuple[bool | None, str | None]:
        path = inside(frame.at[row, "path"])
        if not decode:
            return photos.told(path), None
        try:
            with boundary.reading(path):
                return photos.check(path, None if pd.isna(stated[row]) else stated[row])[2], None
        except (BadInput, Missing) as problem:
            return None, str(problem)

    good = reasons.index[reasons.isna() & (stated.isna() | decode)]
    against = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for row, (told, why) in zip(good, pool.map(opened, good)):
            reasons[row] = why
            if pd.isna(stated[row]):
                stated[row] = told
            elif told not in (None, stated[row]):
                against.append(frame.at[row, "path"])
    if against:
        warnings.warn(
            f"of {len(against)} photo(s) is_spherical and the picture's own metadata "
            f"(GPano:ProjectionType) disagree ({', '.join(against[:3])}); the table counts",
            stacklevel=4,
        )
    return frame.assign(is_spherical=stated.eq(True))
