"""Embeds a country, or a million photos: in bounded memory, gone on with after an interruption.

Rows are made a part at a time. A part is a Parquet file in the folder `<name>.parts` beside the
target, there when it is whole, with a digest of its content in its name. A run with the same
weights, files and settings takes up where the last one stopped, with that one's date, and makes
anew what is damaged; others start anew. At the end the parts become one file and go
(`gairlib.embed.geoparquet`); so killed or not, the same bytes come out.

Scenes are tasks that workers share by Dask (`gairlib.pairs.work.Pool`): threads here, or a cluster
by its address that sees the same files under the same paths. Several GPUs share scenes, and parts
of tables, by torchrun (`gairlib.embed.torchrun`).
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm.auto import tqdm

from gairlib import __version__, devices, files, origins, scale
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.embed import export, geoparquet
from gairlib.embed.export import ROWS, Maker
from gairlib.embed.torchrun import Ranks
from gairlib.errors import BadInput
from gairlib.model import GAIR, model_hash
from gairlib.pairs.cut import expand_views
from gairlib.pairs.work import LOCAL, Pool, fingerprint

_PART = re.compile(r"(\d{8})-(\d{10})-(\d+)_([0-9a-f]{16})\.parquet$")  # group, first row, rows
FORMAT = 1  # of the parts: those of another one are made anew


@devices.on_device
def write_chips(
    model: GAIR,
    source: Dataset | Sequence[Scene],
    path: str | Path,
    *,
    chip_px: int | None = None,
    chip_m: float | None = None,
    features: bool = False,
    device: str = "auto",
    scheduler: str = "threads",
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """The chips of any number of scenes as GeoParquet: the rows of `chips`, in bounded memory.

    chip_px, chip_m: a chip's side, default that of the training.
    source: a data set, or scenes (of `search_stac`, `open_scene`). scheduler, workers: who shares
    the scenes; one worker has all cores, more hold a scene's pixels each; workers of a cluster take
    the GPU that they have. A call that was interrupted, repeated with the same arguments, goes on.
    """
    chip_px, chip_m = scale.of(model.config, chip_px, chip_m)
    scenes = source.scenes() if isinstance(source, Dataset) else list(source)
    (name, times), *_ = Counter(s.id for s in scenes).most_common(1) or [("", 0)]
    if times > 1:
        raise BadInput(f"scenes: the id {name!r} stands {times} times; give each scene its own")
    middle = [s.footprint.centroid for s in scenes]
    along = np.argsort(geoparquet.hilbert([m.x for m in middle], [m.y for m in middle]))
    scenes = [scenes[i] for i in along]
    how = dict(chip_px=chip_px, chip_m=chip_m, features=features)
    licence = export.licence_of(source) if isinstance(source, Dataset) else None
    state = fingerprint({**how, "licence": licence}, (), scenes)
    with _Parts(path, "chips", model, source, state) as parts, Pool(scheduler, workers) as pool:
        given = model if scheduler in LOCAL else parts.save(model)
        about = (parts.maker, licence, {**how, "device": device})
        tasks = [(given, scene, parts.folder, i, *about) for i, scene in enumerate(scenes)]
        if parts.ranks.world > 1 and scheduler not in LOCAL:
            raise BadInput(
                f"scheduler {scheduler}: torchrun shares the scenes already; leave it out"
            )
        tasks = tasks[parts.ranks.rank :: parts.ranks.world]
        run = pool.map(_scene, tasks) if workers > 1 or scheduler not in LOCAL else _each(tasks)
        silent = not (progress and parts.ranks.first)
        bar = tqdm(run, total=len(tasks), desc="scenes", mininterval=1, disable=silent)
        rows = sum(bar)
        read_at = export.read_at(model, chip_px, chip_m)
        return parts.finish(rows, export.no_chips(features), **read_at)


@devices.on_device
def write_photos(
    model: GAIR,
    dataset: Dataset,
    path: str | Path,
    *,
    features: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """The photos of a data set as GeoParquet: the rows of `photos`, in bounded memory but for the
    table itself. A call that was interrupted, repeated with the same arguments, goes on."""
    how = features, device, progress
    return _write_rows("photos", export.photo_rows, model, dataset, path, *how)


@devices.on_device
def write_places(
    model: GAIR,
    dataset: Dataset,
    path: str | Path,
    *,
    features: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """The photos' places as GeoParquet: the rows of `places`, in bounded memory, as above."""
    how = features, device, progress
    return _write_rows("places", export.place_rows, model, dataset, path, *how)


def _write_rows(
    kind: str,
    make: Callable[..., gpd.GeoDataFrame],
    model: GAIR,
    dataset: Dataset,
    path: str | Path,
    features: bool,
    device: torch.device,
    progress: bool,
) -> Path:
    """A file of the rows that `make` gives for the photos and views, ROWS at a time."""
    street = expand_views(dataset.street())
    along = np.argsort(geoparquet.hilbert(street["lon"], street["lat"]), kind="stable")
    street = street.iloc[along].reset_index(drop=True)  # along the curve of the file to be
    rows = partial(make, model, dataset, features=features, device=device)
    pixels = street["path"].drop_duplicates() if kind == "photos" else ()
    state = fingerprint({"features": features}, street, (), (dataset.folder / p for p in pixels))
    done = 0
    with _Parts(path, kind, model, dataset, state) as parts:
        mine = range(parts.ranks.rank * ROWS, len(street), parts.ranks.world * ROWS)
        silent = not (progress and parts.ranks.first)
        for start in tqdm(mine, desc=f"{kind}, {ROWS} each", mininterval=1, disable=silent):
            part, i = street.iloc[start : start + ROWS], start // ROWS
            if not whole_rows(parts.folder, i):
                save(parts.folder, i, 0, parts.maker.table(rows(part), path))
            done += len(part)
        return parts.finish(done, rows(street.iloc[:0]))


def _each(tasks: Iterable[tuple]) -> Iterator[int]:
    return (_scene(*task) for task in tasks)


def _scene(
    model: GAIR | tuple[str, bool],
    scene: Scene,
    folder: Path,
    number: int,
    maker: Maker,
    licence: str | None,
    how: dict,
) -> int:
    """A scene's chips that are not there yet -> how many chips it has."""
    if isinstance(model, tuple):
        model, how = _loaded(*model), {**how, "device": devices.find()}
    done = whole_rows(folder, number)
    for frame in export.chip_rows(model, scene, licence=licence, first=done, **how):
        save(folder, number, done, maker.table(frame, scene.id))
        done += len(frame)
    return done


@lru_cache(maxsize=1)
def _loaded(folder: str, bf16: bool) -> GAIR:
    """A worker's own model, on the device that it has."""
    model = GAIR.from_pretrained(folder).to(devices.find())
    model.bf16 = bf16
    return model


# ---------------------------------------------------------------------------- parts on disk


def pieces(folder: Path) -> dict[int, list[tuple[int, int, Path]]]:
    """Group -> (first row, rows, file) of its parts in their order."""
    found = {}
    for file in sorted(folder.iterdir()):
        if match := _PART.match(file.name):
            group, first, rows = (int(v) for v in match.groups()[:3])
            found.setdefault(group, []).append((first, rows, file))
    return found


def whole_rows(folder: Path, group: int) -> int:
    """How many rows of a group are there without a gap; other parts of it are removed."""
    done = 0
    for file in sorted(folder.glob(f"{group:08d}-*.parquet")):
        match = _PART.match(file.name)
        if int(match[2]) == done and files.sha256(file)[:16] == match[4]:
            done += int(match[3])
        else:
            file.unlink()
    return done


def save(folder: Path, group: int, first: int, table: pa.Table) -> None:
    """A part, under its final name when it is whole."""
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd")
    content = content.getvalue()
    name = f"{group:08d}-{first:010d}-{len(table)}_{hashlib.sha256(content).hexdigest()[:16]}"
    # not synced: its digest tells what a power cut has left of it
    with files.atomic_write(folder / f"{name}.parquet", durable=False) as part:
        part.write_bytes(content)


class _Parts:
    """The folder of the parts of `path`, owned by one process, or by the first of torchrun's; the
    weights and the day they are of.

    state: a digest of what else decides the values.
    """

    def __init__(
        self,
        path: str | Path,
        kind: str,
        model: GAIR,
        source: Dataset | Sequence[Scene],
        state: str,
    ):
        self.path, self.kind = Path(path), kind
        self.folder = self.path.with_name(self.path.name + ".parts")
        known = isinstance(source, Dataset)
        self.maker = Maker(
            model_hash(model),
            model.config.preprocessing,
            origins.licence(model.origins, "the weights"),
            [asdict(origin) for origin in model.origins or ()],
            source.name if known else "scenes",
            source.synthetic if known else False,
            export.today(),
        )
        self.state = {"format": FORMAT, "version": __version__, "bf16": model.bf16, "of": state}
        self.state |= {k: v for k, v in asdict(self.maker).items() if k != "day"}
        self._held = ExitStack()

    def __enter__(self) -> "_Parts":
        self.ranks, stamp = Ranks(), self.folder / "settings.json"
        if self.ranks.first:
            self._held.enter_context(files.owner(self.path))
            self._begin(stamp)
        self.ranks.wait()
        self.maker = replace(self.maker, day=json.loads(stamp.read_text())["day"])
        return self

    def _begin(self, stamp: Path) -> None:
        """Goes on with the parts that are there if their settings are the same, else anew."""
        try:
            found = json.loads(stamp.read_text())
        except (OSError, ValueError):
            found = {}
        if not found.pop("day", None) or found != self.state:
            files.remove(self.folder)
            self.folder.mkdir(parents=True)
            with files.atomic_write(stamp) as part:
                part.write_text(json.dumps({**self.state, "day": self.maker.day}))

    def __exit__(self, *_) -> None:
        self._held.close()

    def save(self, model: GAIR) -> tuple[str, bool]:
        """The model for workers elsewhere."""
        model.save_pretrained(self.folder / "model", whole=True)
        return str(self.folder / "model"), model.bf16

    def finish(self, rows: int, none: gpd.GeoDataFrame, **read_at) -> Path:
        """Join the parts, of so many rows of this process, and remove them, once all processes are
        here. none: a frame of no rows."""
        rows = self.ranks.sum(rows)
        if self.ranks.first:
            self._join(rows, none, **read_at)
        self.ranks.wait()
        return self.path

    def _join(self, rows: int, none: gpd.GeoDataFrame, **read_at) -> None:
        groups = pieces(self.folder)
        there = [file for parts in groups.values() for _, _, file in parts]
        if rows != sum(n for parts in groups.values() for _, n, _ in parts):
            raise BadInput(f"{self.folder}: parts of it are gone; repeat the call")
        empty = self.maker.table(none, self.path)
        schemas = [pq.read_schema(file) for file in there] or [empty.schema]
        licences = {
            text for f in there for text in pq.read_table(f, columns=["licence"])[0].to_pylist()
        }
        about = self.maker.about(self.kind, schemas[0], rows, licences, **read_at)
        with geoparquet.writing(self.path, schemas, about) as file:
            for _, parts in sorted(groups.items()):
                whole = pa.concat_tables(
                    [pq.read_table(f).replace_schema_metadata() for _, _, f in parts],
                    promote_options="permissive",
                )
                file.add(whole.take(geoparquet.order(whole)))
        files.remove(self.folder)
