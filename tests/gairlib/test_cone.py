"""The view-directed decoder: against a plain loop, under turns and mirrors, at edges, per row."""

import math

import pytest
import torch
import torch.nn.functional as F
from builders.small_models import SMALL

from gairlib import GAIR
from gairlib.cone import Cone, View, any_direction, bilinear
from gairlib.errors import BadInput
from gairlib.inr import NILI
from gairlib.train.augment import turn_chip, turn_heading

CONE = SMALL.replace(decoder="cone", decoder_options={"channels": 6, "width": 12})
CONTROLS = {  # what an ablation sets against the cone, by config alone
    "tokens": {"pixels": False},
    "ring": {"distances_m": [0, 12, 28, 50, 85], "angles_deg": [0, 72, 144, 216, 288]},
    "point": {"distances_m": [0]},
}
CONTROLS["ring"]["compass"] = CONTROLS["point"]["compass"] = False


def made(seed=0, dim=5, bands=3, **options):
    """A cone of double precision with random weights everywhere."""
    torch.manual_seed(seed)
    cone = Cone(dim, bands, **{"channels": 4, "width": 7, **options}).double()
    for p in cone.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return cone


def question(b=2, q=6, size=12, seed=0, channels=4):
    """A map, positions up to the edges, and headings of which some are unknown."""
    g = torch.Generator().manual_seed(seed)
    area = torch.randn(b, channels, size, size, generator=g).double()
    xy = torch.rand(b, q, 2, generator=g).double() * 2 - 1
    xy[:, 0] = torch.tensor([1.0, -1.0])
    heading = torch.rand(b, q, generator=g).double() * 360
    heading[0, 1:3] = math.nan
    side_m = torch.tensor([[300.0, 200.0], [240.0, 240.0]], dtype=torch.float64)[:b]
    return View(area, side_m, heading), xy


def plainly(cone, view, xy):
    """One sample after the other, each read by grid_sample; unknown headings: the mean of all."""
    b, q = xy.shape[:2]
    out = []
    for i in range(b):
        for j in range(q):
            known = cone.compass and math.isfinite(view.heading[i, j])
            turns = [float(view.heading[i, j])] if known else [30.0 * k for k in range(12)]
            if not cone.compass:
                turns = [0.0]
            hidden = []
            for turn in map(math.radians, turns):
                values, flags = [], []
                for ahead, right in cone.places.tolist():
                    east = ahead * math.sin(turn) + right * math.cos(turn)
                    north = ahead * math.cos(turn) - right * math.sin(turn)
                    metres = torch.tensor([east, -north], dtype=torch.float64)
                    at = xy[i, j] + 2 * metres / view.side_m[i]
                    inside = bool((at.abs() <= 1 + 1e-9).all())
                    sample = F.grid_sample(
                        view.map[i : i + 1],
                        at[None, None, None],
                        padding_mode="border",
                        align_corners=False,
                    )
                    values.append(sample[0, :, 0, 0] * inside)
                    flags.append(float(inside))
                x = torch.cat([*values, torch.tensor(flags).double()])
                hidden.append(F.gelu(cone.first(x)))
            out.append(cone.last(torch.stack(hidden).mean(0)))
    return torch.stack(out).reshape(b, q, -1)


@pytest.mark.parametrize("compass", [True, False])
@pytest.mark.parametrize("chunk", [8192, 17])
def test_values_and_gradients_are_those_of_a_plain_loop(compass, chunk):
    cone, (view, xy) = made(compass=compass, chunk=chunk), question()
    fast, slow = view.map.clone().requires_grad_(), view.map.clone().requires_grad_()
    got = cone(view._replace(map=fast), xy)
    right = plainly(cone, view._replace(map=slow), xy)
    torch.testing.assert_close(got, right, atol=1e-10, rtol=0)
    weight = torch.randn(right.shape, generator=torch.Generator().manual_seed(1)).double()
    of = list(cone.first.parameters())
    ours = torch.autograd.grad((got * weight).sum(), [fast, *of])
    theirs = torch.autograd.grad((right * weight).sum(), [slow, *of])
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_no_heading_is_the_mean_of_all_directions_row_by_row():
    cone, (view, xy) = made(), question()
    unknown = cone(view._replace(heading=None), xy)
    each = [cone(view._replace(heading=torch.full((2, 6), 30.0 * k)), xy) for k in range(12)]
    torch.testing.assert_close(unknown, torch.stack(each).mean(0))
    mixed, nan = cone(view, xy), view.heading.isnan()
    torch.testing.assert_close(mixed[nan], unknown[nan])
    assert not torch.allclose(mixed[~nan], unknown[~nan])
    nothing = cone(view._replace(heading=torch.full((2, 6), math.nan)), xy)
    torch.testing.assert_close(nothing, unknown)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_samples_turn_and_mirror_with_the_chip(turns, mirror):
    """All eight symmetries: the same samples, in a mirror with left and right exchanged."""
    cone, (view, xy) = made(), question()
    view = view._replace(side_m=torch.tensor([[300.0, 300.0], [90.0, 90.0]]).double())
    side = (2 / view.side_m)[:, None].expand(2, 6, 2).reshape(12, 1, 1, 2)

    def samples(area, xy, heading):
        points = xy.reshape(12, 1, 1, 2) + cone.offsets(heading.reshape(12, 1)) * side
        pixels = area.permute(0, 2, 3, 1).flatten(0, 2)
        chip = torch.arange(2).repeat_interleave(6)
        values = cone.sample(pixels, area.shape[-2:], chip, points)[:, 0]
        count = len(cone.places)
        return values[:, :-count].unflatten(1, (count, -1)), values[:, -count:]

    heading = view.heading.nan_to_num(20.0)
    area, moved = turn_chip(view.map, xy, turns=turns, mirror=mirror)
    turned = turn_heading(heading, turns=turns, mirror=mirror)
    before, inside = samples(view.map, xy, heading)
    after, still = samples(area, moved, turned)
    order = torch.arange(len(cone.places))
    if mirror:
        there = cone.places * torch.tensor([1.0, -1.0])
        order = torch.cdist(cone.places, there).argmin(1)
    torch.testing.assert_close(after, before[:, order], atol=1e-9, rtol=0)
    assert torch.equal(still, inside[:, order]) and 0.1 < float(inside.mean()) < 0.9


def test_a_sample_lies_so_many_metres_ahead():
    """A map that is its own coordinates in metres, 10 m a pixel: a camera that looks east."""
    cone = made(distances_m=[40], angles_deg=[0, 90])
    metres = (torch.arange(30).double() + 0.5) * 10  # from the left and from the top
    area = torch.stack(torch.meshgrid(metres, metres, indexing="xy"))[None]  # x, y
    pixels = area.permute(0, 2, 3, 1).flatten(0, 2)
    at = torch.tensor([[[[0.0, 0.2]]]]).double()  # 150 m and 180 m
    points = at + cone.offsets(torch.tensor([[90.0]]).double()) * (2 / 300)
    read = cone.sample(pixels, (30, 30), torch.zeros(1, dtype=torch.int64), points)[0, 0]
    torch.testing.assert_close(read, torch.tensor([190.0, 180, 150, 220, 1, 1]).double())


def test_beyond_the_edge_is_said_and_not_repeated():
    cone, area = made(distances_m=[0, 50], angles_deg=[0]), torch.ones(1, 4, 12, 12).double()
    view, corner = View(area, torch.tensor([[100.0, 100.0]]).double(), None), [[[[1.0, 1.0]]]]
    at = torch.tensor(corner).double()
    points = at + cone.offsets(torch.tensor([[180.0]]).double()) * 0.02
    pixels = area.permute(0, 2, 3, 1).flatten(0, 2)
    read = cone.sample(pixels, (12, 12), torch.zeros(1, dtype=torch.int64), points)[0, 0]
    torch.testing.assert_close(read, torch.tensor([1.0] * 4 + [0.0] * 4 + [1, 0]).double())
    south = view._replace(heading=torch.tensor([[180.0]]).double())
    other = south._replace(map=torch.cat((area[:, :, :6] * 7, area[:, :, 6:]), 2))
    torch.testing.assert_close(cone(south, at[0]), cone(other, at[0]))


@pytest.mark.parametrize("h, w", [(5, 7), (1, 4), (1, 1)])
def test_bilinear_is_grid_sample_with_repeated_edges(h, w):
    g = torch.Generator().manual_seed(0)
    area, xy = torch.randn(1, 2, h, w, generator=g).double(), torch.rand(40, 2, generator=g)
    xy = torch.cat((xy.double() * 2.4 - 1.2, torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double()))
    index, weight = bilinear(xy, h, w)
    got = (area.flatten(2)[0][:, index] * weight).sum(-1)  # [2, 42]
    right = F.grid_sample(area, xy[None, None], padding_mode="border", align_corners=False)[0, :, 0]
    torch.testing.assert_close(got, right)


def test_any_direction_is_the_soft_maximum():
    g = torch.Generator().manual_seed(0)
    s = torch.rand(5, 12, generator=g).double()
    right = 0.07 * torch.log(torch.exp(s / 0.07).mean(-1))
    torch.testing.assert_close(any_direction(s, 0.07), right)
    assert (any_direction(s, 1e-3) - s.amax(-1)).abs().max() < 0.003
    torch.testing.assert_close(any_direction(s, 1e5), s.mean(-1), atol=1e-5, rtol=0)


# ---------------------------------------------------------------- in the model


def model(config=CONE, seed=0):
    torch.manual_seed(seed)
    made = GAIR(config).eval()
    if made.field.decoder == "cone":  # its last layer starts at zero
        torch.nn.init.normal_(made.field.cone.last.weight)
    return made


def asked(b=2, q=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    chips = torch.randn(b, 10, 32, 32, generator=g)
    xy = torch.rand(b, q, 2, generator=g, dtype=torch.float64) * 2 - 1
    return chips, xy, torch.rand(b, q, generator=g, dtype=torch.float64) * 360


def test_it_is_off_by_default_and_starts_as_the_linear_decoder():
    torch.manual_seed(0)
    linear = GAIR(SMALL.replace(decoder="linear")).eval()
    after = torch.rand(1)
    assert not any("cone" in name for name in linear.state_dict())
    assert "decoder_options" not in linear.config.to_dict() and not linear.config.reads_headings
    torch.manual_seed(0)
    cone = GAIR(CONE).eval()
    state = cone.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in linear.state_dict().items())
    chips, xy, heading = asked()
    read = cone.query_rs(cone.encode_rs(chips), xy, heading=heading)
    right = linear.query_rs(linear.encode_rs(chips), xy)
    torch.testing.assert_close(read, right)
    torch.manual_seed(0)
    GAIR(SMALL.replace(decoder="linear"))
    assert torch.equal(after, torch.rand(1)), "no random number more or less than before"


def test_it_is_nili_at_the_place_and_what_the_camera_sees():
    net, (chips, xy, heading) = model(), asked()
    side = torch.tensor([320.0, 200.0])
    features = net.encode_rs(chips, side_m=side)
    got = net.query_rs(features, xy, heading=heading)
    linear = NILI(net.config.dim, "linear")
    linear.load_state_dict({k: v for k, v in net.field.state_dict().items() if "cone" not in k})
    view = View(features.map, side[:, None].expand(2, 2).double(), heading)
    torch.testing.assert_close(got, linear(features.grid, xy) + net.field.cone(view, xy))
    unit = net.query_rs(features, xy, heading=heading, normalize=True)
    torch.testing.assert_close(unit, F.normalize(got, dim=-1))
    one = net.query_rs(features.of([1]), xy[[1]], heading=heading[[1]])
    torch.testing.assert_close(one[0], got[1])
    same = net.query_rs(features, xy, heading=40)
    torch.testing.assert_close(same, net.query_rs(features, xy, heading=[[40.0] * 5] * 2))
    assert not torch.allclose(got, net.query_rs(net.encode_rs(chips, side_m=100), xy, None), 0.1)
    by_pixel = net.query_rs(net.encode_rs(chips), xy, heading=heading)
    torch.testing.assert_close(
        by_pixel, net.query_rs(net.encode_rs(chips, side_m=[320, 320]), xy, heading=heading)
    )


def test_a_chips_vector_is_the_mean_over_its_token_centres():
    net, (chips, _, _) = model(), asked()
    features = net.encode_rs(chips, side_m=200)
    n = features.grid.shape[1]
    at = (2 * torch.arange(n).double() + 1) / n - 1
    xy = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1).reshape(1, -1, 2) - 1e-7
    field = net.query_rs(features, xy.expand(2, -1, -1))
    torch.testing.assert_close(net.chip_vector(features), field.mean(1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_are_configs(control, tmp_path):
    options = {"channels": 6, "width": 12, **CONTROLS[control]}
    net, (chips, xy, heading) = (
        model(SMALL.replace(decoder="cone", decoder_options=options)),
        asked(),
    )
    assert len(net.field.cone.places) == (1 if control == "point" else 21)
    assert (net.field.cone.stem is None) == (control == "tokens")
    features = net.encode_rs(chips)
    net.save_pretrained(tmp_path)
    again = GAIR.from_pretrained(tmp_path)
    assert again.config == net.config
    if net.config.reads_headings:
        read = net.query_rs(features, xy, heading=heading)
        right = again.query_rs(again.encode_rs(chips), xy, heading=heading)
        assert torch.equal(read, right)
    else:
        assert torch.equal(net.query_rs(features, xy), again.query_rs(again.encode_rs(chips), xy))
        with pytest.raises(BadInput, match="heading"):
            net.query_rs(features, xy, heading=heading)


def test_refusals():
    net, (chips, xy, heading) = model(), asked()
    features = net.encode_rs(chips)
    with pytest.raises(BadInput, match=r"heading.*\[2, 4\].*\[2, 5\]"):
        net.query_rs(features, xy, heading=heading[:, :4])
    with pytest.raises(BadInput, match="'bilinear'"):
        net.query_rs(features, xy, mode="bilinear", heading=heading)
    with pytest.raises(BadInput, match=r"side_m.*\[3\]"):
        net.encode_rs(chips, side_m=[100, 100, 100])
    with pytest.raises(BadInput, match="view"):
        net.field(features.grid, xy)
    with pytest.raises(BadInput, match="cell"):
        net.query_rs(features, xy, cell=(0.1, 0.1))
    with pytest.raises(BadInput, match="depth"):
        GAIR(SMALL.replace(decoder="cone", decoder_options={"depth": 3}))
    with pytest.raises(BadInput, match="decoder_options"):
        SMALL.replace(decoder="linear", decoder_options={"width": 3})
    with pytest.raises(BadInput, match="distances_m"):
        Cone(4, distances_m=[-5])
