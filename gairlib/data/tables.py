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

from gairlib.data import boundary
from gairlib.errors import BadInput

NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
Piece = tuple[pd.DataFrame, pd.Series]  # rows, and for each row a reason or None


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
            parsed[i] = number(values.iloc[i])
        return pd.Series(parsed, index=values.index)
    return pd.Series(parsed.to_numpy(zero_copy_only=False), index=values.index)


def number(text: str) -> float:
    try:
        return float(text.replace("_", "?"))  # Python would read 1_000, which no table means
    except ValueError:
        return np.nan


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """A GeoDataFrame of points in any CRS with their lon and lat as columns, without the geometry;
    of other shapes the points on them. Tables that have the columns stay as they are."""
    if not hasattr(frame, "to_crs") or {"lon", "lat"} <= set(frame.columns):
        return frame
    if frame.crs is None:
        raise BadInput("GeoDataFrame: has no CRS; frame.set_crs('EPSG:4326') says which it is")
    points = frame.geometry.to_crs("OGC:CRS84").representative_point()
    bare = pd.DataFrame(frame.drop(columns=frame.geometry.name))
    return bare.assign(lon=points.x, lat=points.y)


def positions(frame: pd.DataFrame, grid: bool = False) -> pd.Series:
    """Turn lon and lat into float64 degrees, in place, lon in [-180, 180]; a reason a row or None.

    Longitudes up to 360 are accepted and turned back by 360. 0, 0 is how tools write that there is
    no position; in a whole table that may be a `grid` it is one where other rows lie on the equator
    or the prime meridian.
    """
    given = {name: frame[name] for name in ("lon", "lat")}
    lon, lat = numbers(given["lon"]), numbers(given["lat"])
    number = np.isfinite(lon) & np.isfinite(lat)
    swapped = (lat.abs() > 90) & (lon.abs() <= 90) & (lat.abs() <= 180)
    outside = (lat.abs() > 90) | ~lon.between(-180.0, 360.0)
    reasons = no_reasons(frame.index)
    unknown = (lon == 0) & (lat == 0)
    if grid and ((lon == 0) ^ (lat == 0)).any():
        unknown[:] = False
    bad = outside | swapped | ~number
    if bad.any():  # texts are made for these rows alone: millions of them would take minutes
        shown = {name: values[bad].map(str).astype(object) for name, values in given.items()}
        text = "lon " + shown["lon"] + ", lat " + shown["lat"] + ": "  # gaps: "nan"
        reasons[outside] = text + "not a position; lon is in [-180, 180], lat in [-90, 90]"
        reasons[swapped] = text + "lat is outside [-90, 90]; lon and lat may be swapped"
        reasons[~number] = text + "both must be numbers in degrees"
    reasons[unknown] = "lon 0, lat 0: a place in the sea, which tools write for an unknown position"
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
        parts = [p for p in normal.split("/") if p not in ("", "..", "~") and ":" not in p]
        start = next((i for i, p in enumerate(parts) if p.lower() in ("street", "scenes")), -2)
        such = f", such as {'/'.join(parts[start:])!r}" if parts else ""
        return f"path {path!r} leaves the dataset folder; write it relative to the folder{such}"
    if "\0" in text:
        return f"path {path!r} holds a zero byte; no file can have that name"
    return None


def inside(folder: Path, path: str) -> Path:
    """`path`, relative to the folder, as a path; BadInput if it leads out of the folder."""
    reason = path_reason(path)
    if reason is not None:
        raise BadInput(reason)
    return boundary.inside(folder, path)


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


def texts(values: pd.Series) -> pd.Series:
    """As text, gaps kept; whole numbers without a decimal point."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    if pd.api.types.is_float_dtype(values.dtype) and (values.isna() | (values % 1 == 0)).all():
        values = values.astype("Int64")
    return values.map(_text, na_action="ignore").astype("str")


def _text(value) -> str:
    """bytes: a Parquet column of texts that were not marked as such."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


WHOLE = r"^[0-9]+\.0+$"
DECIMAL = r"^[0-9]+\.[0-9]*[1-9][0-9]*$"
# With a decimal mark or a plus sign: 4e71 and 12e5 are hexadecimal ids
SHORTENED = r"^[0-9]+(?:[.,][0-9]+[eE]\+?|[eE]\+)[0-9]+$"
# What spreadsheets put around a number to keep it text: '00123, ="00123"; and blanks
PADDING = r"^\s*(?:'([0-9]+)|=\"(.*)\"|(.*?))\s*$"
EXACT = 1 << 53  # whole numbers below it keep all digits in a float


def ids(values: pd.Series) -> Piece:
    """Ids as text without what a float or a spreadsheet left around them, and a reason for each
    that it has spoilt; blank ones are gaps.

    "12.0" is 12 where no id has other decimals. 1.23457E+15, as spreadsheets write long numbers,
    has lost its digits; a float of 2**53 or more may have (in single precision, of 2**24).
    """
    reasons = no_reasons(values.index)
    if pd.api.types.is_float_dtype(values.dtype):
        exact = 1 << 24 if values.dtype == np.float32 else EXACT
        reasons[values.abs() >= exact] = "the id went through a float and may be another"
        return texts(values), reasons
    values = texts(values)
    padded = _mask(pa.array(values), r"^['=\s]|\s$|^$")
    if padded.any():
        plain = values[padded].str.replace(PADDING, r"\1\2\3", regex=True)
        values = values.copy()
        values[padded] = plain.where(plain != "")
    short = values.str.fullmatch(SHORTENED).fillna(False).astype(bool)
    if short.any():
        reasons[short] = (
            "the id " + values[short].astype(object) + " was shortened by a spreadsheet; format "
            "the column as text and export it again"
        )
    floats = values.str.fullmatch(WHOLE).fillna(False).astype(bool)
    if floats.any() and not values.str.fullmatch(DECIMAL).fillna(False).any():
        values = values.copy()
        values[floats] = values[floats].str.partition(".")[0]
        large = floats & (numbers(values) >= EXACT)
        reasons[large] = "the id went through a float and may be another"
    return values, reasons


DEGREES = r"\s*(?:°|º|deg(?:rees)?)\s*$"
COMPASS = "N NNE NE ENE E ESE SE SSE S SSW SW WSW W WNW NW NNW".split()
POINTS = {point: str(22.5 * k) for k, point in enumerate(COMPASS)}


def headings(values: pd.Series) -> pd.Series:
    """Degrees clockwise from north in [0, 360), float64; NaN where there is no finite number.

    [-180, 0) is the other spelling of [180, 360), but -1 is how tables of Mapillary say "unknown";
    what lies outside [-180, 360] (-999, 655.35, 65535) is no direction. Texts may be points of the
    compass (N, NNE) and have a degree sign or a decimal comma.
    """
    if not pd.api.types.is_numeric_dtype(values.dtype):
        values = texts(values)
        marked = _mask(pa.array(values), rf"^\s*[NESWnesw]{{1,3}}\s*$|,|{DEGREES}")
        if marked.any():
            plain = values[marked].str.replace(DEGREES, "", regex=True).str.strip().str.upper()
            plain = plain.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True)
            values = values.copy()
            values[marked] = plain.replace(POINTS)
    degrees = numbers(values)
    known = degrees.where(degrees.between(-180.0, 360.0) & (degrees != -1.0))
    return known % 360.0 % 360.0  # -1e-20 % 360 is 360


TRUE = frozenset("true t yes y on 1 1.0 wahr vrai verdadero".split())
FALSE = frozenset("false f no n off 0 0.0 falsch faux falso".split())
SPHERES = frozenset("spherical equirectangular sphere".split())  # kinds of projection, as tools
FLAT = frozenset("perspective fisheye brown flat".split())  # name them


def truth(value) -> bool:
    """Whether a value says yes: true, 1, yes ... in any spelling; a gap does not."""
    return str(value).strip().lower() in TRUE


def truths(values: pd.Series) -> pd.Series:
    """`truth` of each."""
    return values if values.dtype == bool else values.map(truth).astype(bool)


def stated(values: pd.Series) -> pd.Series:
    """Whether each says that a photo is a sphere: yes, or the kind of its projection. A gap (in
    pandas' `boolean`) where one says neither that nor the contrary."""
    if values.dtype == bool:
        return values
    text = values.astype("str").str.strip().str.lower()
    found = text.isin(TRUE | SPHERES)
    known = found | text.isin(FALSE | FLAT)
    return found if known.all() else found.astype("boolean").mask(~known)


# A whole number as a time since 1970: (least digits, most digits) -> its unit
UNITS = {(9, 10): "s", (12, 13): "ms", (15, 16): "us", (18, 19): "ns"}
DIGITS = r"^\s*(?:[0-9]{9,19}(?:\.[0-9]*)?|[0-9]\.[0-9]{7,}[eE]\+?[0-9]+)\s*$"
ISO = r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$"
_DAY = r"^\s*((?:19|20)\d\d)[-:/._]?(0[1-9]|1[0-2])[-:/._]?(0[1-9]|[12]\d|3[01])"
_MINUTE = r"[-T_ ]{0,2}([01]\d|2[0-3])[-:._]?([0-5]\d)"
_SECOND = r"[-:._]?([0-5]\d|60)(\.\d+|)\d{0,3}"
_ZONE = r"\s*(Z|[+-]\d\d:?\d\d|)\s*$"
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_WEEKDAY = r"(?i)^\s*(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_YEAR = r"((?:19|20)\d\d)\b"
# Spellings of dates that are not ISO 8601, in the order in which they are turned into it: English
# names of months, mapillary_tools' underscores, decimal commas, "UTC", single digits, dots with the
# day first (with slashes it may be the month), then the year first with any separator or none, and
# what went through a number
SPELLINGS = (
    (_WEEKDAY + r"(\d\d?)[-. ]+([a-z]{3})[a-z]*[-., ]+" + _YEAR, r"\3-\2-\1"),
    (_WEEKDAY + r"([a-z]{3})[a-z]*\.? +(\d\d?),? *" + _YEAR, r"\3-\1-\2"),
    *(
        (rf"(?i)^\s*(\d{{4}})[- ]{month}[a-z]*[- ]", rf"\1-{number:02}-")
        for number, month in enumerate(_MONTHS, 1)
    ),
    (r"^(\d{4})_(\d\d)_(\d\d)_(\d\d)_(\d\d)_(\d\d)(?:_\d*)?$", r"\1-\2-\3T\4:\5:\6Z"),
    (r"(\d\d),(\d+)", r"\1.\2"),
    (r"(\d|Z)\s*\[[A-Za-z_/+-]+\]\s*$", r"\1"),  # Java and R append a zone's name
    (r"\s*(?:UTC|GMT)\s*$", "Z"),
    (r"^\s*(\d{4}[-/.])(\d[-/.])", r"\10\2"),
    (r"^\s*(\d{4}[-/.]\d\d[-/.])(\d)([ T]|$)", r"\10\2\3"),
    (r"([ T])(\d:\d\d)", r"\10\2"),
    (r"^\s*([0-3]\d)\.([01]\d)\.((?:19|20)\d\d)", r"\3-\2-\1"),
    (_DAY + _MINUTE + _SECOND + _ZONE, r"\1-\2-\3T\4:\5:\6\7\8"),
    (_DAY + _MINUTE + r"(?:\.0*)?" + _ZONE, r"\1-\2-\3T\4:\5\6"),
    (_DAY + r"(?:\.0*)?\s*$", r"\1-\2-\3"),
    (r"^\s*((?:19|20)\d\d)(?:\.0*)?\s*$", r"\1"),
)


def times(values: pd.Series) -> pd.Series:
    """ISO 8601 text: times as UTC, whole numbers as time since 1970 by their number of digits
    (seconds, milli-, micro-, nanoseconds) or as what they spell (20210505, 20210505154657, 2021),
    other spellings of dates turned. What cannot be read stays as it is, so that pairing counts it.
    """
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _iso(values)
    if pd.api.types.is_numeric_dtype(values.dtype):
        found = _iso(_since_1970(values.astype(np.float64)))
        rest = values.notna() & (found.isna() | found.lt("1990"))
        if rest.any():
            found[rest] = times(texts(values[rest]))
        return found
    values = texts(values)
    odd = ~_mask(pa.array(values), ISO) & values.notna().to_numpy()
    if not odd.any():
        return values
    text = pa.array(values[odd])
    for pattern, new in SPELLINGS:
        text = pc.replace_substring_regex(text, pattern, new)
    turned = pd.Series(text.to_numpy(zero_copy_only=False), values.index[odd], "str")
    digits = _mask(text, DIGITS)
    moments = _iso(_since_1970(numbers(turned[digits].str.strip())))
    turned[digits] = moments.where(moments.notna(), turned[digits])
    values = values.copy()
    values[odd] = turned
    return values


def _mask(text: pa.Array, pattern: str) -> np.ndarray:
    found = pc.fill_null(pc.match_substring_regex(text, pattern), False)
    return found.to_numpy(zero_copy_only=False)


def _since_1970(numbers: pd.Series) -> pd.Series:
    """Moments [n], gaps where a number of no unit's digits stands."""
    moments = (
        pd.Series(pd.NaT, index=numbers.index).dt.tz_localize("UTC").astype("datetime64[ns, UTC]")
    )
    for (least, most), unit in UNITS.items():
        fits = numbers.between(10.0 ** (least - 1), 10.0**most, inclusive="left")
        if fits.any():
            whole = numbers[fits].astype("int64")
            moments[fits] = pd.to_datetime(whole, unit=unit, utc=True).astype("datetime64[ns, UTC]")
    return moments


def _iso(moments: pd.Series) -> pd.Series:
    zone = ""
    if moments.dt.tz is not None:
        moments, zone = moments.dt.tz_convert("UTC").dt.tz_localize(None), "Z"
    return (moments.dt.strftime("%Y-%m-%dT%H:%M:%S") + zone).astype("str")
