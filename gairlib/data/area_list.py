"""The table of areas of a dataset folder, areas.csv: numbers of census tracts, quarters, regions.

A photo names its area in a column `area_id` of the photo table. Ids are texts in both ("06037" is
no number). In a column of numbers what is none is rejected cell by cell, and so is an area that
stands more than once.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from gairlib.data import table_files, tables
from gairlib.errors import BadInput, Missing

AREA = "area_id"
NUMERIC = 0.9  # of a column's texts that are numbers: then the others are mistakes


def read(folder: Path) -> tuple[pd.DataFrame, list[tuple]]:
    """(area_id as text and the table's other columns, numbers as float64; (kind, item, reason) of
    what is rejected). Without a table the frame is empty."""
    path = table_files.find(folder, "areas")
    none = pd.DataFrame({AREA: pd.Series(dtype="str")})
    if path is None:
        return none, []
    try:
        frame, reasons = table_files.read(path, (AREA,), text=True)
    except (BadInput, Missing) as problem:
        return none, [("table", path.name, problem)]
    frame[AREA], doubtful = tables.ids(frame[AREA])
    lost = tables.no_reasons(frame.index)
    lost[frame[AREA].isna()] = f"no {AREA}"
    again = frame[AREA].notna() & frame[AREA].duplicated()
    lost[again] = f"{AREA} stands more than once; first row kept"
    reasons = tables.first_of(reasons, doubtful, lost)
    label = {i: f"row {i + 2}" if pd.isna(name) else name for i, name in frame[AREA].items()}
    rejected = [("area", label[i], why) for i, why in reasons.dropna().items()]
    frame = frame[reasons.isna()]
    for column in frame.columns.drop(AREA):
        values, given = tables.numbers(frame[column]), frame[column].notna()
        odd = given & ~np.isfinite(values)
        if odd.sum() > (1 - NUMERIC) * given.sum():
            continue  # a column of texts
        for i in frame.index[odd]:
            rejected.append(("area", label[i], f"{column} {frame[column][i]!r} is no number"))
        frame = frame.assign(**{column: values.where(~odd)})
    return frame.reset_index(drop=True), rejected
