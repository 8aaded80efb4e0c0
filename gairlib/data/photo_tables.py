"""Photo tables of any length in pieces, whatever their source, all with the same columns.

CSV, Parquet and GeoParquet with positions in any reference system, and the tables of Global
Streetscapes, become frames with the columns of `photo_rows.NORMAL`, a reason beside each row that
cannot be used. Nothing is decided here that takes more than one row: duplicated ids are found by
whoever sees all pieces, for which `id_hashes` gives eight bytes an id.

Reference systems: positions are lon, lat in degrees on WGS 84, unless a column `crs` (text, such as
EPSG:32632) or `epsg` (number) says row by row that `lon` and `lat` hold x and y of another one; an
empty field means WGS 84. A GeoParquet file's points are used where it has no lon and lat columns.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shapely
from pyproj import CRS, Transformer

from gairlib.data import photo_rows, streetscapes, table_files, tables
from gairlib.data.area_list import AREA
from gairlib.data.boundary import reading
from gairlib.errors import BadInput

WGS84 = "OGC:CRS84"
SYSTEM = ("crs", "epsg")
FAR = 10.0  # degrees outside a reference system's area: x and y were swapped, or it is another one
# Read as text, whatever they look like
CORE = (*photo_rows.NORMAL, *SYSTEM, AREA, *streetscapes.TEXT)


def chunks(path: str | Path, rows: int = 500_000) -> Iterator[tables.Piece]:
    """(photos, reasons) of up to `rows` rows each; memory does not grow with the table.

    path: a CSV, Parquet or GeoParquet file, or a folder of Global Streetscapes tables. photos has
    the columns of photo_rows.NORMAL, then the table's own; lon and lat in float64 degrees on WGS
    84. reasons holds None for a good row. Both are indexed by the row's number in the table (from
    0). At least one piece comes, if need be an empty one. Missing where there is no table, BadInput
    where no row can be read for lack of columns or of a reference system.
    """
    path = Path(path)
    published, points = layout(path)
    if published:
        yield from streetscapes.read(path, rows)
        return
    for frame, damaged in table_files.pieces(path, rows, CORE):
        reasons = tables.no_reasons(frame.index)
        if points is not None:
            reasons = _place(frame, *points)
        frame, moved = to_wgs84(frame)
        photos, found = photo_rows.read(frame)
        yield photos, tables.first_of(damaged, reasons, moved, found)  # nearest to the cause


def layout(path: Path) -> tuple[bool, tuple | None]:
    """(whether these are tables of Global Streetscapes, `_points_of` a GeoParquet file without lon
    and lat), by the header alone; Missing and BadInput as `chunks` raises them."""
    if path.is_dir():
        streetscapes.base_of(path)
        return True, None
    names = table_files.columns(path, CORE)
    if streetscapes.recognise(names):
        return True, None
    points = None if {"lon", "lat"} <= set(names) else _points_of(path)
    given = {*names, *(("lon", "lat") if points else ())}
    missing = [name for name in photo_rows.PHOTO_COLUMNS if name not in given]
    if missing:
        raise BadInput(
            f"{path}: lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it "
            f"has {', '.join(map(str, names[:12]))}"
        )
    return False, points


def read_photos(path: str | Path) -> tables.Piece:
    """A photo table as one (photos, reasons); for tables that fit in memory, else see `chunks`."""
    pieces = list(chunks(path))
    photos, reasons = (pd.concat(column).reset_index(drop=True) for column in zip(*pieces))
    return photos, reasons


def read_places(path: str | Path) -> tables.Piece:
    """A location table as (rows with lon, lat and the targets, reasons); positions are not judged
    yet. A GeoParquet file's points are used where it has no lon and lat columns."""
    names = table_files.columns(path, ("lon", "lat"))
    points = None if {"lon", "lat"} <= set(names) else _points_of(Path(path))
    frame, damaged = table_files.read(path, () if points else ("lon", "lat"))
    if points is not None:
        damaged = tables.first_of(damaged, _place(frame, *points))
    frame, moved = to_wgs84(frame)
    return frame.drop(columns="given_crs", errors="ignore"), tables.first_of(damaged, moved)


def id_hashes(photo_ids: pd.Series) -> np.ndarray:
    """A uint64 for each id, the same in every run and process; gaps hash as empty text.

    Different ids share one with a chance of 1 in 2**64: among 10 million, 3 in a million.
    """
    values = photo_ids.astype("str").fillna("").to_numpy(object)
    return pd.util.hash_array(values, categorize=False)


def to_wgs84(frame: pd.DataFrame) -> tables.Piece:
    """Rows with another reference system in `crs` or `epsg` brought to lon, lat; reasons beside.

    The two columns come back as given_crs (text), since lon and lat are in it no longer.
    """
    reasons = tables.no_reasons(frame.index)
    if not any(name in frame for name in SYSTEM):
        return frame, reasons
    named = pd.Series(np.full(len(frame), None, object), index=frame.index)
    for name in reversed(SYSTEM):  # `crs` is asked first
        if name in frame:
            values = tables.texts(frame[name]).astype(object)
            values = values.where(values.notna(), None)
            values = values.str.replace(r"^\s*(\d+)(?:\.0+)?\s*$", r"EPSG:\1", regex=True)
            named = values.where(values.notna(), named)
    frame = frame.drop(columns=[name for name in SYSTEM if name in frame])
    lon, lat = (tables.numbers(frame[name]).to_numpy().copy() for name in ("lon", "lat"))
    for name in sorted(set(named.dropna())):
        rows = np.flatnonzero(named == name)
        try:
            transformer = _to_lonlat(name)
        except Exception:  # pyproj's errors are of many kinds
            reasons.iloc[rows] = f"crs {name!r} is not a known reference system (EPSG:32632, say)"
            continue
        if transformer is None:
            continue
        x, y = lon[rows], lat[rows]
        lon[rows], lat[rows] = transformer.transform(x, y)
        lost = np.isfinite(x) & np.isfinite(y) & ~(np.isfinite(lon[rows]) & np.isfinite(lat[rows]))
        source = transformer.source_crs
        area = source.area_of_use  # degrees; None: not known
        if source.is_projected and area is not None and area.west < area.east:
            away = (lon[rows] < area.west - FAR) | (lon[rows] > area.east + FAR)
            lost |= away | (lat[rows] < area.south - FAR) | (lat[rows] > area.north + FAR)
        for row, a, b in zip(rows[lost], x[lost], y[lost]):
            reasons.iloc[row] = f"x {a:g}, y {b:g}: outside the reference system {name}"
    moved = named.notna().to_numpy()
    for name, values in (("lon", lon), ("lat", lat)):
        # Rows that were in degrees keep their text, so that a reason can quote it.
        same = frame[name].astype(object)
        frame[name] = same.where(~(moved & np.isfinite(values)), values)
    frame["given_crs"] = named.astype("str")
    return frame, reasons


@lru_cache(maxsize=256)
def _to_lonlat(crs: str) -> Transformer | None:
    """The way to WGS 84; None where there is none to go."""
    if "grids=" in crs:
        raise BadInput(f"{crs[:80]}: names a file of shifts, which is not opened")
    system = CRS.from_user_input(crs)
    if not (system.is_geographic or system.is_projected):  # heights, metres from Earth's centre
        raise BadInput(f"{system.name}: no reference system of maps")
    if system.equals(CRS.from_user_input(WGS84), ignore_axis_order=True):
        return None
    return Transformer.from_crs(system, WGS84, always_xy=True)


def _points_of(path: Path) -> tuple[str, str, Transformer | None] | None:
    """(column, encoding, way to WGS 84) of a GeoParquet file's points, None if it has none."""
    if not table_files.is_parquet(path):
        return None
    with reading(path, "not readable as a table"):
        about = (pq.read_metadata(path).metadata or {}).get(b"geo")
    if about is None:
        return None
    try:
        geo: dict[str, Any] = json.loads(about)
        name = geo["primary_column"]
        column = geo["columns"][name]
    except Exception as problem:
        raise BadInput(f"{path}: its GeoParquet description is damaged ({problem!r})") from problem
    crs = column.get("crs", WGS84)  # absent means longitude, latitude (GeoParquet 1.1)
    if crs is None:
        raise BadInput(
            f"{path}: the reference system of {name!r} is unknown; write the table with its crs"
        )
    with reading(path, f"the reference system of {name!r} is not known"):
        text = crs if isinstance(crs, str) else json.dumps(crs)
        return name, str(column.get("encoding", "WKB")), _to_lonlat(text)


def _place(frame: pd.DataFrame, name: str, encoding: str, way: Transformer | None) -> pd.Series:
    """Turn the points in column `name` into lon and lat, in place; a reason a row or None."""
    reasons = tables.no_reasons(frame.index)
    values = frame.pop(name).to_numpy(object)
    if encoding.lower() == "point":  # GeoArrow: a struct of x and y
        pairs = [(v or {}).get("x") for v in values], [(v or {}).get("y") for v in values]
        x, y = (np.array(v, dtype=float) for v in pairs)
        known = np.isfinite(x) & np.isfinite(y)
    else:
        values = [v if isinstance(v, bytes | bytearray) else None for v in values]
        shapes = shapely.from_wkb(np.array(values, object), on_invalid="ignore")
        shapes[shapely.is_empty(shapes)] = None  # GEOS refuses to say where they lie
        kinds = shapely.get_type_id(shapes)
        for row in np.flatnonzero(kinds > 0):
            reasons.iloc[row] = f"the geometry is a {shapes[row].geom_type}; a point is needed"
        x, y = shapely.get_x(shapes), shapely.get_y(shapes)
        known = (kinds > 0) | (np.isfinite(x) & np.isfinite(y))
    reasons[~known] = "no point in the geometry column"
    if way is not None:
        moved = way.transform(x, y)
        lost = np.isfinite(x) & np.isfinite(y) & ~np.isfinite(moved[0])
        reasons[lost] = "the point lies outside its reference system"
        x, y = moved
    frame["lon"], frame["lat"] = x, y
    return reasons
