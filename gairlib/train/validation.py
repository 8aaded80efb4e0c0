"""Retrieval on validation sites during training: photo -> localised RS embedding.

These sites steer no decision of a run. The test sites, which training never sees, are judged in
the benchmarks. `intervals` says, once training is over, how far its last recall is to be trusted.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from gairlib import preprocess
from gairlib import ranks as retrieval
from gairlib.config import GAIRConfig
from gairlib.model import GAIR
from gairlib.train.batches import PairBatches
from research.evaluation import stats


@torch.inference_mode()
def validate(
    model: Callable, data: PairBatches, config: GAIRConfig, device: torch.device
) -> dict[str, float]:
    """Recall and rank over all photos of the split, each once, without augmentation.

    model: a GAIR or what an engine wrapped it in; with several ranks each one does all of it.
    """
    ranks, _ = _ranks(model, data, config, device)
    model.train()
    return {
        "val_photos": len(ranks),
        "val_recall_at_1": retrieval.recall_at_k(ranks, 1),
        "val_recall_at_10": retrieval.recall_at_k(ranks, 10),
        "val_median_rank": retrieval.median_rank(ranks),
    }


@torch.inference_mode()
def intervals(model: GAIR, data: PairBatches) -> dict[str, float]:
    """95% intervals of `validate`'s recalls, in [0, 1], by a bootstrap over the split's sites.

    Returns `val_sites`, and `val_recall_at_<k>_low` and `_high` for k 1 and 10 where there are
    sites enough (`stats.MIN_CLUSTERS`). Photos that name no site go by their scene.
    """
    trains = model.training
    ranks, photo_ids = _ranks(model, data, model.config, next(model.parameters()).device)
    model.train(trains)
    rows = data.rows.drop_duplicates("photo_id").set_index("photo_id").loc[photo_ids]
    named = "site" in rows and rows["site"].notna().all()
    codes, sites = stats.encode_clusters(rows["site" if named else "scene_id"])
    found = {"val_sites": sites}
    if sites < stats.MIN_CLUSTERS:
        return found
    for k in (1, 10):
        spread = stats.cluster_bootstrap([stats.mean(ranks.recall_at(k), codes)], sites)
        found |= {
            f"val_recall_at_{k}_low": round(spread.low, 4),
            f"val_recall_at_{k}_high": round(spread.high, 4),
        }
    return found


def _ranks(
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
        own, at, _, _ = model(*(x.to(device) for x in (chips, xy, keep, images, lonlat)))
        # the last batch begins the split anew
        fresh = [i for i, p in enumerate(batch.photo_ids) if not (p in seen or seen.add(p))]
        photos.append(own[fresh].float().cpu())
        local.append(at[fresh].float().cpu())
        ids += [batch.photo_ids[i] for i in fresh]
    photos, local = (F.normalize(torch.cat(v), dim=-1) for v in (photos, local))
    return retrieval.ranks((photos @ local.T).numpy()), ids
