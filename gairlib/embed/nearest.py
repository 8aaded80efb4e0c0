"""Nearest neighbours in the shared space: exact cosine search in bounded memory.

Exhaustive on purpose: a million vectors of 128 values are 1 GB in float64 and take a matrix
product; an approximate index would be another dependency and another source of error. Cosines are
computed in float64 and rounded to 12 decimals, so equal vectors have equal cosines however the
product was cut into blocks; among equals the lower row comes first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gairlib import geo
from gairlib.embed import export
from gairlib.errors import BadInput, Missing
from gairlib.model import model_hash

CHUNK = 65_536  # vectors at a time
QUERIES = 256  # queries at a time: 128 MiB of cosines


class Found(NamedTuple):
    """Nearest rows of each query, the most similar first."""

    rows: np.ndarray  # int64 [m, k]
    similarity: np.ndarray  # float64 [m, k], cosines in [-1, 1]


def search(queries: ArrayLike, vectors: ArrayLike, k: int = 10, chunk: int = CHUNK) -> Found:
    """The k vectors [n, D] of the largest cosine with each of the queries [m, D].

    Vectors need no unit length; a zero vector has cosine 0 with everything. k above n gives n.
    chunk: vectors that are compared at a time; it changes nothing but memory.
    """
    q, v = np.asarray(queries), np.asarray(vectors)
    if q.ndim != 2 or v.ndim != 2 or q.shape[1] != v.shape[1]:
        raise BadInput(
            f"queries {list(q.shape)} and vectors {list(v.shape)}: [m, D] and [n, D] are needed"
        )
    if k < 1 or chunk < 1:
        raise BadInput(f"k is {k} and chunk {chunk}: both must be at least 1")
    k = min(k, len(v))
    rows = np.zeros((len(q), k), np.int64)
    similarity = np.full((len(q), k), -np.inf)
    filled = 0
    for start in range(0, len(v), chunk):
        part = _unit(v[start : start + chunk])  # float64 [c, D]
        width = min(k, filled + len(part))
        for s in range(0, len(q), QUERIES):
            at = slice(s, s + QUERIES)
            scores = np.round(_unit(q[at]) @ part.T, 12)  # [b, c]
            best = _top(scores, min(k, len(part)))
            scores = np.take_along_axis(scores, best, 1)
            # What is kept comes first and has lower rows, so a stable sort settles ties.
            both = np.concatenate([similarity[at, :filled], scores], axis=1)
            all_rows = np.concatenate([rows[at, :filled], best + start], axis=1)
            order = np.argsort(-both, axis=1, kind="stable")[:, :width]
            similarity[at, :width] = np.take_along_axis(both, order, 1)
            rows[at, :width] = np.take_along_axis(all_rows, order, 1)
        filled = width
    return Found(rows, np.clip(similarity, -1.0, 1.0))


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise BadInput("vectors: not all finite")
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-300)


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns [b, k] of the k largest scores of each row, largest first, ties by column."""
    b, n = scores.shape
    least = np.partition(scores, n - k, axis=1)[:, n - k, None]  # the k-th largest
    row, column = np.nonzero(scores >= least)  # at least k in every row
    order = np.lexsort((column, -scores[row, column], row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)  # place within its own row
    return column[rank < k].reshape(b, k)


class Index:
    """Rows of one or more GeoParquet files of `embed.write`, to be searched together.

    table: id, kind ("chips", "photos", "places"), lon, lat (of a chip: its centre), and the file's
    own columns; vectors float32 [n, D]. All files must be of the same weights.
    """

    def __init__(self, table: pd.DataFrame, vectors: np.ndarray, weights: str | None = None):
        self.table, self.vectors, self.weights = table.reset_index(drop=True), vectors, weights

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def load(cls, *paths: str | Path) -> "Index":
        """Read the files; Missing or BadInput names the one that is wrong."""
        if not paths:
            raise BadInput("Index.load: at least one file of embed.write is needed")
        frames, vectors, weights = [], [], {}
        for path in paths:
            if not Path(path).is_file():
                raise Missing(f"{path}: there is no such file; the embed stage writes it")
            facts = export.about(path)
            weights[facts["weights_sha256"]] = str(path)
            frame = gpd.read_parquet(path)
            if len(frame):
                vectors.append(np.stack(frame["embedding"].to_list()).astype(np.float32))
                frames.append(_flat(frame, export.kind_of(frame)))
        if len(weights) > 1:
            raise BadInput(
                f"{' and '.join(weights.values())}: made by different weights, so their vectors "
                "cannot be compared"
            )
        if not frames:
            raise BadInput(f"{', '.join(map(str, paths))}: no rows to search")
        return cls(pd.concat(frames, ignore_index=True), np.concatenate(vectors), *weights)

    def row(self, id: str, kind: str | None = None) -> int:
        """The row of an id (a photo_id or chip_id), the first of that kind."""
        match = self.table["id"].astype(str) == str(id)
        if kind is not None:
            match &= self.table["kind"] == kind
        if not match.any():
            raise BadInput(f"no {kind or 'row'} with the id {id!r} in this index")
        return int(match.to_numpy().argmax())

    def query(
        self,
        vector: ArrayLike | None = None,
        *,
        id: str | None = None,
        lonlat: Sequence[float] | None = None,
        model=None,
        k: int = 10,
        kind: str | None = None,
        of: str | None = None,
    ) -> pd.DataFrame:
        """The k most similar rows: similarity, id, kind, lon, lat, distance_km, and the rest.

        Ask with one of: a vector [D]; the id of a row, which is left out of the answer (of: its
        kind, where a photo and its place share an id); lonlat in degrees with the `model` whose
        location encoder reads it. kind: search rows of one kind alone. distance_km: along the
        great circle from where the question is; NaN for a vector.
        """
        if sum(v is not None for v in (vector, id, lonlat)) != 1:
            raise BadInput("query: give one of vector, id and lonlat")
        place, own = None, None
        if id is not None:
            own = self.row(id, of)
            vector = self.vectors[own]
            place = self.table.loc[own, ["lon", "lat"]].to_numpy(np.float64)
        elif lonlat is not None:
            place = np.asarray(lonlat, np.float64)
            vector = self._encode(place, model)
        rows = np.arange(len(self))
        if kind is not None:
            rows = rows[(self.table["kind"] == kind).to_numpy()]
            if not len(rows):
                kinds = ", ".join(sorted(set(self.table["kind"])))
                raise BadInput(f"kind {kind!r}: this index holds {kinds}")
        rows = rows[rows != own] if own is not None else rows
        if not len(rows):
            raise BadInput("query: no other row to compare with")
        question = np.asarray(vector, np.float64).reshape(1, -1)
        found = search(question, self.vectors if len(rows) == len(self) else self.vectors[rows], k)
        answer = self.table.iloc[rows[found.rows[0]]].reset_index(drop=True)
        answer.insert(0, "similarity", found.similarity[0])
        there = answer[["lon", "lat"]].to_numpy(np.float64)
        far = np.full(len(answer), np.nan) if place is None else geo.haversine(there, place) / 1000
        answer.insert(5, "distance_km", far)
        return answer

    def _encode(self, place: np.ndarray, model) -> np.ndarray:
        if model is None:
            raise BadInput("query by lonlat: give the model whose location encoder reads it")
        if self.weights is not None and model_hash(model) != self.weights:
            raise BadInput("query by lonlat: the model is not the one that made these files")
        import torch

        with torch.inference_mode():
            return model.encode_location(place[None], normalize=True)[0].float().cpu().numpy()


def _flat(frame: gpd.GeoDataFrame, kind: str) -> pd.DataFrame:
    """id, kind, lon, lat and the other columns; the geometry becomes its centre."""
    box = frame.geometry.bounds  # of a point: the point itself
    id_column = "chip_id" if kind == "chips" else "photo_id"
    head = {
        "id": frame[id_column].astype(str),
        "kind": kind,
        "lon": geo.wrap_lon((box["minx"] + box["maxx"]) / 2),
        "lat": (box["miny"] + box["maxy"]) / 2,
    }
    vectors = [column for column in export.SPACES if column in frame]
    rest = frame.drop(columns=[id_column, "geometry", *vectors])
    return pd.concat([pd.DataFrame(head), pd.DataFrame(rest)], axis=1)
