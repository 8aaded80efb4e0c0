"""State dicts of small random values, and the refusals that every converter owes them."""

import math

import pytest
import torch

from gairlib.errors import BadInput


def random_state(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        for name, shape in shapes.items()
    }


def refuses(load, state, name):
    """Missing, misshapen and unknown tensors are named."""
    without = {k: v for k, v in state.items() if k != name}
    with pytest.raises(BadInput, match=f"{name}.*missing"):
        load(without)
    with pytest.raises(BadInput, match=name):
        load({**state, name: state[name][..., :-1]})
    surprise = name.rsplit(".", 1)[0] + ".surprise"
    with pytest.raises(BadInput, match=f"{surprise} is unknown"):
        load({**state, surprise: torch.zeros(2)})
