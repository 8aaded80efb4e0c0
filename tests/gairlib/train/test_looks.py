"""Training of a field that reads headings: where photos and points look; no other draw moves."""

import math
from dataclasses import fields, replace

import pytest
import torch
from builders.small_models import SMALL

from gairlib import GAIR
from gairlib.errors import BadInput
from gairlib.train import augment, objective
from gairlib.train.batches import Batch
from gairlib.train.inputs import Inputs, make
from gairlib.train.options import PretrainOptions

CONE = SMALL.replace(decoder="cone", decoder_options={"channels": 4, "width": 8})
OPTIONS = PretrainOptions(chips_per_batch=4, photos_per_chip=3, field_points=5, queue_size=0)


def batch(b=4, q=3):
    g = torch.Generator().manual_seed(0)
    exact = {"generator": g, "dtype": torch.float64}
    heading = torch.rand(b, q, **exact) * 360
    heading[1, 0] = math.nan
    valid = torch.ones(b, q, dtype=torch.bool)
    valid[2, 1:] = False
    return Batch(
        chips=torch.rand(b, 10, 32, 32, generator=g) * 3000,
        photos=torch.randint(0, 255, (b, q, 3, 32, 32), generator=g, dtype=torch.uint8),
        xy=torch.rand(b, q, 2, **exact) * 2 - 1,
        lonlat=torch.rand(b, q, 2, **exact),
        heading=heading,
        valid=valid,
        side_m=torch.full((b,), 320.0, dtype=torch.float64),
        number=torch.arange(b * q).reshape(b, q),
        photo_ids=[f"p{i}" for i in range(int(valid.sum()))],
    )


def test_no_other_random_number_moves():
    plain = make(batch(), SMALL, OPTIONS, 3)
    asked = replace(OPTIONS, heading_negatives=2, heading_dropout=0.5)
    directed = make(batch(), CONE, asked, 3)
    assert plain.look is None and directed.look.shape == (4, 3 + 5 + 3 * 2)
    for f in fields(Inputs):
        a, b = getattr(plain, f.name), getattr(directed, f.name)
        if f.name == "field_xy":
            b = b[:, :5]
        if f.name != "look" and isinstance(a, torch.Tensor):
            assert torch.equal(a, b) or f.name == "heading"
    torch.testing.assert_close(plain.heading, directed.heading, equal_nan=True)
    assert OPTIONS.identity().keys().isdisjoint({"heading_negatives", "heading_dropout"})
    assert asked.identity()["heading_negatives"] == 2


def test_photos_look_where_they_look_and_wrong_headings_elsewhere():
    x = make(batch(), CONE, replace(OPTIONS, heading_negatives=2), 0)
    assert torch.equal(x.look[:, :3].flatten()[x.keep].isnan(), x.heading.isnan())
    torch.testing.assert_close(x.look[:, :3].flatten()[x.keep], x.heading, equal_nan=True)
    assert torch.equal(x.field_xy[:, 5:], x.xy.repeat_interleave(2, 1))
    own, wrong = x.look[:, :3].repeat_interleave(2, 1), x.look[:, 8:]
    apart = ((wrong - own + 180) % 360 - 180).abs()
    assert (apart[~own.isnan()] >= 90).all() and int(own.isnan().sum()) == 2
    assert wrong.isfinite().all() and x.look[:, 3:8].std() > 60


def test_dropout_forgets_its_share():
    heading = torch.full((500, 3), 20.0, dtype=torch.float64)
    draws = augment.draw_looks(500, 3, 4, torch.Generator().manual_seed(0))
    assert float(augment.look(heading, draws, 0, 0.25).isnan().double().mean()) == pytest.approx(
        0.25, abs=0.03
    )
    assert augment.look(heading, draws, 0, 1.0).isnan().all()
    assert not augment.look(heading, draws, 0, 0.0).isnan().any()
    part = augment.look(heading[125:250], draws.part(1, 4), 1, 0.25)
    whole = augment.look(heading, draws, 1, 0.25)[125:250]
    torch.testing.assert_close(part, whole, equal_nan=True)


def test_a_near_point_counts_as_wrong_only_if_it_looks_elsewhere():
    x = make(batch(), CONE, replace(OPTIONS, heading_negatives=2, heading_dropout=0.3), 1)
    near, there = x.near_field(60.0), replace(x, look=None).near_field(60.0)
    n, q = len(x.keep), x.xy.shape[1]
    for i in range(n):
        chip = int(x.chip[i])
        own = float(x.look[chip, int(x.keep[i]) % q])
        for k in range(x.field_xy.shape[1]):
            other = float(x.look[chip, q + k])
            turn = abs((other - own + 180) % 360 - 180)
            elsewhere = math.isfinite(turn) and turn > 60
            assert bool(near[i, k]) == (bool(there[i, k]) and not elsewhere)
    assert near.any() and (there & ~near).any()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_reads_the_field_at_its_headings(parts):
    torch.manual_seed(0)
    model = GAIR(CONE).eval()
    torch.nn.init.normal_(model.field.cone.last.weight)
    x = make(batch(), CONE, replace(OPTIONS, heading_negatives=1, heading_dropout=0.3), 2)
    queued = torch.zeros(0, 2, dtype=torch.float64)
    found = [objective.embed(model, part, queued) for part in x.split(parts)]
    features = model.encode_rs(x.chips, side_m=x.side_m)
    at = torch.cat((x.xy, x.field_xy), 1)
    read = model.query_rs(features, at, heading=x.look)
    local = torch.cat([f.local for f in found])
    torch.testing.assert_close(local, read[:, :3].flatten(0, 1)[x.keep])
    torch.testing.assert_close(torch.cat([f.field for f in found]), read[:, 3:])
    local.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.field.parameters())


def test_options_are_checked():
    with pytest.raises(BadInput, match="heading_dropout"):
        PretrainOptions(heading_dropout=1.5)
    with pytest.raises(BadInput, match="heading_negatives"):
        PretrainOptions(heading_negatives=-1)
