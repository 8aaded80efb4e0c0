"""Momentum contrast: the loss on a worked example, the two towers learn, seeds, crops."""

import math

import numpy as np
import pytest
import torch
from builders.small_models import SMALL

from gairlib.embed import encode
from gairlib.train import augment
from research.evaluation import self_supervised
from research.evaluation.self_supervised import contrastive, cropped, steps_of


def test_the_loss_on_a_worked_example():
    """Cosines [[1, 0.6], [0, 0.8]] at temperature 0.5: logits [[2, 1.2], [0, 1.6]]."""
    queries = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    keys = torch.tensor([[5.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    first = math.log(1 + math.exp(1.2 - 2.0))
    second = math.log(1 + math.exp(0.0 - 1.6))
    expected = 2 * 0.5 * (first + second) / 2
    assert contrastive(queries, keys, 0.5).item() == pytest.approx(expected, abs=1e-12)
    assert contrastive(queries, keys, 0.5).item() == pytest.approx(0.277501, abs=1e-6)


def test_keys_are_constants_and_the_gradient_is_that_of_the_softmax():
    generator = torch.Generator().manual_seed(0)
    q, k = (
        torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    )
    contrastive(q, k, 0.2).backward()
    assert k.grad is None
    unit = q.detach() / q.detach().norm(dim=1, keepdim=True)
    keys = k.detach() / k.detach().norm(dim=1, keepdim=True)
    wrong = (unit @ keys.T / 0.2).softmax(1) - torch.eye(5)
    slope = 2 * wrong @ keys / 5  # 2 tau / tau
    along = (slope * unit).sum(1, keepdim=True) * unit
    torch.testing.assert_close(q.grad, (slope - along) / q.detach().norm(dim=1, keepdim=True))


def test_a_view_is_a_square_within_the_image_that_keeps_what_it_must():
    """A ramp to the east: what a crop shows is a shorter ramp."""
    draws = augment.draw(64, 1, 10, torch.Generator().manual_seed(1))
    ramp = torch.linspace(0, 1, 32).expand(64, 1, 32, 32)
    seen = cropped(ramp, draws, 0.5)
    span = seen[:, 0, 0, -1] - seen[:, 0, 0, 0]
    assert seen.shape == ramp.shape and seen.min() >= 0 and seen.max() <= 1
    assert 0.45 < span.min() < 0.6 and span.max() > 0.9
    torch.testing.assert_close(cropped(ramp, draws, 1.0), ramp)


def test_both_views_of_an_image_count():
    assert steps_of(6400, 1000, self_supervised.Schedule(batch=32)) == 100
    assert steps_of(60, 3, self_supervised.Schedule(batch=32)) == 10  # the batch is all there is
    assert steps_of(1, 1000, self_supervised.Schedule()) == 1


@pytest.mark.parametrize("kind", ["chips", "photos"])
def test_a_tower_learns_to_tell_its_images_apart(kind):
    rng = np.random.default_rng(0)
    model, before = encode.random_init(SMALL, 0), encode.random_init(SMALL, 0)
    if kind == "chips":
        level = rng.uniform(300, 4000, (16, 10, 1, 1))
        images = (level + rng.normal(0, 30, (16, 10, 32, 32))).clip(1).astype(np.uint16)
        teach, changed, same = self_supervised.teach_chips, "rs", "sv"
    else:
        level = rng.uniform(20, 235, (16, 3, 1, 1))
        images = torch.from_numpy((level + rng.normal(0, 9, (16, 3, 32, 32))).clip(0, 255))
        images = images.to(torch.uint8)
        teach, changed, same = self_supervised.teach_photos, "sv", "rs"
    schedule = self_supervised.Schedule(batch=16, lr=3e-3, jitter=0.02)
    state = torch.random.get_rng_state()
    losses = teach(model, images, 16 * 2 * 60, seed=3, schedule=schedule)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global state stays
    assert len(losses) == 60
    blind = 4 * schedule.temperature * math.log(16)  # both directions, guessing
    assert losses[0] > 0.8 * blind and np.mean(losses[-5:]) < 0.4 * blind
    moved, still = getattr(model, changed).state_dict(), getattr(model, same).state_dict()
    old = getattr(before, changed).state_dict()
    assert any(not torch.equal(moved[k], old[k]) for k in old)
    assert all(torch.equal(still[k], v) for k, v in getattr(before, same).state_dict().items())
    assert not getattr(model, changed).training
    again = encode.random_init(SMALL, 1)
    assert teach(again, images, 16 * 2 * 5, seed=3, schedule=schedule) == teach(
        encode.random_init(SMALL, 2), images, 16 * 2 * 5, seed=3, schedule=schedule
    )  # of the seed alone


def test_beside_a_held_tower_the_net_alone_is_taught():
    config = SMALL.replace(
        sv_side="resnet10t", sv_side_options={"channels": [8] * 4, "stem_type": ""}
    )
    model, before = encode.random_init(config, 0), encode.random_init(config, 0).state_dict()
    photos = torch.randint(
        256, (9, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    self_supervised.teach_photos(model, photos, 200, seed=3)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert "sv.side.conv1.weight" in moved and all(k.startswith("sv.side.") for k in moved)
