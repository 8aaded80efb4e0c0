"""The terms of a batch: what counts as a negative, and what each switch takes away."""

from dataclasses import replace

import pytest
import torch
from builders import one_step
from hypothesis import given
from hypothesis import strategies as st

from gairlib import losses
from gairlib.errors import BadInput
from gairlib.train import objective
from gairlib.train.objective import CoordinateQueue, Embeddings
from gairlib.train.options import PretrainOptions

OPTIONS = PretrainOptions(incl_exclude_m=-1.0, secl_exclude_m=-1.0)
METRE = 1 / 111_195.0  # degrees of latitude


def made(n=6, m=4, d=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randn(k, d, generator=g, requires_grad=True) for k in (n, n, n, m)]
    field = torch.randn(n, 3, d, generator=g, requires_grad=True)  # as many chips as photos
    return Embeddings(*rows, torch.tensor([0.07, 0.1, 0.2], requires_grad=True), field)


def terms(embeddings, lonlat, queued, options=OPTIONS, chip=None, near=None):
    chip = torch.arange(len(lonlat)) if chip is None else chip
    near = torch.zeros(len(lonlat), 3, dtype=torch.bool) if near is None else near
    return objective.terms(
        embeddings, lonlat=lonlat, chip=chip, near_field=near, queued_lonlat=queued, options=options
    )


def places(n, apart_m, start=0.0):
    lat = start + apart_m * METRE * torch.arange(n, dtype=torch.float64)
    return torch.stack((torch.full((n,), 7.0, dtype=torch.float64), lat), 1)


def test_a_photo_never_meets_its_own_coordinates_as_a_negative():
    """Photos come back while their coordinates are still queued, and exclusion may be off."""
    queue = CoordinateQueue(8)
    lonlat = places(6, 1000.0)
    queue.push(lonlat[:4])
    queue.push(lonlat[2:6])  # wrapped: all six are there, two of them twice
    queued = queue.valid()
    x = made(6, len(queued))
    with torch.no_grad():  # a queued twin of each photo's own place, as alike as can be
        for row, at in enumerate(queued):
            own = int((lonlat == at).all(1).nonzero()[0])
            x.queued[row] = x.sv[own] * 100
    found = terms(x, lonlat, queued)["secl_loss"]
    own = (lonlat[:, None] == queued[None]).all(-1)  # [N, M]
    plain = losses.info_nce(
        *(torch.nn.functional.normalize(v, dim=-1) for v in (x.sv, x.here)),
        temperature=0.1,
        extra_keys=torch.nn.functional.normalize(x.queued, dim=-1),
        exclude=torch.cat((torch.zeros(6, 6, dtype=torch.bool), own), 1),
    )
    torch.testing.assert_close(found, plain["loss"])
    assert own.sum() >= 8 and found < terms(x, lonlat, places(8, 900.0, 5.0))["secl_loss"]


def test_two_photos_of_one_point_are_no_negatives_of_each_other():
    lonlat = places(4, 500.0)
    lonlat[1] = lonlat[0]
    x = made(4, 0)
    apart = terms(x, places(4, 500.0), lonlat[:0])
    same = terms(x, lonlat, lonlat[:0])
    for name in ("incl_loss", "secl_loss", "rs_location_loss"):
        assert same[name] < apart[name], name


def test_one_distance_for_each_objective():
    lonlat, x = places(5, 100.0), made(5, 0)
    base = terms(x, lonlat, lonlat[:0])
    incl = terms(x, lonlat, lonlat[:0], replace(OPTIONS, incl_exclude_m=150.0))
    assert incl["incl_loss"] < base["incl_loss"]
    assert incl["secl_loss"] == base["secl_loss"]
    secl = terms(x, lonlat, lonlat[:0], replace(OPTIONS, secl_exclude_m=150.0))
    assert secl["incl_loss"] == base["incl_loss"]
    assert secl["secl_loss"] < base["secl_loss"]
    assert secl["rs_location_loss"] < base["rs_location_loss"]


def test_photos_of_the_same_chip_are_negatives_unless_switched_off():
    lonlat, x, chip = places(6, 100.0), made(6, 0), torch.tensor([0, 0, 0, 1, 1, 2])
    off = replace(OPTIONS, in_chip_negatives=False)
    without = terms(x, lonlat, lonlat[:0], off, chip)
    assert without["incl_loss"] < terms(x, lonlat, lonlat[:0], OPTIONS, chip)["incl_loss"]
    alone = terms(x, lonlat, lonlat[:0], off, torch.arange(6))
    assert alone["incl_loss"] == terms(x, lonlat, lonlat[:0])["incl_loss"]
    nobody = terms(x, lonlat, lonlat[:0], off, torch.zeros(6, dtype=torch.long))
    assert float(nobody["incl_loss"].detach()) == pytest.approx(0.0, abs=1e-6)


def test_a_term_of_weight_zero_is_gone():
    lonlat, x = places(4, 100.0), made(4, 2)
    queued = places(2, 1000.0, 3.0)
    options = replace(OPTIONS, secl_weight=0.0, rs_location_weight=0.0, field_weight=0.0)
    found = terms(x, lonlat, queued, options)
    assert set(found) == {"loss", "incl_loss", "incl_accuracy", "temperature"}
    found["loss"].backward()
    assert x.here.grad is None and x.queued.grad is None and x.sv.grad.abs().sum() > 0
    whole = terms(made(4, 2), lonlat, queued)
    assert whole["loss"] == (
        whole["incl_loss"]
        + OPTIONS.field_weight * whole["field_loss"]
        + OPTIONS.secl_weight * whole["secl_loss"]
        + OPTIONS.rs_location_weight * whole["rs_location_loss"]
    )


def test_a_photo_is_told_apart_from_the_rest_of_its_own_chip():
    lonlat, x, chip = places(6, 100.0), made(6, 0), torch.tensor([0, 0, 1, 2, 2, 2])
    far = terms(x, lonlat, lonlat[:0], chip=chip)
    near = torch.zeros(6, 3, dtype=torch.bool)
    near[:, 1] = True
    less = terms(x, lonlat, lonlat[:0], chip=chip, near=near)
    assert less["field_loss"] < far["field_loss"] and less["incl_loss"] == far["incl_loss"]
    everywhere = terms(x, lonlat, lonlat[:0], chip=chip, near=~torch.zeros_like(near))
    assert float(everywhere["field_loss"].detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(everywhere["field_accuracy"]) == 1.0
    far["loss"].backward()
    assert (x.field.grad[3:] == 0).all() and (x.field.grad[:3].abs() > 0).any()


@pytest.mark.parametrize("chunk", [0, 48])
def test_gradients_repeat_to_the_last_bit_with_several_threads(chunk):
    """Photos share chips: their gradients meet in one chip's field, in the same order each time."""
    n, chips, points, d = 256, 16, 24, 128
    g = torch.Generator().manual_seed(0)
    sv, local, here = (torch.randn(n, d, generator=g) for _ in range(3))
    field, chip = torch.randn(chips, points, d, generator=g), torch.arange(n) % chips
    options = replace(OPTIONS, loss_chunk=chunk)
    lonlat, near = places(n, 50.0), torch.zeros(n, points, dtype=torch.bool)

    def gradient():
        leaf = field.clone().requires_grad_()
        x = Embeddings(sv, local, here, sv[:0], torch.full((3,), 0.1), leaf)
        objective.terms(
            x, lonlat=lonlat, chip=chip, near_field=near, queued_lonlat=lonlat[:0], options=options
        )["loss"].backward()
        return leaf.grad

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first = gradient()
        assert all(torch.equal(first, gradient()) for _ in range(20))
    finally:
        torch.set_num_threads(before)


def test_each_term_has_its_own_temperature():
    lonlat, x = places(4, 100.0), made(4, 2)
    terms(x, lonlat, places(2, 1000.0, 3.0))["loss"].backward()
    assert (x.temperature.grad.abs() > 1e-4).all()


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("steps", 0, "steps is 0"),
        ("chips_per_batch", 2.5, "chips_per_batch is 2.5"),
        ("crop_min", 0.0, "crop_min is 0.0"),
        ("queue_max_share", 1.5, "queue_max_share is 1.5"),
        ("gradient_parts", 5, "does not divide"),
        ("lr", float("nan"), "lr is nan"),
    ],
)
def test_wrong_options_are_named(name, value, says):
    with pytest.raises(BadInput, match=says):
        PretrainOptions(**{name: value})


# ---------------------------------------------------------------------------- a batch's embeddings


def test_embed_is_what_the_encoders_give_one_by_one():
    """Encode, query, embed photos and places, as notebook 30 writes one step by hand."""
    model, (batch, queued) = one_step.model().eval(), one_step.batch()
    with torch.no_grad():
        features = model.encode_rs(batch.chips)
        by_hand = Embeddings(
            sv=model.encode_sv(batch.photos),
            local=model.query_rs(features, batch.xy).flatten(0, 1)[batch.keep],
            here=model.encode_location(batch.lonlat),
            queued=model.encode_location(queued),
            temperature=torch.stack(list(model.temperatures().values())),
            field=model.query_rs(features, batch.field_xy),
        )
        found = objective.embed(model, batch, queued)
    for name, got, want in zip(Embeddings._fields, found, by_hand):
        torch.testing.assert_close(got, want, msg=name)


# ---------------------------------------------------------------------------- the queue


@given(st.integers(0, 9), st.lists(st.integers(0, 25), max_size=12))
def test_against_a_list(size, batches):
    queue, memory, serial = CoordinateQueue(size), [], 0
    for n in batches:
        rows = [[float(serial + i) % 180, float(serial + i) / 1e4] for i in range(n)]
        serial += n
        queue.push(torch.tensor(rows).reshape(-1, 2))
        memory = (memory + rows)[-size:] if size else []
        assert len(queue) == len(memory)
        torch.testing.assert_close(
            queue.valid(),
            torch.tensor(memory, dtype=torch.float64).reshape(-1, 2),
            atol=1e-5,
            rtol=0,
        )


def test_keeps_float64_and_copies():
    queue = CoordinateQueue(4)
    exact = torch.tensor([[116.39712345678, 39.90812345678]], dtype=torch.float64)
    queue.push(exact)
    assert torch.equal(queue.valid(), exact)
    held = queue.valid()
    queue.push([[0, 0]] * 4)
    assert torch.equal(held, exact)


def test_state_round_trip():
    a, b = CoordinateQueue(3), CoordinateQueue(3)
    a.push([[1, 1], [2, 2]])
    a.push([[3, 3], [4, 4]])
    b.load_state_dict(a.state_dict())
    for queue in (a, b):
        queue.push([[5, 5]])
    assert torch.equal(a.valid(), b.valid()) and a.valid()[:, 0].tolist() == [3, 4, 5]
    with pytest.raises(BadInput, match="queue"):
        CoordinateQueue(4).load_state_dict(a.state_dict())


def test_refusals():
    with pytest.raises(BadInput, match="lonlat"):
        CoordinateQueue(2).push([[0, 91]])
    with pytest.raises(BadInput, match="size"):
        CoordinateQueue(-1)
