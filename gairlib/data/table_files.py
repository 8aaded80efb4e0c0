"""Reads CSV and Parquet tables of any length, a bounded piece at a time, and names damaged rows.

Core columns of a CSV file come as text, since one odd value must not change how the others are
read; what kind an extra column has (whole numbers, numbers, true/false, text) is decided over the
whole file before the first piece, so that all pieces agree. In a Parquet file a row group that
cannot be read becomes rows with a reason.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gairlib.data import csv_head, csv_tables
from gairlib.data.boundary import NOTES, listing, reading
from gairlib.data.csv_tables import REASON
from gairlib.data.tables import EXACT, Piece, no_reasons
from gairlib.errors import BadInput, Missing

SUFFIXES = (".parquet", ".geoparquet", ".pq", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".txt.gz")
# Tables of other programs, with the way out; what stands beside a shapefile is passed over with it
UNREAD = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "save its sheet as CSV UTF-8"),
    **dict.fromkeys(
        (".geojson", ".gpkg", ".shp", ".fgb", ".kml", ".kmz", ".gpx", ".gml", ".gdb", ".tab"),
        "export it to GeoParquet or CSV",
    ),
    **dict.fromkeys(
        (
            ".json",
            ".jsonl",
            ".ndjson",
            ".feather",
            ".arrow",
            ".sqlite",
            ".db",
            ".dta",
            ".sav",
            ".rds",
        ),
        "save it as Parquet or CSV",
    ),
}
BESIDE = {".dbf", ".shx", ".cpg", ".sbn", ".sbx", ".qix", ".qml", ".qmd", ".csvt", ".vrt"}
TEXT = ("photo_id", "path", "scene_id", "crs", "epsg")  # "007" is an id, not the number 7


def find(folder: str | Path, stem: str) -> Path | None:
    """The table of that name in a folder, in any of SUFFIXES and any case; the first of them."""
    near = [p for p in listing(folder).files if stem_of(p).lower() == stem.lower()]
    near = [p for p in near if suffix_of(p) is not None]
    return min(near, key=lambda p: (SUFFIXES.index(suffix_of(p)), p.name), default=None)


def suffix_of(path: str | Path) -> str | None:
    """The one of SUFFIXES that a name ends in, in lower case; None: it is no table's name."""
    name = Path(path).name.lower()
    return next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(s)), None)


def why_unread(path: Path) -> str | None:
    """Why a file of a folder of tables is not read, by its suffix; None: it is, or is a note. A
    .json file of the name of a table beside it is a note on that."""
    suffix = path.suffix.lower()
    if suffix_of(path) or suffix in BESIDE or suffix == ".json" and find(path.parent, path.stem):
        return None
    if suffix in UNREAD:
        return f"{suffix} is not read here; {UNREAD[suffix]}"
    if suffix in NOTES:
        return None
    return "not a table that is read here; save it as CSV or Parquet"


def stem_of(path: str | Path) -> str:
    """A table's name without its suffix: "Rents" of Rents.csv.gz."""
    name = Path(path).name
    return name[: -len(suffix_of(path) or Path(path).suffix) or None]


def read(
    path: str | Path, needed: tuple[str, ...] = (), core: Collection[str] = TEXT, text: bool = False
) -> Piece:
    """A whole table as (rows, reasons), as `pieces` gives it; for tables that fit in memory.

    needed: columns without which it is BadInput. core: columns that come as text; text: all of
    them. "NA" is a value (Namibia's country code); an empty field, "nan" and "null" are gaps.
    """
    names = columns(path, {*needed, *core})
    check(path, names, needed)
    parts = list(pieces(path, 1 << 20, names if text else core))
    frame, reasons = (pd.concat(column).reset_index(drop=True) for column in zip(*parts))
    return frame, reasons


def check(path: str | Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """BadInput where a table of the columns `names` lacks one of `needed`."""
    missing = [name for name in needed if name not in names]
    if missing:
        raise BadInput(
            f"{path}: lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, names[:12]))}"
        )


def columns(path: str | Path, once: Collection[str] = ()) -> list[str]:
    """The column names of a CSV or Parquet file; Missing or BadInput where there are none, or where
    one of `once` stands twice. Of other columns of one name the later ones are called "x.1" ..."""
    path = Path(path)
    if not path.is_file():
        raise Missing(f"{path}: there is no such table")
    if is_parquet(path):
        names, double = csv_head.told_apart(_parquet(path).schema_arrow.names)
    elif path.suffix.lower() in UNREAD:
        raise BadInput(f"{path}: {why_unread(path)}")
    else:
        head = csv_head.head(path)
        names, double = head.columns, head.double
    for name in double:
        if name in once:
            raise BadInput(f"{path}: the column {name!r} stands more than once; keep one of them")
    return names


def is_parquet(path: str | Path) -> bool:
    """Whether the name is that of a Parquet or GeoParquet file; all others are read as CSV."""
    return Path(path).suffix.lower() in (".parquet", ".geoparquet", ".pq")


def pieces(path: str | Path, rows: int, core: Collection[str] = ()) -> Iterator[Piece]:
    """Frames of up to `rows` rows with the reasons of rows that could not be read (None: good).

    core: columns that a CSV file gives as text, whatever they hold. Both parts are indexed by the
    row's number in the table, from 0, blank lines not counted; every row of the table comes, a
    damaged one empty. Memory is bounded by `rows` and a block, not by the file.
    """
    if rows < 1:
        raise BadInput(f"rows: {rows}; a piece needs at least one row")
    path = Path(path)
    names = columns(path)
    if is_parquet(path):
        tables, kinds = _parquet_tables(path, rows), _kinds_with_gaps(path, core)
    else:
        extra = [name for name in names if name not in core]
        dots = csv_tables.dotted(path, extra)
        kinds = csv_tables.kinds(path, extra, dots)
        tables = csv_tables.text_tables(path, dots=dots)
    start = 0
    for table in _regroup(tables, rows):
        frame, reasons = _to_pandas(table, kinds, start)
        yield frame, reasons
        start += len(frame)


def _regroup(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows; the last may be shorter, the only one empty."""
    held, count, given = [], 0, False
    for table in tables:
        empty = table.slice(0, 0)
        while table.num_rows:
            part = table.slice(0, rows - count)
            held.append(part)
            count, table = count + part.num_rows, table.slice(part.num_rows)
            if count == rows:
                yield pa.concat_tables(held)
                held, count, given = [], 0, True
    if held or not given:
        yield pa.concat_tables([empty, *held])


def _to_pandas(table: pa.Table, kinds: dict[str, pa.DataType], start: int) -> Piece:
    index = pd.RangeIndex(start, start + table.num_rows)
    reasons = no_reasons(index)
    given = table[REASON]
    if given.null_count < len(given):
        reasons[:] = np.array(given.to_pylist(), object)
    columns = {}  # replacing one column after another in a table takes the square of their number
    for field, values in zip(table.schema, table.columns):
        kind = kinds.get(field.name, field.type)
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if kind != field.type:
            text = pa.types.is_string(field.type)
            values = csv_tables.as_kind(values, kind) if text else values.cast(kind)
        columns[field.name] = values
    del columns[REASON]
    frame = pa.table(columns).to_pandas(ignore_metadata=True)
    frame.index = index
    return frame, reasons


def _parquet(path: Path) -> pq.ParquetFile:
    with reading(path, "not readable as a table"):
        return pq.ParquetFile(path, pre_buffer=False)  # read pages as they are needed


def _kinds_with_gaps(path: Path, core: Collection[str]) -> dict[str, pa.DataType]:
    """What columns of whole numbers become that have gaps anywhere, alike in all pieces, and what
    decimal numbers become, as databases write them."""
    kinds = {}
    with _parquet(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        names, double = csv_head.told_apart(schema.names)
        for name, kind in zip(names, schema.types):
            if pa.types.is_decimal(kind) and name not in core:
                kinds[name] = pa.float64()
        whole = {f.name for f in schema if pa.types.is_integer(f.type)} - set(double)
        for k in range(metadata.num_columns):
            name = metadata.schema.column(k).path
            if name not in whole:
                continue
            for group in range(metadata.num_row_groups):
                known = metadata.row_group(group).column(k).statistics
                if known is None or not known.has_null_count or known.null_count:
                    exact = known is not None and known.has_min_max
                    exact = exact and max(abs(known.min), abs(known.max)) < EXACT
                    text = name in core or not exact or kinds.get(name) == pa.string()
                    kinds[name] = pa.string() if text else pa.float64()
    return kinds


def _parquet_tables(path: Path, rows: int) -> Iterator[pa.Table]:
    """Row groups in parts; what is damaged in one comes as empty rows with a reason."""
    with _parquet(path) as file:
        schema = file.schema_arrow
        names, _ = csv_head.told_apart(schema.names)
        schema = pa.schema([field.with_name(name) for field, name in zip(schema, names)])
        yield _with_reason(schema.empty_table())
        for group in range(file.num_row_groups):
            left = file.metadata.row_group(group).num_rows
            try:
                for batch in file.iter_batches(batch_size=min(rows, 1 << 17), row_groups=[group]):
                    left -= batch.num_rows
                    yield _with_reason(pa.Table.from_batches([batch]).rename_columns(names))
            except Exception as problem:  # whatever Arrow and its decoders raise
                reason = f"row group {group} of {path.name} is damaged ({str(problem)[:80]})"
                nulls = [pa.nulls(left, field.type) for field in schema]
                yield _with_reason(pa.table(nulls, schema), reason)


def _with_reason(table: pa.Table, reason: str | None = None) -> pa.Table:
    return table.append_column(REASON, pa.array([reason] * table.num_rows, pa.string()))
