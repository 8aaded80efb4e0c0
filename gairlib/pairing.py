"""Pairs street-level photos with Sentinel-2 chips: photo table + scenes -> pairs.

GAIR's own pairing code was never released; its helper reads a whole scene for each photo and puts
the photo into the chip by linear interpolation in a lon/lat box, in float32. Here a photo's place
is found on the scene's own grid and its `xy` comes from the chip's CRS and transform in float64
(geo.chip_xy); chips are cut, not warped; one chip serves up to `max_photos` photos.

For each scene, photos are taken in a seeded random order; one that has no chip yet gets one at a
random offset (see `placement`), and others inside it share it, until every photo has a chip.
Training photos get `repeats_train` such rounds: the same photo at other places of other chips.

Every photo that goes in is paired or rejected with a reason. The result depends on the photos, the
scenes and the seed alone, not on the order of either; scenes are independent of each other but for
the rule that chips of different splits never overlap (test chips are placed first, then val).
"""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from gairlib import geo, placement
from gairlib.errors import BadInput, Missing
from gairlib.pairs_store import Pairs, check_consistent, chips_dataset, load, manifest_frame
from gairlib.photos import VIEW_YAWS
from gairlib.scenes import Chip, Reader, Scene, outline
from gairlib.tables import PHOTO_COLUMNS

__all__ = ["Pairs", "expand_views", "load", "pair"]

OUTSIDE = "outside every scene"
SWAPPED = "outside every scene, but inside one with lon and lat swapped"
SPHERICAL = "spherical photo, skipped by option"


def pair(
    street: pd.DataFrame,
    scenes: Sequence[Scene],
    *,
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
    spherical: str = "views",
    tries: int = 8,
    progress: bool = True,
) -> Pairs:
    """Give each photo of `street` (Dataset.street()) a place in a chip of one of `scenes`.

    chip_px, chip_m: a chip's edge in pixels and in metres on the ground. max_photos: slots of a
    chip; a spherical photo takes four. repeats, repeats_train: chips for each photo (train photos:
    repeats_train, if given). margin: a photo's least distance from the chip's edge, in chips.
    max_cloud, max_nodata: highest share of a chip's pixels, in [0, 1]; cloud counts where the scene
    has a classification. split_block_deg: side of the spatial blocks that make train, val and test
    where the table has no column `split`. spherical: "views" (four perspective views) or "skip".
    tries: random offsets drawn for each chip. BadInput where a setting or the table is wrong.
    """
    placement.check_settings(chip_px, chip_m, max_photos, margin)
    street = _checked(street, spherical, max_photos)
    scenes = sorted(scenes, key=lambda s: s.id)
    reasons = pd.Series(None, index=street.index, dtype=object)
    if spherical == "skip":
        reasons[street["is_spherical"]] = SPHERICAL
    split = _splits(street, reasons, split_block_deg, seed)
    lon, lat = street["lon"].to_numpy(), street["lat"].to_numpy()
    located = placement.locate(scenes, lon, lat)
    inside = np.isin(street.index, located["photo"])
    swappable = np.flatnonzero(~inside & (np.abs(lon) <= 90.0))
    swapped = placement.locate(scenes, lat[swappable], lon[swappable])["photo"].astype(int)
    reasons[reasons.isna() & ~inside] = OUTSIDE
    mended = np.isin(street.index, swappable[swapped.unique()]) & (reasons == OUTSIDE)
    reasons[mended] = SWAPPED

    weight = np.where(street["is_spherical"], len(VIEW_YAWS), 1)
    work = _Work(street, split, weight, chip_px, chip_m, max_photos, margin, seed, max_cloud,
                 max_nodata, tries)  # fmt: skip
    located = located[reasons.isna()[located["photo"]].to_numpy()]
    paired = np.zeros(len(street), bool)
    bar = tqdm(total=len(street), desc="pairing", unit="photo", disable=not progress, mininterval=1)
    bar.update(int(reasons.notna().sum()))
    for name in reversed(placement.SPLITS):  # the small splits choose their chips first
        rounds = repeats if name != "train" or repeats_train is None else repeats_train
        others = work.occupied.others(name)
        of_split = located[split[located["photo"].to_numpy(int)] == name]
        for rank in range(int(of_split["rank"].max()) + 1 if len(of_split) else 0):
            for i, group in of_split[of_split["rank"] == rank].groupby("scene", sort=True):
                group = group[~paired[group["photo"].to_numpy(int)]]
                failed = work.scene(scenes[int(i)], group, name, rounds, others)
                done = group["photo"].to_numpy(int)[~group["photo"].isin(failed)]
                paired[done] = True
                for photo, reason in failed.items():
                    if pd.isna(reasons[photo]):  # the first scene's reason is the one to tell
                        reasons[photo] = reason
                bar.update(len(done))
    bar.update(bar.total - bar.n)
    bar.close()
    reasons[paired] = None
    return work.result(reasons, scenes, street)


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


def _checked(street: pd.DataFrame, spherical: str, max_photos: int) -> pd.DataFrame:
    """A copy of the photo table in order of photo_id, with all columns that pairing needs."""
    missing = [c for c in PHOTO_COLUMNS if c not in street]
    if missing:
        raise BadInput(f"photo table: lacks the columns {missing}; Dataset.street() gives them")
    if spherical not in ("views", "skip"):
        raise BadInput(f"spherical must be 'views' or 'skip', not {spherical!r}")
    street = street.sort_values("photo_id", kind="stable").reset_index(drop=True)
    if street["photo_id"].duplicated().any():
        double = street["photo_id"][street["photo_id"].duplicated()].iloc[0]
        raise BadInput(f"photo table: photo_id {double!r} stands more than once")
    geo.check_lonlat(street[["lon", "lat"]].to_numpy(np.float64), "photo table")
    if "is_spherical" not in street:
        street["is_spherical"] = False
    street["is_spherical"] = street["is_spherical"].astype(bool)
    if spherical == "views" and street["is_spherical"].any() and max_photos < len(VIEW_YAWS):
        raise BadInput(
            f"max_photos={max_photos}: a spherical photo takes {len(VIEW_YAWS)} slots; "
            "raise it or set spherical='skip'"
        )
    return street


def _splits(street, reasons: pd.Series, block_deg: float, seed: int) -> np.ndarray:
    """The split of every photo; a value other than train, val, test is a reason to reject it."""
    if "split" not in street:
        lon, lat = street["lon"].to_numpy(), street["lat"].to_numpy()
        return placement.split_by_block(lon, lat, block_deg, seed)
    split = street["split"].astype(object)
    wrong = ~split.isin(placement.SPLITS) & reasons.isna()
    reasons[wrong] = [f"split is {s!r}, not train, val or test" for s in split[wrong]]
    return split.to_numpy()


class _Work:
    """Collects chips and manifest rows while `pair` goes from scene to scene."""

    def __init__(self, street, split, weight, chip_px, chip_m, max_photos, margin, seed,
                 max_cloud, max_nodata, tries):  # fmt: skip
        self.split, self.weight = split, weight
        self.lonlat = street[["lon", "lat"]].to_numpy(np.float64)
        self.chip_px, self.chip_m, self.seed = chip_px, chip_m, seed
        self.max_cloud, self.max_nodata = max_cloud, max_nodata
        self.draw = {"chip_m": chip_m, "max_photos": max_photos, "margin": margin, "tries": tries}
        self.occupied = placement.Occupied()
        self.values: list[np.ndarray] = []
        self.chips: list[dict] = []
        self.places: list[tuple[int, int, float, float]] = []  # photo, chip, x, y

    def scene(self, scene: Scene, group: pd.DataFrame, split: str, rounds: int, others) -> dict:
        """Chips for the photos of `group` in one scene; returns photo -> reason of the failed."""
        if not len(group):
            return {}
        photo = group["photo"].to_numpy(int)
        column, row = group["column"].to_numpy(float), group["row"].to_numpy(float)
        failed: dict[int, str] = {}
        order = placement.SPLITS.index(split)
        try:
            with Reader(scene) as reader:
                wanted = np.ones(len(photo), bool)
                for repeat in range(rounds):
                    key = [self.seed, zlib.crc32(scene.id.encode()), order, repeat]
                    lost = self._round(reader, photo, column, row, wanted, split, repeat, others,
                                       np.random.default_rng(key))  # fmt: skip
                    if repeat == 0:  # a photo that has one chip is paired
                        failed = {int(photo[i]): reason for i, reason in lost.items()}
                        wanted[list(lost)] = False
        except (BadInput, Missing) as problem:  # the file is damaged: its photos need another
            done = {p for p, *_ in self.places}
            failed |= {int(p): str(problem) for p in photo if p not in done}
        return failed

    def _round(self, reader, photo, column, row, wanted, split, repeat, others, rng) -> dict:
        """One chip for every wanted photo; returns position in `photo` -> reason of the failed."""
        waiting, lost = wanted.copy(), {}
        for i in rng.permutation(np.flatnonzero(wanted)):
            if not waiting[i]:
                continue
            reason = f"its scene is smaller than a chip of {self.chip_m:g} m"
            drawn = placement.candidates(reader.scene, i, column, row, self.weight[photo], waiting,
                                         rng=rng, **self.draw)  # fmt: skip
            for number, placed in enumerate(drawn):
                why = self._try(reader, placed, photo, split, repeat, others)
                if why is None:
                    waiting[placed.members] = False
                    break
                reason = why if number == 0 else reason
            else:
                waiting[i] = False
                lost[int(i)] = reason
        return lost

    def _try(self, reader: Reader, placed, photo, split: str, repeat: int, others) -> str | None:
        """Cut the chip and keep it, or say why not."""
        box = (placed.column, placed.row, placed.width, placed.height)
        chip: Chip = reader.chip(*box, self.chip_px)
        if chip.nodata_share > self.max_nodata:
            return f"no chip with at most {self.max_nodata:.0%} of pixels without data"
        if chip.cloud_share > self.max_cloud:  # NaN, unknown, is not
            return f"no chip with at most {self.max_cloud:.0%} cloud"
        ground = outline(chip.transform, reader.scene.crs, self.chip_px, self.chip_px, steps=4)
        box = placement.box_of(ground)
        if placement.overlaps(box, others):
            return "no chip that keeps clear of another split's chips"
        members = photo[placed.members]
        shape = (self.chip_px, self.chip_px)
        xy = geo.chip_xy(self.lonlat[members], reader.scene.crs, chip.transform, shape)
        centre = reader.scene.to_lonlat(
            placed.column + placed.width / 2, placed.row + placed.height / 2
        )
        self.occupied.add(split, box)
        number = len(self.values)
        self.values.append(chip.values)
        self.chips.append({
            "scene_id": reader.scene.id, "split": split, "crs": reader.scene.crs,
            "transform": tuple(chip.transform)[:6], "repeat": repeat,
            "lon": float(geo.wrap_lon(centre[0])), "lat": float(centre[1]),
            "cloud_share": chip.cloud_share, "nodata_share": chip.nodata_share,
            "photos": int(self.weight[members].sum()),
        })  # fmt: skip
        self.places += [(int(p), number, x, y) for p, (x, y) in zip(members, xy)]
        return None

    def result(self, reasons: pd.Series, scenes: list[Scene], street: pd.DataFrame) -> Pairs:
        """Everything collected, as Pairs."""
        views = expand_views(street)
        rows_of = views.groupby("source_photo_id").indices
        wanted = ["photo_id", "path", "view_yaw", "heading", "lon", "lat", "source_photo_id"]
        shown, ids = views[wanted].to_dict("records"), street["photo_id"].to_numpy()
        rows, slots = [], [0] * len(self.chips)
        for photo, chip, x, y in self.places:
            about = {k: self.chips[chip][k] for k in ("split", "scene_id", "repeat")}
            for view in rows_of[ids[photo]]:
                rows.append({**shown[view], **about, "chip": chip, "slot": slots[chip],
                             "x": x, "y": y, "photo": photo})  # fmt: skip
                slots[chip] += 1
        rows.sort(key=lambda r: (r["chip"], r["slot"]))
        manifest = manifest_frame(rows, street)
        settings = {"chip_px": self.chip_px, "seed": self.seed, "max_cloud": self.max_cloud,
                    "max_nodata": self.max_nodata, **self.draw}  # fmt: skip
        rejected = pd.DataFrame({"photo_id": street["photo_id"], "reason": reasons})
        rejected = rejected[reasons.notna()].reset_index(drop=True)
        report = {
            "photos_in": len(street),
            "paired": len({photo for photo, *_ in self.places}),
            "rejected": {k: int(n) for k, n in rejected["reason"].value_counts().items()},
            "pairs": len(manifest),
            "chips": len(self.chips),
            "scenes_in": len(scenes),
            "scenes_used": len({c["scene_id"] for c in self.chips}),
            "by_split": {name: self._of_split(name, manifest) for name in placement.SPLITS},
            "settings": settings,
        }
        chips = chips_dataset(self.values, self.chips, self.chip_px, settings)
        pairs = Pairs(chips, manifest, report, rejected)
        check_consistent(pairs)
        return pairs

    def _of_split(self, name: str, manifest: pd.DataFrame) -> dict[str, int]:
        photos = manifest.loc[manifest["split"] == name, "source_photo_id"].nunique()
        return {"photos": int(photos), "chips": sum(c["split"] == name for c in self.chips)}
