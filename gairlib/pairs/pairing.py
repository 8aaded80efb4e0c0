"""Pairs street-level photos with Sentinel-2 chips: photo table + scenes -> pairs.

GAIR's own pairing code was never released; its helper reads a whole scene for each photo and puts
the photo into the chip by linear interpolation in a lon/lat box, in float32. Here a photo's place
is found on the scene's own grid and its `xy` comes from the chip's CRS and transform in float64
(geo.chip_xy); chips are cut, not warped; one chip serves up to `max_photos` photos.

Three steps, each made of independent tasks that Dask runs (`work`), each leaving files in a work
folder, so that memory is bounded whatever the number of photos, and an interrupted run goes on
where it stopped and ends in the same bytes:

1. `input`: the table chunk by chunk: checks, split, scenes that a photo could use.
2. `cut`: photos, brought together by scene (`shuffle`), get their chips. Test chips
   are placed first, then val, then train, each clear of those before; a photo that finds no chip
   in its best scene goes on to its next.
3. `store.assemble`: the parts become one sharded Zarr store and a manifest.

Every photo that goes in is paired or rejected with a reason. The result depends on the photos, the
scenes and the settings alone, not on the order of either.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from gairlib import files
from gairlib.data import tables
from gairlib.data.photos import VIEW_YAWS
from gairlib.data.scene import Scene
from gairlib.errors import BadInput
from gairlib.pairs import placement, shuffle, store
from gairlib.pairs.cut import Settings, cut, empty_manifest
from gairlib.pairs.division import Division, divide
from gairlib.pairs.input import (
    SceneTable,
    check_table,
    double_rows,
    join_rejections,
    photo_chunks,
    prepare_chunk,
    prepared,
    reject_doubles,
    save_array,
    unreadable_dates,
    write_rejections,
)
from gairlib.pairs.store import Pairs
from gairlib.pairs.work import Pool, WorkFolder, fingerprint

ROWS = 200_000  # of the photo table in a chunk


def pair(
    street: pd.DataFrame | tuple[pd.DataFrame, pd.Series] | str | Path,
    scenes: Sequence[Scene],
    *,
    folder: str | Path | None = None,
    work: str | Path | None = None,
    photos_root: str | Path | None = None,
    photo_px: int = 0,
    chip_px: int = 64,
    chip_m: float = 640.0,
    max_photos: int = 8,
    repeats: int = 1,
    repeats_train: int | None = None,
    margin: float = 0.05,
    seed: int = 0,
    max_cloud: float = 0.5,
    max_nodata: float = 0.1,
    split_block_deg: float = 0.05,
    split_buffer_m: float = 500.0,
    spherical: str = "views",
    near_duplicates: str = "keep",
    tries: int = 8,
    scheduler: str = "threads",
    workers: int | None = None,
    rows: int = ROWS,
    progress: bool = True,
) -> Pairs:
    """Give each photo of `street` a place in a chip of one of `scenes`.

    street: Dataset.street() or .photo_table(): photos in memory, (photos, a reason or None for
    each), or the path of a table that `photo_tables.chunks` reads. folder: where the pairs go
    (default: a temporary folder that lives as long as they do). work: where unfinished work is kept
    (default: <folder>.work); removed at the end. photos_root: folder that the photos' paths start
    from; then photos are checked and stored with the pairs, at photo_px x photo_px pixels (0: as
    they are).

    chip_px, chip_m: a chip's edge in pixels and in metres on the ground. max_photos: slots of a
    chip; a spherical photo takes four. repeats, repeats_train: chips for each photo (train photos:
    repeats_train, if given). margin: a photo's least distance from the chip's edge, in chips.
    max_cloud, max_nodata: highest share of a chip's pixels, in [0, 1]; cloud counts where the scene
    has a classification. split_block_deg: side of the spatial blocks that make train, val and test
    where the table has no column `split` and photos of enough places (see `division`).
    split_buffer_m: least distance between chips of different
    splits, metres. spherical: "views" (four perspective views) or "skip". near_duplicates: "keep"
    (named in the manifest and counted) or "drop". tries: random offsets drawn for each chip.

    scheduler, workers: see `work.Pool`. rows: of the table in one chunk. BadInput where a setting
    or the table is wrong, or another process pairs into `folder` or `work`.
    """
    placement.check_settings(chip_px, chip_m, max_photos, margin)
    _check_options(spherical, near_duplicates, max_photos, street)
    if isinstance(street, pd.DataFrame):
        street = check_table(street)
    scenes = sorted(scenes, key=lambda s: s.id)
    settings = Settings(
        chip_px,
        chip_m,
        max_photos,
        margin,
        seed,
        max_cloud,
        max_nodata,
        split_buffer_m,
        tries,
        near_duplicates,
        None if photos_root is None else str(photos_root),
        photo_px,
        spherical,
    )
    choices = {k: v for k, v in asdict(settings).items() if k != "spherical"} | {
        "repeats": repeats,
        "repeats_train": repeats_train,
        "split_block_deg": split_block_deg,
        "spherical": spherical,
    }
    temporary = tempfile.TemporaryDirectory(prefix="pairs-") if folder is None else None
    folder = Path(temporary.name) / "pairs" if folder is None else Path(folder)
    work = Path(work or folder.with_name(folder.name + ".work"))
    read = () if photos_root is None else _photo_files(street, rows, Path(photos_root))
    with (
        files.owner(folder),
        files.owner(work),
        Pool(scheduler, workers) as pool,
        tqdm(
            desc="pairing", unit=" photos", unit_scale=True, disable=not progress, mininterval=1
        ) as bar,
    ):
        state = WorkFolder(work, fingerprint(choices | {"rows": rows}, street, scenes, read))
        run = _Run(state, pool, bar, scenes, settings)
        division = divide(photo_chunks(street, rows), split_block_deg, seed, chip_m, split_buffer_m)
        run.read(street, rows, spherical, division)
        for split in reversed(placement.NAMED):  # the small splits choose their chips first
            rounds = repeats if split != "train" or repeats_train is None else repeats_train
            run.place(split, rounds)
        pairs = run.finish(folder, choices, division)
        state.remove()
    pairs.keep_alive = temporary
    return pairs


def _check_options(spherical: str, near: str, max_photos: int, street) -> None:
    if spherical not in ("views", "skip"):
        raise BadInput(f"spherical must be 'views' or 'skip', not {spherical!r}")
    if near not in ("keep", "drop"):
        raise BadInput(f"near_duplicates must be 'keep' or 'drop', not {near!r}")
    known = isinstance(street, pd.DataFrame) and "is_spherical" in street  # else: row by row
    spheres = known and tables.stated(street["is_spherical"]).fillna(False).any()
    if spherical == "views" and max_photos < len(VIEW_YAWS) and spheres:
        raise BadInput(
            f"max_photos={max_photos}: a spherical photo takes {len(VIEW_YAWS)} slots; "
            "raise it or set spherical='skip'"
        )


def _photo_files(street, rows: int, root: Path) -> Iterator[str]:
    """The files that the table's rows name."""
    for frame, reasons in photo_chunks(street, rows):
        for path in frame["path"][reasons.isna()] if "path" in frame else ():
            yield os.path.join(root, str(path))


class _Run:
    """The steps of one pairing; what each leaves behind is in the work folder."""

    def __init__(
        self, work: WorkFolder, pool: Pool, bar: tqdm, scenes: list[Scene], settings: Settings
    ):
        self.work, self.pool, self.bar = work, pool, bar
        self.scenes, self.settings = scenes, settings
        self.table = SceneTable.of(scenes)
        self.photos_in = 0
        self.fresh = False  # whether a chunk of the table was prepared in this process

    def read(self, street, rows: int, spherical: str, division: Division) -> None:
        """The whole table through `input.prepare_chunk`, and ids that stand more than once."""
        folder = self.work.folder
        source = photo_chunks(street, rows)

        def tasks():
            for number, (frame, reasons) in enumerate(source):
                self.photos_in += len(frame)
                self.bar.total = self.photos_in
                self.bar.refresh()
                if not prepared(folder, number):
                    self.fresh = True
                    yield (folder, number, frame, reasons, self.table, spherical, division)

        for _ in self.pool.map(prepare_chunk, tasks(), ahead=1):
            pass  # what a chunk gives is in its files
        made = ["doubles.npy", "rejected/in-doubles.parquet"]
        if self.fresh or not (folder / "doubles").is_file() or files.damaged(folder, "doubles"):
            found = double_rows(folder)
            reject_doubles(folder, found)
            save_array(folder / made[0], found)
            files.seal(folder, made, "doubles")
        self.doubles = np.load(folder / made[0])
        for path in sorted((folder / "rejected").glob("in-*.parquet")):
            self.bar.update(pq.ParquetFile(path).metadata.num_rows)

    def place(self, split: str, rounds: int) -> None:
        """Chips for the photos of one split: their best scenes first, then those that are left."""
        folder = self.work.folder
        order = len(placement.NAMED) - 1 - placement.NAMED.index(split)
        others = self._boxes(order)
        waiting, rank = sorted((folder / "in").glob(f"{split}-*.parquet")), 0
        while waiting:
            groups = shuffle.by_scene(waiting, rank, self.doubles, self.work.scratch)
            parts: list[Path] = []
            tasks = self._tasks(groups, parts, f"{order}-{rank:03d}", split, rounds, others)
            for paired in self.pool.map(cut, tasks):
                self.bar.update(paired)
            waiting = self._reject_or_retry(sorted(parts), split, rank)
            rank += 1

    def _tasks(self, groups, parts: list[Path], name: str, split: str, rounds: int, others):
        """Arguments of `cut` for every group; notes in `parts` where each will write."""
        for scene, tile, frame in groups:
            parts.append(self.work.folder / f"parts/{name}-{scene:06d}-{tile:06d}")
            yield (
                parts[-1],
                self.scenes[scene],
                frame,
                split,
                rounds,
                others,
                self.table.day[scene],
                self.settings,
                tile,
            )

    def _reject_or_retry(self, parts: list[Path], split: str, rank: int) -> list[Path]:
        """Reject failed photos that have no further scene; the files that hold the others."""
        further = []
        for number, part in enumerate(parts):
            if not pq.ParquetFile(part / "failed.parquet").metadata.num_rows:
                continue
            failed = pd.read_parquet(part / "failed.parquet")
            last = failed["_candidates"].map(len).to_numpy() == rank + 1
            done = failed[last]
            if len(done):
                name = f"rejected/{split}-{rank:03d}-{number:06d}.parquet"
                write_rejections(
                    self.work.folder / name,
                    done["_row"].to_numpy(),
                    done["photo_id"].to_numpy(object),
                    done["_why"].to_numpy(object),
                )
                self.bar.update(len(done))
            if not last.all():
                further.append(part / "failed.parquet")
        return further

    def _boxes(self, order: int) -> np.ndarray:
        """Boxes [n, 4] of the chips of all splits that were placed before the one of this order."""
        parts = self.work.folder / "parts"
        found = [np.load(p) for k in range(order) for p in sorted(parts.glob(f"{k}-*/boxes.npy"))]
        return np.concatenate(found) if found else np.empty((0, 4))

    def finish(self, folder: Path, choices: dict, division: Division) -> Pairs:
        """Parts, rejections and counts as one folder of pairs."""
        work = self.work.folder
        target = work / "rejected.parquet"
        counts = join_rejections(sorted((work / "rejected").glob("*.parquet")), target)
        every = sorted(p for p in (work / "parts").iterdir() if not p.name.startswith("."))
        paired = sum(int((p / "paired").read_text()) for p in every)
        if self.photos_in != paired + sum(counts.values()):
            raise RuntimeError(
                f"of {self.photos_in} photos {paired} are paired and "
                f"{sum(counts.values())} rejected: some are lost"
            )
        parts = [p for p in every if (p / "chips.npy").exists()]
        report = {
            "photos_in": self.photos_in,
            "paired": paired,
            "rejected": dict(counts.most_common()),
        }
        if dates := unreadable_dates(work):
            report["unreadable_dates"] = dates
        report |= _summary(parts, len(self.scenes))
        if division.sentence:
            report["division"] = division.sentence
        shown = {k: v for k, v in choices.items() if k != "photos_root"}
        report["settings"] = shown
        return store.assemble(
            parts,
            folder,
            chip_px=self.settings.chip_px,
            report=report,
            settings=shown,
            rejected=target,
            schema=None if parts else self._empty_schema(),
        )

    def _empty_schema(self) -> pa.Schema:
        """The manifest's columns where there is no pair, after those of the photo table."""
        prepared = sorted((self.work.folder / "in").glob("*-*.parquet"))
        return empty_manifest(pd.read_parquet(prepared[0])) if prepared else pa.schema([])


def _summary(parts: list[Path], scenes_in: int) -> dict:
    """Counts over parts: pairs, chips, scenes, by split, near-duplicates."""
    by_split = {name: {"photos": 0, "chips": 0} for name in placement.SPLITS}
    pairs = chips = alike = 0
    used = set()
    for part in parts:
        manifest = pd.read_parquet(
            part / "manifest.parquet",
            columns=["split", "scene_id", "source_photo_id", "near_duplicate_of"],
        )
        n, split = pq.ParquetFile(part / "chips.parquet").metadata.num_rows, manifest["split"][0]
        photos = manifest.drop_duplicates("source_photo_id")
        by_split.setdefault(split, {"photos": 0, "chips": 0})["photos"] += len(photos)
        by_split[split]["chips"] += n
        alike += int(photos["near_duplicate_of"].notna().sum())
        pairs, chips = pairs + len(manifest), chips + n
        used.add(manifest["scene_id"][0])
    return {
        "pairs": pairs,
        "chips": chips,
        "scenes_in": scenes_in,
        "scenes_used": len(used),
        "near_duplicates": alike,
        "by_split": by_split,
    }
