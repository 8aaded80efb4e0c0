"""GAIR with Galileo's tower: it trains on pairs, and a held one stays as it was."""

import pytest
import torch
from builders.small_training import CONFIG, pair_up, train

from gairlib import GAIR
from gairlib.train.towers import Tuning


@pytest.mark.parametrize("held", [False, True])
def test_a_few_steps(tiny, tmp_path, held):
    config = CONFIG.replace(rs_model="galileo", rs_patch=16, preprocessing="galileo")
    dataset, pairs = pair_up(tiny)
    torch.manual_seed(0)
    model = GAIR(config)
    before = {k: v.clone() for k, v in model.rs.state_dict().items()}
    names = frozenset(f"rs.{name}" for name in before)
    towers = {"rs": Tuning(names, 0)} if held else None
    train(model, dataset, pairs, tmp_path, towers=towers)
    trained = GAIR.from_pretrained(tmp_path / "model").rs
    moved = {k for k, v in trained.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == (set() if held else {name for name, _ in trained.named_parameters()})
