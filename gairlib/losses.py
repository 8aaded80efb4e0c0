"""The objectives as pure functions: InfoNCE (arXiv 1807.03748), and INCL and SECL on top of it.

Published form: temperature 0.07; INCL contrasts SV with the localised RS embedding, SECL contrasts
SV with the location embedding, against the batch and a queue of earlier coordinates. Ours takes
false negatives out by distance, and bounds the memory by chunks that change nothing else: each
chunk of rows is recomputed in the backward pass.
Logits are computed in float32 at least, outside autocast.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gairlib.errors import BadInput
from gairlib.geo import EARTH_RADIUS, as_float64, checkable, unit_sphere


def info_nce(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    *,
    temperature: float | Tensor,
    extra_keys: Float[Tensor, "m d"] | None = None,
    exclude: Bool[Tensor, "n k"] | None = None,
    symmetric: bool = True,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """Mean cross-entropy of each query's own key among all keys: {"loss", "accuracy"} scalars.

    Key i is query i's positive. Inputs are taken as given: the caller normalises. `extra_keys` are
    further negatives in the query-to-key direction only. True in `exclude` [N, N+M] takes that
    pair out of the softmax; its first N columns, transposed, serve the key-to-query direction; its
    diagonal must be False (checked on the CPU). `symmetric` averages both directions, loss and
    accuracy (share of rows whose positive is the largest). `chunk_size` rows at a time bounds
    memory to chunk_size x (N + M) logits and changes nothing else.
    """
    n, m = len(queries), 0 if extra_keys is None else len(extra_keys)
    _check(queries, keys, extra_keys, exclude, n, m, chunk_size)
    dtype = torch.promote_types(queries.dtype, torch.float32)
    with torch.autocast(queries.device.type, enabled=False):
        q, k = queries.to(dtype), keys.to(dtype)
        scale = 1.0 / temperature
        all_keys = k if extra_keys is None else torch.cat([k, extra_keys.to(dtype)])
        out = _direction(q, all_keys, scale, exclude, chunk_size)
        if symmetric:
            mask = None if exclude is None else exclude[:, :n].mT
            back = _direction(k, q, scale, mask, chunk_size)
            out = tuple((a + b) / 2 for a, b in zip(out, back))
    return {"loss": out[0], "accuracy": out[1]}


def _direction(
    rows: Tensor, columns: Tensor, scale: float | Tensor, exclude: Tensor | None, chunk: int | None
) -> tuple[Tensor, Tensor]:
    n = len(rows)
    step = n if chunk is None else min(chunk, n)
    loss = hits = 0.0
    for start in range(0, n, step):
        mask = None if exclude is None else exclude[start : start + step]
        args = (rows[start : start + step], columns, scale, mask, start)
        if step < n and torch.is_grad_enabled():
            part = checkpoint(_rows, *args, use_reentrant=False, preserve_rng_state=False)
        else:
            part = _rows(*args)
        loss, hits = loss + part[0], hits + part[1]
    return loss / n, hits / n


def _rows(
    rows: Tensor, columns: Tensor, scale: float | Tensor, exclude: Tensor | None, start: int
) -> tuple[Tensor, Tensor]:
    """Summed loss and number of hits of rows start, start + 1, ...: logits [c, K]."""
    logits = (rows * scale) @ columns.mT
    if exclude is not None:
        logits = logits.masked_fill(exclude, -math.inf)
    target = torch.arange(start, start + len(rows), device=rows.device)
    hits = (logits.detach().argmax(1) == target).sum()
    return F.cross_entropy(logits, target, reduction="sum"), hits.to(logits.dtype)


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
    # Straight through the sphere: the same order as great circles, and far cheaper.
    chord = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    limit = 2 * math.sin(min(metres / EARTH_RADIUS, math.pi) / 2)
    near = chord <= limit if metres < math.pi * EARTH_RADIUS else torch.ones_like(chord).bool()
    near.diagonal().fill_(False)
    return near


def incl(
    sv: Float[Tensor, "... d"],
    local: Float[Tensor, "... d"],
    *,
    temperature: float | Tensor,
    lonlat: Float[Tensor, "... 2"] | None = None,
    exclude_metres: float | None = None,
    symmetric: bool = True,
    chunk_size: int | None = None,
) -> dict[str, Tensor]:
    """Implicit neural contrastive learning (GAIR eq. 8): photo against the field where it stands.

    sv and local [..., D] of the same photos, e.g. [B, Q, D]; normalised here. Photos of the same
    chip are the useful hard negatives, but those within `exclude_metres` see the same place.
    """
    q, k = (F.normalize(v.reshape(-1, v.shape[-1]), dim=-1) for v in (sv, local))
    exclude = None
    if exclude_metres is not None:
        if lonlat is None:
            raise BadInput("incl: exclude_metres needs the photos' lonlat.")
        points = lonlat.reshape(-1, 2)
        exclude = exclude_near(points, points, exclude_metres)
    return info_nce(
        q,
        k,
        temperature=temperature,
        exclude=exclude,
        symmetric=symmetric,
        chunk_size=chunk_size,
    )


def secl(
    sv: Float[Tensor, "... d"],
    location: Float[Tensor, "... d"],
    *,
    temperature: float | Tensor,
    queue: Float[Tensor, "m d"] | None = None,
    lonlat: Float[Tensor, "... 2"] | None = None,
    queue_lonlat: Float[Tensor, "m 2"] | None = None,
    exclude_metres: float | None = None,
    symmetric: bool = True,
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
        q,
        k,
        temperature=temperature,
        extra_keys=queue,
        exclude=exclude,
        symmetric=symmetric,
        chunk_size=chunk_size,
    )
