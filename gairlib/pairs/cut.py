"""One task of pairing: the photos of one scene get their chips, and all goes into a part folder.

Photos are taken in a seeded random order; one that has no chip yet gets one at a random offset (see
`placement`), and others inside it share it, until every photo has a chip or a reason. The part
depends on the scene, its photos and the settings alone; it appears under its name only when it is
whole, with digests of its files. Its files are those that `store.assemble` reads, and
failed.parquet: photos without a chip, with the reason in `_why`, which may try their next scene.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from affine import Affine

from gairlib import files, geo
from gairlib.data import boundary, photos
from gairlib.data.photos import VIEW_YAWS
from gairlib.data.scene import Scene, outline
from gairlib.data.scene_reader import Chip, Reader
from gairlib.errors import BadInput, Missing
from gairlib.pairs import placement
from gairlib.pairs.photo_store import encode_photo
from gairlib.pairs.store import MANIFEST

SPHERICAL = "spherical photo, skipped by option"
NEAR_DUPLICATE = "near-duplicate of another photo, dropped by option"
OWN = ("_row", "_day", "_why", "_candidates")  # columns that do not go into the manifest


@dataclass(frozen=True)
class Settings:
    """What a cut depends on beside the scene and its photos; see `pairing.pair`."""

    chip_px: int
    chip_m: float
    max_photos: int
    margin: float
    seed: int
    max_cloud: float
    max_nodata: float
    split_buffer_m: float
    tries: int
    near_duplicates: str  # "keep" or "drop"
    photos_root: str | None  # folder that paths start from; None: photos are not stored
    photo_px: int  # edge of stored photos; 0: the file's own bytes
    spherical: str  # "views" or "skip"


def cut(
    part: Path,
    scene: Scene,
    street: pd.DataFrame,
    split: str,
    rounds: int,
    others: np.ndarray,
    scene_day: float,
    settings: Settings,
    tile: int = 0,
) -> int:
    """Write the part folder of one scene's photos; returns how many of them were paired.

    street: prepared rows (see `input`). rounds: chips for each photo. others: boxes of the
    chips of other splits (`placement.box_of`). tile: number of the share of a crowded scene.
    """
    if part.is_dir():  # made before an interruption
        if (part / files.SUMS).is_file() and not files.damaged(part):
            return int((part / "paired").read_text())
        files.remove(part)
    street = street.sort_values("photo_id", kind="stable").reset_index(drop=True)
    work = _Cut(scene, street, split, others, settings)
    work.run(rounds, tile)
    with files.atomic_folder(part, durable=False, keep=True) as fresh:
        work.write(fresh, scene_day)
        (fresh / "paired").write_text(str(work.paired))
        files.seal(fresh)
    return work.paired


def expand_views(street: pd.DataFrame) -> pd.DataFrame:
    """Each spherical photo as four rows (view_yaw 0, 90, 180, 270; "<id>@090"; heading turned).

    Other rows get view_yaw NaN. source_photo_id keeps the photo's own id. Order is kept.
    """
    count = np.where(street["is_spherical"].to_numpy(bool), len(VIEW_YAWS), 1)
    frame = street.loc[street.index.repeat(count)].reset_index(drop=True)
    yaw = [np.array(VIEW_YAWS) if n > 1 else np.array([np.nan]) for n in count]
    frame["view_yaw"] = np.concatenate(yaw) if yaw else np.array([], float)
    frame["source_photo_id"] = frame["photo_id"]
    cut = frame["view_yaw"].notna()
    frame["photo_id"] = [
        f"{photo}@{yaw:03.0f}" if yaw == yaw else photo  # NaN is not equal to itself
        for photo, yaw in zip(frame["photo_id"], frame["view_yaw"])
    ]
    heading = frame.get("heading", pd.Series(np.nan, index=frame.index)).astype(np.float64)
    frame["heading"] = heading.where(~cut, (heading + frame["view_yaw"]) % 360.0)
    return frame


OF_PAIRS = {  # columns that pairing adds to those of MANIFEST
    "near_duplicate_of": pa.string(),
    "cloud_share": pa.float64(),
    "scene_datetime": pa.string(),
    "date_gap_days": pa.float64(),
}


def empty_manifest(street: pd.DataFrame) -> pa.Schema:
    """The columns and types of a manifest without a row; street: prepared rows, see `input`."""
    types = dict(OF_PAIRS)
    rest = street.drop(columns=[c for c in (*OWN, "split") if c in street])
    for field in pa.Schema.from_pandas(rest, preserve_index=False):
        taken = field.name in OF_PAIRS or field.name in ("chip", "slot", "x", "y", "repeat")
        taken = taken or field.name in ("photo", "scene_id")
        name = f"street_{field.name}" if taken else field.name
        types[name] = pa.string() if pa.types.is_null(field.type) else field.type
    return pa.schema({k: v for k, v in types.items() if k not in MANIFEST})


class _Cut:
    """Collects chips and places while it goes over the photos of one scene."""

    def __init__(self, scene, street, split, others, settings):
        self.scene, self.street, self.split, self.s = scene, street, split, settings
        self.others = placement.near(
            others, placement.box_of(scene.footprint), settings.split_buffer_m
        )
        self.sphere = street["is_spherical"].eq(True).to_numpy(bool, na_value=False)
        self.lonlat = street[["lon", "lat"]].to_numpy(np.float64)
        self.column, self.row = (np.asarray(v, float) for v in scene.to_pixels(*self.lonlat.T))
        self.failed: dict[int, str] = {}
        self.alike = np.full(len(street), -1, np.int64)
        self.values: list[np.ndarray] = []
        self.chips: list[dict] = []
        self.places: list[tuple[int, int, float, float]] = []  # photo, chip, x, y

    @property
    def paired(self) -> int:
        return len({photo for photo, *_ in self.places})

    # ------------------------------------------------------------------ placing

    def run(self, rounds: int, tile: int) -> None:
        """Give every photo a chip or a reason."""
        wanted = self._usable()
        order = placement.NAMED.index(self.split)
        key = [self.s.seed, zlib.crc32(self.scene.id.encode()), order]
        try:
            with Reader(self.scene) as reader:
                for repeat in range(rounds if wanted.any() else 0):
                    rng = np.random.default_rng([*key, repeat, *([tile] if tile else [])])
                    lost = self._round(reader, wanted, repeat, rng)
                    if repeat == 0:  # a photo that has one chip is paired
                        self.failed |= lost
                        wanted[list(lost)] = False
        except (BadInput, Missing) as problem:  # the file is damaged: its photos need another
            done = {photo for photo, *_ in self.places}
            self.failed |= {
                i: str(problem) for i in np.flatnonzero(wanted).tolist() if i not in done
            }

    def _usable(self) -> np.ndarray:
        """Which photos can be placed: inside the scene's grid, readable, not dropped as alike."""
        inside = (self.column >= 0) & (self.column <= self.scene.width)
        inside &= (self.row >= 0) & (self.row <= self.scene.height)
        self.failed |= dict.fromkeys(np.flatnonzero(~inside).tolist(), "outside every scene")
        stated = self.street["is_spherical"].to_numpy(object, na_value=None)
        usable = inside.copy()
        if self.s.photos_root is not None:
            for i in np.flatnonzero(usable).tolist():
                try:
                    path = boundary.inside(self.s.photos_root, self.street.at[i, "path"])
                    told = photos.check(path, stated[i])[2]
                    self.sphere[i] = bool(told) if stated[i] is None else stated[i]
                except (BadInput, Missing) as problem:
                    usable[i] = False
                    self.failed[i] = str(problem).replace(f"{self.s.photos_root}/", "")
        self.weight = np.where(self.sphere, len(VIEW_YAWS), 1)
        skip = self.s.spherical == "skip"
        large = usable & (self.sphere if skip else self.weight > self.s.max_photos)
        reason = (
            f"a spherical photo takes {len(VIEW_YAWS)} slots of a chip, max_photos is "
            f"{self.s.max_photos}"
        )
        usable &= ~large
        self.failed |= dict.fromkeys(np.flatnonzero(large).tolist(), SPHERICAL if skip else reason)
        at = np.flatnonzero(usable)
        across, down = self.scene.pixel_metres(self.scene.width / 2, self.scene.height / 2)
        first = placement.near_duplicates(
            self.column[at] * across, self.row[at] * down, self.street["heading"].to_numpy()[at]
        )
        self.alike[at] = np.where(first < 0, -1, at[first])
        if self.s.near_duplicates == "drop":
            gone = np.flatnonzero(self.alike >= 0)
            usable[gone] = False
            self.failed |= dict.fromkeys(gone.tolist(), NEAR_DUPLICATE)
        return usable

    def _round(self, reader: Reader, wanted: np.ndarray, repeat: int, rng) -> dict[int, str]:
        """One chip for every wanted photo; returns photo -> reason of those that got none."""
        waiting, lost = wanted.copy(), {}
        draw = {k: getattr(self.s, k) for k in ("chip_m", "max_photos", "margin", "tries")}
        order = rng.permutation(np.flatnonzero(wanted))
        # Block by block of the file, so that what has been read and decoded serves again.
        for i in order[reader.order(self.column[order], self.row[order])]:
            if not waiting[i]:
                continue
            reason = f"its scene is smaller than a chip of {self.s.chip_m:g} m"
            drawn = placement.candidates(
                self.scene, i, self.column, self.row, self.weight, waiting, rng=rng, **draw
            )
            for number, placed in enumerate(drawn):
                why = self._try(reader, placed, repeat)
                if why is None:
                    waiting[placed.members] = False
                    break
                reason = why if number == 0 else reason
            else:
                waiting[i] = False
                lost[int(i)] = reason
        return lost

    def _try(self, reader: Reader, placed, repeat: int) -> str | None:
        """Cut the chip and keep it, or say why not."""
        px, scene = self.s.chip_px, self.scene
        transform = (
            scene.transform
            @ Affine.translation(placed.column, placed.row)
            @ Affine.scale(placed.width / px, placed.height / px)
        )
        ground = outline(transform, scene.crs, px, px, steps=4)
        if placement.overlaps(placement.box_of(ground), self.others, self.s.split_buffer_m):
            return "no chip that keeps clear of another split's chips"
        chip: Chip = reader.chip(placed.column, placed.row, placed.width, placed.height, px)
        if chip.nodata_share > self.s.max_nodata:
            return f"no chip with at most {self.s.max_nodata:.0%} of pixels without data"
        if chip.cloud_share > self.s.max_cloud:  # NaN, unknown, is not
            return f"no chip with at most {self.s.max_cloud:.0%} cloud"
        xy = geo.chip_xy(self.lonlat[placed.members], scene.crs, chip.transform, (px, px))
        centre = scene.to_lonlat(placed.column + placed.width / 2, placed.row + placed.height / 2)
        ring = np.array(ground.exterior.coords, np.float64)
        number = len(self.values)
        self.values.append(chip.values)
        self.chips.append(
            {
                "scene_id": scene.id,
                "split": self.split,
                "crs": scene.crs,
                "transform": list(tuple(chip.transform)[:6]),
                "repeat": repeat,
                "lon": float(geo.wrap_lon(centre[0])),
                "lat": float(centre[1]),
                "cloud_share": chip.cloud_share,
                "nodata_share": chip.nodata_share,
                "photos": int(self.weight[placed.members].sum()),
                "footprint": ring.ravel().tolist(),
                "scene_datetime": scene.datetime,
                "scene_cloud": scene.cloud_cover,
            }
        )
        self.places += [(int(p), number, x, y) for p, (x, y) in zip(placed.members, xy)]
        return None

    # ------------------------------------------------------------------ writing

    def write(self, folder: Path, scene_day: float) -> None:
        """The part's files; a part without a chip has failed.parquet only."""
        lost = np.array(sorted(self.failed), np.int64)
        failed = self.street.iloc[lost]
        # The first scene's reason is the one to tell.
        failed = failed.assign(
            _why=[old or self.failed[i] for i, old in zip(lost.tolist(), failed["_why"])]
        )
        pq.write_table(
            pa.Table.from_pandas(failed, preserve_index=False), folder / "failed.parquet"
        )
        if not self.values:
            return
        np.save(folder / "chips.npy", np.stack(self.values))
        pd.DataFrame(self.chips).astype({"scene_datetime": object}).to_parquet(
            folder / "chips.parquet", index=False
        )
        boxes = [placement.box_of_ring(np.reshape(c["footprint"], (-1, 2))) for c in self.chips]
        np.save(folder / "boxes.npy", np.array(boxes))
        manifest = self._manifest(scene_day)
        manifest["photo"] = self._store_photos(folder, manifest)
        columns = [*MANIFEST, *(c for c in manifest if c not in MANIFEST)]
        manifest[columns].to_parquet(folder / "manifest.parquet", index=False)

    def _manifest(self, scene_day: float) -> pd.DataFrame:
        """One row a (photo or view, chip), in order of chip and slot."""
        views = expand_views(self.street.assign(is_spherical=self.sphere))
        rows_of = views.groupby("source_photo_id").indices
        ids = self.street["photo_id"].to_numpy(object)
        rows, about, slots = [], [], [0] * len(self.chips)
        for photo, chip, x, y in self.places:
            first = self.alike[photo]
            for view in rows_of[ids[photo]]:
                rows.append(view)
                about.append((chip, slots[chip], x, y, None if first < 0 else ids[first]))
                slots[chip] += 1
        own = pd.DataFrame(about, columns=["chip", "slot", "x", "y", "near_duplicate_of"])
        chips = pd.DataFrame(self.chips).iloc[own["chip"]].reset_index(drop=True)
        own["repeat"], own["cloud_share"] = chips["repeat"], chips["cloud_share"]
        own["split"], own["scene_id"] = self.split, self.scene.id
        own["scene_datetime"] = self.scene.datetime
        table = views.iloc[rows].reset_index(drop=True)
        own["date_gap_days"] = np.abs(table["_day"].astype(float) - scene_day)
        table = table.drop(columns=[c for c in OWN if c in table] + ["split"], errors="ignore")
        taken = {c: f"street_{c}" for c in table if c in own or c == "photo"}
        frame = pd.concat([own, table.rename(columns=taken)], axis=1)
        return frame.sort_values(["chip", "slot"], kind="stable").reset_index(drop=True)

    def _store_photos(self, folder: Path, manifest: pd.DataFrame) -> np.ndarray:
        """Write photos.bin and photos.parquet; the photo's number for each row of the manifest."""
        if self.s.photos_root is None:
            return np.full(len(manifest), -1, np.int64)
        unique = manifest.drop_duplicates("photo_id")
        lengths = []
        with (folder / "photos.bin").open("wb") as file:
            for path, yaw in zip(unique["path"], unique["view_yaw"]):
                lengths.append(
                    file.write(
                        encode_photo(
                            boundary.inside(self.s.photos_root, path), yaw, self.s.photo_px
                        )
                    )
                )
        pd.DataFrame(
            {"photo_id": unique["photo_id"], "bytes": np.array(lengths, np.int64)}
        ).to_parquet(folder / "photos.parquet", index=False)
        return (
            manifest["photo_id"]
            .map(dict(zip(unique["photo_id"], range(len(unique)))))
            .to_numpy(np.int64)
        )
