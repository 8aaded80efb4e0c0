"""Part folders: what one task of the pairing leaves on disk, read back, checked and joined.

chips.npy         uint16 [n, 10, px, px], harmonised DN, n >= 1
chips.parquet     one row a chip: CHIP_COLUMNS
manifest.parquet  one row a (photo or view, chip); `chip` and `photo` count from 0 in the part,
                  photo is -1 where photos are not stored
photos.bin        encoded photos one after the other; may be absent, as photos.parquet may
photos.parquet    photo_id, bytes: the length of each

The manifests of all parts become one Parquet file (`ManifestWriter`), a bounded number of rows in
memory. Parts agree in names but not always in types: a column may be empty in one part (type null),
whole numbers in the next and fractions in a third. `joined_schema` finds the type that holds them
all, text where nothing else does. Row groups have the same rows however the parts are cut.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gairlib.errors import BadInput, Missing

CORNERS = 17  # of a chip's footprint: four steps an edge, the first corner again at the end

GROUP_ROWS = 1 << 16  # of a manifest's row group
TYPES = {object: pa.string(), np.int64: pa.int64(), np.float64: pa.float64()}

# One row of chips.parquet: text, one number, or so many numbers.
CHIP_COLUMNS = {
    "scene_id": str,
    "split": str,
    "crs": str,
    "scene_datetime": str,
    "transform": (6,),
    "footprint": (CORNERS, 2),
    "repeat": np.int32,
    "lon": np.float64,
    "lat": np.float64,
    "cloud_share": np.float64,
    "nodata_share": np.float64,
    "scene_cloud": np.float64,
    "photos": np.int32,
}


@dataclass(frozen=True)
class Part:
    """A part folder, of which only sizes and column types have been read."""

    folder: Path
    chips: int
    pairs: int
    photos: int
    photo_bytes: int
    schema: pa.Schema  # of the manifest

    def error(self, what: str) -> BadInput:
        return BadInput(f"{self.folder}: {what}; delete this part and run the pairing again")

    def pixels(self) -> np.ndarray:
        """Chips [n, 10, px, px], mapped, not read."""
        values = np.load(self.folder / "chips.npy", mmap_mode="r")
        if values.dtype != np.uint16 or values.ndim != 4 or len(values) != self.chips:
            raise self.error(
                f"chips.npy is {values.dtype} {values.shape}, not uint16 with "
                f"{self.chips} chips as chips.parquet says"
            )
        return values

    def about_chips(self) -> dict[str, np.ndarray]:
        """CHIP_COLUMNS as arrays; unknown text is ""."""
        frame = pd.read_parquet(self.folder / "chips.parquet")
        missing = [c for c in CHIP_COLUMNS if c not in frame]
        if missing:
            raise self.error(f"chips.parquet lacks the columns {missing}")
        return {name: _array(frame[name], kind) for name, kind in CHIP_COLUMNS.items()}

    def manifest(self) -> pa.Table:
        """Rows whose `chip` and `photo` are those of the part, which is checked."""
        table = pq.read_table(self.folder / "manifest.parquet").replace_schema_metadata()
        missing = [c for c in ("chip", "photo", "x", "y") if c not in table.column_names]
        if missing:
            raise self.error(f"manifest.parquet lacks the columns {missing}")
        for name, low, count in (("chip", 0, self.chips), ("photo", -1, self.photos)):
            values = table[name].to_numpy()
            if len(values) and not (low <= values.min() and values.max() < count):
                raise self.error(f"manifest.parquet names a {name} that is not there")
        return table

    def photo_table(self) -> pd.DataFrame:
        """photo_id and bytes of each stored photo."""
        frame = pd.read_parquet(self.folder / "photos.parquet", columns=["photo_id", "bytes"])
        if int(frame["bytes"].sum()) != self.photo_bytes:
            raise self.error("photos.bin is not as long as photos.parquet says")
        return frame


def open_part(folder: str | Path) -> Part:
    """Sizes of a part, from the heads of its files; Missing or BadInput names what is wrong."""
    folder = Path(folder)
    for name in ("chips.npy", "chips.parquet", "manifest.parquet"):
        if not (folder / name).is_file():
            raise Missing(f"{folder / name}: not there; delete this part and run the pairing again")
    photos = folder / "photos.parquet"
    stored = pq.read_metadata(photos).num_rows if photos.is_file() else 0
    manifest = pq.read_metadata(folder / "manifest.parquet")
    return Part(
        folder,
        pq.read_metadata(folder / "chips.parquet").num_rows,
        manifest.num_rows,
        stored,
        (folder / "photos.bin").stat().st_size if stored else 0,
        manifest.schema.to_arrow_schema().remove_metadata(),
    )


def _array(column: pd.Series, kind) -> np.ndarray:
    if kind is str:
        return column.astype(object).where(column.notna(), "").to_numpy(object)
    if isinstance(kind, tuple):
        return np.stack(column.to_list()).astype(np.float64).reshape(len(column), *kind)
    return column.to_numpy(kind)


def joined_schema(schemas: Iterable[pa.Schema], first: Mapping[str, type]) -> pa.Schema:
    """The schema that holds them all: the columns `first`, with their types, then the others in
    the order in which they are met."""
    types = {name: TYPES[kind] for name, kind in first.items()}
    distinct = list(dict.fromkeys(schemas))
    for schema in distinct:
        for field in schema:
            if field.name not in first:
                kind = _plain(field.type)
                types[field.name] = _common(types.get(field.name, kind), kind)
    return pa.schema(types)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Text is one type, whatever the width of its offsets."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return _plain(kind.value_type) if pa.types.is_dictionary(kind) else kind


def _common(one: pa.DataType, two: pa.DataType) -> pa.DataType:
    if one == two:
        return one
    try:
        return (
            pa.unify_schemas(
                [pa.schema({"c": one}), pa.schema({"c": two})], promote_options="permissive"
            )
            .field("c")
            .type
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()


class ManifestWriter:
    """`with ManifestWriter(path, schema) as file: file.add(table)`."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.schema, self.waiting, self.count = schema, [], 0
        self.file = pq.ParquetWriter(path, schema, compression="zstd")

    def add(self, table: pa.Table, replaced: Mapping[str, np.ndarray] | None = None) -> None:
        """Rows of a table; columns of the schema that it lacks are null, `replaced` ones given."""
        columns = []
        for field in self.schema:
            if replaced and field.name in replaced:
                columns.append(pa.array(replaced[field.name], field.type))
            elif field.name in table.column_names:
                columns.append(_cast(table[field.name], field.type))
            else:
                columns.append(pa.nulls(len(table), field.type))
        self.waiting.append(pa.table(columns, schema=self.schema))
        self.count += len(table)
        if self.count >= GROUP_ROWS:
            self._write(self.count // GROUP_ROWS * GROUP_ROWS)

    def _write(self, rows: int) -> None:
        table = pa.concat_tables(self.waiting)
        self.file.write_table(table.slice(0, rows).combine_chunks(), row_group_size=GROUP_ROWS)
        self.waiting, self.count = [table.slice(rows)], self.count - rows

    def __enter__(self) -> "ManifestWriter":
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None and self.count:
            self._write(self.count)
        self.file.close()


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    try:
        return column.cast(kind, safe=not pa.types.is_floating(kind))  # 2**53 + 1 has no float64
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if not pa.types.is_string(kind):
            raise
        return pa.chunked_array(
            [pa.array([None if v is None else str(v) for v in column.to_pylist()], kind)]
        )
