"""Wrappers and prefixes of checkpoints, by names alone."""

import warnings

import pytest
import torch

from gairlib.errors import BadInput
from gairlib.state_names import named

OWN = {"rs.weight": torch.ones(2, 2), "rs.bias": torch.zeros(2), "head.weight": torch.ones(1)}
OTHER = {k: v + 1 for k, v in OWN.items()}
PREFIXES = (
    *("", "net.", "model.", "module.", "_orig_mod.", "model.module._orig_mod.", "backbone."),
    *("encoder.", "student.", "teacher.backbone.", "state_dict.", "module._orig_mod.module."),
    *("_forward_module._fsdp_wrapped_module.", "a.b.c.d.e."),
)


def under(prefix, state=OWN):
    return {prefix + k: v for k, v in state.items()}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3, "hyper_parameters": {"lr": 1e-3}},
        lambda s: {"model_state_dict": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(9)}}}},
        lambda s: {"epoch": 3, "checkpoint": {"model": s, "step": torch.tensor(4)}},
        lambda s: {"module": s, "ds_config": {"a": 1}, "param_shapes": [{"x": torch.Size([1])}]},
        lambda s: {"state_dict_ema": s},
    ],
)
def test_any_prefix_in_any_wrapper_comes_off(prefix, wrap):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert named(wrap(under(prefix)), OWN, "x") == (OWN, [])


def test_what_counts_steps_is_no_tensor_of_the_module():
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2))
    own, beside = named(averaged.state_dict(), ["weight", "bias"], "x")
    assert set(own) == {"weight", "bias"} and beside == []
    assert named({"ema.n_averaged": torch.tensor(3), **under("ema.module.")}, OWN, "x")[1] == []


def test_names_beside_are_told_and_a_larger_model_is_entered():
    whole = under("model.encoder.") | {"model.decoder.weight": torch.ones(1), "loss.weight": 1.0}
    assert named({"state_dict": whole}, OWN, "x") == (OWN, ["model.decoder.weight"])
    siblings = {"model": {"a": under("", OTHER), "b": OWN}}
    assert named(siblings, OWN, "x", inner="b.") == (OWN, [f"a.{k}" for k in OWN])


@pytest.mark.parametrize(
    "content, taken",
    [
        ({"model": OWN, "model_ema": OTHER}, "model."),
        ({"ema": OTHER, "state_dict": OWN}, "state_dict."),
        ({"teacher": under("backbone.", OTHER), "student": under("backbone.")}, "student.backbone"),
        ({"optimiser": {"exp_avg": OTHER}, "model": OWN}, "model."),
    ],
)
def test_of_several_copies_one_is_taken_and_named(content, taken):
    with pytest.warns(UserWarning, match=f"stands there 2 times; what is under '{taken}"):
        assert named(content, OWN, "x")[0] == OWN


def test_refusals():
    with pytest.raises(BadInput, match="rs.weight is missing, .*2 tensors are there, z.a, z.b"):
        named({"z": {"a": torch.ones(1), "b": torch.ones(1)}}, OWN, "x")
    with pytest.raises(BadInput, match="rs.bias stands there twice"):
        named({**under("module."), "rs.bias": torch.zeros(2)}, OWN, "x")
    with pytest.raises(BadInput, match="rs.bias stands there twice"):
        named({**under("net."), "rs.bias": torch.zeros(2)}, OWN, "x")
    endless = dict(OWN)
    endless["self"] = endless
    assert named(endless, OWN, "x")[0]["rs.bias"] is OWN["rs.bias"]


def test_names_of_deeper_layers_are_no_prefixes():
    """Where a name of an inner layer ends as an outer one's does (ResNet's bn1)."""
    state = {"bn1.weight": torch.ones(1), "layer1.0.bn1.weight": torch.ones(1)}
    assert named(under("net.", state), state, "x") == (state, [])
