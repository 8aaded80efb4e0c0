"""The location tables of a dataset folder, and what lies there in their place and is not read."""

from pathlib import Path

import pandas as pd

from gairlib.data import boundary, photo_tables, table_files, tables
from gairlib.errors import BadInput, Missing


def read(folder: Path) -> tuple[dict[str, pd.DataFrame], list[tuple]]:
    """(tables of tables/ by file stem, (kind, item, reason) of what is rejected: whole tables, and
    "table row")."""
    listed = boundary.listing(boundary.inside(folder, "tables"))
    found, rejected = {}, _not_read(folder, listed)
    for path in listed.files:
        name = table_files.stem_of(path)
        try:
            if why := table_files.why_unread(path):
                raise BadInput(why)
            if table_files.suffix_of(path) is None:
                continue
            if name in found:
                raise BadInput(f"a second table of the name {name!r}; the first one kept")
            frame, damaged = photo_tables.read_places(path)
            if frame.shape[1] < 3:
                raise BadInput(f"{path}: only lon and lat; a target column is needed")
        except (BadInput, Missing) as problem:
            rejected.append(("table", path.name, problem))
            continue
        reasons = tables.first_of(damaged, tables.positions(frame, grid=True))
        for i in frame.index[reasons.notna()]:
            rejected.append(("table row", f"{path.name} row {i + 2}", reasons[i]))
        found[name] = frame[reasons.isna()].reset_index(drop=True)
    return found, rejected


def _not_read(folder: Path, listed: boundary.Listing) -> list[tuple]:
    """What is named as a table, in tables/ (`listed`) or beside it, and is none: lost links, tables
    of other programs, and folders, as Spark and Dask write them."""
    beside = boundary.listing(folder)  # street.csv and others
    odd = listed.odd + [row for row in beside.odd if table_files.suffix_of(row[0])]
    rejected = [("table", *row) for row in odd]
    for path in (*listed.folders, *beside.folders):
        if table_files.suffix_of(path):
            rejected.append(("table", path.name, "a folder; write the table as one file"))
    for path in beside.files:
        suffix = path.suffix.lower()
        if suffix in table_files.UNREAD and (suffix != ".json" or path.stem.lower() == "street"):
            if why := table_files.why_unread(path):
                rejected.append(("table", path.name, why))
    return rejected
