"""A training run's validation recall has an interval over its sites."""

import pytest
import torch

from gairlib import GAIR, GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.pairs.pairing import pair
from gairlib.train import prepare
from gairlib.train.validation import validate
from research.evaluation.validation import intervals
from research.reports.words import quantity


@pytest.fixture
def dataset(tiny):
    return Dataset(tiny)


def small_run(dataset, sites: int):
    """A model and validation batches of quito's twelve photos, said to be of so many sites."""
    street = dataset.street().assign(split="val")
    street["site"] = [f"site-{i % sites}" for i in range(len(street))]
    street = street[street["photo_id"].str.startswith("quito")]
    paired = pair(
        street, dataset.scenes(), chip_px=32, chip_m=320.0, max_photos=3, seed=0, progress=False
    )
    sv = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 1}
    config = GAIRConfig.preset(
        "small", dim=16, rs_size=32, rs_patch=8, rs_depth=1, rs_heads=2, sv_size=32, sv_options=sv
    )
    torch.manual_seed(0)
    options, _ = prepare.settings({"chips_per_batch": 4, "photos_per_chip": 3})
    return GAIR(config), prepare.batches(paired, dataset, config, options)["val"]


def test_recall_on_validation_sites_has_an_interval_over_sites(dataset):
    model, data = small_run(dataset, 6)
    found = validate(model, data, model.config, torch.device("cpu"))
    spread = intervals(model.eval(), data)
    assert spread["val_sites"] == 6 and not model.training
    for k in (1, 10):
        low, high = (spread[f"val_recall_at_{k}_{end}"] for end in ("low", "high"))
        assert 0 <= low <= found[f"val_recall_at_{k}"] <= high <= 1
    assert spread["val_recall_at_10_low"] < spread["val_recall_at_10_high"]
    assert str(quantity("val_recall_at_10", found | spread)).count("%") == 3


def test_few_validation_sites_support_no_interval(dataset):
    assert intervals(*small_run(dataset, 2)) == {"val_sites": 2}
