"""The options of a run: what decays and what does not."""

import pytest
import torch
from builders import one_step
from torch import nn

from gairlib import GAIR, GAIRConfig
from gairlib.train.engine import Engine
from gairlib.train.options import PretrainOptions, adamw, parameter_groups


def decays(model, groups):
    """Names of the parameters with weight decay, and of those without."""
    names = {id(p): n for n, p in model.named_parameters()}
    found = [[names[id(p)] for p in group["params"]] for group in groups]
    assert sorted(found[0] + found[1]) == sorted(names.values()), "each parameter once"
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    return set(found[0]), set(found[1])


def test_tokens_and_positions_do_not_decay_and_matrices_do():
    model = one_step.model()
    matrices, others = decays(model, parameter_groups(model, 0.05))
    assert {"sv.tower.cls_token", "sv.tower.pos_embed", "log_temperature"} <= others
    assert {"sv.tower.blocks.0.attn.qkv.weight", "sv.tower.patch_embed.proj.weight"} <= matrices
    assert {"rs.embed.weight", "sv.dense.weight", "field.last.weight"} <= matrices
    assert not [n for n in matrices if n.endswith("bias") or "norm" in n]
    assert not [n for n, p in model.named_parameters() if p.ndim < 2 and n in matrices]


@pytest.mark.parametrize(
    "tower, options, spared",
    [
        (
            "vit_tiny_patch16_224",
            {"img_size": 32, "depth": 1, "reg_tokens": 2},
            {"cls_token", "reg_token", "pos_embed"},
        ),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 56, "depths": [1, 1, 1, 1]},
            {f"layers.{i}.blocks.0.attn.relative_position_bias_table" for i in range(4)},
        ),
        ("resnet10t", {}, set()),
    ],
)
def test_a_towers_own_list_is_taken(tower, options, spared):
    size = options.get("img_size", 64)
    config = GAIRConfig.preset("small", sv_model=tower, sv_options=options, sv_size=size)
    model = GAIR(config)
    matrices, others = decays(model, parameter_groups(model, 0.05))
    wide = {n for n, p in model.named_parameters() if p.ndim >= 2}
    assert wide & others == {f"sv.tower.{name}" for name in spared}
    assert wide - others == matrices


def test_parts_list_their_own_names_wherever_they_stand():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.matrix = (nn.Parameter(torch.ones(2, 3)) for _ in range(2))

        def no_weight_decay(self):
            return {"token"}

    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Part()))
    matrices, others = decays(model, parameter_groups(model, 0.05))
    assert matrices == {"0.weight", "1.0.matrix"} and others == {"0.bias", "1.0.token"}


def test_recomputed_blocks_hide_nothing_and_a_token_without_gradient_stays():
    """With weight decay alone a matrix shrinks at every step, and a token does not."""
    options = PretrainOptions(lr=0.1, weight_decay=0.5)
    engine = Engine("cpu", activation_checkpointing=True)
    model = one_step.model()
    _, optimiser = engine.setup(
        engine.fabric("32-true"), model, lambda m: adamw(m, options), parts=1
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    same = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
    assert same == {n for n in before if before[n].ndim < 2} | {
        "sv.tower.cls_token",
        "sv.tower.pos_embed",
    }
