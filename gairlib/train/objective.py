"""The terms of one batch, from embeddings to named scalars (GAIR, arXiv 2503.16683, eq. 8 and 9).

    INCL   photo <-> localised RS embedding      negatives: the batch, photos of the chip included
    SECL   photo <-> location embedding          negatives: the batch and a queue of coordinates
    FIELD  photo <-> its chip's field (ours)     negatives: random points of the same chip
    RSLL   localised RS <-> location (ours)      negatives: the batch

A photo is never offered its own coordinates as a negative, whatever the distances: two photos taken
at one point, or a photo that meets its own earlier self in the queue, are left out of the softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gairlib import losses
from gairlib.errors import BadInput
from gairlib.geo import check_lonlat
from gairlib.train.held import Held
from gairlib.train.inputs import Inputs
from gairlib.train.options import PretrainOptions


class Embeddings(NamedTuple):
    """What the three encoders make of a batch of N photos and M queued coordinates."""

    sv: Tensor  # [N, D]
    local: Tensor  # [N, D], the RS field where each photo stands
    here: Tensor  # [N, D], the photos' coordinates
    queued: Tensor  # [M, D], earlier coordinates, encoded afresh
    temperature: Tensor  # [3], of INCL and FIELD, SECL, RSLL
    field: Tensor  # [B, F, D], each chip's field at random points


def embed(model: Callable, inputs: Inputs, queued: Tensor, held: Held | None = None) -> Embeddings:
    """The embeddings of a batch and of queued coordinates [M, 2]; model: a GAIR, wrapped or not.

    The field is read at the photos and at the chips' random points in one go. held: what held
    encoders make of coordinates and photos, where it is kept.
    """
    held = held or Held()
    lonlat = torch.cat((inputs.lonlat, queued))
    n, (b, q), f = len(inputs.keep), inputs.xy.shape[:2], inputs.field_xy.shape[1]
    rows = torch.arange(b * (q + f), device=inputs.keep.device).reshape(b, q + f)
    keep = torch.cat((rows[:, :q].flatten()[inputs.keep], rows[:, q:].flatten()))
    sv, local, located, temperature = model(
        inputs.chips,
        torch.cat((inputs.xy, inputs.field_xy), 1),
        keep,
        inputs.photos,
        lonlat,
        None if held.places is None else held.places(lonlat),
        None if held.photos is None else held.photos[inputs.view],
        inputs.look,
        inputs.side_m,
    )
    field = local[n:].reshape(b, f, local.shape[-1])
    return Embeddings(sv, local[:n], located[:n], located[n:], temperature, field)


def terms(
    embeddings: Embeddings,
    *,
    lonlat: Tensor,
    chip: Tensor,
    near_field: Tensor,
    queued_lonlat: Tensor,
    options: PretrainOptions,
) -> dict[str, Tensor]:
    """`loss`, the weighted sum, and every term by name.

    lonlat [N, 2] and queued_lonlat [M, 2] float64 degrees; chip [N] is each photo's chip, 0..B-1;
    near_field [N, F] says which points of its chip's field are too near to be wrong.
    A term of weight zero is neither computed nor named.
    """
    sv, local, here, queued, temperature, field = embeddings
    chunk = options.loss_chunk or None
    near = losses.exclude_near(lonlat, lonlat, max(0.0, options.incl_exclude_m))
    if not options.in_chip_negatives:
        same = chip[:, None] == chip[None]
        near |= same.fill_diagonal_(False)
    incl = losses.incl(sv, local, temperature=temperature[0], exclude=near, chunk_size=chunk)
    found = {"loss": incl["loss"], "incl_loss": incl["loss"], "incl_accuracy": incl["accuracy"]}
    if options.field_weight and field.shape[1]:
        inside = losses.in_chip(
            sv, local, field, chip, temperature=temperature[0], exclude=near_field, chunk_size=chunk
        )
        found["loss"] = found["loss"] + options.field_weight * inside["loss"]
        found |= {"field_loss": inside["loss"], "field_accuracy": inside["accuracy"]}
    far = {"lonlat": lonlat, "exclude_metres": max(0.0, options.secl_exclude_m)}
    if options.secl_weight:
        secl = losses.secl(
            sv,
            here,
            temperature=temperature[1],
            queue=queued,
            queue_lonlat=queued_lonlat,
            chunk_size=chunk,
            **far,
        )
        found["loss"] = found["loss"] + options.secl_weight * secl["loss"]
        found |= {"secl_loss": secl["loss"], "secl_accuracy": secl["accuracy"]}
    if options.rs_location_weight:
        rsll = losses.secl(local, here, temperature=temperature[2], chunk_size=chunk, **far)
        found["loss"] = found["loss"] + options.rs_location_weight * rsll["loss"]
        found |= {"rs_location_loss": rsll["loss"]}
    return found | {"temperature": temperature[0]}


class CoordinateQueue:
    """The last `size` coordinates pushed, as a ring buffer [size, 2] of (lon, lat), float64.

    SECL's further negatives, encoded afresh each step: coordinates are kept instead of embeddings,
    so the negatives are never stale. The published queue holds 4,096. How full it is, is known on
    the host, so that no step waits for a device.
    """

    def __init__(self, size: int, device: torch.device | str | None = None) -> None:
        if size < 0:
            raise BadInput(f"queue size {size}: 0 (none) or more is needed.")
        self.lonlat = torch.zeros(size, 2, dtype=torch.float64, device=device)
        self.pushed = 0  # coordinates ever pushed

    @property
    def size(self) -> int:
        return len(self.lonlat)

    def __len__(self) -> int:
        return min(self.pushed, self.size)

    @torch.no_grad()
    def push(self, lonlat: Any) -> None:
        """Add (lon, lat) [n, 2]; the oldest make room. More than `size` at once: the last stay."""
        points = torch.as_tensor(check_lonlat(lonlat)).reshape(-1, 2)
        skip = max(len(points) - self.size, 0)
        points = points[skip:].to(self.lonlat.device)
        if self.size == 0:
            return
        start = (self.pushed + skip) % self.size
        head = min(len(points), self.size - start)  # up to the end of the buffer, then wrap
        self.lonlat[start : start + head] = points[:head]
        self.lonlat[: len(points) - head] = points[head:]
        self.pushed += skip + len(points)

    def valid(self) -> Float[Tensor, "m 2"]:
        """A copy of the coordinates held, [m, 2], oldest first."""
        if self.pushed <= self.size:
            return self.lonlat[: self.pushed].clone()
        return self.lonlat.roll(-(self.pushed % self.size), 0)

    def state_dict(self) -> dict[str, Tensor]:
        """Two tensors, fit for safetensors."""
        return {"lonlat": self.lonlat.clone(), "pushed": torch.tensor(self.pushed)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore; the size must be the same."""
        if absent := {"lonlat", "pushed"} - set(state):
            raise BadInput(f"queue: the stored one lacks {', '.join(sorted(absent))}.")
        if state["lonlat"].shape != self.lonlat.shape:
            raise BadInput(
                f"queue: the stored one holds {len(state['lonlat'])} coordinates, this one "
                f"{self.size}; resume with the size it was started with."
            )
        self.lonlat.copy_(state["lonlat"])
        self.pushed = int(state["pushed"])
