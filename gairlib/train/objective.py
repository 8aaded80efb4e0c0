"""The terms of one batch, from embeddings to named scalars (GAIR, arXiv 2503.16683, eq. 8 and 9).

    INCL   photo <-> localised RS embedding      negatives: the batch, photos of the chip included
    SECL   photo <-> location embedding          negatives: the batch and a queue of coordinates
    FIELD  photo <-> its chip's field (ours)     negatives: random points of the same chip
    RSLL   localised RS <-> location (ours)      negatives: the batch

A photo is never offered its own coordinates as a negative, whatever the distances: two photos taken
at one point, or a photo that meets its own earlier self in the queue, are left out of the softmax.
"""

from typing import NamedTuple

from torch import Tensor

from gairlib import losses
from gairlib.train.options import PretrainOptions


class Embeddings(NamedTuple):
    """What the three encoders make of a batch of N photos and M queued coordinates."""

    sv: Tensor  # [N, D]
    local: Tensor  # [N, D], the RS field where each photo stands
    here: Tensor  # [N, D], the photos' coordinates
    queued: Tensor  # [M, D], earlier coordinates, encoded afresh
    temperature: Tensor  # [3], of INCL and FIELD, SECL, RSLL
    field: Tensor  # [B, F, D], each chip's field at random points


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
        # not field[chip], whose gradient several threads would add up in any order
        own = field.index_select(0, chip)
        inside = losses.in_chip(sv, local, own, temperature=temperature[0], exclude=near_field)
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
