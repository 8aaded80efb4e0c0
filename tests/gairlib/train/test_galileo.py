"""GAIR with Galileo's tower: it trains on pairs, and a held one stays as it was."""

import pytest
import torch
from builders.small_training import CONFIG, OPTIONS, pair_up

from gairlib import GAIR
from gairlib.train import loop, prepare
from gairlib.train.engine import Engine
from gairlib.train.towers import Tuning


@pytest.mark.parametrize("held", [False, True])
def test_a_few_steps(tiny, tmp_path, held):
    config = CONFIG.replace(rs_model="galileo", rs_patch=16, preprocessing="galileo")
    dataset, pairs = pair_up(tiny)
    data = prepare.batches(pairs, dataset, config, OPTIONS)
    torch.manual_seed(0)
    model = GAIR(config)
    before = {k: v.clone() for k, v in model.rs.state_dict().items()}
    names = frozenset(f"rs.{name}" for name in before)
    loop.pretrain(
        model,
        data["train"],
        data.get("val"),
        tmp_path,
        OPTIONS,
        checkpoints=tmp_path / "checkpoints",
        engine=Engine("cpu"),
        towers={"rs": Tuning(names, 0)} if held else None,
        progress=False,
    )
    trained = GAIR.from_pretrained(tmp_path / "model").rs
    moved = {k for k, v in trained.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == (set() if held else {name for name, _ in trained.named_parameters()})
