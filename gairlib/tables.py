"""Reads the tables of a dataset folder: photos, scenes, location targets.

Every check is made on whole columns and gives a reason a row, so that no bad row stops the run and
none disappears without being named.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from gairlib.errors import BadInput, Missing

PHOTO_COLUMNS = ("photo_id", "path", "lon", "lat")
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
                path, dtype=str if text else TEXT, keep_default_na=False,
                na_values=["", "nan", "NaN", "null", "NULL"], low_memory=False,
            )  # fmt: skip
    except (ValueError, OSError) as problem:  # pandas' and Arrow's parsing errors are ValueErrors
        raise BadInput(f"{path}: not readable as a table ({problem})") from problem
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        raise BadInput(
            f"{path}: lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, frame.columns[:12]))}"
        )
    return frame.reset_index(drop=True)


def positions(frame: pd.DataFrame) -> pd.Series:
    """Turn lon and lat into float64 degrees, in place, lon in [-180, 180]; a reason a row or None.

    Longitudes up to 360 are accepted and turned back by 360.
    """
    given = {name: frame[name].map(str).astype(object) for name in ("lon", "lat")}  # gaps: "nan"
    for name in ("lon", "lat"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype(np.float64)
    lon, lat = frame["lon"], frame["lat"]
    text = "lon " + given["lon"] + ", lat " + given["lat"] + ": "
    reasons = pd.Series(None, index=frame.index, dtype=object)
    number = np.isfinite(lon) & np.isfinite(lat)
    swapped = (lat.abs() > 90) & (lon.abs() <= 90) & (lat.abs() <= 180)
    outside = (lat.abs() > 90) | ~lon.between(-180.0, 360.0)
    reasons[outside] = text + "not a position; lon is in [-180, 180], lat in [-90, 90]"
    reasons[swapped] = text + "lat is outside [-90, 90]; lon and lat may be swapped"
    reasons[~number] = text + "both must be numbers in degrees"
    frame["lon"] = lon.where(~(lon > 180.0), lon - 360.0)
    return reasons


def street(path: Path) -> tuple[pd.DataFrame, pd.Series]:
    """The photo table with is_spherical (bool), heading (degrees, NaN unknown) and captured_at
    filled in, and a reason a row or None. Opens no photo and does not judge paths."""
    frame = read(path, PHOTO_COLUMNS)
    reasons = positions(frame)
    frame["photo_id"] = frame["photo_id"].map(str, na_action="ignore").astype(object)
    reasons[frame["photo_id"].duplicated()] = "photo_id stands more than once; first row kept"
    reasons[frame["path"].isna()] = "no path"
    reasons[frame["photo_id"].isna()] = "no photo_id"
    spherical = frame.get("is_spherical", pd.Series("", index=frame.index)).astype(str)
    frame["is_spherical"] = spherical.str.strip().str.lower().isin(["true", "1", "1.0", "yes"])
    heading = frame.get("heading", pd.Series(np.nan, index=frame.index))
    frame["heading"] = pd.to_numeric(heading, errors="coerce").astype(np.float64) % 360.0
    if "captured_at" not in frame:
        frame["captured_at"] = None
    return frame, reasons


def no_photos() -> pd.DataFrame:
    """The photo table of a folder without one: all columns, no row."""
    kinds = {"photo_id": object, "path": object, "lon": float, "lat": float,
             "is_spherical": bool, "heading": float, "captured_at": object}  # fmt: skip
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
