"""Reads the tables of a dataset folder: photos, scenes, location targets.

Every check is made on whole columns and gives a reason a row, so that no bad row stops the run and
none disappears without being named.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gairlib.errors import BadInput, Missing

PHOTO_COLUMNS = ("photo_id", "path", "lon", "lat")
NORMAL = (*PHOTO_COLUMNS, "heading", "captured_at", "is_spherical", "photo_source", "licence")
NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
Piece = tuple[pd.DataFrame, pd.Series]  # rows, and for each row a reason or None

TEXT = {"photo_id": str, "path": str, "scene_id": str}  # "007" is an id, not the number 7


def read(path: Path, needed: tuple[str, ...], text: bool = False) -> pd.DataFrame:
    """A CSV or Parquet table that has the needed columns; BadInput otherwise.

    text: every column as text. "NA" is a value (Namibia's country code), not a gap; an empty field,
    "nan" and "null" are gaps.
    """
    if not path.is_file():
        raise Missing(f"{path}: there is no such table")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(
                path,
                dtype=str if text else TEXT,
                keep_default_na=False,
                na_values=["", "nan", "NaN", "null", "NULL"],
                low_memory=False,
            )
    except (ValueError, OSError) as problem:  # pandas' and Arrow's parsing errors are ValueErrors
        raise BadInput(f"{path}: not readable as a table ({problem})") from problem
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        raise BadInput(
            f"{path}: lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, frame.columns[:12]))}"
        )
    return frame.reset_index(drop=True)


def numbers(values: pd.Series) -> pd.Series:
    """Text or numbers as float64, the same to the last digit in whatever company; else NaN."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype(np.float64)
    if not isinstance(values.dtype, pd.StringDtype):
        values = values.map(str, na_action="ignore").astype("str")
    text = pa.array(values)
    try:
        parsed = pc.cast(text, pa.float64())
    except pa.ArrowInvalid:  # some are no numbers: those alone go through Python
        plain = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
        parsed = pc.cast(pc.if_else(plain, text, None), pa.float64())
        parsed = parsed.to_numpy(zero_copy_only=False).copy()
        for i in np.flatnonzero(~plain.to_numpy(zero_copy_only=False) & values.notna()):
            parsed[i] = _number(values.iloc[i])
        return pd.Series(parsed, index=values.index)
    return pd.Series(parsed.to_numpy(zero_copy_only=False), index=values.index)


def _number(text: str) -> float:
    try:
        return float(text.replace("_", "?"))  # Python would read 1_000, which no table means
    except ValueError:
        return np.nan


def positions(frame: pd.DataFrame) -> pd.Series:
    """Turn lon and lat into float64 degrees, in place, lon in [-180, 180]; a reason a row or None.

    Longitudes up to 360 are accepted and turned back by 360.
    """
    given = {name: frame[name] for name in ("lon", "lat")}
    lon, lat = numbers(given["lon"]), numbers(given["lat"])
    number = np.isfinite(lon) & np.isfinite(lat)
    swapped = (lat.abs() > 90) & (lon.abs() <= 90) & (lat.abs() <= 180)
    outside = (lat.abs() > 90) | ~lon.between(-180.0, 360.0)
    reasons = no_reasons(frame.index)
    bad = outside | swapped | ~number
    if bad.any():  # texts are made for these rows alone: millions of them would take minutes
        shown = {name: values[bad].map(str).astype(object) for name, values in given.items()}
        text = "lon " + shown["lon"] + ", lat " + shown["lat"] + ": "  # gaps: "nan"
        reasons[outside] = text + "not a position; lon is in [-180, 180], lat in [-90, 90]"
        reasons[swapped] = text + "lat is outside [-90, 90]; lon and lat may be swapped"
        reasons[~number] = text + "both must be numbers in degrees"
    frame["lon"], frame["lat"] = lon.where(~(lon > 180.0), lon - 360.0), lat
    return reasons


def path_reason(path: str) -> str | None:
    """Why a path of a table cannot be used, or None: it must stay inside the dataset folder.

    Judged by the path's text, not by where a link points: data that DVC has linked into the folder
    from its cache are still the folder's.
    """
    text = str(path).replace("\\", "/")
    normal = os.path.normpath(text)
    if os.path.isabs(text) or normal.split("/")[0] in ("..", "~") or ":" in normal[:3]:
        return f"path {path!r} leaves the dataset folder; paths are relative to it"
    if "\0" in text:
        return f"path {path!r} holds a zero byte; no file can have that name"
    return None


def path_reasons(paths: pd.Series) -> pd.Series:
    """`path_reason` of every path; None for gaps."""
    reasons = no_reasons(paths.index)
    # Whatever leads out starts with one of these or holds "..", a colon or a backslash.
    suspect = pc.match_substring_regex(pa.array(paths.astype("str")), r"^[/~.]|\.\.|[:\\\x00]")
    rows = np.flatnonzero(pc.fill_null(suspect, False).to_numpy(zero_copy_only=False))
    if len(rows):
        reasons.iloc[rows] = [path_reason(path) for path in paths.iloc[rows]]
    return reasons


def no_reasons(index: pd.Index) -> pd.Series:
    """None for every row: pandas would make NaN of a plain None."""
    return pd.Series(np.full(len(index), None, object), index=index)


def first_of(*reasons: pd.Series) -> pd.Series:
    """Row by row the first reason that there is, None where there is none."""
    first = no_reasons(reasons[0].index)
    for later in reversed(reasons):
        rows = later.notna()
        first[rows] = later[rows]
    return first


def photo_rows(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """A photo table of any source in the columns of NORMAL, and a reason a row or None.

    frame has PHOTO_COLUMNS; what else it has follows those of NORMAL, unchanged. heading: degrees
    in [0, 360), NaN unknown; captured_at: ISO 8601 text or a gap, times and Unix milliseconds are
    turned into it; is_spherical: bool; photo_source: the column `source` where there is no other.
    Opens no photo; duplicated ids are not judged, since a table may come in parts.
    """
    rest = [name for name in frame.columns if name not in NORMAL]
    frame = frame.copy(deep=False)
    reasons = positions(frame)
    reasons = first_of(path_reasons(frame["path"]), reasons)
    reasons[frame["path"].isna()] = "no path"
    reasons[frame["photo_id"].isna()] = "no photo_id"
    for name in ("photo_id", "path"):
        frame[name] = texts(frame[name])
    gaps = pd.Series(None, index=frame.index, dtype="str")
    frame["heading"] = headings(frame.get("heading", gaps))
    frame["captured_at"] = times(frame.get("captured_at", gaps))
    frame["is_spherical"] = truths(frame.get("is_spherical", gaps))
    frame["photo_source"] = texts(frame.get("photo_source", frame.get("source", gaps)))
    frame["licence"] = texts(frame.get("licence", frame.get("license", gaps)))
    return frame[[*NORMAL, *rest]], reasons


def texts(values: pd.Series) -> pd.Series:
    """As text, gaps kept; whole numbers without a decimal point."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    if pd.api.types.is_float_dtype(values.dtype) and (values.isna() | (values % 1 == 0)).all():
        values = values.astype("Int64")
    return values.map(str, na_action="ignore").astype("str")


def headings(values: pd.Series) -> pd.Series:
    """Degrees clockwise from north in [0, 360), float64; NaN where there is no finite number."""
    degrees = numbers(values)
    return degrees.where(np.isfinite(degrees)) % 360.0


def truths(values: pd.Series) -> pd.Series:
    """True for true, 1 and yes in any spelling; False for all else, gaps included."""
    if values.dtype == bool:
        return values
    return values.astype(str).str.strip().str.lower().isin(["true", "1", "1.0", "yes"]).astype(bool)


def times(values: pd.Series) -> pd.Series:
    """ISO 8601 text: times as UTC, 13 digits as milliseconds since 1970, other text as it is."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _iso(values)
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _iso(pd.to_datetime(values.where(values.between(1e11, 1e13)), unit="ms", utc=True))
    values = texts(values)
    digits = values.str.fullmatch("[0-9]{13}").fillna(False).astype(bool)
    if digits.any():
        values = values.copy()
        moments = pd.to_datetime(values[digits].astype("int64"), unit="ms", utc=True)
        values[digits] = _iso(moments)
    return values


def _iso(moments: pd.Series) -> pd.Series:
    zone = ""
    if moments.dt.tz is not None:
        moments, zone = moments.dt.tz_convert("UTC").dt.tz_localize(None), "Z"
    return (moments.dt.strftime("%Y-%m-%dT%H:%M:%S") + zone).astype("str")


def no_photos() -> pd.DataFrame:
    """The photo table of a folder without one: all columns, no row."""
    kinds = {
        "photo_id": object,
        "path": object,
        "lon": float,
        "lat": float,
        "is_spherical": bool,
        "heading": float,
        "captured_at": object,
    }
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
