"""Tables of Global Streetscapes (Hou et al. 2024, ISPRS Journal 215:216-238) as photo tables.

The data set describes 10 million photos of Mapillary and KartaView in CSV files of one row a photo
each, tied by `uuid`: metadata_common_attributes.csv holds position, local time, heading and
projection; simplemaps.csv the city; contextual.csv weather, lighting, platform, view direction;
perception.csv scores. Pictures are fetched apart and lie as <uuid>.jpeg. Published rows and tables
derived from them (one with `image_id` in place of `uuid`) are both read.

The other tables of a folder are joined to the one with the positions. As published they have the
same order, and go along with it piece by piece; one whose order differs is held in memory whole,
its texts as codes (some 50 bytes a row, and up to 8 more for each column).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gairlib.data import photo_rows, table_files, tables
from gairlib.data.boundary import listing
from gairlib.errors import BadInput, Missing

LICENCE = "CC BY-SA 4.0"  # of the photos of both sources and of the tables
PATH = "street/{uuid}.jpeg"
KEYS = ("uuid", "image_id")
TEXT = ("uuid", "image_id", "orig_id", "sequence_id")


def recognise(columns: Sequence[str]) -> bool:
    """Whether these are the columns of a Global Streetscapes table with positions.

    A table with a photo_id of its own is taken as it is, whatever else it has.
    """
    names = set(columns)
    needed = {"lon", "lat", "source"} <= names and _key(columns) is not None
    return needed and "photo_id" not in names


def read(
    path: str | Path, rows: int = 500_000, path_template: str | None = PATH
) -> Iterator[tables.Piece]:
    """(photos, reasons) in pieces of up to `rows` rows, as `photo_tables.chunks` gives them.

    path: the table with positions, or a folder that holds it and others to join by uuid.
    path_template: where a photo lies in the dataset folder, with {uuid}, {orig_id} or {source};
    None: in the column `path`. Columns of the other tables keep their names; of two columns with
    one name the table with positions has the say, then the first file by name.
    """
    path = Path(path)
    base, others = base_of(path) if path.is_dir() else (path, [])
    names = table_files.columns(base, (*photo_rows.NORMAL, *TEXT))
    if not recognise(names):
        raise BadInput(
            f"{base}: not a Global Streetscapes table; it needs uuid, source, lon and lat and has "
            f"{', '.join(names[:12])}"
        )
    key, taken = _key(names), {*names, *KEYS}
    sides = []
    for other in others:
        columns = [c for c in table_files.columns(other) if c not in taken and c != "path"]
        taken.update(columns)
        if columns:
            sides.append(_Side(other, columns, rows))
    for frame, damaged in table_files.pieces(base, rows, (*photo_rows.NORMAL, *TEXT)):
        frame = frame.rename(columns={key: "uuid"})
        for side in sides:
            frame = pd.concat([frame, side.beside(frame)], axis=1)
        given, doubtful = as_photos(frame, path_template)
        photos, reasons = photo_rows.read(given)
        yield photos, tables.first_of(damaged, doubtful, reasons)


def as_photos(frame: pd.DataFrame, path_template: str | None = PATH) -> tables.Piece:
    """(the frame with photo_id, path, captured_at, is_spherical, photo_source and licence; reasons
    of rows whose path cannot be told).

    frame: rows with uuid (or image_id), source, lon, lat. captured_at is the local time with its
    offset from UTC. photo_id is the uuid. BadInput where path_template names no such column.
    """
    frame = frame.rename(columns={_key(frame.columns): "uuid"})
    doubtful = tables.no_reasons(frame.index)
    uuid = tables.texts(frame["uuid"])
    source = tables.texts(frame["source"])
    frame["photo_id"] = uuid
    if path_template is not None:
        frame["path"], doubtful = _filled(path_template, frame)
    elif "path" not in frame:
        raise BadInput("the table has no column path; a path_template is needed")
    if "datetime_local" in frame:
        local = tables.texts(frame["datetime_local"])
        frame["captured_at"] = local.str.replace(" ", "T", n=1, regex=False)
    elif "mly_captured_at" in frame:  # the points that the scripts list before any enrichment
        frame["captured_at"] = tables.times(frame["mly_captured_at"])
        if "kv_shotDate" in frame:
            other = tables.times(frame["kv_shotDate"])
            frame["captured_at"] = frame["captured_at"].where(frame["captured_at"].notna(), other)
    if "mly_is_pano" in frame and "projection_type" not in frame:
        frame["is_spherical"] = tables.stated(frame["mly_is_pano"])
    if "projection_type" in frame:
        frame["is_spherical"] = tables.stated(frame["projection_type"])
    frame["photo_source"] = source.fillna("Global Streetscapes")
    frame["licence"] = LICENCE
    return frame.drop(columns=["uuid", "source", "datetime_local"], errors="ignore"), doubtful


def _key(columns: Sequence[str]) -> str | None:
    return next((name for name in KEYS if name in columns), None)


def _filled(template: str, frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The template with {uuid}, {orig_id} and {source} put in, column by column; gaps stay gaps.
    Beside it a reason for each row whose id a float or a spreadsheet has spoilt."""
    parts = pd.Series("", index=frame.index, dtype="str")
    reasons = tables.no_reasons(frame.index)
    rest = template
    while "{" in rest:
        text, _, rest = rest.partition("{")
        name, closed, rest = rest.partition("}")
        if not closed or name not in ("uuid", "orig_id", "source") or name not in frame:
            raise BadInput(
                f"path_template {template!r}: only {{uuid}}, {{orig_id}} and {{source}} can stand "
                "in it, and the table must have them"
            )
        values, spoilt = tables.ids(frame[name])
        parts, reasons = parts + text + values, tables.first_of(reasons, spoilt)
    return parts + rest, reasons


def base_of(folder: Path) -> tuple[Path, list[Path]]:
    """(the table with positions, the other tables with a uuid) of a folder, by their headers."""
    found = [p for p in listing(folder).files if table_files.suffix_of(p)]
    names, last = {}, None
    for path in found:  # a damaged table beside the one with the positions stops nothing
        try:
            names[path] = table_files.columns(path)
        except BadInput as problem:
            last = problem
    found = list(names)
    bases = [path for path in found if recognise(names[path])]
    if not bases:
        if last is not None:
            raise last
        raise Missing(f"{folder}: no Global Streetscapes table with uuid, source, lon and lat")
    timed = [path for path in bases if "datetime_local" in names[path]]
    base = (timed or bases)[0]
    return base, [path for path in found if path != base and "uuid" in names[path]]


class _Side:
    """A table that is joined by uuid: in step with the base as long as the orders agree."""

    def __init__(self, path: Path, columns: list[str], rows: int):
        self.path, self.columns, self.rows = path, columns, rows
        self.steps: Iterator[tables.Piece] | None = table_files.pieces(path, rows, TEXT)
        self.whole: pd.DataFrame | None = None

    def beside(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Its columns for the rows of frame, in their order; gaps where it has no such uuid."""
        if self.steps is not None:
            piece, _ = next(self.steps, (None, None))
            if piece is not None and frame["uuid"].equals(piece["uuid"]):
                return _alike(piece[self.columns])
            self.steps = None
        if self.whole is None:
            self.whole = self._load()
        found = self.whole.reindex(_hashes(frame["uuid"])).set_axis(frame.index)
        coded = [n for n, kind in found.dtypes.items() if isinstance(kind, pd.CategoricalDtype)]
        return found.astype(dict.fromkeys(coded, "str"))

    def _load(self) -> pd.DataFrame:
        """All rows by the hash of their uuid, the first where one stands twice."""
        parts, keys = [], []
        for piece, _ in table_files.pieces(self.path, self.rows, TEXT):
            piece = piece[piece["uuid"].notna()]
            keys.append(_hashes(piece["uuid"]))
            parts.append(_alike(piece[self.columns]))
        whole = pd.concat(parts, ignore_index=True)
        for name in self.columns:
            if isinstance(whole[name].dtype, pd.StringDtype):
                whole[name] = whole[name].astype("category")
        whole.index = pd.Index(np.concatenate(keys))
        return whole[~whole.index.duplicated()]


def _alike(frame: pd.DataFrame) -> pd.DataFrame:
    """In kinds that can hold a gap, so that pieces with and without one agree."""
    kinds = {int: np.float64, bool: "str"}
    return frame.astype(
        {name: kinds[k] for name in frame for k in kinds if frame[name].dtype == np.dtype(k)}
    )


def _hashes(uuids: pd.Series) -> np.ndarray:
    return pd.util.hash_array(uuids.fillna("").to_numpy(object), categorize=False)
