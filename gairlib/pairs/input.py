"""The photo table on its way into pairing: which photos may be placed, and in which scenes.

A table is taken in chunks; for each, `prepare_chunk` writes one file a split with the photos that
lie in some scene, and one with those that are rejected. A photo keeps the scenes that it could use
in order of preference: nearest in time to the photo where both dates are known, then least cloudy
(unknown last), then by id.

Ids that stand more than once are found over all chunks by 64-bit hashes, a share of the range of
hashes at a time, so that memory stays bounded; the first that lies in a scene is kept.

A reason to reject names its row's values ("lon 200.1, lat 3.0: not a position; ..."). To be
counted, it is brought to its kind: what is in front of the last colon, in quotes or in closing
brackets goes.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gairlib import files, geo
from gairlib.data import tables
from gairlib.data.photo_rows import PHOTO_COLUMNS
from gairlib.data.photo_tables import chunks, id_hashes
from gairlib.data.photos import VIEW_YAWS
from gairlib.data.scene import Scene
from gairlib.data.tables import stated
from gairlib.errors import BadInput
from gairlib.pairs import placement
from gairlib.pairs.cut import SPHERICAL
from gairlib.pairs.division import Division
from gairlib.pairs.join import Footprints

OUTSIDE = "outside every scene"
SWAPPED = "outside every scene, but inside one with lon and lat swapped"
DOUBLE = "photo_id stands more than once; first usable row kept"
CANDIDATES = 32  # scenes kept for a photo
TOGETHER = 50_000  # photos joined at a time: each may lie in scores of scenes of one tile
NEAR_DEG = 1e-4  # added around footprints: their edges are straight between outline points
DAY = 86_400.0
HASHES = 4_000_000  # of ids, sorted at a time
REJECTED = pa.schema([("row", pa.int64()), ("photo_id", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class SceneTable:
    """What is asked of all scenes at once: outlines to join with, dates (days, NaN), cloud (%)."""

    footprints: Footprints
    day: np.ndarray
    cloud: np.ndarray

    @classmethod
    def of(cls, scenes: list[Scene]) -> "SceneTable":
        """Scenes in their final order (by id)."""
        return cls(
            Footprints([s.footprint.buffer(NEAR_DEG) for s in scenes]),
            days(pd.Series([s.datetime for s in scenes], dtype=object)),
            np.array([np.inf if np.isnan(s.cloud_cover) else s.cloud_cover for s in scenes], float),
        )

    def candidates(self, lon, lat, day) -> tuple[np.ndarray, np.ndarray]:
        """(photo, scene) of every photo in a scene's outline, best scene first for each photo."""
        found = [
            self._candidates(start, *(v[start : start + TOGETHER] for v in (lon, lat, day)))
            for start in range(0, max(len(lon), 1), TOGETHER)
        ]
        photo, scene = (np.concatenate(v) for v in zip(*found))
        return photo, scene

    def _candidates(self, start: int, lon, lat, day) -> tuple[np.ndarray, np.ndarray]:
        photo, scene = self.footprints.query(lon, lat)
        gap = np.abs(day[photo] - self.day[scene])
        gap = np.where(np.isnan(gap), np.inf, gap)
        order = np.lexsort((scene, self.cloud[scene], gap, photo))
        photo, scene = photo[order], scene[order]
        first = np.searchsorted(photo, photo)  # of each photo's own run
        kept = np.arange(len(photo)) - first < CANDIDATES
        return photo[kept] + start, scene[kept]


EARLIEST = pd.Timestamp("1990-01-01", tz="UTC")  # of a photo or scene; 0 is no date
COARSE = r"\s*\d{4}(?:-?\d\d)?\s*"  # a year or a month: no day is known


def days(when: pd.Series) -> np.ndarray:
    """ISO text, other spellings that `tables.times` knows, or numbers of seconds, milli-, micro- or
    nanoseconds -> days since 1970 (UTC); NaN where unknown, before 1990 or after tomorrow, and
    where a year or a month alone is known."""
    text = tables.times(when)
    text = text.where(~text.str.fullmatch(COARSE).fillna(False).astype(bool))
    text = text.where(text.str[:1].str.isdigit().fillna(False).astype(bool))  # pandas reads "now"
    moments = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
    latest = pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=1)
    moments = moments.where((moments >= EARLIEST) & (moments <= latest))
    seconds = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds.astype(float).to_numpy() / DAY


def unreadable_dates(work: Path) -> int:
    """How many usable photos of all chunks have a captured_at that is no date."""
    return sum(int(p.read_text()) for p in sorted((work / "in").glob("dates-*.txt")))


def photo_chunks(street: pd.DataFrame | tuple | str | Path, rows: int) -> Iterator[tuple]:
    """(photos, reasons) of the photo table `rows` rows at a time; see `pairing.pair`."""
    if isinstance(street, str | Path):
        yield from chunks(street, rows)
        return
    if isinstance(street, tuple):
        frame, reasons = street
    else:
        frame, reasons = street, pd.Series(None, index=street.index, dtype=object)
    for start in range(0, max(len(frame), 1), rows):
        yield frame.iloc[start : start + rows], reasons.iloc[start : start + rows]


def check_table(street: pd.DataFrame) -> pd.DataFrame:
    """A table given in memory: BadInput unless ids are unique and positions are valid."""
    street = tables.placed(street)
    missing = [c for c in PHOTO_COLUMNS if c not in street]
    if missing:
        raise BadInput(f"photo table: lacks the columns {missing}; Dataset.street() gives them")
    double = street["photo_id"].duplicated()
    if double.any():
        first = street["photo_id"][double].iloc[0]
        raise BadInput(f"photo table: photo_id {first!r} stands more than once")
    geo.check_lonlat(street[["lon", "lat"]].to_numpy(np.float64), "photo table")
    return street.reset_index(drop=True)


def prepare_chunk(
    work: Path,
    number: int,
    frame: pd.DataFrame,
    reasons: pd.Series,
    scenes: SceneTable,
    spherical: str,
    division: Division,
) -> int:
    """Write a chunk's files into `work`; returns how many of its photos lie in a scene."""
    frame, reasons = _completed(frame), reasons.copy()
    if spherical == "skip":
        reasons[frame["is_spherical"].fillna(False) & reasons.isna()] = SPHERICAL
    split = _splits(frame, reasons, division)
    good = np.flatnonzero(reasons.isna())
    lon, lat = (frame[c].to_numpy(np.float64)[good] for c in ("lon", "lat"))
    day = days(frame["captured_at"]).astype(float)
    lost_dates = int((frame["captured_at"].notna().to_numpy() & np.isnan(day))[good].sum())
    with files.atomic_write(work / f"in/dates-{number:06d}.txt", durable=False) as part:
        part.write_text(str(lost_dates))
    photo, scene = scenes.candidates(lon, lat, day[good])
    counts = np.bincount(photo, minlength=len(good))
    outside = good[counts == 0]
    reasons.iloc[outside] = OUTSIDE
    turnable = outside[np.abs(frame["lon"].to_numpy(np.float64)[outside]) <= 90.0]
    swapped, _ = scenes.footprints.query(
        frame["lat"].to_numpy(np.float64)[turnable], frame["lon"].to_numpy(np.float64)[turnable]
    )
    reasons.iloc[turnable[np.unique(swapped)]] = SWAPPED

    row = frame.index.to_numpy(np.int64)
    ids = frame["photo_id"].to_numpy(object)
    lost = np.flatnonzero(reasons.notna())
    located = good[counts > 0]
    kept = frame.iloc[located].assign(_row=row[located], _day=day[located], _why="")
    table = _arrow(kept)
    starts = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int32)
    lists = pa.ListArray.from_arrays(starts, pa.array(scene, pa.int32()))
    table = table.append_column("_candidates", lists)
    for name in placement.NAMED:
        own = table.filter(pa.array(split[located] == name))
        with files.atomic_write(work / f"in/{name}-{number:06d}.parquet", durable=False) as part:
            pq.write_table(own, part)
    hashes = _hash_and_row(kept)
    save_array(work / f"in/ids-{number:06d}.npy", np.sort(hashes, order=("hash", "row")))
    write_rejections(
        work / f"rejected/in-{number:06d}.parquet",
        row[lost],
        ids[lost],
        reasons.iloc[lost].to_numpy(object),
    )
    made = [f"in/{name}-{number:06d}.parquet" for name in placement.NAMED]
    made += [f"in/{name}-{number:06d}{end}" for name, end in (("ids", ".npy"), ("dates", ".txt"))]
    # Last: it says that the chunk is done.
    files.seal(work, [*made, f"rejected/in-{number:06d}.parquet"], _sums(number))
    return len(located)


def prepared(work: Path, number: int) -> bool:
    """Whether a chunk's files are there as they were written."""
    return (work / _sums(number)).is_file() and not files.damaged(work, _sums(number))


def _sums(number: int) -> str:
    return f"in/sums-{number:06d}"


def save_array(path: Path, values: np.ndarray) -> None:
    """As np.save, whole or not there."""
    with files.atomic_write(path, durable=False) as part, part.open("wb") as file:
        np.save(file, values)


def _completed(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy with every column that pairing reads; a column of a name that pairing gives to columns
    of its own is called "table_..."."""
    own = {"_row", "_day", "_why", "_candidates", "_scene", "_tile"}
    own |= {f"street_{name}" for name in frame}
    frame = frame.rename(columns={name: f"table_{name}" for name in frame if name in own})
    for name, empty in (
        ("heading", np.nan),
        ("captured_at", None),
        ("is_spherical", None),
        ("photo_source", None),
        ("licence", None),
    ):
        if name not in frame:
            frame[name] = pd.Series(
                [empty] * len(frame), index=frame.index, dtype=object if empty is None else None
            )
    frame["is_spherical"] = stated(frame["is_spherical"]).astype("boolean")
    frame["heading"] = frame["heading"].astype(np.float64)
    return frame


def _splits(frame: pd.DataFrame, reasons: pd.Series, division: Division) -> np.ndarray:
    """The split of every photo; a value other than placement.NAMED is a reason to reject it."""
    if "split" not in frame:
        split = np.full(len(frame), "", object)
        good = reasons.isna().to_numpy()
        lon, lat = (frame[c].to_numpy(np.float64)[good] for c in ("lon", "lat"))
        split[good] = division.of(lon, lat)
        return split
    split = frame["split"].astype(object)
    wrong = ~split.isin(placement.NAMED) & reasons.isna()
    reasons[wrong] = [f"split is {s!r}, not train, val or test, nor shifted" for s in split[wrong]]
    return split.to_numpy(object)


def _hash_and_row(kept: pd.DataFrame) -> np.ndarray:
    """The ids of photos, and those of a sphere's views, which another photo may have too."""
    views = kept[kept["is_spherical"].fillna(False).to_numpy(bool)]
    ids = [kept["photo_id"], *(views["photo_id"] + f"@{yaw:03.0f}" for yaw in VIEW_YAWS)]
    rows = np.concatenate([kept["_row"], *[views["_row"]] * len(VIEW_YAWS)])
    pairs = np.empty(len(rows), dtype=[("hash", np.uint64), ("row", np.int64)])
    pairs["hash"] = id_hashes(pd.concat(ids, ignore_index=True).astype(object))
    pairs["row"] = rows
    return pairs


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """As Arrow; a column of mixed kinds becomes text rather than an error."""
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        frame = frame.copy()
        for name in frame.select_dtypes(object).columns:
            frame[name] = frame[name].map(str, na_action="ignore")
        return pa.Table.from_pandas(frame, preserve_index=False)


def double_rows(work: Path) -> np.ndarray:
    """Rows in some scene whose id stands in an earlier such row too, sorted; int64."""
    parts = [np.load(f, mmap_mode="r") for f in sorted((work / "in").glob("ids-*.npy"))]
    total = sum(map(len, parts))
    shares = max(1, -(-total // HASHES))
    edges = [int(k * 2**64 / shares) for k in range(shares)] + [2**64]
    found = []
    for low, high in zip(edges[:-1], edges[1:]):
        ends = [
            (
                np.searchsorted(p["hash"], np.uint64(low)),
                len(p) if high == 2**64 else np.searchsorted(p["hash"], np.uint64(high)),
            )
            for p in parts
        ]
        some = np.concatenate([p[a:b] for p, (a, b) in zip(parts, ends)] or [np.empty(0)])
        if len(some) < 2:
            continue
        some = np.sort(some, order=("hash", "row"))
        found.append(some["row"][1:][some["hash"][1:] == some["hash"][:-1]])
    return np.unique(np.concatenate(found)) if found else np.array([], np.int64)


def reject_doubles(work: Path, rows: np.ndarray) -> None:
    """Write the rejections of `double_rows`, with their ids, which the prepared files hold."""
    found = []
    for file in sorted((work / "in").glob("*-*.parquet")) if len(rows) else []:
        for batch in pq.ParquetFile(file).iter_batches(columns=["_row", "photo_id"]):
            frame = batch.to_pandas()
            found.append(frame[np.isin(frame["_row"], rows)])
    frame = (
        pd.concat(found).sort_values("_row")
        if found
        else pd.DataFrame({"_row": np.array([], np.int64), "photo_id": np.array([], object)})
    )
    write_rejections(
        work / "rejected/in-doubles.parquet",
        frame["_row"].to_numpy(np.int64),
        frame["photo_id"].to_numpy(object),
        np.full(len(frame), DOUBLE, object),
    )


def reason_kind(reason: str) -> str:
    """The kind of a reason, the same for all rows with the same fault."""
    reason = re.sub(r"\s*\([^()]*\)\s*$", "", reason)
    reason = re.sub(r"'[^']*'", "'...'", reason)
    return reason.rsplit(": ", 1)[-1]


def count_reasons(reasons: pd.Series) -> Counter:
    """Kinds of reasons, counted; every distinct reason is looked at once."""
    found: Counter = Counter()
    for reason, n in reasons.value_counts().items():
        found[reason_kind(reason)] += int(n)
    return found


def write_rejections(path: Path, row: np.ndarray, photo_id: np.ndarray, reason: np.ndarray) -> None:
    """A table of rejected photos; a photo without an id is named by its row in the photo table."""
    ids = [f"row {r}" if i is None or i != i else str(i) for r, i in zip(row, photo_id)]
    table = pa.table(
        [pa.array(row, pa.int64()), pa.array(ids, pa.string()), pa.array(reason, pa.string())],
        schema=REJECTED,
    )
    with files.atomic_write(path, durable=False) as part:
        pq.write_table(table, part)


def join_rejections(tables: list[Path], target: Path) -> Counter:
    """All tables in one file, one after the other in bounded memory; returns the counts by kind."""
    total: Counter = Counter()
    with pq.ParquetWriter(target, REJECTED) as writer:
        for table in tables:
            for batch in pq.ParquetFile(table).iter_batches(batch_size=100_000):
                writer.write_batch(batch)
                total += count_reasons(batch.column("reason").to_pandas())
    return total
