"""Training batches of chips with up to Q photos each, a pure function of (seed, step).

The batch of step k does not depend on what was drawn before it, so a resumed run meets exactly
the batches that an undisturbed one meets, and no loader position has to be stored. Several ranks
share a batch: each makes its own consecutive part of the chips, with the photos that one rank alone
would draw.

Photos come from the pairs' own store where they were stored there, else from the dataset folder.
Two ways, chosen by size, with the same batches to the last bit:
- what fits is decoded once, squashed to the model's input and held as 8-bit numbers (12 kB a photo
  at 64 px, 150 kB at 224 px), and so are the chips (16 bits);
- what does not is read and decoded batch by batch, by threads that work some batches ahead: the
  decoder gives up Python's lock, so threads are enough.
"""

import math
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.pairs.photo_store import PhotoReader
from gairlib.pairs.store import Pairs

MEMORY_BYTES = 4 << 30  # some 25,000 photos of 224 px with their chips


@dataclass
class Batch:
    """B chips with Q photo slots each; `valid` says which slots hold a photo."""

    chips: Tensor  # [B, C, H, W] float32, digital numbers
    photos: Tensor  # [B, Q, 3, S, S] uint8
    xy: Tensor  # [B, Q, 2] float64 in [-1, 1]
    lonlat: Tensor  # [B, Q, 2] float64, degrees
    heading: Tensor  # [B, Q] float64, degrees clockwise from north, nan unknown
    valid: Tensor  # [B, Q] bool
    side_m: Tensor  # [B] float64: the chip's side on the ground, metres
    number: Tensor  # [B, Q] int64: the photo's place among those of the split
    photo_ids: list[str]  # of the valid slots, row by row


class Buffers:
    """Arrays for batches, given out again when the batch before is gone.

    A batch of 256 photos of 224 px is 38 MB, which the system hands out as fresh pages and takes
    back at once; to touch them for the first time costs a tenth of the decoding.
    """

    def __init__(self):
        self._lent: list[tuple[np.ndarray, weakref.ref]] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple, dtype) -> np.ndarray:
        """An array with any content. It counts as free once the object returned here is gone; a
        tensor made of it keeps it, a slice of it does not."""
        with self._lock:
            free = [
                (array, holder)
                for array, holder in self._lent
                if holder() is None and array.shape == shape and array.dtype == dtype
            ]
            array = free[0][0] if free else np.empty(shape, dtype)
            view = array.view()
            self._lent = [pair for pair in self._lent if pair[0] is not array]
            self._lent.append((array, weakref.ref(view)))
            return view


class PairBatches:
    """Batches of one split of paired data, held in memory as 8- and 16-bit numbers or streamed."""

    def __init__(
        self,
        pairs: Pairs,
        dataset: Dataset,
        *,
        split: str | None,
        photo_size: int,
        chips_per_batch: int,
        photos_per_chip: int,
        seed: int = 0,
        memory_bytes: int = MEMORY_BYTES,
        workers: int = 2,
        share: tuple[int, int] = (0, 1),
    ):
        """chips_per_batch: of all ranks together; share: this rank's number and how many there are.
        memory_bytes: photos and chips that need more are streamed. workers: threads that decode;
        0 makes each batch when it is asked for, in the calling thread."""
        rank, ranks = share
        if not 0 <= rank < ranks:
            raise BadInput(f"share is {share}; it is (rank, ranks) with 0 <= rank < ranks")
        if chips_per_batch % ranks:
            raise BadInput(
                f"chips_per_batch ({chips_per_batch}) is shared by {ranks} ranks; take "
                f"a multiple of {ranks}"
            )
        rows = pairs.manifest
        if split is not None:
            rows = rows[rows["split"] == split]
        if not len(rows):
            raise BadInput(f"no pairs in split {split!r}: pair the data first, or lower the limits")
        rows = rows.sort_values(["chip", "slot"], kind="stable").reset_index(drop=True)
        self.rows, self.seed, self.share = rows, seed, share
        self.chips_per_batch, self.photos_per_chip = chips_per_batch, photos_per_chip

        codes, ids = pd.factorize(rows["photo_id"])  # in order of appearance
        unique = rows.drop_duplicates("photo_id")
        self._photo, self._count = codes, len(ids)
        self._xy = rows[["x", "y"]].to_numpy(np.float64)
        self._lonlat = rows[["lon", "lat"]].to_numpy(np.float64)
        known = "heading" in rows  # of a view out of a spherical photo, the view's own
        self._heading = (
            rows["heading"].to_numpy(np.float64) if known else np.full(len(rows), np.nan)
        )
        self._ids = rows["photo_id"].to_numpy(object)
        self._chip_ids, start = np.unique(rows["chip"].to_numpy(), return_index=True)
        self._start, self._stop = start, np.append(start[1:], len(rows))  # rows of each chip
        self._longest = int((self._stop - self._start).max())
        self._side_m = pairs.sides_m(self._chip_ids)

        self._reader = PhotoReader(dataset, unique, photo_size, pairs.photos())
        self._pairs, self._orders = pairs, {}
        chip_bytes = 2 * math.prod(pairs.chips["chips"].shape[1:])
        need = 3 * photo_size**2 * self._count + chip_bytes * self.chips
        self.streams = need > memory_bytes
        if self.streams:
            self._pool = ThreadPoolExecutor(workers) if workers else None
            self._ahead: dict[int, Future] = {}  # batches being made, by step
            self._lock = threading.Lock()  # of _ahead
            self._lead = workers  # so many beyond the one that is asked for
            self._buffers = Buffers()
        else:
            self._photos = self._reader.read_all(workers=max(1, workers))
            self._chips = pairs.read_chips(self._chip_ids)  # uint16 [n, C, H, W]

    def __len__(self) -> int:
        """Photos, not counting how many chips each is in."""
        return self._count

    def photos(self, numbers: Tensor) -> Tensor:
        """Photos uint8 [n, 3, S, S] by their place in the split [n], 0 ... len(self) - 1."""
        return self._photo_values(numbers.numpy()[:, None])[:, 0]

    @property
    def lonlat(self) -> Tensor:
        """Every row's coordinates, those of all ranks: float64 degrees [rows, 2]."""
        return torch.tensor(self._lonlat)  # a copy: pandas gives what must not be written

    @property
    def chips(self) -> int:
        return len(self._chip_ids)

    def _order(self, epoch: int) -> np.ndarray:
        """Chips in the order of an epoch, kept while it lasts: a million take 20 ms to shuffle."""
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng((self.seed, 1, epoch)).permutation(self.chips)
            kept = {e: o for e, o in self._orders.items() if abs(e - epoch) < 2}
            self._orders = {**kept, epoch: order}  # a new one: other threads read the old
        return order

    def chips_of_step(self, step: int) -> np.ndarray:
        """This rank's chips of a step: consecutive places in an endless row of shuffled epochs."""
        rank, ranks = self.share
        count = self.chips_per_batch // ranks
        first = step * self.chips_per_batch + rank * count
        epochs, offsets = np.divmod(np.arange(first, first + count), self.chips)
        orders = {e: self._order(int(e)) for e in np.unique(epochs)}
        return np.array([orders[e][o] for e, o in zip(epochs, offsets)])

    def _rows_of_step(self, step: int, chips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [B, Q] of this rank's chips, drawn without repetition, and which of them count.

        Each photo of each chip of the global batch gets a random number; a chip's lowest are taken.
        """
        rank, ranks = self.share
        q, start = self.photos_per_chip, self._start[chips]
        count = self._stop[chips] - start
        rng = np.random.default_rng((self.seed, 2, step))
        keys = rng.random((self.chips_per_batch, self._longest))
        keys = keys[rank * len(chips) : (rank + 1) * len(chips)]
        keys[np.arange(self._longest) >= count[:, None]] = 2.0  # beyond the chip's photos
        chosen = np.argsort(keys, axis=1, kind="stable")[:, :q]
        if chosen.shape[1] < q:
            chosen = np.pad(chosen, ((0, 0), (0, q - chosen.shape[1])))
        valid = np.arange(q) < count[:, None]
        # an empty slot repeats a photo; `valid` drops it
        return start[:, None] + np.where(valid, chosen, chosen[:, :1]), valid

    def batch(self, step: int) -> Batch:
        """The batch of a step (0, 1, ...), the same whenever it is asked for."""
        if not self.streams or self._pool is None:
            return self._make(step)
        window = range(step, step + 1 + self._lead)
        with self._lock:  # a batch may be asked for by the training loop and by a loader's thread
            for old in [s for s in self._ahead if s not in window]:
                self._ahead.pop(old).cancel()
            for ahead in window:
                if ahead not in self._ahead:
                    self._ahead[ahead] = self._pool.submit(self._make, ahead)
            made = self._ahead.pop(step)
        return made.result()

    def _make(self, step: int) -> Batch:
        chips = self.chips_of_step(step)
        rows, valid = self._rows_of_step(step, chips)
        return Batch(
            chips=self._chip_values(chips),
            photos=self._photo_values(self._photo[rows]),
            xy=torch.from_numpy(self._xy[rows]),
            lonlat=torch.from_numpy(self._lonlat[rows]),
            heading=torch.from_numpy(self._heading[rows]),
            valid=torch.from_numpy(valid),
            side_m=torch.from_numpy(self._side_m[chips]),
            number=torch.from_numpy(self._photo[rows]),
            photo_ids=list(self._ids[rows[valid]]),
        )

    def _chip_values(self, chips: np.ndarray) -> Tensor:
        """float32 [B, C, H, W]."""
        if not self.streams:
            return torch.from_numpy(self._chips[chips].astype(np.float32))
        shape = (len(chips), *self._pairs.chips["chips"].shape[1:])
        out = self._buffers.take(shape, np.float32)
        return torch.from_numpy(self._pairs.read_chips(self._chip_ids[chips], out))

    def _photo_values(self, numbers: np.ndarray) -> Tensor:
        """uint8 [B, Q, 3, S, S] of the photos with these numbers [B, Q]."""
        if not self.streams:
            return self._photos[torch.from_numpy(numbers)]
        size, first = self._reader.size, {}
        out = self._buffers.take((*numbers.shape, 3, size, size), np.uint8)
        for at, number in np.ndenumerate(numbers):
            if number in first:  # an empty slot
                out[at] = out[first[number]]
            else:
                first[number] = at
                self._reader.read(number, out[at])
        return torch.from_numpy(out)
