"""NILI's fast paths against direct evaluation as published: values, gradients, borders, modes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib import inr
from gairlib.errors import BadInput

CORNERS = [[-1, -1], [1, 1], [-1, 1], [1, -1], [0, 0], [0.999, -0.2], [-0.999999, 0.5]]


def direct(nili, grid, xy, cell=None):
    """LIIF's local ensemble as published: unfold, four gathers, concatenate, decode, blend."""
    b, h, w, d = grid.shape
    q = xy.shape[1]
    unfolded = F.unfold(grid.permute(0, 3, 1, 2), 3, padding=1).view(b, 9 * d, h, w)
    preds, areas = [], []
    for vy in (-1, 1):
        for vx in (-1, 1):
            shifted = torch.stack(
                [xy[..., 0] + vx / w + 1e-6, xy[..., 1] + vy / h + 1e-6], -1
            ).clamp(-1 + 1e-6, 1 - 1e-6)
            col = ((shifted[..., 0] + 1) / 2 * w).floor().long()
            row = ((shifted[..., 1] + 1) / 2 * h).floor().long()
            value = torch.stack([unfolded[i, :, row[i], col[i]].T for i in range(b)])
            dx = (xy[..., 0] - ((2 * col.double() + 1) / w - 1)) * w
            dy = (xy[..., 1] - ((2 * row.double() + 1) / h - 1)) * h
            x = torch.cat([value, dx[..., None], dy[..., None]], -1)
            pred = nili.linear(x)
            if nili.decoder == "mlp":
                size = torch.tensor([2 / w, 2 / h] if cell is None else cell, dtype=x.dtype)
                tokens = (size * torch.tensor([w, h]) / 2).log2().expand(b, q, 2)
                y = F.gelu(nili.first(torch.cat([x, tokens], -1)))
                for layer in nili.middle:
                    y = F.gelu(layer(y))
                pred = pred + nili.last(y)
            preds.append(pred)
            areas.append((dx * dy).abs() + 1e-9)
    total = sum(areas)
    return sum(p * (a / total)[..., None] for p, a in zip(preds, reversed(areas)))


def make(decoder, d=6, seed=0, **options):
    torch.manual_seed(seed)
    nili = inr.NILI(d, decoder, hidden=(16, 12), **options).double()
    for p in nili.parameters():  # the last layer starts at zero: give it something to do
        torch.nn.init.normal_(p, std=0.3)
    return nili


def queries(b, q, seed=0):
    xy = torch.rand(b, q, 2, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    xy[:, : len(CORNERS)] = torch.tensor(CORNERS).double()[:q]
    return xy


@pytest.mark.parametrize("decoder", ["linear", "mlp"])
@pytest.mark.parametrize("q", [3, 9, 50])  # fewer, between and more queries than tokens
@pytest.mark.parametrize("h, w", [(4, 6), (1, 1), (2, 5)])
def test_fast_equals_direct_with_gradients(decoder, q, h, w):
    nili = make(decoder, chunk=7)
    grid = torch.randn(3, h, w, 6).double().requires_grad_()
    xy = queries(3, q).requires_grad_()
    leaves = [grid, xy, *nili.parameters()]
    want, got = direct(nili, grid, xy), nili(grid, xy)
    torch.testing.assert_close(got, want, atol=1e-11, rtol=1e-9)
    probe = torch.randn_like(want)
    for a, b in zip(
        torch.autograd.grad(got, leaves, probe), torch.autograd.grad(want, leaves, probe)
    ):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


def test_cell_size():
    nili, grid, xy = make("mlp"), torch.randn(2, 3, 4, 6).double(), queries(2, 20)
    for cell in ((0.1, 0.05), (2 / 4, 2 / 3)):
        torch.testing.assert_close(nili(grid, xy, cell), direct(nili, grid, xy, cell))
    torch.testing.assert_close(nili(grid, xy, (2 / 4, 2 / 3)), nili(grid, xy))  # the default
    assert (nili(grid, xy, (0.1, 0.1)) - nili(grid, xy)).abs().max() > 1e-3
    with pytest.raises(BadInput, match="cell"):
        make("linear")(grid, xy, (0.1, 0.1))


@pytest.mark.parametrize("decoder", ["linear", "mlp"])
def test_chunks_change_nothing(decoder):
    grid, xy = torch.randn(2, 3, 3, 6).double(), queries(2, 33)
    whole, parts = make(decoder), make(decoder, chunk=5)
    torch.testing.assert_close(whole(grid, xy), parts(grid, xy))
    with torch.no_grad():
        torch.testing.assert_close(whole(grid, xy), parts(grid, xy))


@given(st.integers(1, 20), st.integers(1, 20), st.floats(-1, 1), st.floats(-1, 1))
@settings(deadline=None)
def test_taps(h, w, x, y):
    t = inr.taps(torch.tensor([[x, y]], dtype=torch.float64), h, w)
    assert t.weight.sum().item() == pytest.approx(1, abs=1e-12) and (t.weight >= 0).all()
    assert ((0 <= t.row) & (t.row < h)).all() and ((0 <= t.col) & (t.col < w)).all()
    if abs(x) < 1 - 1 / w - 1e-5 and abs(y) < 1 - 1 / h - 1e-5:  # interior: no offset remains
        mean = (t.weight[..., None] * t.offset).sum(1)
        # the published floor chooses the next cell 1e-6 early: 2e-6 n spans of an offset remain
        assert mean.abs().max() < 1e-5 + 2e-6 * max(h, w)


@pytest.mark.parametrize("decoder", ["linear", "mlp"])
def test_mean_is_the_field_at_the_token_centres(decoder):
    nili, grid = make(decoder), torch.randn(2, 4, 5, 6).double()
    # A hair beside them: exactly at the centres of the last row and column the published 1e-9
    # is all that is left of the four areas, and they blend evenly.
    x, y = ((torch.arange(n).double() * 2 + 1) / n - 1 + 1e-5 for n in (5, 4))
    centres = torch.cartesian_prod(x, y)[None]
    field = nili(grid, centres.expand(2, -1, -1))
    torch.testing.assert_close(nili.mean(grid), field.mean(1), atol=1e-3, rtol=0)


def test_field_is_continuous():
    nili, grid = make("mlp").eval(), torch.randn(1, 5, 5, 6).double()
    x = torch.linspace(-1, 1, 4001).double()
    line = nili(grid, torch.stack([x, 0.3 * x + 0.1], -1)[None])[0]
    step = (line[1:] - line[:-1]).abs().amax(1)
    assert step.max() < 20 * step.median()  # a jump would be hundreds of times a step


def test_starts_at_the_tokens():
    """At initialisation the field is close to bilinear interpolation of the tokens."""
    torch.manual_seed(0)
    grid, xy = torch.randn(2, 6, 6, 32), queries(2, 40).float()
    for decoder in ("linear", "mlp"):
        field = inr.NILI(32, decoder)(grid, xy)
        tokens = inr.interpolate(grid, xy)
        assert F.cosine_similarity(field, tokens, dim=-1).min() > 0.9


def naive_bilinear(grid, xy, padding):
    b, h, w, _ = grid.shape
    out = torch.zeros(b, xy.shape[1], grid.shape[-1], dtype=grid.dtype)
    for i in range(b):
        for j, (x, y) in enumerate(xy[i].tolist()):
            u, v = (x + 1) * w / 2 - 0.5, (y + 1) * h / 2 - 0.5
            for r in (int(v // 1), int(v // 1) + 1):
                for c in (int(u // 1), int(u // 1) + 1):
                    share = (1 - abs(u - c)) * (1 - abs(v - r))
                    inside = 0 <= r < h and 0 <= c < w
                    if inside or padding == "border":
                        token = grid[i, min(max(r, 0), h - 1), min(max(c, 0), w - 1)]
                        out[i, j] += share * token
    return out


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_bilinear(padding):
    grid, xy = torch.randn(2, 3, 4, 5).double(), queries(2, 12)
    torch.testing.assert_close(
        inr.interpolate(grid, xy, "bilinear", padding), naive_bilinear(grid, xy, padding)
    )


def test_border_padding_does_not_fade():
    grid = torch.ones(1, 4, 4, 3)
    for mode in ("bilinear", "bicubic", "nearest"):
        torch.testing.assert_close(
            inr.interpolate(grid, queries(1, 7).float(), mode), torch.ones(1, 7, 3)
        )
    faded = inr.interpolate(grid, torch.tensor([[[1.0, 1.0]]]), "bilinear", "zeros")
    torch.testing.assert_close(faded, torch.full((1, 1, 3), 0.25))


def test_half_precision_grids_keep_precise_positions():
    grid, xy = torch.randn(2, 16, 16, 8), queries(2, 50)
    for mode in ("bilinear", "nearest"):
        low = inr.interpolate(grid.bfloat16(), xy, mode)
        assert low.dtype == torch.bfloat16
        torch.testing.assert_close(
            low.float(), inr.interpolate(grid, xy, mode), atol=0.05, rtol=0.02
        )
    nili = inr.NILI(8)
    low = nili.bfloat16()(grid.bfloat16(), xy).float()
    torch.testing.assert_close(low, nili.float()(grid, xy), atol=0.1, rtol=0.05)


def test_refusals():
    nili, grid = make("linear"), torch.randn(2, 3, 3, 6).double()
    for xy in (torch.zeros(1, 4, 2), torch.zeros(2, 2), torch.zeros(2, 4, 3)):
        with pytest.raises(BadInput, match="xy"):
            nili(grid, xy.double())
        with pytest.raises(BadInput, match="xy"):
            inr.interpolate(grid, xy.double())
    with pytest.raises(BadInput, match="channels"):
        nili(torch.randn(2, 3, 3, 5).double(), torch.zeros(2, 1, 2).double())
    with pytest.raises(BadInput, match="decoder"):
        inr.NILI(4, "spline")


def test_no_queries():
    for decoder in ("linear", "mlp"):
        out = make(decoder)(torch.randn(2, 3, 3, 6).double(), torch.zeros(2, 0, 2).double())
        assert out.shape == (2, 0, 6)


def cubic(t, a=-0.75):
    """Keys' kernel, as grid_sample has it."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_bicubic(padding):
    grid, xy = torch.randn(1, 3, 4, 5).double(), queries(1, 9)
    got = inr.interpolate(grid, xy, "bicubic", padding)[0]
    for out, (x, y) in zip(got, xy[0].tolist()):
        u, v, want = (x + 1) * 4 / 2 - 0.5, (y + 1) * 3 / 2 - 0.5, 0.0
        for r in range(int(v // 1) - 1, int(v // 1) + 3):
            for c in range(int(u // 1) - 1, int(u // 1) + 3):
                if (0 <= r < 3 and 0 <= c < 4) or padding == "border":
                    token = grid[0, min(max(r, 0), 2), min(max(c, 0), 3)]
                    want = want + cubic(u - c) * cubic(v - r) * token
        torch.testing.assert_close(out, want, atol=1e-9, rtol=1e-9)


def test_nearest_is_the_token_that_the_position_lies_in():
    grid, xy = torch.randn(2, 3, 4, 5).double(), queries(2, 30, seed=3)[:, len(CORNERS) :]
    col, row = ((xy[..., k] + 1) / 2 * n for k, n in ((0, 4), (1, 3)))
    want = torch.stack([grid[i, row[i].long(), col[i].long()] for i in range(2)])
    assert torch.equal(inr.interpolate(grid, xy, "nearest"), want)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_gradients_of_the_interpolations(mode):
    """Numerically, to the tokens and, where the reading is smooth, to the positions."""
    grid = torch.randn(1, 3, 3, 2).double().requires_grad_()
    xy = queries(1, 12)[:, len(CORNERS) :].requires_grad_(mode != "nearest")
    assert torch.autograd.gradcheck(lambda g, p: inr.interpolate(g, p, mode), (grid, xy))


@pytest.mark.parametrize("decoder", ["linear", "mlp"])
@pytest.mark.parametrize("q", [2, 20])  # few: blended neighbourhoods; many: the folded grid
def test_gradients_of_both_paths_numerically(decoder, q):
    nili = make(decoder, d=2, chunk=6)
    grid = torch.randn(1, 3, 3, 2).double().requires_grad_()
    xy = queries(1, q + len(CORNERS))[:, len(CORNERS) :].requires_grad_()
    assert torch.autograd.gradcheck(nili, (grid, xy), nondet_tol=0.0)


def test_mlp_takes_at_most_a_chunk_at_a_time(monkeypatch):
    """... in the forward pass and again in the backward pass, where it is recomputed."""
    nili, sizes = make("mlp", chunk=8), []
    correction = nili._correction
    monkeypatch.setattr(
        nili,
        "_correction",
        lambda rows, index, *v: (sizes.append(len(index)), correction(rows, index, *v))[1],
    )
    grid = torch.randn(1, 3, 3, 6).double().requires_grad_()
    out = nili(grid, queries(1, 30))
    assert sizes == [8, 8, 8, 6]
    out.sum().backward()
    assert sorted(sizes) == sorted([8, 8, 8, 6] * 2) and torch.isfinite(grid.grad).all()


def test_bench_compares_equal_things(monkeypatch):
    from research.speed import inr as bench
    from research.speed import measure as measure

    monkeypatch.setattr(measure, "peak", lambda name, *v: measure.call(name, list(v)))  # in here
    found = bench.run(quick=True)
    assert found["linear_max_difference"] < 1e-5 and found["mlp_max_difference"] < 1e-5
    assert found["cone_max_difference"] < 1e-4 and found["cone_all_max_difference"] < 1e-4
    assert min(found[f"{k}_largest_value"] for k in ("cone", "cone_all")) > 0.05
    assert found["linear_largest_value"] > 1 and found["mlp_ours_peak_bytes"] > 10**7
    assert all(v > 0 for k, v in found.items() if k.endswith(("seconds", "ratio")))
    linear, _, grid, _ = bench.problem(4, 6, 8)  # away from the border the sketch is the field
    xy = torch.rand(1, 40, 2, dtype=torch.float64) * 1.6 - 0.8
    torch.testing.assert_close(bench.sketch(linear, grid, xy), linear(grid, xy), atol=1e-5, rtol=0)


def test_folding_with_and_without_gradients_is_the_same_and_exact_enough():
    """Training convolves, reading multiplies: both against float64."""
    torch.manual_seed(0)
    grid, weight = torch.randn(2, 6, 5, 96), torch.randn(32, 96 * 9) / 30
    bias = torch.randn(32)
    exact = inr.fold(grid.double(), weight.double(), bias.double())
    trained = inr.fold(grid.requires_grad_(), weight, bias)
    with torch.no_grad():
        read = inr.fold(grid, weight, bias)
    assert trained.requires_grad and not read.requires_grad
    for got, limit in ((trained, 2e-5), (read, 5e-6)):
        assert (got.double() - exact).abs().max() < limit
