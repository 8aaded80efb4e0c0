"""RS encoder: ALiBi geometry, patch order, other grid sizes, refusals."""

import math

import pytest
import torch
import torch.nn.functional as F

from gairlib.errors import BadInput
from gairlib.rs import base, vit


def make(**options):
    torch.manual_seed(0)
    options = {"bands": 10, "size": 16, "patch": 4, "depth": 2, "heads": 2, **options}
    return vit.RSEncoder(8, **options).eval()


def published_slopes(n):
    """The ALiBi paper's recipe."""
    if math.log2(n).is_integer():
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start ** (i + 1) for i in range(n)]
    p = 2 ** math.floor(math.log2(n))
    return published_slopes(p) + published_slopes(2 * p)[0::2][: n - p]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 12, 16])
def test_alibi_against_the_papers_recipe(heads):
    h, w = 3, 4
    bias = vit.alibi_bias(vit.slope_exponents(heads), vit.squared_distances(h, w))
    assert bias.shape == (1, heads, 12, 12)
    for head, slope in enumerate(published_slopes(heads)):
        for i in range(12):
            for j in (0, 5, 11):
                far = math.hypot(i // w - j // w, i % w - j % w)
                assert bias[0, head, i, j].item() == pytest.approx(-slope * far, rel=1e-12)


def test_patches_are_flattened_as_channel_row_column():
    images = torch.arange(2 * 10 * 8 * 12).float().reshape(2, 10, 8, 12)
    encoder = make()
    patches = encoder.patches(images)
    assert patches.shape == (2, 2, 3, 160)
    assert torch.equal(patches[1, 1, 2], images[1, :, 4:8, 8:12].flatten())
    # the same as a convolution with the weights reshaped, which is how others store them
    kernel = encoder.embed.weight.reshape(8, 10, 4, 4)
    want = F.conv2d(images, kernel, encoder.embed.bias, stride=4).permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder.embed(patches), want, rtol=1e-4, atol=1e-2)


def naive(encoder, images):
    """Attention written out, one head at a time."""
    patches = encoder.patches(images)
    b, h, w, _ = patches.shape
    x = encoder.embed(patches).flatten(1, 2)
    for block in encoder.blocks:
        qkv = block.attn.qkv(block.norm1(x)).chunk(3, -1)
        heads = []
        for k, (q, key, v) in enumerate(zip(*(t.chunk(block.attn.num_heads, -1) for t in qkv))):
            scores = q @ key.mT / q.shape[-1] ** 0.5
            slope = published_slopes(block.attn.num_heads)[k]
            scores = scores - slope * vit.squared_distances(h, w).to(x.dtype).sqrt()
            heads.append(scores.softmax(-1) @ v)
        x = x + block.attn.proj(torch.cat(heads, -1))
        x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
    return encoder.project(encoder.norm(x)).reshape(b, h, w, -1)


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
@pytest.mark.parametrize("options", [{}, {"width": 12, "heads": 3}, {"final_norm": False}])
def test_against_naive_at_any_grid_size(size, options):
    encoder = make(**options).double()
    images = torch.randn(2, 10, *size).double()
    features = encoder(images)
    torch.testing.assert_close(features.grid, naive(encoder, images))
    torch.testing.assert_close(features.pooled, features.grid.mean((1, 2)))
    assert features.backbone.shape == (2, options.get("width", 8))
    torch.testing.assert_close(encoder.project(features.backbone), features.pooled)


def test_no_state_between_calls():
    encoder, small, large = make(), torch.randn(1, 10, 8, 8), torch.randn(1, 10, 32, 32)
    with torch.inference_mode():
        before = encoder(small).grid.clone()
        encoder(large)
    again = encoder(small).grid  # with gradients, after inference tensors were about
    again.sum().backward()
    torch.testing.assert_close(again.detach(), before)


def test_geometry_is_exact_after_half_precision():
    a, b = make().double(), make().bfloat16().double()
    b.load_state_dict(a.state_dict())
    images = torch.randn(1, 10, 16, 16).double()
    assert torch.equal(a(images).grid, b(images).grid)
    assert not [k for k in a.state_dict() if "squared" in k or "exponents" in k]


def test_no_class_token_no_qkv_bias_norm_eps():
    names = dict(make().named_parameters())
    assert not [k for k in names if "qkv.bias" in k or "cls" in k]
    assert all(m.eps == 1e-5 for m in make().modules() if isinstance(m, torch.nn.LayerNorm))


def test_refusals():
    encoder = make()
    with pytest.raises(BadInput, match=r"\[B, 10, H, W\]"):
        encoder(torch.zeros(1, 13, 16, 16))
    with pytest.raises(BadInput, match=r"\[B, 10, H, W\]"):
        encoder(torch.zeros(10, 16, 16))
    with pytest.raises(BadInput, match="15 x 16 pixels"):
        encoder(torch.zeros(1, 10, 15, 16))


def test_layers_are_what_the_blocks_make_one_by_one():
    encoder, images = make(depth=4), torch.randn(2, 10, 16, 16)
    grids = encoder.layers(images, 4)
    x = encoder.embed(encoder.patches(images)).flatten(1, 2)
    bias = vit.alibi_bias(encoder.exponents, encoder.squared).float()
    for number, block in enumerate(encoder.blocks):
        x = block(x, attn_mask=bias)
        if number < 3:
            torch.testing.assert_close(grids[number].flatten(1, 2), x)
    torch.testing.assert_close(grids[3].flatten(1, 2), encoder.norm(x))
    torch.testing.assert_close(grids[3], encoder(images).grid)  # no projection: width is dim


@pytest.mark.parametrize(
    "blocks, found", [(12, [3, 6, 9, 12]), (4, [1, 2, 3, 4]), (2, [0, 1, 1, 2]), (1, [0, 0, 0, 1])]
)
def test_depths_are_evenly_spaced_and_end_with_the_last(blocks, found):
    assert base.depths(blocks, 4) == found
    with pytest.raises(BadInput, match="count is 0"):
        base.depths(blocks, 0)
