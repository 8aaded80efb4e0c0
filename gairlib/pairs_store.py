"""What pairing gives, and how it is kept on disk.

    pairs.zarr         the chips and, for each, scene, CRS, transform, split (xarray, Zarr)
    manifest.parquet   one row a (photo, chip): position in the chip, heading, split, provenance
    rejected.csv       photo_id, reason
    report.json        counts: photos_in = paired + the sum of rejected
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from gairlib import bands
from gairlib.errors import BadInput, Missing

FILES = ("pairs.zarr", "manifest.parquet", "rejected.csv", "report.json")
CHIPS_PER_CHUNK = 32

# Columns that a manifest always has, in this order; those of the photo table follow.
MANIFEST = {
    "photo_id": object, "chip": np.int64, "slot": np.int64, "x": np.float64, "y": np.float64,
    "path": object, "view_yaw": np.float64, "heading": np.float64, "lon": np.float64,
    "lat": np.float64, "split": object, "scene_id": object, "repeat": np.int64,
    "source_photo_id": object,
}  # fmt: skip


@dataclass
class Pairs:
    """Photos placed in chips.

    chips: `chips` uint16 (chip, band, y, x), harmonised DN; per chip scene_id, split, crs (text),
    transform (chip, 6: a b c d e f, chip pixels -> CRS), repeat, lon and lat of the centre,
    cloud_share (NaN: unknown), nodata_share, photos (how many). After `load` the pixels stay on
    disk until they are indexed.
    manifest: one row a (photo or view, chip); x, y in [-1, 1], to the east and to the south.
    """

    chips: xr.Dataset
    manifest: pd.DataFrame
    report: dict
    rejected: pd.DataFrame

    def save(self, folder: str | Path) -> None:
        """Write the four files of this module's docstring; what was there is replaced."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        chunk = min(CHIPS_PER_CHUNK, max(1, self.chips.sizes["chip"]))
        shape = (chunk, *self.chips["chips"].shape[1:])
        # Zarr format 2: readable by every version, and it has a specification for text.
        self.chips.drop_encoding().to_zarr(
            folder / "pairs.zarr", mode="w", consolidated=True, zarr_format=2,
            encoding={"chips": {"chunks": shape}},
        )  # fmt: skip
        self.manifest.to_parquet(folder / "manifest.parquet", index=False)
        self.rejected.to_csv(folder / "rejected.csv", index=False)
        text = json.dumps(self.report, indent=2, ensure_ascii=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")


def load(folder: str | Path) -> Pairs:
    """Pairs as saved; Missing names the file that is not there."""
    folder = Path(folder)
    for name in FILES:
        if not (folder / name).exists():
            raise Missing(f"{folder / name}: not there; has the pairing stage been run?")
    return Pairs(
        chips=xr.open_zarr(folder / "pairs.zarr", chunks=None, consolidated=True),
        manifest=pd.read_parquet(folder / "manifest.parquet"),
        report=json.loads((folder / "report.json").read_text(encoding="utf-8")),
        rejected=pd.read_csv(folder / "rejected.csv", dtype=str),
    )


def chips_dataset(values: list[np.ndarray], rows: list[dict], chip_px: int, attrs: dict):
    """Stack chips [10, px, px] and what is known of each into an xarray.Dataset; zero is fine."""
    stack = np.zeros((len(values), len(bands.BANDS), chip_px, chip_px), np.uint16)
    for i, chip in enumerate(values):
        stack[i] = chip
    frame = pd.DataFrame(rows)

    def column(name: str, kind) -> tuple[str, np.ndarray]:
        return "chip", (frame[name].to_numpy(kind) if len(frame) else np.array([], kind))

    transform = np.array([row["transform"] for row in rows], np.float64).reshape(-1, 6)
    return xr.Dataset(
        {
            "chips": (("chip", "band", "y", "x"), stack, {"units": "reflectance x 10000"}),
            "scene_id": column("scene_id", "U"),
            "split": column("split", "U"),
            "crs": column("crs", "U"),
            "transform": (("chip", "affine"), transform),
            "repeat": column("repeat", np.int32),
            "lon": column("lon", np.float64),
            "lat": column("lat", np.float64),
            "cloud_share": column("cloud_share", np.float64),
            "nodata_share": column("nodata_share", np.float64),
            "photos": column("photos", np.int32),
        },
        coords={"band": list(bands.BANDS), "affine": list("abcdef")},
        attrs=attrs,
    )


def manifest_frame(rows: list[dict], street: pd.DataFrame) -> pd.DataFrame:
    """Manifest rows joined with the photo table's other columns (`street` indexed by photo).

    rows: dicts with the keys of MANIFEST and `photo`, the position of the photo in `street`. A
    column of the table whose name the manifest needs for itself is kept as street_<name>.
    """
    taken = set(MANIFEST) & set(street.columns)
    own = {"photo_id", "path", "lon", "lat", "heading", "split", "view_yaw", "source_photo_id"}
    extra = street.drop(columns=list(taken & own)).rename(
        columns={c: f"street_{c}" for c in taken - own}
    )
    frame = pd.DataFrame(rows, columns=[*MANIFEST, "photo"]).astype(MANIFEST)
    index = frame.pop("photo").to_numpy(np.int64)
    return pd.concat([frame, extra.iloc[index].reset_index(drop=True)], axis=1)


def check_consistent(pairs: Pairs) -> None:
    """BadInput unless every photo is accounted for and every manifest row has its chip."""
    report, manifest = pairs.report, pairs.manifest
    if report["photos_in"] != report["paired"] + sum(report["rejected"].values()):
        raise BadInput("pairing report: photos_in is not paired plus rejected")
    if len(manifest) and not manifest["chip"].between(0, pairs.chips.sizes["chip"] - 1).all():
        raise BadInput("pairing manifest: a row names a chip that is not there")
