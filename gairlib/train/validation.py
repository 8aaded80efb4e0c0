"""Retrieval on validation sites during training: photo -> localised RS embedding.

These sites steer no decision of a run. The test sites, which training never sees, are judged in
the benchmarks; how far the last recall is to be trusted, `research.evaluation.validation` says.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from gairlib import preprocess
from gairlib import ranks as retrieval
from gairlib.config import GAIRConfig
from gairlib.train.batches import PairBatches


@torch.inference_mode()
def validate(
    model: Callable, data: PairBatches, config: GAIRConfig, device: torch.device
) -> dict[str, float]:
    """Recall and rank over all photos of the split, each once, without augmentation.

    model: a GAIR or what an engine wrapped it in, left in eval mode; with several ranks each one
    does all of it.
    """
    ranks, _ = ranks_of_photos(model, data, config, device)
    return {
        "val_photos": len(ranks),
        "val_recall_at_1": retrieval.recall_at_k(ranks, 1),
        "val_recall_at_10": retrieval.recall_at_k(ranks, 10),
        "val_median_rank": retrieval.median_rank(ranks),
    }


def ranks_of_photos(
    model: Callable, data: PairBatches, config: GAIRConfig, device: torch.device
) -> tuple[retrieval.Ranks, list[str]]:
    """Ranks of the n photos, and their ids in the same order. Leaves the model in eval mode."""
    model.eval()
    prep = preprocess.get(config.preprocessing)
    photos, local, ids, seen = [], [], [], set()
    for step in range(math.ceil(data.chips / data.chips_per_batch)):
        batch = data.batch(step)
        keep = batch.valid.reshape(-1).nonzero().squeeze(1)
        chips, xy = prep.rs(batch.chips, config.rs_size), batch.xy
        images = prep.sv(batch.photos[batch.valid], config.sv_size)
        lonlat = batch.lonlat[batch.valid]
        given = (x.to(device) for x in (chips, xy, keep, images, lonlat))
        heading = batch.heading.to(device) if config.reads_headings else None
        own, at, _, _ = model(*given, heading=heading, side_m=batch.side_m.to(device))
        # the last batch begins the split anew
        fresh = [i for i, p in enumerate(batch.photo_ids) if not (p in seen or seen.add(p))]
        photos.append(own[fresh].float().cpu())
        local.append(at[fresh].float().cpu())
        ids += [batch.photo_ids[i] for i in fresh]
    photos, local = (F.normalize(torch.cat(v), dim=-1) for v in (photos, local))
    return retrieval.ranks((photos @ local.T).numpy()), ids
