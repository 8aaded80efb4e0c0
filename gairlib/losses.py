"""The objectives as pure functions: InfoNCE (arXiv 1807.03748), and INCL and SECL on top of it.

Published form: temperature 0.07; INCL contrasts SV with the localised RS embedding, SECL contrasts
SV with the location embedding, against the batch and a queue of earlier coordinates. Ours takes
false negatives out by distance, and bounds the memory by chunks that change nothing else.
Logits are computed in float32 at least, outside autocast.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from gairlib.errors import BadInput
from gairlib.geo import EARTH_RADIUS, as_float64, checkable, unit_sphere

ROWS = 2048  # of a matrix of distances that are worked out at a time


def info_nce(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    *,
    temperature: float | Tensor,
    extra_keys: Float[Tensor, "m d"] | None = None,
    exclude: Bool[Tensor, "n k"] | None = None,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """Mean cross-entropy of each query's own key among all keys: {"loss", "accuracy"} scalars.

    Key i is query i's positive. Inputs are taken as given: the caller normalises. `extra_keys` are
    further negatives in the query-to-key direction only. True in `exclude` [N, N+M] takes that
    pair out of the softmax; its first N columns, transposed, serve the key-to-query direction; its
    diagonal must be False (checked on the CPU). Both directions are averaged, loss and accuracy
    (share of rows whose positive is the largest). `chunk_size` rows at a time bounds memory to
    chunk_size x (N + M) logits and changes nothing else.
    """
    n, m = len(queries), 0 if extra_keys is None else len(extra_keys)
    _check(queries, keys, extra_keys, exclude, n, m, chunk_size)
    dtype = torch.promote_types(queries.dtype, torch.float32)
    with torch.autocast(queries.device.type, enabled=False):
        q, k = queries.to(dtype), keys.to(dtype)
        scale = torch.as_tensor(1.0 / temperature, dtype=dtype, device=q.device)
        all_keys = k if extra_keys is None else torch.cat([k, extra_keys.to(dtype)])
        step = min(chunk_size or n, n)
        loss, accuracy = _InfoNCE.apply(q, all_keys, scale, exclude, step)
    return {"loss": loss, "accuracy": accuracy}


class _InfoNCE(torch.autograd.Function):
    """Both directions from one matrix of logits, `chunk` rows at a time.

    Logit (i, j) serves row i's softmax over the keys and, for j < N, column j's over the queries,
    so both directions cost one product. The backward pass makes the logits again from what is kept
    of each softmax: four products in all, where autograd takes six and keeps every logit. There
    are no gradients of gradients.
    """

    @staticmethod
    def forward(
        ctx, q: Tensor, keys: Tensor, scale: Tensor, exclude: Tensor | None, chunk: int
    ) -> tuple[Tensor, Tensor]:
        n, indices = len(q), torch.arange(len(q), device=q.device)
        # of each row and of each column: its largest logit, and the sum of exp(logit - largest)
        row_max, row_sum, positive = (q.new_empty(n) for _ in range(3))
        column_max, column_sum = q.new_full((n,), torch.finfo(q.dtype).min), q.new_zeros(n)
        owner = torch.zeros_like(indices)  # row of each column's largest logit
        hits = q.new_zeros(())
        for start in range(0, n, chunk):
            rows = slice(start, min(start + chunk, n))
            logits = _logits(q[rows], keys, scale, exclude, rows)  # [c, N + M]
            row_max[rows], index = logits.max(1)
            row_sum[rows] = (logits - row_max[rows, None]).exp_().sum(1)
            positive[rows] = logits.diagonal(start)[: rows.stop - start]
            hits += (index == indices[rows]).sum()
            square = logits[:, :n]
            largest, index = square.max(0)
            owner = torch.where(largest > column_max, index + start, owner)
            largest = torch.maximum(largest, column_max)
            column_sum *= (column_max - largest).exp()
            column_sum += (square - largest).exp_().sum(0)
            column_max = largest
        loss = (row_sum.log() + (row_max - positive)).sum()
        loss = (loss + (column_sum.log() + (column_max - positive)).sum()) / 2
        hits = (hits + (owner == indices).sum()) / 2
        ctx.save_for_backward(q, keys, scale, exclude, row_max, row_sum, column_max, column_sum)
        ctx.chunk = chunk
        accuracy = hits / n
        ctx.mark_non_differentiable(accuracy)
        return loss / n, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q, keys, scale, exclude, *largest_and_sum = ctx.saved_tensors
        row_max, row_sum, column_max, column_sum = largest_and_sum
        n = len(q)
        dq, dkeys = torch.empty_like(q), torch.zeros_like(keys)
        for start in range(0, n, ctx.chunk):
            rows = slice(start, min(start + ctx.chunk, n))
            logits = _logits(q[rows], keys, scale, exclude, rows)
            columns = (logits[:, :n] - column_max).exp_()
            slope = logits.sub_(row_max[rows, None]).exp_().div_(row_sum[rows, None])
            slope[:, :n].addcdiv_(columns, column_sum)
            slope.diagonal(start)[: rows.stop - start].sub_(2)  # the positive, in both directions
            dq[rows] = slope @ keys
            dkeys.addmm_(slope.mT, q[rows])
        share = gradient / (2 * n)
        return dq * (share * scale), dkeys * (share * scale), (q * dq).sum() * share, None, None


def _logits(q: Tensor, keys: Tensor, scale: Tensor, exclude: Tensor | None, rows: slice) -> Tensor:
    """[c, N + M] of the queries `rows`; -inf where a pair is out of the softmax."""
    logits = (q * scale) @ keys.mT
    return logits if exclude is None else logits.masked_fill_(exclude[rows], -math.inf)


def _check(
    queries: Tensor,
    keys: Tensor,
    extra: Tensor | None,
    exclude: Tensor | None,
    n: int,
    m: int,
    chunk: int | None,
) -> None:
    if queries.ndim != 2 or keys.shape != queries.shape or n == 0:
        raise BadInput(
            f"info_nce: queries {list(queries.shape)} and keys {list(keys.shape)} must be the same "
            "[N, D], N at least 1."
        )
    if extra is not None and (extra.ndim != 2 or extra.shape[1] != queries.shape[1]):
        raise BadInput(
            f"info_nce: extra_keys {list(extra.shape)}, but [M, {queries.shape[1]}] is needed."
        )
    if chunk is not None and chunk < 1:
        raise BadInput(f"info_nce: chunk_size {chunk}, at least 1 is needed.")
    if exclude is None:
        return
    if exclude.shape != (n, n + m) or exclude.dtype != torch.bool:
        raise BadInput(
            f"info_nce: exclude is {exclude.dtype} {list(exclude.shape)}, but a boolean "
            f"[{n}, {n + m}] is needed."
        )
    if checkable(exclude) and exclude.diagonal().any():
        raise BadInput("info_nce: exclude is True on the diagonal, which holds the positives.")


def exclude_near(
    queries_lonlat: Float[Tensor, "n 2"], keys_lonlat: Float[Tensor, "k 2"], metres: float
) -> Bool[Tensor, "n k"]:
    """Pairs at most `metres` apart, as great circles: false negatives to take out of the softmax.

    Key i is query i's positive for i < N: the diagonal is never excluded. With metres = 0 it takes
    out just the photos at the very same coordinates; a negative number takes out nothing.
    """
    a, b = unit_sphere(as_float64(queries_lonlat)), unit_sphere(as_float64(keys_lonlat))
    near = torch.ones(len(a), len(b), dtype=torch.bool, device=a.device)
    if metres < math.pi * EARTH_RADIUS:
        # Straight through the sphere: the same order as great circles, and far cheaper. Some rows
        # at a time, since the distances take eight times what the answer takes.
        limit = 2 * math.sin(metres / EARTH_RADIUS / 2)
        for start in range(0, len(a), ROWS):
            rows = slice(start, start + ROWS)
            torch.le(
                torch.cdist(a[rows], b, compute_mode="donot_use_mm_for_euclid_dist"),
                limit,
                out=near[rows],
            )
    near.diagonal().fill_(False)
    return near


def incl(
    sv: Float[Tensor, "... d"],
    local: Float[Tensor, "... d"],
    *,
    temperature: float | Tensor,
    exclude: Bool[Tensor, "n n"] | None = None,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """Implicit neural contrastive learning (GAIR eq. 8): photo against the field where it stands.

    sv and local [..., D] of the same photos, e.g. [B, Q, D]; normalised here. Photos of the same
    chip are the useful hard negatives; True in `exclude` [N, N] takes out those that see the same
    place (`exclude_near`).
    """
    q, k = (F.normalize(v.reshape(-1, v.shape[-1]), dim=-1) for v in (sv, local))
    return info_nce(q, k, temperature=temperature, exclude=exclude, chunk_size=chunk_size)


def in_chip(
    sv: Float[Tensor, "n d"],
    local: Float[Tensor, "n d"],
    field: Float[Tensor, "b f d"],
    chip: Int[Tensor, " n"],
    *,
    temperature: float | Tensor,
    exclude: Bool[Tensor, "n f"] | None = None,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """Where in its chip is the photo? Its own place against F other points of the same field.

    Ours. INCL compares places where photos stand, most of them on roads; a photo's embedding slid
    over the whole chip meets fields, roofs and water that were never a negative. field [B, F, D]:
    each chip, read at F points; chip [N]: each photo's chip, 0..B-1; True in `exclude` leaves a
    point out (too near to count as wrong). Normalised here, the field once for all photos of a
    chip; returns loss and accuracy as the others do. `chunk_size` photos at a time bounds memory to
    chunk_size x F x D values of their chips' fields, which the backward pass gathers again.
    """
    n = len(sv)
    if (
        field.ndim != 3
        or local.shape != sv.shape
        or chip.shape != (n,)
        or field.shape[2:] != sv.shape[1:]
    ):
        raise BadInput(
            f"in_chip: sv {list(sv.shape)}, local {list(local.shape)}, field {list(field.shape)} "
            f"and chip {list(chip.shape)}; needed are [N, D], [N, D], [B, F, D] and [N]."
        )
    dtype = torch.promote_types(sv.dtype, torch.float32)
    with torch.autocast(sv.device.type, enabled=False):
        q, own, others = (F.normalize(v.to(dtype), dim=-1) for v in (sv, local, field))
        logits = [(q * own).sum(-1, keepdim=True)]  # [N, 1]
        if chunk_size is None or chunk_size >= n:
            logits += [_against_chip(q, others, chip)]  # [N, F]
        else:
            parts = zip(q.split(chunk_size), chip.split(chunk_size))
            again = partial(checkpoint, _against_chip, use_reentrant=False)
            logits += [torch.cat([again(rows, others, of) for rows, of in parts])]
        logits = torch.cat(logits, 1) / temperature  # [N, 1 + F]
        if exclude is not None:
            logits = torch.cat((logits[:, :1], logits[:, 1:].masked_fill(exclude, -math.inf)), 1)
        target = torch.zeros(n, dtype=torch.long, device=q.device)
        hits = (logits.detach().argmax(1) == 0).to(dtype).mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": hits}


def _against_chip(q: Tensor, field: Tensor, chip: Tensor) -> Tensor:
    """Photos [n, D] against the points of their chips' fields [B, F, D] -> [n, F]."""
    # not field[chip], whose gradient several threads would add up in any order
    return (field.index_select(0, chip) @ q[..., None])[..., 0]


def secl(
    sv: Float[Tensor, "... d"],
    location: Float[Tensor, "... d"],
    *,
    temperature: float | Tensor,
    queue: Float[Tensor, "m d"] | None = None,
    lonlat: Float[Tensor, "... 2"] | None = None,
    queue_lonlat: Float[Tensor, "m 2"] | None = None,
    exclude_metres: float | None = None,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """Spatially explicit contrastive learning (GAIR eq. 9): photo against its coordinates.

    `queue` holds location embeddings, encoded afresh, of the earlier coordinates `queue_lonlat`:
    negatives beside the batch. Coordinates within `exclude_metres` of the photo's own are no
    negatives: kilometres, since nearby places look alike to a location encoder. Serves the
    RS-location term as well, with the localised RS embedding in place of `sv`.
    """
    q, k = (F.normalize(v.reshape(-1, v.shape[-1]), dim=-1) for v in (sv, location))
    queue = None if queue is None else F.normalize(queue, dim=-1)
    exclude = None
    if exclude_metres is not None:
        if lonlat is None or (queue is not None and queue_lonlat is None):
            raise BadInput("secl: exclude_metres needs lonlat, and queue_lonlat with a queue.")
        points = as_float64(lonlat).reshape(-1, 2)
        others = points if queue is None else torch.cat([points, as_float64(queue_lonlat)])
        exclude = exclude_near(points, others, exclude_metres)
    return info_nce(
        q, k, temperature=temperature, extra_keys=queue, exclude=exclude, chunk_size=chunk_size
    )
