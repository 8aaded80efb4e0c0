"""Columns as targets: which are numbers, which are classes, and which rows have a usable label."""

import numpy as np
import pandas as pd

from gairlib.errors import BadInput

MIN_ROWS = 20  # fewer labelled examples are not a task
MIN_CLASS = 20  # a class with fewer examples is left out, and the result says so
MAX_CLASSES = 100
NUMERIC = 0.9  # of a column's texts that are numbers: then the others are mistakes

# Columns of street.csv and of location tables that are no question to a photo or a place
NOT_LABELS = frozenset(
    (
        # which photo this is
        *("photo_id", "image_id", "id", "uuid", "orig_id", "path", "url", "sha256", "bytes"),
        *("sequence", "sequence_id", "sequence_index", "sequence_img_count"),
        # where and when it was taken
        *("lon", "lat", "altitude", "geometry", "given_crs", "site", "scene_id", "split"),
        *("city_id", "osmid", "type_highway", "captured_at", "datetime_local"),
        # how the camera stood, and what it is
        *("heading", "compass_angle", "pitch", "roll", "fov", "hFoV", "vFoV", "view_yaw"),
        *("is_spherical", "projection_type", "width", "height", "camera", "make", "model"),
        # who it is from
        *("source", "photo_source", "user_id", "licence", "license", "note"),
        # the number of a row, as pandas and GIS programs write it
        *("", "index", "index_left", "index_right", "level_0", "fid", "ogc_fid", "gid", "objectid"),
        *("objectid_1", "fid_1", "rowid", "row", "row_id", "row_number", "__index_level_0__"),
    )
)
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


def label_columns(table: pd.DataFrame) -> list[str]:
    """The columns that say what is there, rather than where, when or whence a row is from."""
    return [column for column in table.columns if not _no_label(str(column), table[column])]


def _no_label(name: str, values: pd.Series) -> bool:
    """Whether a column is none of the questions: by its name, in any case, or because it numbers
    the rows, one whole number after the other."""
    plain = name.strip()
    if plain in NOT_LABELS or plain.lower() in NOT_LABELS or plain.lower().startswith("unnamed:"):
        return True
    if len(values) < 3 or not pd.api.types.is_integer_dtype(values):
        return False
    steps = np.diff(values.dropna().to_numpy(dtype=np.float64))
    return len(steps) > 1 and (bool((steps == 1).all()) or bool((steps == -1).all()))


def why_no_label(table: pd.DataFrame, column: str) -> str | None:
    """None where the column can be a target, else the reason why not (`label_kind`)."""
    return label_kind(table[column])[1] or None


def label_kind(values: pd.Series) -> tuple[str, str]:
    """("regression" | "classification", "") or ("", why the column is no target)."""
    values = values.dropna()
    if len(values) < MIN_ROWS:
        return "", f"{len(values)} labelled rows, fewer than {MIN_ROWS}"
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return ("regression", "") if values.nunique() > 1 else ("", "all values are equal")
    if not pd.api.types.is_bool_dtype(values):
        no_number = pd.to_numeric(values, errors="coerce").isna()
        if 0 < no_number.sum() <= (1 - NUMERIC) * len(values):
            row = no_number.idxmax()
            return "", (
                f"row {row} holds {values[row]!r}, which is no number as in most rows; "
                "leave a cell empty where there is no value"
            )
    counts = values.astype(str).value_counts()
    classes = int((counts >= MIN_CLASS).sum())
    if classes < 2:
        return "", f"fewer than two classes have {MIN_CLASS} rows"
    if classes > MAX_CLASSES or len(counts) > len(values) / 2:
        return "", f"{len(counts)} different texts in {len(values)} rows are no classes"
    return "classification", ""


def labelled(table: pd.DataFrame, column: str, kind: str, what: str, notes: list[str]):
    """Rows with a usable label, and the labels [n]; what is left out is said in the notes."""
    table = table[table[column].notna()]
    if kind == "regression":
        finite = np.isfinite(table[column].astype(float))
        if not finite.all():
            notes.append(f"{int((~finite).sum())} {what} whose `{column}` is infinite left out")
        table = table[finite].reset_index(drop=True)
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
    if split is None or not (split == "test").any() or not (split != "test").any():
        return
    test = split.to_numpy(dtype=str) == "test"
    for part, rows in (("test", test), ("training", ~test)):
        if missing := sorted(set(labels) - set(labels[rows])):
            raise BadInput(
                f"{source}: class {str(missing[0])!r} has no {part} rows in the column "
                "`split`; give it some, or leave its label empty"
            )
