"""One Parquet file out of many tables, a bounded number of rows in memory, one schema.

Parts of a photo table agree in names but not always in types: a column may be empty in one part
(type null), whole numbers in the next and fractions in a third. `joined_schema` finds the type that
holds them all, text where nothing else does. Row groups have the same rows however the parts are
cut.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS = 1 << 16  # of a row group

TYPES = {object: pa.string(), np.int64: pa.int64(), np.float64: pa.float64()}


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
        if self.count >= ROWS:
            self._write(self.count // ROWS * ROWS)

    def _write(self, rows: int) -> None:
        table = pa.concat_tables(self.waiting)
        self.file.write_table(table.slice(0, rows).combine_chunks(), row_group_size=ROWS)
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
