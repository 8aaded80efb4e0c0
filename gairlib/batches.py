"""Training batches of chips with up to Q photos each, a pure function of (seed, step).

The batch of step k does not depend on what was drawn before it, so a resumed run meets exactly
the batches that an undisturbed one meets, and no loader position has to be stored.

Photos are decoded once, resized to the model's input and held as 8-bit numbers: 12 kB each at
64 px, 150 kB at 224 px. That serves up to some 100,000 photos; chips stay on disk as they are and
are read when needed.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from gairlib.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.pairing import Pairs


@dataclass
class Batch:
    """B chips with Q photo slots each; `valid` says which slots hold a photo."""

    chips: Tensor  # [B, C, H, W] float32, digital numbers
    photos: Tensor  # [B, Q, 3, S, S] uint8
    xy: Tensor  # [B, Q, 2] float64 in [-1, 1]
    lonlat: Tensor  # [B, Q, 2] float64, degrees
    valid: Tensor  # [B, Q] bool
    photo_ids: list[str]  # of the valid slots, row by row


def load_photos(dataset: Dataset, rows, size: int, *, workers: int = 2) -> Tensor:
    """Photos of the manifest's rows, [n, 3, size, size] uint8, squashed as published."""
    from gairlib import photos

    out = np.empty((len(rows), size, size, 3), np.uint8)

    def load(item):
        i, (path, yaw) = item
        out[i] = photos.load(dataset.folder / path, view_yaw=yaw, size=size)

    items = list(enumerate(zip(rows["path"], rows["view_yaw"])))
    with ThreadPoolExecutor(workers) as pool:
        list(tqdm(pool.map(load, items), total=len(items), desc="photos", unit="photo",
                  mininterval=1))
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


class PairBatches:
    """Batches of one split of paired data, held in memory as 8- and 16-bit numbers."""

    def __init__(self, pairs: Pairs, dataset: Dataset, *, split: str | None, photo_size: int,
                 chips_per_batch: int, photos_per_chip: int, seed: int = 0):
        rows = pairs.manifest
        if split is not None:
            rows = rows[rows["split"] == split]
        if not len(rows):
            raise BadInput(f"no pairs in split {split!r}: pair the data first, or lower the limits")
        rows = rows.sort_values(["chip", "slot"], kind="stable").reset_index(drop=True)
        self.rows, self.seed = rows, seed
        self.chips_per_batch, self.photos_per_chip = chips_per_batch, photos_per_chip

        unique = rows.drop_duplicates("photo_id")
        self.photos = load_photos(dataset, unique, photo_size)
        index = {p: i for i, p in enumerate(unique["photo_id"])}
        self._photo = rows["photo_id"].map(index).to_numpy()
        self._xy = rows[["x", "y"]].to_numpy(np.float64)
        self._lonlat = rows[["lon", "lat"]].to_numpy(np.float64)
        self._ids = rows["photo_id"].to_numpy()
        chip_ids, start = np.unique(rows["chip"].to_numpy(), return_index=True)
        self._members = np.split(np.arange(len(rows)), start[1:])  # rows of each chip
        self._chips = pairs.chips["chips"].isel(chip=chip_ids).to_numpy()  # [n, C, H, W] uint16

    def __len__(self) -> int:
        """Photos, not counting how many chips each is in."""
        return len(self.photos)

    @property
    def chips(self) -> int:
        return len(self._members)

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 1, epoch)).permutation(self.chips)

    def chips_of_step(self, step: int) -> np.ndarray:
        """Chips of a step: consecutive places in an endless row of shuffled epochs."""
        places = np.arange(step * self.chips_per_batch, (step + 1) * self.chips_per_batch)
        epochs, offsets = np.divmod(places, self.chips)
        orders = {e: self._order(int(e)) for e in np.unique(epochs)}
        return np.array([orders[e][o] for e, o in zip(epochs, offsets)])

    def batch(self, step: int) -> Batch:
        """The batch of a step (0, 1, ...), the same whenever it is asked for."""
        rng = np.random.default_rng((self.seed, 2, step))
        chips = self.chips_of_step(step)
        b, q = len(chips), self.photos_per_chip
        rows = np.zeros((b, q), np.int64)
        valid = np.zeros((b, q), bool)
        for i, chip in enumerate(chips):
            members = self._members[chip]
            chosen = rng.permutation(members)[:q]
            rows[i, : len(chosen)], valid[i, : len(chosen)] = chosen, True
            rows[i, len(chosen):] = chosen[0]  # an empty slot repeats a photo; `valid` drops it
        return Batch(
            chips=torch.from_numpy(self._chips[chips].astype(np.float32)),
            photos=self.photos[torch.from_numpy(self._photo[rows])],
            xy=torch.from_numpy(self._xy[rows]),
            lonlat=torch.from_numpy(self._lonlat[rows]),
            valid=torch.from_numpy(valid),
            photo_ids=list(self._ids[rows[valid]]),
        )
