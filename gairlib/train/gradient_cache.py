"""One batch's gradients, whatever it is divided into: parts of a device's memory, or devices.

A contrastive loss couples all N photos of a batch, so neither parts nor devices can take their own
losses and add them up. Gradient caching (GradCache, arXiv 2101.06983) does it exactly: encode each
part without a graph; put the embeddings of all parts and all devices together; differentiate the
loss with respect to the embeddings; encode each part again, now with its graph, and send it its
share of that gradient. With a single part the graph is kept and nothing is encoded twice. Devices
exchange embeddings only, and every one works out the loss of the whole batch: beside the encoders
it costs next to nothing, and no rank's gradient depends on a collective in the backward pass.

Exact means: R ranks with B chips each give the loss and gradients of one rank with R x B chips, and
any number of parts those of one part, up to the order of summation. A tower with batch norm is the
exception, since it looks at its neighbours: see gairlib.train.engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gairlib.train.held import Held
from gairlib.train.inputs import Inputs
from gairlib.train.objective import Embeddings, embed, terms
from gairlib.train.options import PretrainOptions

GOLDEN = 0x9E3779B97F4A7C15


def backward(
    fabric: Any,
    model: Callable,
    inputs: Inputs,
    queued: Tensor,
    options: PretrainOptions,
    *,
    seed: int = 0,
    held: Held | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Add the gradients of the global batch to the model's; returns the terms and all coordinates.

    model: what `fabric.setup` returned for a GAIR; inputs: this rank's part of the batch; queued
    [M, 2]: earlier coordinates, the same on all ranks. The terms (detached) are of the global
    batch and the same on all ranks, and so are the coordinates [N, 2] of its photos, in rank order.
    held: see `objective.embed`. `seed` drives what is random inside the towers (drop path): the
    same for both encodings.
    """
    parts = inputs.split(options.gradient_parts)
    last = len(parts) - 1
    keep_graph = len(parts) == 1
    outputs = []
    for i, part in enumerate(parts):
        _reseed(seed, fabric.global_rank, i)
        with torch.set_grad_enabled(keep_graph):
            outputs.append(embed(model, part, queued if i == last else queued[:0], held))

    sv, local, here, field = (
        torch.cat([getattr(o, k) for o in outputs]).detach()
        for k in ("sv", "local", "here", "field")
    )
    ranks = _AllRanks(fabric, inputs)
    sv, local, here = (ranks.gather(v) for v in (sv, local, here))
    field = ranks.gather(field, ranks.chips)
    leaves = Embeddings(
        sv, local, here, outputs[-1].queued.detach(), outputs[-1].temperature.detach(), field
    )
    leaves = Embeddings(*(leaf.float().requires_grad_() for leaf in leaves))
    lonlat = ranks.gather(inputs.lonlat)
    near = ranks.gather(inputs.near_field(options.field_exclude_m).byte()).bool()
    chip = ranks.gather(inputs.chip + fabric.global_rank * len(inputs.chips))
    found = terms(
        leaves, lonlat=lonlat, chip=chip, near_field=near, queued_lonlat=queued, options=options
    )
    found["loss"].backward()

    # Fabric averages over ranks: what only this rank has counts R-fold, what all share once.
    *photos, queue, temperatures, fields = (
        leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for leaf in leaves
    )
    photos = [ranks.own_part(g) * fabric.world_size for g in photos]
    fields = ranks.own_part(fields, ranks.chips) * fabric.world_size
    start = begin = 0
    for i, part in enumerate(parts):
        if keep_graph:
            output = outputs[0]
        else:
            _reseed(seed, fabric.global_rank, i)
            output = embed(model, part, queued if i == last else queued[:0], held)
        rows = slice(start, start + len(part.keep))
        chips = slice(begin, begin + len(part.chips))
        start, begin = rows.stop, chips.stop
        # every parameter takes part in every backward pass, or DDP would wait for it
        shared = (queue, temperatures) if i == last else (queue[:0], 0 * temperatures)
        gradients = (*(g[rows] for g in photos), *shared, fields[chips])
        with fabric.no_backward_sync(model, enabled=i != last):
            fabric.backward(sum((o * g).sum() for o, g in zip(output, gradients)), model=model)
    return {k: v.detach() for k, v in found.items()}, lonlat


def _reseed(seed: int, rank: int, part: int) -> None:
    """The towers' own randomness from (seed, rank, part): repeats itself, differs between them."""
    torch.manual_seed((seed + GOLDEN * (1 + 4096 * rank + part)) % 2**63)


class _AllRanks:
    """Rows of all ranks, in rank order. Ranks hold equally many chips, but not photos.

    photos, chips: how many each rank holds. counts: rows of each rank, default `photos`.
    """

    def __init__(self, fabric: Any, inputs: Inputs) -> None:
        self.fabric, self.photos = fabric, [len(inputs.lonlat)]
        if fabric.world_size > 1:
            count = torch.tensor(self.photos, device=inputs.lonlat.device)
            self.photos = fabric.all_gather(count).flatten().tolist()
        self.chips = [len(inputs.chips)] * fabric.world_size

    def gather(self, own: Tensor, counts: list[int] | None = None) -> Tensor:
        """All ranks' rows from this rank's own; they travel padded to the longest."""
        if self.fabric.world_size == 1:
            return own
        counts = counts or self.photos
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        return torch.cat([r[:n] for r, n in zip(self.fabric.all_gather(padded), counts)])

    def own_part(self, rows: Tensor, counts: list[int] | None = None) -> Tensor:
        """This rank's rows from all ranks'."""
        counts, rank = counts or self.photos, self.fabric.global_rank
        return rows[sum(counts[:rank]) : sum(counts[: rank + 1])]
