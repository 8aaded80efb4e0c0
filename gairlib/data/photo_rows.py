"""Rows of a photo table of any source: the same columns, and a reason for each bad row."""

import pandas as pd

from gairlib.data import tables

PHOTO_COLUMNS = ("photo_id", "path", "lon", "lat")
NORMAL = (*PHOTO_COLUMNS, "heading", "captured_at", "is_spherical", "photo_source", "licence")


def read(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """A photo table of any source in the columns of NORMAL, and a reason a row or None.

    frame has PHOTO_COLUMNS; what else it has follows those of NORMAL, unchanged. heading: degrees
    in [0, 360), NaN unknown; captured_at: ISO 8601 text or a gap, times and Unix milliseconds are
    turned into it; is_spherical: bool, `boolean` where the table leaves gaps; photo_source: the
    column `source` where there is no other. Opens no photo; duplicated ids are not judged, since a
    table may come in parts.
    """
    rest = [name for name in frame.columns if name not in NORMAL]
    frame = frame.copy(deep=False)
    reasons = tables.positions(frame)
    reasons = tables.first_of(tables.path_reasons(frame["path"]), reasons)
    reasons[frame["path"].isna()] = "no path"
    frame["photo_id"], doubtful = tables.ids(frame["photo_id"])
    reasons[frame["photo_id"].isna()] = "no photo_id"
    frame["path"] = tables.texts(frame["path"])
    reasons = tables.first_of(reasons, doubtful)
    gaps = pd.Series(None, index=frame.index, dtype="str")
    frame["heading"] = tables.headings(frame.get("heading", gaps))
    frame["captured_at"] = tables.times(frame.get("captured_at", gaps))
    frame["is_spherical"] = tables.stated(frame.get("is_spherical", gaps))
    frame["photo_source"] = tables.texts(frame.get("photo_source", frame.get("source", gaps)))
    frame["licence"] = tables.texts(frame.get("licence", frame.get("license", gaps)))
    return frame[[*NORMAL, *rest]], reasons


def none() -> pd.DataFrame:
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
