"""Nearest neighbours in the shared space: exact cosine search in bounded memory.

Exhaustive on purpose: a million vectors of 128 values are a matrix product of 0.1 s; an approximate
index would be another dependency and another source of error. Products are taken in float32, whose
error has a bound; what that bound cannot rule out is compared again in float64, so rows and order
are those of float64. There cosines are rounded to 12 decimals, so equal vectors have equal cosines
however the product was cut into blocks; among equals the lower row comes first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from gairlib import geo
from gairlib.embed import export
from gairlib.errors import BadInput, Missing
from gairlib.model import model_hash

CHUNK = 65_536  # vectors, and pairs in float64, at a time
QUERIES = 256  # queries at a time: 64 MiB of cosines
SPAN = (1e-12, 1e12)  # lengths whose squares float32 holds; others are compared in float64 alone


class Found(NamedTuple):
    """Nearest rows of each query, the most similar first."""

    rows: np.ndarray  # int64 [m, k]
    similarity: np.ndarray  # float64 [m, k], cosines in [-1, 1]


def search(
    queries: ArrayLike,
    vectors: ArrayLike,
    k: int = 10,
    chunk: int = CHUNK,
    among: ArrayLike | None = None,
) -> Found:
    """The k vectors [n, D] of the largest cosine with each of the queries [m, D].

    Vectors need no unit length; a zero vector has cosine 0 with everything. k above n gives n.
    chunk: vectors that are compared at a time; it changes nothing but memory. among: bool [n], the
    vectors that may be found, by default all.
    """
    q, v = np.asarray(queries), np.asarray(vectors)
    if q.ndim != 2 or v.ndim != 2 or q.shape[1] != v.shape[1]:
        raise BadInput(
            f"queries {list(q.shape)} and vectors {list(v.shape)}: [m, D] and [n, D] are needed"
        )
    if k < 1 or chunk < 1:
        raise BadInput(f"k is {k} and chunk {chunk}: both must be at least 1")
    k = min(k, len(v) if among is None else int(np.count_nonzero(among)))
    q = _unit(q)
    rows, similarity = np.zeros((len(q), k), np.int64), np.full((len(q), k), -np.inf)
    filled = 0
    for start in range(0, len(v), chunk) if k else ():
        part = v[start : start + chunk]
        allowed = None if among is None else np.asarray(among[start : start + chunk], bool)
        fast, length = _fast(part)
        here = len(part) if allowed is None else int(allowed.sum())
        width = min(k, filled + here)
        for s in range(0, len(q), QUERIES):
            at = slice(s, s + QUERIES)
            least = similarity[at, k - 1] if filled == k else None
            of, column = _candidates(q[at], fast, length, allowed, min(k, here), least)
            score = _cosines(q[at], part, of, column)
            b = len(q[at])  # what is kept, and what is new
            of = np.concatenate([np.repeat(np.arange(b), filled), of])
            row = np.concatenate([rows[at, :filled].ravel(), column + start])
            score = np.concatenate([similarity[at, :filled].ravel(), score])
            order = np.lexsort((row, -score, of))
            of = of[order]
            order = order[np.arange(len(of)) - np.searchsorted(of, of) < width]  # the best of each
            rows[at, :width] = row[order].reshape(b, width)
            similarity[at, :width] = score[order].reshape(b, width)
        filled = width
    return Found(rows, np.clip(similarity, -1.0, 1.0))


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise BadInput("vectors: not all finite")
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-300)


def _fast(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [c, D] in float32 and their lengths [c]; NaN where float32 does not hold it."""
    with np.errstate(over="ignore"):
        fast = part.astype(np.float32, copy=False)
        length = np.sqrt(np.einsum("cd,cd->c", fast, fast))
    odd = ~((length > SPAN[0]) & (length < SPAN[1]))
    if odd.any():
        if not np.isfinite(part[odd]).all():
            raise BadInput("vectors: not all finite")
        length[odd] = np.nan
        fast = np.where(odd[:, None], np.float32(0), fast)
    return fast, length


def _candidates(
    q: np.ndarray,
    fast: np.ndarray,
    length: np.ndarray,
    allowed: np.ndarray | None,
    k: int,
    least: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(query, column) of all vectors that may be among the k best of a query, of which the k-th
    best so far, if there are so many, is `least` [b]."""
    if not k:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # of a dot product of D terms, a length and a quotient, with a factor of two to spare
    error = 4 * (fast.shape[1] + 8) * 2.0**-24
    score = q.astype(np.float32) @ fast.T
    score /= length
    odd = np.isnan(length)
    score[:, odd] = -np.inf
    if allowed is not None:
        score[:, ~allowed] = -np.inf
    if least is None:
        n = score.shape[1]
        least = np.partition(score, n - k, axis=1)[:, n - k].astype(np.float64) - error
    found = score >= (least - error - 1e-11)[:, None]
    if odd.any():
        found |= odd
    if allowed is not None:
        found &= allowed
    return np.nonzero(found)


def _cosines(q: np.ndarray, part: np.ndarray, of: np.ndarray, column: np.ndarray) -> np.ndarray:
    """In float64, of the queries q[of] and the vectors part[column]."""
    out = np.empty(len(of))
    for s in range(0, len(of), CHUNK):
        at = slice(s, s + CHUNK)
        out[at] = np.einsum("pd,pd->p", q[of[at]], _unit(part[column[at]]))
    return np.round(out, 12)


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
        frames, vectors, made = [], [], {}
        for path in paths:
            if not Path(path).is_file():
                raise Missing(f"{path}: there is no such file; the embed stage writes it")
            facts = export.about(path)
            made.setdefault((facts["weights_sha256"], facts["preprocessing"]), str(path))
            column = pq.read_table(path, columns=["embedding"])["embedding"].combine_chunks()
            if len(column):
                vectors.append(column.flatten().to_numpy().astype(np.float32))
                vectors[-1] = vectors[-1].reshape(len(column), -1)
                frames.append(_flat(path))
        if len(made) > 1:
            each = (f"{path} (weights {w}, preprocessing {p})" for (w, p), path in made.items())
            raise BadInput(
                f"{' and '.join(each)}: made by different weights, so their vectors cannot be "
                "compared; embed both with one model"
            )
        if not frames:
            raise BadInput(f"{', '.join(map(str, paths))}: no rows to search")
        ((weights, _),) = made
        return cls(pd.concat(frames, ignore_index=True), np.concatenate(vectors), weights)

    def row(self, id: str, kind: str | None = None) -> int:
        """The row of an id (a photo_id or chip_id), the first of that kind."""
        match = self.table["id"].astype(str) == str(id)
        if kind is not None:
            match &= self.table["kind"] == kind
        if not match.any():
            raise BadInput(f"no {kind or 'row'} with the id {id!r} in this index")
        return int(match.to_numpy().argmax())

    def where(
        self,
        *,
        kind: str | None = None,
        box: geo.Box | None = None,
        date: str | tuple[str, str] | None = None,
    ) -> np.ndarray:
        """bool [n]: rows of a kind, in a box, of a time; BadInput where there is none.

        box: (west, south, east, north) in degrees, of places and of chips' centres; across the
        antimeridian west is above east. date: "2021", "2021-07" or "2021-07-03", or the first and
        the last one, both with all that they span, UTC; rows without a time are left out.
        """
        chosen = np.ones(len(self), bool)
        if kind is not None:
            chosen &= (self.table["kind"] == kind).to_numpy()
        if box is not None:
            west, south, east, north = (float(v) for v in box)
            lon, lat = (self.table[c].to_numpy(np.float64) for c in ("lon", "lat"))
            east_of, west_of = lon >= west, lon <= east
            chosen &= east_of & west_of if west <= east else east_of | west_of
            chosen &= (south <= lat) & (lat <= north)
        if date is not None:
            if "captured_at" not in self.table:
                raise BadInput("where: no file of this index says when its rows were taken")
            first, last = (date, date) if isinstance(date, str) else date
            try:
                first, last = pd.Period(first).start_time, pd.Period(last).end_time
            except ValueError:
                raise BadInput(f'where: date {date!r}; write "2021", "2021-07-03" or two') from None
            text = self.table["captured_at"]
            time = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
            time = time.dt.tz_localize(None)
            chosen &= ((first <= time) & (time <= last)).to_numpy()
        if not chosen.any():
            kinds = ", ".join(sorted(set(self.table["kind"])))
            low, high = (self.table[["lon", "lat"]].agg(f).to_list() for f in ("min", "max"))
            raise BadInput(
                f"where: no row of kind {kind}, box {box}, date {date}; this index holds {kinds} "
                f"in {[round(v, 3) for v in low + high]}"
            )
        return chosen

    def query(
        self,
        vector: ArrayLike | None = None,
        *,
        id: str | None = None,
        lonlat: Sequence[float] | None = None,
        model=None,
        k: int = 10,
        where: Mapping | None = None,
        of: str | None = None,
    ) -> pd.DataFrame:
        """The k most similar rows: similarity, id, kind, lon, lat, distance_km, and the rest.

        Ask with one of: a vector [D]; the id of a row, which is left out of the answer (of: its
        kind, where a photo and its place share an id); lonlat in degrees with the `model` whose
        location encoder reads it. where: rows to search, `where(...)`'s keys. distance_km: along
        the great circle from where the question is; NaN for a vector.
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
        among = self.where(**(where or {}))
        if own is not None:
            among[own] = False
        if not among.any():
            raise BadInput("query: no other row to compare with")
        question = np.asarray(vector, np.float64).reshape(1, -1)
        found = search(question, self.vectors, k, among=among)
        answer = self.table.iloc[found.rows[0]].reset_index(drop=True)
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


def _flat(path: str | Path) -> pd.DataFrame:
    """A file's id, kind, lon, lat and other columns; the geometry becomes its centre."""
    apart = {*export.SPACES, "bbox"}
    frame = gpd.read_parquet(
        path, columns=[c for c in pq.read_schema(path).names if c not in apart]
    )
    box, kind = frame.geometry.bounds, export.kind_of(frame)  # of a point: the point itself
    id_column = "chip_id" if kind == "chips" else "photo_id"
    head = {
        "id": frame[id_column].astype(str),
        "kind": kind,
        "lon": geo.wrap_lon((box["minx"] + box["maxx"]) / 2),
        "lat": (box["miny"] + box["maxy"]) / 2,
    }
    rest = frame.drop(columns=[id_column, "geometry"])
    return pd.concat([pd.DataFrame(head), pd.DataFrame(rest)], axis=1)
