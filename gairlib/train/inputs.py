"""Inputs of a training step: a batch augmented and normalised, on the device where it is used.

Every draw comes from (seed, step) for the whole global batch, on the CPU; each rank takes its own
part. So R ranks see what one rank sees, and on the CPU to the last bit. The work on pixels happens
on the device: 8-bit photos travel there, from pinned memory, and a GPU augments for itself.

Chips are normalised and resized to the network's size before they are cropped, so that nodata and
clouds are bounded before anything is interpolated.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields
from itertools import compress

import torch
from torch import Tensor

from gairlib import preprocess
from gairlib.config import GAIRConfig
from gairlib.errors import BadInput
from gairlib.train import augment
from gairlib.train.batches import Batch
from gairlib.train.options import PretrainOptions

PIECE = 1024  # photos that are augmented at a time


@dataclass
class Inputs:
    """B chips with Q slots each and the N photos that are in them, chip by chip."""

    chips: Tensor  # [B, C, S, S] float32, preprocessed
    xy: Tensor  # [B, Q, 2] float64 in [-1, 1]
    keep: Tensor  # [N] int64: which of the B * Q slots hold a photo, ascending
    photos: Tensor  # [N, 3, s, s] float32, preprocessed
    lonlat: Tensor  # [N, 2] float64 degrees
    heading: Tensor  # [N] float64 degrees clockwise from the chip's upper edge, nan unknown
    chip: Tensor  # [N] int64: the photo's chip within this batch, 0..B-1
    field_xy: Tensor  # [B, F, 2] float64 in [-1, 1]: random points of each chip
    side_m: Tensor  # [B] float64: the chip's side on the ground, metres
    view: Tensor  # [N] int64: twice the photo's number in the split, plus 1 where it is mirrored
    photo_ids: list[str]  # N
    # where the Q photos and F points of each chip look, degrees as `heading`, nan unknown:
    # [B, Q + F] float64; None: the model's field reads no headings
    look: Tensor | None = None

    def to(self, device: str | torch.device) -> Inputs:
        """The same on another device."""
        return Inputs(
            **{
                f.name: v.to(device) if isinstance(v, Tensor) else v
                for f in fields(self)
                for v in [getattr(self, f.name)]
            }
        )

    def split(self, parts: int) -> list[Inputs]:
        """At most `parts` parts, each with consecutive chips, as many as the others or one more.

        Views, with `keep` and `chip` counted from the part's own first chip.
        """
        b, q = self.xy.shape[:2]
        parts = min(parts, b)
        if parts <= 1:
            return [self]
        edges = [(b * k + parts - 1) // parts for k in range(parts + 1)]
        # one look at the device for all parts
        starts = torch.searchsorted(self.chip, torch.tensor(edges, device=self.chip.device))
        starts = starts.tolist()
        return [
            Inputs(
                chips=self.chips[a:z],
                xy=self.xy[a:z],
                keep=self.keep[i:j] - a * q,
                photos=self.photos[i:j],
                lonlat=self.lonlat[i:j],
                heading=self.heading[i:j],
                chip=self.chip[i:j] - a,
                field_xy=self.field_xy[a:z],
                side_m=self.side_m[a:z],
                view=self.view[i:j],
                photo_ids=self.photo_ids[i:j],
                look=None if self.look is None else self.look[a:z],
            )
            for a, z, i, j in zip(edges, edges[1:], starts, starts[1:])
        ]

    def near_field(self, metres: float) -> Tensor:
        """Which random points of its chip are at most so far from a photo: bool [N, F]. Of those
        read in a direction, the ones that look elsewhere are not counted."""
        at = self.xy.flatten(0, 1)[self.keep]
        apart = (self.field_xy[self.chip] - at[:, None]).norm(dim=-1) / 2  # in sides of the chip
        near = apart * self.side_m[self.chip][:, None] <= metres
        if self.look is not None:
            q = self.xy.shape[1]
            own = self.look[:, :q].flatten()[self.keep]
            turn = (self.look[self.chip, q:] - own[:, None] + 180) % 360 - 180
            near &= ~(turn.abs() > augment.ELSEWHERE)  # of an unknown direction, all is near
        return near


@torch.no_grad()
def make(
    batch: Batch,
    config: GAIRConfig,
    options: PretrainOptions,
    step: int,
    *,
    device: str | torch.device = "cpu",
    share: tuple[int, int] = (0, 1),
) -> Inputs:
    """Augmented, normalised inputs of one step; randomness from (options.seed, step) alone.

    batch: the part that rank share[0] of share[1] ranks has of the global batch.
    """
    device, (rank, ranks) = torch.device(device), share
    prep = preprocess.get(config.preprocessing)
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
    b, q = batch.valid.shape
    draws = augment.draw(b * ranks, q, batch.chips.shape[1], generator, options.field_points)
    looks = None
    if config.reads_headings:  # drawn last: what else is random stays as it is
        points = options.field_points + q * options.heading_negatives
        looks = augment.draw_looks(b * ranks, q, points, generator).part(rank, ranks)
    draws = draws.part(rank, ranks)

    chips = prep.rs(_move(batch.chips, device), config.rs_size)
    xy, valid, side_m = batch.xy, batch.valid, batch.side_m
    if options.crop_min < 1:
        boxes = augment.crop_boxes(xy, valid, draws, options.crop_min)
        chips, xy, valid = augment.crop_chips(chips, xy, valid, boxes)
        side_m = side_m * boxes[:, 2]
    chips, xy, heading = augment.turn_chips(chips, xy, batch.heading, draws.symmetry)
    chips = augment.jitter_bands(chips, options.band_jitter, draws.bands)

    keep = valid.reshape(-1).nonzero().squeeze(1)
    chip = keep // q
    images, shift, colour = (x.flatten(0, 1) for x in (batch.photos, draws.shift, draws.colour))
    mirror = draws.symmetry[chip] >= 4
    photos = torch.empty(len(keep), 3, config.sv_size, config.sv_size, device=device)
    for start in range(0, len(keep), PIECE):  # of a large batch, or what it takes would be tripled
        rows = keep[start : start + PIECE]
        seen = augment.jitter_photos(
            _move(images, device, rows),
            options.photo_jitter,
            shift=shift[rows],
            colour=colour[rows],
            mirror=mirror[start : start + PIECE],
        )
        photos[start : start + PIECE] = prep.sv(seen, config.sv_size)
    still = valid[batch.valid].tolist()  # of the photos that the batch names
    field_xy, look = draws.field * 2 - 1, None
    if looks is not None:
        wrong = xy.repeat_interleave(options.heading_negatives, 1)  # [B, Q * W, 2]
        field_xy = torch.cat((field_xy, wrong), 1)
        look = augment.look(heading, looks, options.heading_negatives, options.heading_dropout)
    return Inputs(
        chips=chips,
        xy=_move(xy, device),
        keep=_move(keep, device),
        photos=photos,
        lonlat=_move(batch.lonlat.flatten(0, 1)[keep], device),
        heading=_move(heading.flatten()[keep], device),
        chip=_move(chip, device),
        field_xy=_move(field_xy, device),
        side_m=_move(side_m, device),
        view=_move(2 * batch.number.flatten()[keep] + mirror, device),
        photo_ids=list(compress(batch.photo_ids, still)),
        look=None if look is None else _move(look, device),
    )


def _move(x: Tensor, device: torch.device, rows: Tensor | None = None) -> Tensor:
    """`x`, or some of its rows, on the device; to a GPU from pinned memory, without waiting."""
    pinned = device.type == "cuda" and x.device.type == "cpu"
    if rows is not None:
        out = torch.empty(len(rows), *x.shape[1:], dtype=x.dtype, pin_memory=pinned)
        x = torch.index_select(x, 0, rows, out=out)
    elif pinned:
        x = x.pin_memory()
    return x.to(device, non_blocking=pinned)


class Ahead:
    """(step, inputs) for each step, made by one thread while the steps before are worked on.

        with Ahead(make_one, range(100), ahead=1, device=device) as inputs:
            for step, x in inputs: ...

    ahead: how many steps beyond the one that is handed out; 0 makes each when it is asked for, in
    the calling thread, which is best where the step itself needs all cores. device: with a GPU, the
    thread works on a stream of its own, so that copies run beside the step's work. An error in
    making a step comes when that step is asked for. `waited` adds up the seconds that the caller
    waited here: what the loader costs at most, as a GPU may have been busy meanwhile.
    """

    def __init__(
        self,
        make_one: Callable[[int], Inputs],
        steps: Iterable[int],
        *,
        ahead: int = 1,
        device: str | torch.device = "cpu",
    ):
        if ahead < 0:
            raise BadInput(f"ahead is {ahead}, a whole number from 0 is needed")
        self.waited = 0.0
        self._make_one, self._steps, self._ahead = make_one, iter(steps), ahead
        self._made: deque[tuple[int, Future]] = deque()
        self._pool = ThreadPoolExecutor(1, "inputs") if ahead else None
        beside = ahead and torch.device(device).type == "cuda"
        self._stream = torch.cuda.Stream(device) if beside else None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[int, Inputs]]:
        return self

    def __next__(self) -> tuple[int, Inputs]:
        began = time.perf_counter()
        try:
            if self._pool is None:
                step = next(self._steps)
                return step, self._make_one(step)
            while len(self._made) <= self._ahead and (step := next(self._steps, None)) is not None:
                self._made.append((step, self._pool.submit(self._on_stream, step)))
            if not self._made:
                raise StopIteration
            step, made = self._made.popleft()
            inputs, done = made.result()
        except BaseException:  # the end of the steps among them
            self.close()
            raise
        finally:
            self.waited += time.perf_counter() - began
        if done is not None:
            _hand_over(inputs, done)
        return step, inputs

    def close(self) -> None:
        """Drops what was made ahead and ends the thread; no more steps come."""
        self._steps = iter(())
        self._made.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _on_stream(self, step: int):
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            inputs = self._make_one(step)
            return inputs, self._stream.record_event() if self._stream else None


def _hand_over(inputs: Inputs, done: torch.cuda.Event) -> None:
    """Lets the caller's stream wait for what another stream made, and keep its memory till then."""
    stream = torch.cuda.current_stream(inputs.chips.device)
    stream.wait_event(done)
    for f in fields(inputs):
        value = getattr(inputs, f.name)
        if isinstance(value, Tensor):
            value.record_stream(stream)
