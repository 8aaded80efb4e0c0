"""What pairing gives, and how it is kept on disk.

    pairs.zarr         chips, their geometry, the photos' positions and encoded photos (see below)
    manifest.parquet   one row a (photo, chip): position in the chip, heading, split, provenance
    rejected.parquet   photo_id, reason
    report.json        counts: photos_in = paired + the sum of rejected; written last
    SHA256SUMS         digests of all these files, as `sha256sum -c` reads them

The store is Zarr format 3, sharded, with names of dimensions: `xarray.open_zarr` is all it takes.
Each chip is an inner chunk of its own, since training draws them in random order; some hundreds
of them make a shard, a file. `assemble` streams the parts of a pairing (`parts`) through
memory a shard at a time; the same parts give the same bytes. A folder of pairs is complete or not
there: it is written beside its place and renamed.

`load` compares the digests of everything but pixels and photos, which must be there. These have a
checksum for each chip (Zarr's codec crc32c) and each photo (`photo_crc32`), compared as they are
read: so other pairs' manifest, a lost shard and a flipped bit are each named. What an older version
wrote without some of these is read as it is.
"""

import json
import shutil
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
import zarr
from pyproj import CRS
from zarr.core.dtype import VariableLengthUTF8

from gairlib import bands, files, geo
from gairlib.errors import BadInput, Missing
from gairlib.pairs import shards
from gairlib.pairs.parts import CHIP_COLUMNS, ManifestWriter, Part, joined_schema, open_part
from gairlib.pairs.photo_store import Photos, Writer

LEARNING = ("train", "val")  # splits that are learnt from and chosen by; "test" is judged alone
FILES = ("pairs.zarr", "manifest.parquet", "rejected.parquet", "report.json")
OURS = (*FILES, files.SUMS, "checksums.npz")  # the last: of an older version
ROWS = 1 << 16  # of a chunk of the small columns

# Columns that a manifest always has, in this order; those of the photo table follow.
MANIFEST = {
    "photo_id": object,
    "chip": np.int64,
    "slot": np.int64,
    "x": np.float64,
    "y": np.float64,
    "path": object,
    "view_yaw": np.float64,
    "heading": np.float64,
    "lon": np.float64,
    "lat": np.float64,
    "split": object,
    "scene_id": object,
    "repeat": np.int64,
    "source_photo_id": object,
    "photo": np.int64,
}

# What the per-chip columns of the store say, beyond their names.
ABOUT = {
    "scene_datetime": "acquisition, ISO 8601; empty: unknown",
    "transform": "a b c d e f: chip pixels (column, row) -> CRS, x = a column + b row + c",
    "footprint": "outline, closed, (lon, lat) in degrees, WGS 84",
    "repeat": "0: the photos' first chip, 1: their second, ...",
    "lon": "of the chip's centre, degrees",
    "lat": "of the chip's centre, degrees",
    "cloud_share": "share of the chip's pixels in [0, 1]; NaN: unknown",
    "nodata_share": "share of the chip's pixels in [0, 1]",
    "scene_cloud": "percent of the scene; NaN: unknown",
    "photos": "photos or views in the chip",
}
DIMS = {"transform": ("chip", "affine"), "footprint": ("chip", "corner", "degrees")}


class Pairs:
    """Photos placed in chips.

    chips: `chips` uint16 (chip, band, y, x), harmonised DN; the columns of
    CHIP_COLUMNS by chip; by pair, in the manifest's order, xy (pair, 2) in [-1, 1],
    pair_chip and pair_photo; photos as `photo_store` says. After `load` all stay on disk until
    they are indexed.
    manifest: one row a (photo or view, chip); x, y in [-1, 1], to the east and to the south; photo
    is its number in the store, -1 where it is not stored.
    folder: where they lie on disk.
    """

    def __init__(self, chips: xr.Dataset, manifest: pd.DataFrame, report: dict, folder: Path):
        self.chips, self.manifest, self.report = chips, manifest, report
        self.folder = folder

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """photo_id, reason: one row a rejected photo, read when first asked for."""
        return pd.read_parquet(self.folder / "rejected.parquet")

    def photos(self) -> Photos | None:
        """The stored photos; None where the pairs were made without."""
        if self.chips.sizes.get("photo", 0) == 0:
            return None
        return Photos(self.chips, self.folder / "pairs.zarr")

    @cached_property
    def _shards(self) -> shards.Shards | None:
        return shards.open_local(self.folder / "pairs.zarr/chips")

    def sides_m(self, numbers: np.ndarray) -> np.ndarray:
        """Ground sides in metres [n] of the chips with these numbers, the mean of both directions.

        In a projected CRS by its own unit of length, else along parallel and meridian.
        """
        chosen = self.chips[["transform", "crs", "lat"]].isel(chip=numbers)
        a, b, _, d, e, _ = chosen["transform"].to_numpy().T
        steps = np.stack([np.hypot(a, d), np.hypot(b, e)], 1) * self.chips["chips"].shape[-1]
        of, names = pd.factorize(chosen["crs"].to_numpy().astype(object))
        known = [CRS.from_user_input(str(name)) for name in names]
        unit = np.array(
            [c.axis_info[0].unit_conversion_factor if c.is_projected else np.nan for c in known]
        )[of]
        degree = np.pi / 180 * geo.EARTH_RADIUS
        parallel = degree * np.cos(np.deg2rad(chosen["lat"].to_numpy()))
        degrees = np.stack([parallel, np.full_like(parallel, degree)], 1)
        return (steps * np.where(np.isnan(unit)[:, None], degrees, unit[:, None])).mean(1)

    def read_chips(self, numbers: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Pixels of the chips with these numbers, uint16 [n, 10, px, px], in their order.

        out: an array of that shape and of any type that takes them, to be filled.
        """
        if out is None:
            out = np.empty((len(numbers), *self.chips["chips"].shape[1:]), np.uint16)
        if self._shards is None:
            out[...] = self.chips["chips"].isel(chip=numbers).to_numpy()
            return out
        for i, number in enumerate(numbers):
            try:
                out[i] = self._shards.chunk(number)[0]
            except (RuntimeError, ValueError) as problem:  # of a checksum or a decoder
                raise shards.damaged(self.folder / "pairs.zarr", f"chip {number}") from problem
        return out


def load(folder: str | Path, splits: Sequence[str] | None = None) -> Pairs:
    """Pairs as saved; Missing names the file that is not there, BadInput one that is damaged.

    splits: rows of these alone, the others are left out of the manifest. Whatever learns or
    chooses asks for LEARNING, so that test rows cannot reach it; default: all rows.
    """
    folder = Path(folder)
    _check_files(folder)
    return _open(folder, splits)


def _check_files(folder: Path) -> None:
    for name in FILES:
        if not (folder / name).exists():
            raise Missing(f"{folder / name}: not there; has the pairing stage been run?")
    if wrong := files.damaged(folder, content=_is_small):
        raise BadInput(f"{wrong}; run the pairing stage again")


def _open(folder: Path, splits: Sequence[str] | None = None) -> Pairs:
    manifest = pd.read_parquet(folder / "manifest.parquet")
    if splits is not None:
        manifest = manifest[manifest["split"].isin(list(splits))].reset_index(drop=True)
    return Pairs(
        chips=xr.open_zarr(folder / "pairs.zarr", chunks=None, consolidated=True),
        manifest=manifest,
        report=json.loads((folder / "report.json").read_text(encoding="utf-8")),
        folder=folder,
    )


def assemble(
    parts: Sequence[str | Path],
    folder: str | Path,
    *,
    chip_px: int,
    report: dict,
    settings: dict,
    rejected: str | Path | pd.DataFrame,
    schema: pa.Schema | None = None,
) -> Pairs:
    """Put part folders (`parts`), in the order given, into one folder of pairs.

    chip_px: a chip's edge in pixels. report: becomes report.json and must add up (`_check`).
    settings: kept as attributes of the store. rejected: photo_id, reason, as a table or a Parquet
    file. No part at all gives a valid, empty store; schema: its manifest's columns after MANIFEST.
    What was in `folder` is replaced, except files that are not ours. BadInput or Missing names the
    part that is wrong; then `folder` is as before.
    """
    folder = Path(folder)
    files.recover_folder(folder, OURS)
    found = [open_part(p) for p in parts]
    _check(report, chips=sum(p.chips for p in found), pairs=sum(p.pairs for p in found))
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: is a file; pairs need a folder")
    fresh = files.beside(folder, "writing")
    files.remove(fresh)
    fresh.mkdir(parents=True)
    try:
        _write_store(found, fresh, chip_px, settings, schema)
        target = fresh / "rejected.parquet"
        if isinstance(rejected, pd.DataFrame):
            schema = pa.schema({"photo_id": pa.string(), "reason": pa.string()})
            pq.write_table(pa.Table.from_pandas(rejected, schema, preserve_index=False), target)
        else:
            shutil.copyfile(rejected, target)
        lost = pq.read_metadata(target).num_rows
        if "rejected" in report and lost != sum(report["rejected"].values()):
            raise BadInput(
                f"pairing report: {sum(report['rejected'].values())} photos rejected, "
                f"but {lost} are listed"
            )
        text = json.dumps(report, indent=2, ensure_ascii=False)
        (fresh / "report.json").write_text(text + "\n", encoding="utf-8")
        files.seal(fresh)
        files.sync([*fresh.rglob("*"), fresh])
        _check_files(fresh)  # read back before it replaces anything
    except BaseException:
        files.remove(fresh)
        raise
    files.replace_folder(fresh, folder, OURS)
    return _open(folder)


def _is_small(name: str) -> bool:
    """Whether a file is read when pairs are opened: all but the shards of pixels and photos."""
    return not name.startswith(("pairs.zarr/chips/c/", "pairs.zarr/photo_bytes/c/"))


def _write_store(
    parts: list[Part], folder: Path, chip_px: int, settings: dict, schema: pa.Schema | None
) -> None:
    """pairs.zarr and manifest.parquet in one pass over the parts."""
    chips, pairs = sum(p.chips for p in parts), sum(p.pairs for p in parts)
    group = zarr.create_group(folder / "pairs.zarr", zarr_format=3, attributes=settings)
    columns = _columns(group, chips, pairs, chip_px)
    photos = Writer(group, sum(p.photos for p in parts), sum(p.photo_bytes for p in parts))
    first_chip = first_photo = 0
    with ManifestWriter(
        folder / "manifest.parquet",
        joined_schema([schema] if schema and not parts else [p.schema for p in parts], MANIFEST),
    ) as manifest:
        for part in parts:
            pixels = part.pixels()
            if pixels.shape[1:] != (len(bands.BANDS), chip_px, chip_px):
                raise part.error(
                    f"chips.npy has chips of {pixels.shape[1:]}, not "
                    f"{(len(bands.BANDS), chip_px, chip_px)}"
                )
            columns["chips"].add(pixels)
            for name, values in part.about_chips().items():
                columns[name].add(values)
            table = part.manifest()
            chip, photo = table["chip"].to_numpy() + first_chip, table["photo"].to_numpy()
            photo = np.where(photo < 0, -1, photo + first_photo)
            columns["xy"].add(np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()]))
            columns["pair_chip"].add(chip)
            columns["pair_photo"].add(photo)
            manifest.add(table, {"chip": chip, "photo": photo})
            if part.photos:
                stored = part.photo_table()
                photos.add(stored["photo_id"], stored["bytes"], part.folder / "photos.bin")
            first_chip, first_photo = first_chip + part.chips, first_photo + part.photos
    for column in columns.values():
        column.flush()
    photos.close()
    with warnings.catch_warnings():
        # One file with all metadata: xarray opens the store at once and asks for it. Format 3 has
        # it as a field that readers may skip, which zarr-python warns of.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(group.store)


def _columns(group: zarr.Group, chips: int, pairs: int, px: int) -> dict[str, shards.Appender]:
    """All arrays but the photos', empty. Text is the `string` type (vlen-utf8), which has a
    specification; numpy's fixed-length text has none in format 3."""
    made = {
        "chips": shards.create(
            group,
            "chips",
            (chips, len(bands.BANDS), px, px),
            np.uint16,
            ("chip", "band", "y", "x"),
            codecs=shards.PIXEL_CODECS,
            about="reflectance x 10000, harmonised; 0: no data",
        )
    }

    def small(name: str, shape: tuple, dtype, dims: tuple, about: str) -> None:
        made[name] = group.create_array(
            name,
            shape=shape,
            dtype=VariableLengthUTF8() if dtype is str else dtype,
            chunks=(ROWS, *shape[1:]),
            dimension_names=dims,
            attributes={"description": about} if about else None,
        )

    for name, kind in CHIP_COLUMNS.items():
        tail, dtype = (kind, np.float64) if isinstance(kind, tuple) else ((), kind)
        small(name, (chips, *tail), dtype, DIMS.get(name, ("chip",)), ABOUT.get(name, ""))
    small(
        "xy",
        (pairs, 2),
        np.float64,
        ("pair", "axis"),
        "photo in its chip, [-1, 1] to the east and to the south",
    )
    small("pair_chip", (pairs,), np.int64, ("pair",), "the chip of each pair")
    small("pair_photo", (pairs,), np.int64, ("pair",), "the photo of each pair; -1: not stored")
    labels = {
        "band": list(bands.BANDS),
        "affine": list("abcdef"),
        "axis": ["x", "y"],
        "degrees": ["lon", "lat"],
    }
    for name, values in labels.items():
        small(name, (len(values),), str, (name,), "")
        made.pop(name)[:] = np.array(values, object)
    return {name: shards.Appender(array) for name, array in made.items()}


def _check(report: dict, *, chips: int, pairs: int) -> None:
    """BadInput unless every photo is accounted for, as far as the report counts them."""
    if {"photos_in", "paired", "rejected"} <= set(report) and report["photos_in"] != (
        report["paired"] + sum(report["rejected"].values())
    ):
        raise BadInput("pairing report: photos_in is not paired plus rejected")
    for name, count in (("chips", chips), ("pairs", pairs)):
        if report.get(name, count) != count:
            raise BadInput(f"pairing report: {report[name]} {name}, but the parts hold {count}")
