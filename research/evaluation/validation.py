"""How far the recalls of a training run's validation are to be trusted: intervals over sites."""

import torch

from gairlib.model import GAIR
from gairlib.train.batches import PairBatches
from gairlib.train.validation import ranks_of_photos
from research.evaluation import stats
from research.evaluation.splits import sites_of


@torch.inference_mode()
def intervals(model: GAIR, data: PairBatches) -> dict[str, float]:
    """95% intervals of `gairlib.train.validation.validate`'s recalls, in [0, 1], by a bootstrap
    over the split's sites.

    Returns `val_sites`, and `val_recall_at_<k>_low` and `_high` for k 1 and 10 where there are
    sites enough (`stats.MIN_CLUSTERS`). Photos that name no site go by their scene.
    """
    trains = model.training
    ranks, photo_ids = ranks_of_photos(model, data, model.config, next(model.parameters()).device)
    model.train(trains)
    rows = data.rows.drop_duplicates("photo_id").set_index("photo_id").loc[photo_ids]
    codes, sites = stats.encode_clusters(sites_of(rows))
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
