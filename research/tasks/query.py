"""The pairs that retrieval asks about: held-out photos and their chips, each read once."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from pyproj import Geod

from gairlib import geo
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import Skipped
from gairlib.pairs import store
from gairlib.pairs.store import Pairs
from research.evaluation import features
from research.evaluation.splits import named_sites, sites_of
from research.tasks.result import SHIFTED, TEST
from research.tasks.task import DEFAULTS, Options, Task

CELL_M = 20.0  # or finer
MAX_CELLS = 64  # a side, for chips of many kilometres
MIN_HELD_OUT = 10  # with fewer test photos all pairs are looked at, and labelled so
MIN_TRAIN = 50  # training pairs that the colour baseline needs
ALL_PAIRS = "all pairs, none held out"
NEEDS = "needs scenes and street photos"
GEOD = Geod(ellps="WGS84")


def needs_pairs(dataset: Dataset) -> str | None:
    """None where the folder has scenes and photos, else what retrieval needs."""
    return None if len(dataset.scenes()) and len(dataset.street()) else NEEDS


@dataclass
class Query:
    """The photos that ask, and their chips: rows [n] of the manifest (one a photo), `chip_of` [n]
    into chips [c, 10, H, W], xy [n, 2], widths of the chips in metres [n, 2], images uint8;
    shifted: whether they are of the second test set."""

    rows: pd.DataFrame
    label: str
    chips: np.ndarray
    chip_of: np.ndarray
    size_m: np.ndarray
    images: torch.Tensor
    shifted: bool = False

    @property
    def xy(self) -> np.ndarray:
        return self.rows[["x", "y"]].to_numpy(np.float64)

    @property
    def sites(self) -> np.ndarray:
        return sites_of(self.rows)

    @property
    def heading(self) -> np.ndarray:
        """Where the photos look, degrees clockwise from north [n], NaN unknown."""
        unknown = pd.Series(np.nan, self.rows.index)
        return self.rows.get("heading", unknown).to_numpy(np.float64)

    @property
    def sides_m(self) -> np.ndarray:
        """Widths and heights of the chips in metres [c, 2]."""
        return self.size_m[np.unique(self.chip_of, return_index=True)[1]]

    @property
    def held_out(self) -> str | None:
        """As in `research.tasks.result.Split`."""
        return None if self.label == ALL_PAIRS else "site" if named_sites(self.rows) else "block"

    @property
    def cells(self) -> int:
        """Cells a side of the dense field, of CELL_M or finer (UTM's scale factor aside)."""
        return min(MAX_CELLS, max(1, math.ceil(float(self.size_m.max()) / CELL_M - 0.1)))


class FieldQuery(Query):
    """Asked of whole fields, cell by cell or direction by direction: a place is no one vector."""


class PairTask(Task):
    """A search among the held-out pairs of a folder."""

    held_out = "site"

    def available(self, dataset: Dataset) -> str | None:
        return needs_pairs(dataset)

    def load(self, dataset: Dataset, options: Options = DEFAULTS) -> Query:
        """The held-out pairs."""
        return ask(dataset, options.pairs, options.model.config.sv_size)[0]


def one_a_photo(manifest: pd.DataFrame, split: str | None = None) -> pd.DataFrame:
    """The first chip of each photo, of one split or of all; rows by photo_id."""
    rows = manifest if split is None else manifest[manifest["split"] == split]
    rows = rows.sort_values(["photo_id", "chip"], kind="stable").drop_duplicates("photo_id")
    return rows.reset_index(drop=True)


def held_out(manifest: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Test rows, one a photo, and what to call them; all rows where the test split is too small."""
    rows = one_a_photo(manifest)
    test = rows[rows["split"] == TEST]
    if len(test) >= MIN_HELD_OUT:
        return test.reset_index(drop=True), f"held-out {'sites' if named_sites(rows) else 'blocks'}"
    return rows, ALL_PAIRS


def chip_size_m(crs: str, transform, pixels: int) -> tuple[float, float]:
    """Ground width and height of a chip in metres, geodesics through its middle."""
    ends = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    lon, lat = geo.chip_lonlat(ends, crs, transform, (pixels, pixels)).T
    return tuple(GEOD.inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])[2])


def gather(pairs: Pairs, dataset: Dataset, rows: pd.DataFrame, label: str, photo_px: int) -> Query:
    """Chips and photos of manifest rows, each read once."""
    names, chip_of = np.unique(rows["chip"].to_numpy(), return_inverse=True)
    chosen = pairs.chips.isel(chip=names)
    chips = chosen["chips"].to_numpy()
    sizes = np.array(
        [
            chip_size_m(str(crs), transform, chips.shape[-1])
            for crs, transform in zip(chosen["crs"].to_numpy(), chosen["transform"].to_numpy())
        ]
    )
    images = encode.read_photos(dataset, rows, photo_px)
    return Query(rows, label, chips, chip_of, sizes[chip_of], images)


def photo_colours(query: Query) -> np.ndarray:
    """Colour statistics and a coarse thumbnail of every photo: [n, P]."""
    images = query.images.numpy()
    return np.concatenate([features.colour_statistics(images), features.thumbnails(images, 4)], 1)


def place_colours(query: Query) -> np.ndarray:
    """Band statistics of the RS windows around every photo's position: [n, Q]."""
    return features.local_statistics(query.chips, query.chip_of, query.xy)


def _directed(pairs: Pairs, compass: bool) -> Pairs:
    if compass:
        pairs.manifest = pairs.manifest[pairs.manifest["heading"].notna()]
    return pairs


def ask(dataset: Dataset, pairs_folder, photo_px: int, compass: bool = False) -> tuple:
    """What a retrieval task asks: the held-out pairs (Query), the manifest rows of the training
    photos outside of them, and those gathered (None with fewer than MIN_TRAIN). Raises Skipped
    where there are fewer than two pairs. compass: of the photos whose direction is known alone."""
    pairs = _directed(store.load(pairs_folder), compass)
    count = pairs.manifest["photo_id"].nunique() if len(pairs.manifest) else 0
    if count < 2:
        what = f"pair{'' if count == 1 else 's'}{' of a known direction' if compass else ''}"
        raise Skipped(f"{count} {what} in {pairs_folder}, two are needed")
    rows, label = held_out(pairs.manifest)
    training = pairs.manifest[pairs.manifest["split"] == "train"].drop_duplicates("photo_id")
    outside = training[~training["photo_id"].isin(rows["photo_id"])]
    enough = len(outside) >= MIN_TRAIN
    train = gather(pairs, dataset, outside, "train", photo_px) if enough else None
    return gather(pairs, dataset, rows, label, photo_px), outside, train


def ask_shifted(
    dataset: Dataset, pairs_folder, photo_px: int, compass: bool = False
) -> Query | None:
    """The pairs of the second test set; None with fewer than MIN_HELD_OUT."""
    pairs = _directed(store.load(pairs_folder), compass)
    rows = one_a_photo(pairs.manifest, SHIFTED)
    if len(rows) < MIN_HELD_OUT:
        return None
    label = f"shifted {'sites' if named_sites(rows) else 'blocks'}"
    return replace(gather(pairs, dataset, rows, label, photo_px), shifted=True)


def calibration(
    pairs_folder, dataset: Dataset, photo_px: int, compass: bool = False
) -> Query | None:
    """The photos of the validation split, which are not judged; None with fewer than MIN_TRAIN."""
    pairs = _directed(store.load(pairs_folder, store.LEARNING), compass)
    rows = one_a_photo(pairs.manifest, "val")
    return gather(pairs, dataset, rows, "val", photo_px) if len(rows) >= MIN_TRAIN else None
