"""Tables of embeddings as GeoParquet 1.1, laid out as those who publish embeddings ask for.

Vectors are lists of one fixed size, so that a reader sees a matrix; ZSTD; a column `bbox` with the
covering that lets a reader skip row groups; rows in the order of a Hilbert curve over the world, so
that a row group is a region. Beside `geo` the file's metadata have `gairlib`, where the rows come
from, and `emb`, the fields of STAC's embedding extension that describe a whole product
(https://github.com/geo-embeddings/embeddings-stac-specification).
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gairlib import files, geo
from gairlib.pairs.parts import joined_schema

SPACES = {  # column -> what it holds
    "embedding": "shared space of chips, photos and places, unit length",
    "features": "the tower's own features before its projection, as they are",
}
GROUP = 8192  # rows of a row group: 4 MiB of 128 values
EXTENSION = "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json"


def order(table: pa.Table) -> np.ndarray:
    """Row numbers along the curve, by the middles of the boxes; equal cells (600 m) keep theirs."""
    box = {
        k: pc.struct_field(table["bbox"], k).to_numpy() for k in ("xmin", "xmax", "ymin", "ymax")
    }
    lon, lat = (box["xmin"] + box["xmax"]) / 2, (box["ymin"] + box["ymax"]) / 2
    return np.argsort(hilbert(lon, lat), kind="stable")


def hilbert(lon, lat) -> np.ndarray:
    """Places along the curve of longitudes and latitudes [n], in degrees."""
    points = gpd.GeoSeries.from_xy(geo.wrap_lon(np.asarray(lon)), np.asarray(lat))
    return points.hilbert_distance((-180, -90, 180, 90), level=16).to_numpy()


def table_of(frame: gpd.GeoDataFrame) -> pa.Table:
    """Rows with their metadata `geo`; vectors of fixed size, text as text where all are unknown."""
    names = list(frame.columns)
    vectors = {name: frame[name] for name in SPACES if name in frame}
    buffer = io.BytesIO()
    frame.drop(columns=list(vectors)).to_parquet(
        buffer, index=False, write_covering_bbox=True, schema_version="1.1.0"
    )
    table = pq.read_table(buffer)
    for i, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(pa.string()))
    for name, column in vectors.items():
        values = np.stack(column.to_list()) if len(column) else np.zeros((0, 1), np.float32)
        flat = pa.array(values.astype(np.float32, copy=False).ravel())
        table = table.append_column(name, pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
    return table.select([*names, *(n for n in table.column_names if n not in names)])


class Writer:
    """What `writing` hands out: rows stay in the order in which they are added."""

    def __init__(self, file: pq.ParquetWriter):
        self.file, self._waiting, self._count = file, [], 0

    def add(self, table: pa.Table) -> None:
        """The next rows; one row group is held."""
        self._waiting.append(table.cast(self.file.schema))
        self._count += len(table)
        while self._count >= GROUP:
            self.flush()

    def flush(self) -> None:
        """Write a row group, or what there is of one."""
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self.file.write_table(table.slice(0, GROUP).combine_chunks(), row_group_size=GROUP)
            self._waiting, self._count = [table.slice(GROUP)], max(0, len(table) - GROUP)


@contextmanager
def writing(path: str | Path, schemas: Iterable[pa.Schema], about: Mapping) -> Iterator[Writer]:
    """A file of tables with these schemas, as `table_of` gives them; about: what else the metadata
    say, JSON-able by key. What was there stays until all has been written."""
    path, schemas = Path(path), list(schemas)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"geo": _joined([json.loads(s.metadata[b"geo"]) for s in schemas]), **about}
    schema = joined_schema([s.remove_metadata() for s in schemas], {})
    schema = schema.with_metadata({k: json.dumps(v) for k, v in about.items()})
    options = {"compression": "zstd", "write_page_checksum": True}
    with files.atomic_write(path) as part, pq.ParquetWriter(part, schema, **options) as file:
        writer = Writer(file)
        yield writer
        writer.flush()


def _joined(parts: list[dict]) -> dict:
    """The metadata `geo` of all rows."""
    name = parts[0]["primary_column"]
    columns = [part["columns"][name] for part in parts]
    about = {k: v for k, v in columns[0].items() if k != "bbox"}
    about["geometry_types"] = sorted({kind for c in columns for kind in c["geometry_types"]})
    boxes = [c["bbox"] for c in columns if "bbox" in c and np.isfinite(c["bbox"]).all()]
    if boxes:
        about["bbox"] = [*np.min(boxes, axis=0)[:2].tolist(), *np.max(boxes, axis=0)[2:].tolist()]
    return {**parts[0], "columns": {name: about}}


def product(facts: Mapping) -> dict:
    """What stands under `emb`: a product's fields, of rows whose provenance is `facts`.

    The extension knows pixels and chips; of photos and places its field `emb:type` is left out.
    """
    about = {"stac_extensions": [EXTENSION], "data_type": "float32", "license": "other"}
    if facts["dim"]:
        about["emb:dimensions"] = facts["dim"]
    if facts["kind"] == "chips":
        about["emb:type"] = "chip"
    if "chip_px" in facts:
        chip_px, about["gsd"] = facts["chip_px"], float(facts["chip_m"])
        about["emb:chip_layout"] = {
            "layout_type": "regular_grid",
            "chip_size": [chip_px, chip_px],
            "stride": [chip_px, chip_px],
        }
    return about | {"emb:fit_for_use": ["retrieval", "similarity_search", "classification"]}


def kind_of(frame: pd.DataFrame) -> str:
    """ "chips", "photos" or "places", by the columns."""
    return "chips" if "chip_id" in frame else "photos" if "path" in frame else "places"
