"""Columns as targets: which are numbers, which are classes, and which rows have a usable label."""

import re
from datetime import date

import numpy as np
import pandas as pd

from gairlib.data.tables import numbers
from gairlib.errors import BadInput
from research.tasks.result import HELD_OUT, TEST

MIN_ROWS = 20  # fewer labelled examples are not a task
MIN_CLASS = 20  # a class with fewer examples is left out, and the result says so
MAX_CLASSES = 100
# What tools write where a number is not known; GIS's and netCDF's fill values among them
MARKS = (-999, -9999, -99999, -999999, -32768, -2147483648, 1e20)
FILLS = np.float32([9.96921e36, -3.4028235e38, 3.4028235e38])
NUMERIC = 0.9  # of a column's texts that are numbers: then the others are mistakes

# Columns of street.csv and of location tables that are no question to a photo or a place, in any
# case and with any separators ("ImageId"), numbered or not ("OBJECTID_1", "lon.1")
NAMES = {
    "its name says which row or photo this is": (
        *("photo_id", "image_id", "id", "uuid", "orig_id", "path", "url", "sha256", "bytes"),
        *("sequence", "sequence_id", "sequence_index", "sequence_img_count", "filename", "file"),
        # the number of a row, as pandas and GIS programs write it
        *("index", "index_left", "index_right", "level_0", "fid", "ogc_fid", "gid", "objectid"),
        *("oid", "rowid", "row", "row_id", "row_number", "__index_level_0__", "system:index"),
    ),
    "its name says where the row lies": (
        *("altitude", "given_crs", "site", "scene_id", "split", "city_id", "osmid"),
        *("type_highway", ".geo", "shape_area", "shape_length", "shape_leng", "shape_len"),
    ),
    "its name says when it was taken": ("captured_at", "datetime_local"),
    "its name says how the camera stood, or what it is": (
        *("heading", "heading_ref", "compass_angle", "computed_compass_angle", "pitch", "roll"),
        *("fov", "hFoV", "vFoV", "view_yaw", "is_spherical", "is_pano", "projection_type"),
        *("width", "height", "camera", "camera_type", "make", "model", "position_computed"),
    ),
    "its name says whom it is from": (
        *("source", "photo_source", "user_id", "creator", "licence", "license", "note"),
    ),
}
# Names that are made of such words alone, at least one of the first kind among them
WHERE = frozenset(
    "lon lat lng longitude latitude easting eastings northing northings coord coords coordinate "
    "coordinates geometry geom geog wkt wkb centroid bbox geohash quadkey epsg srid crs".split()
)
WHERE_TOO = frozenset(
    "x y z utm wgs deg dd degrees decimal gps geo point pt the orig original computed start end "
    "proj projected mercator web left right min max snapped exif zone position pos long m".split()
)
WHEN = frozenset(
    "year month day hour minute second weekday date time datetime timestamp epoch doy yday".split()
)
WHEN_TOO = frozenset(
    "captured capture created updated modified local utc unix ms at of on shot taken photo image "
    "relative week".split()
)
WHICH = frozenset("id ids uuid guid fid oid url uri href sha256 md5 filename filepath".split())
CLASSES = frozenset("class category type label use landuse cover landcover kind target".split())
DATES = r"\s*\d{4}-\d\d-\d\d.*"
SHAPES = r"\s*(?:SRID=\d+;)?\s*(?:MULTI)?(?:POINT|LINESTRING|POLYGON|GEOMETRYCOLLECTION)\b.*"
LINEAR = 1e-4  # of a column's variance that lon and lat leave unexplained: less is a position
# What photos were labelled with by hand in Global Streetscapes: each is a question of its own
ATTRIBUTES = (
    "weather",
    "lighting",
    "lighting_condition",
    "platform",
    "view_direction",
    "glare",
    "pano_status",
    "quality",
    "reflection",
)


def _plain(name: str) -> str:
    """A name without case, separators and a number at its end."""
    return re.sub(r"[\W_]+", "", name.lower()).rstrip("0123456789")


PLAIN = {_plain(name): why for why, names in NAMES.items() for name in names}


def label_columns(table: pd.DataFrame) -> list[str]:
    """The columns that say what is there, rather than where, when or whence a row is from."""
    return [column for column in table.columns if why_left_out(table, column) is None]


def why_left_out(table: pd.DataFrame, column: str) -> str | None:
    """Why a column is none of the questions, by its name or by what it holds; None: it may be."""
    values, name = table[column].dropna(), str(column).strip()
    if not name or name.lower().startswith("unnamed:"):
        return "it has no name"
    if why := PLAIN.get(_plain(name)):
        return why
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    words = {word for word in re.split(r"[\W_\d]+", spelled) if word}
    if words & WHICH and not words & CLASSES:
        return "its name says which row or photo this is"
    axes, names = words & {"x", "y"}, {_plain(str(other)) for other in table.columns}
    if (
        words
        and words <= WHERE | WHERE_TOO
        and (words & WHERE or (axes and (len(words) > 1 or {"x", "y"} <= names)))
    ):
        return "its name says where the row lies"
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if number and words & WHEN and words <= WHEN | WHEN_TOO:
        return "its name says when it was taken"
    return _by_numbers(table, values.astype(np.float64)) if number else _by_texts(values)


def _by_numbers(table: pd.DataFrame, values: pd.Series) -> str | None:
    """Whether a column of numbers counts the rows or repeats their position."""
    values = values[np.isfinite(values)]
    if len(values) < 3:
        return None
    steps = np.diff(values)
    if (steps == 1).all() or (steps == -1).all():
        return "it numbers the rows"
    whole = (values % 1 == 0).all()
    if (
        len(values) >= MIN_ROWS
        and whole
        and (steps >= 1).all()
        and np.ptp(values) < 2 * len(values)
    ):
        return "it numbers the rows, of which some are missing"  # as a filter leaves an index
    if len(values) < MIN_ROWS or not {"lon", "lat"} <= set(table.columns):
        return None
    values = values.iloc[:: len(values) // 5000 + 1]
    places = table.loc[values.index, ["lon", "lat"]].to_numpy(np.float64)
    places, values = places - places.mean(0), values - values.mean()
    with np.errstate(all="ignore"):
        total = np.square(values).sum()
        if not (np.isfinite(places).all() and 0 < total < np.inf):
            return None
        residual = values - places @ np.linalg.lstsq(places, values, rcond=None)[0]
        if np.square(residual).sum() < LINEAR * total:
            return "it repeats the position: lon and lat give its values exactly"
    return None


def _by_texts(values: pd.Series) -> str | None:
    """Whether a column of other than numbers holds no classes but dates, geometries or lists."""
    if pd.api.types.is_bool_dtype(values) or not len(values):
        return None
    if pd.api.types.is_datetime64_any_dtype(values) or isinstance(values.iloc[0], date):
        return "it holds dates"
    if isinstance(values.iloc[0], bytes | list | tuple | dict | np.ndarray):
        return f"it holds values of the kind {type(values.iloc[0]).__name__}"
    text = values.iloc[:: len(values) // 5000 + 1].astype(str)
    for pattern, what in ((DATES, "dates"), (SHAPES, "geometries")):
        if text.str.fullmatch(pattern).mean() >= NUMERIC:
            return f"it holds {what}"
    return None


def why_no_label(table: pd.DataFrame, column: str) -> str | None:
    """None where the column can be a target, else the reason why not (`label_kind`)."""
    return label_kind(table[column])[1] or None


def label_kind(values: pd.Series) -> tuple[str, str]:
    """("regression" | "classification", "") or ("", why the column is no target)."""
    values = values.dropna()
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if number:
        values = values[np.isfinite(values.astype(np.float64))]
        values = values[~marked(values.to_numpy(np.float64))]
    if len(values) < MIN_ROWS:
        return "", f"{len(values)} labelled rows, fewer than {MIN_ROWS}"
    if number:
        return _regression(values.to_numpy(np.float64))
    if not pd.api.types.is_bool_dtype(values):
        values = values.astype(str)
        no_number = ~np.isfinite(numbers(values))
        if 0 < no_number.sum() <= (1 - NUMERIC) * len(values):
            row = no_number.idxmax()
            return "", (
                f"row {row} holds {values[row]!r}, which is no number as in most rows; "
                "leave a cell empty where there is no value"
            )
        if not no_number.any() and values.nunique() > min(MAX_CLASSES, len(values) / 2):
            return "", "numbers that came as text; write the column as numbers"
    counts = values.astype(str).value_counts()
    classes = int((counts >= MIN_CLASS).sum())
    if classes < 2:
        return "", f"fewer than two classes have {MIN_CLASS} rows"
    if classes > MAX_CLASSES or len(counts) > len(values) / 2:
        return "", f"{len(counts)} different texts in {len(values)} rows are no classes"
    return "classification", ""


def _regression(values: np.ndarray) -> tuple[str, str]:
    """values [n], finite: what squares of their differences can be made of."""
    largest = float(np.abs(values).max())
    if largest > 1e100:
        return "", f"values up to {largest:.0e}: their squares are no numbers; rescale the column"
    spread = float(np.ptp(values))
    if spread <= 1e-12 * largest:
        return "", "all values are equal"
    if spread < 1e-100:
        return "", f"values within {spread:.0e}: their squares are zero; rescale the column"
    return "regression", ""


def marked(values: np.ndarray) -> np.ndarray:
    """Which of some finite numbers [n] say that none is known: one of MARKS or FILLS, further from
    all others than those are spread."""
    with np.errstate(over="ignore"):
        found = np.isin(values, MARKS) | np.isin(values.astype(np.float32), FILLS)
    rest = values[~found]
    if not found.any() or not rest.size:
        return np.zeros(len(values), bool)
    spread = np.ptp(rest)
    return found & ((values < rest.min() - spread) | (values > rest.max() + spread))


def labelled(table: pd.DataFrame, column: str, kind: str, what: str, notes: list[str]):
    """Rows with a usable label, and the labels [n]; what is left out is said in the notes."""
    table = table[table[column].notna()]
    if kind == "regression":
        finite = np.isfinite(table[column].astype(float))
        if not finite.all():
            notes.append(f"{int((~finite).sum())} {what} whose `{column}` is infinite left out")
        table = table[finite]
        gaps = marked(table[column].to_numpy(np.float64))
        if gaps.any():
            shown = ", ".join(f"{v:g}" for v in sorted(set(table[column][gaps])))
            notes.append(f"{int(gaps.sum())} {what} whose `{column}` is {shown} left out: unknown")
        table = table[~gaps].reset_index(drop=True)
        return table, table[column].to_numpy(dtype=np.float64)
    counts = table[column].astype(str).value_counts()
    kept = counts.index[counts >= MIN_CLASS]
    if len(kept) < len(counts):
        rows = int(counts[kept].sum())
        notes.append(
            f"restricted to the {len(kept)} of {len(counts)} classes of `{column}` with at least "
            f"{MIN_CLASS} {what} ({rows:,} of {len(table):,})"
        )
        table = table[table[column].astype(str).isin(kept)]
    table = table.reset_index(drop=True)
    return table, table[column].astype(str).to_numpy(dtype=str)


def check_split(labels: np.ndarray, split: pd.Series | None, source: str) -> None:
    """BadInput where the data's own split leaves a class without training or without test rows.

    labels [n]: classes; split [n]: "test" or another name, None for none. source: the file and
    column that the message names.
    """
    if split is None or not (split == TEST).any() or split.isin(HELD_OUT).all():
        return
    parts = {"test": split.eq(TEST).to_numpy(), "training": ~split.isin(HELD_OUT).to_numpy()}
    for part, rows in parts.items():
        if missing := sorted(set(labels) - set(labels[rows])):
            raise BadInput(
                f"{source}: class {str(missing[0])!r} has no {part} rows in the column "
                "`split`; give it some, or leave its label empty"
            )
