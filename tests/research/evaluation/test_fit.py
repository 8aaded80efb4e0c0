"""The loop of the small trainings against one written out, and which step it ends at."""

import math

import pytest
import torch
from torch import nn

from research.evaluation.fit import Fit, batches, fit_network, seeded

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])


def network(seed: int = 0) -> nn.Linear:
    return seeded(lambda: nn.Linear(3, 1), seed)


def error(net: nn.Module, x=X, y=Y) -> torch.Tensor:
    return nn.functional.mse_loss(net(x), y)


@pytest.mark.parametrize("warmup", [0, 4])
def test_it_equals_a_loop_with_the_rates_written_out(warmup):
    ours, plain, steps = network(), network(), 12
    found = fit_network(
        ours, lambda: error(ours), steps=steps, lr=0.1, weight_decay=0.01, warmup=warmup
    )
    assert found == Fit(steps, steps, at_limit=True)  # nothing judged
    for step in range(steps):
        rate = 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))
        rate = 0.1 * ((step + 1) / warmup if step < warmup else rate)
        if step == 0:
            optimiser = torch.optim.AdamW(plain.parameters(), lr=rate, weight_decay=0.01)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        error(plain).backward()
        optimiser.step()
    for a, b in zip(ours.parameters(), plain.parameters()):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "errors, untrained, best, asked",
    [
        ([5, 4, 3, 2, 1], False, 10, 5),
        ([5, 1, 3, 2, 0], False, 4, 4),  # two without a gain end it
        ([1, 4, 3, 0], True, 0, 3),
        ([9, 4, 6, 3, 5, 8], True, 6, 6),
    ],
)
def test_it_ends_after_its_patience_at_the_weights_of_the_best_step(errors, untrained, best, asked):
    net, seen = network(), []

    def judge():
        assert not net.training and not torch.is_grad_enabled()
        seen.append(net.weight.detach().clone())
        return float(errors[len(seen) - 1])

    found = fit_network(
        net,
        lambda: error(net),
        steps=10,
        lr=0.1,
        weight_decay=0.0,
        judge=judge,
        every=2,
        patience=2,
        untrained=untrained,
    )
    assert found.best_step == best and len(seen) == asked and not net.training
    steps = [2 * (look + (not untrained)) for look in range(asked)]
    assert found.curve == tuple(zip(steps, map(float, errors)))
    assert found.steps == steps[-1]
    assert found.at_limit == (min(errors[asked - 2 : asked]) == min(errors[:asked]))
    assert torch.equal(net.weight, seen[best // 2 - (0 if untrained else 1)])


def test_the_rate_falls_at_each_plateau_from_the_best_weights_and_the_last_one_ends_it():
    net, looks, moves = network(), [], []
    errors = iter([5.0, 3.0, 4.0, 4.0, 2.0, 2.5, 2.5, 9.0])

    def judge():
        looks.append(net.weight.detach().clone())
        return next(errors)

    def loss():  # a constant gradient: AdamW then moves each weight by the rate
        moves.append(net.weight.detach().clone())
        return net.weight.sum()

    found = fit_network(
        net,
        loss,
        steps=100,
        lr=0.1,
        weight_decay=0.0,
        judge=judge,
        patience=2,
        plateaus=2,
        factor=0.1,
    )
    # looks 3 and 4 bring no gain: the rate falls; 6 and 7 neither: the end
    assert (found.steps, found.best_step, found.at_limit) == (7, 5, False)
    assert torch.equal(moves[4], looks[1])  # on from the best weights
    taken = [float((a - b).max()) for a, b in zip(moves, looks)]
    assert taken == pytest.approx([0.1] * 4 + [0.01] * 3, rel=1e-3)
    assert torch.equal(net.weight, looks[4])


def test_the_last_step_is_judged_although_it_is_between_two_looks():
    net, asked = network(), []
    fit_network(
        net,
        lambda: error(net),
        steps=7,
        lr=0.1,
        weight_decay=0.0,
        judge=lambda: asked.append(1) or 1.0 / len(asked),
        every=3,
    )
    assert len(asked) == 3  # steps 3, 6 and 7


def test_a_loss_that_is_not_finite_teaches_nothing():
    net = network()
    before = net.weight.detach().clone()
    fit_network(net, lambda: error(net) * torch.nan, steps=3, lr=0.1, weight_decay=0.1)
    assert torch.equal(net.weight, before)


def test_batches_pass_over_all_rows_and_leave_out_the_uneven_rest():
    rows = batches(10, 4, torch.Generator().manual_seed(0))
    for _ in range(3):
        one = torch.cat([next(rows), next(rows)])
        assert len(set(one.tolist())) == 8 and set(one.tolist()) <= set(range(10))
    assert sorted(next(batches(3, 4, torch.Generator())).tolist()) == [0, 1, 2]


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b, c = network(1), network(1), network(2)
    assert torch.equal(a.weight, b.weight) and not torch.equal(a.weight, c.weight)
    assert torch.equal(torch.get_rng_state(), state)
