"""Heads answer for every pixel and learn what the tokens say."""

import pytest
import torch

from gairlib.mapping import pixel_heads as heads


@pytest.mark.parametrize("tokens, size", [(4, 16), (16, 64), (12, 96), (3, 24)])
def test_heads_answer_for_every_pixel(tokens, size):
    layers = [torch.randn(2, tokens, tokens, 6) for _ in range(4)]
    assert heads.UPerNet(6, 5, size, channels=4)(layers).shape == (2, 5, size, size)
    assert heads.LinearHead(6, 5, size)(layers).shape == (2, 5, size, size)


def test_upernet_reads_all_four_layers():
    torch.manual_seed(0)
    head = heads.UPerNet(6, 3, 32, channels=16).eval()
    layers = [torch.randn(1, 8, 8, 6, requires_grad=True) for _ in range(4)]
    head(layers).square().sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in layers)
