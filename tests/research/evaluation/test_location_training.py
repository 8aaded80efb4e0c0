"""End-to-end training of location encoders: it learns, stops, and never sees its test rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gairlib.errors import BadInput
from gairlib.location import registry
from research.evaluation import location_training, splits
from research.evaluation.fit import Target
from research.evaluation.location_training import Network, Settings, choose, fit

SMALL = {"hidden": 24, "layers": 1}
QUICK = Settings(dim=16, folds=2, steps=60, batch=64, check_every=10, lr=3e-2)


def places(n=240, seed=0):
    rng = np.random.default_rng(seed)
    lat = np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))
    return np.stack([rng.uniform(-180, 180, n), lat], 1)


def warmth(lonlat):
    return 30 * np.cos(np.deg2rad(lonlat[:, 1])) + 3 * np.sin(np.deg2rad(lonlat[:, 0])) - 5


def test_a_smooth_target_is_learned_in_its_own_unit():
    lonlat, new = places(), places(100, seed=1)
    fitted = fit(
        "xyz", lonlat, warmth(lonlat), splits.blocks(lonlat, 20.0), options=[SMALL], settings=QUICK
    )
    assert location_training.score(warmth(new), fitted.predict(new)) > 0.9
    assert fitted.inner_score == location_training.score(warmth(lonlat), fitted.inner)
    assert 0.8 < fitted.inner_score < 1
    assert len(fitted.networks) == len(fitted.steps) == 2
    around = fitted.predict(new + [360.0, 0.0])
    np.testing.assert_allclose(around, fitted.predict(new), atol=1e-4)


def test_the_first_inner_predictions_come_from_networks_that_saw_other_blocks():
    lonlat = places(60)
    groups, y = splits.blocks(lonlat, 20.0), warmth(places(60))
    fitted = fit("xyz", lonlat, y, groups, options=[SMALL], settings=QUICK, seed=3)
    for network, (_, held) in zip(fitted.networks, splits.folds(groups, QUICK.folds, 3)):
        with torch.inference_mode():
            found = network(lonlat[held])[:, 0].double().numpy()
        alone = fitted.target.centre + fitted.target.spread * found
        np.testing.assert_allclose(fitted.inner[held], alone, rtol=1e-5)


def test_held_out_targets_choose_the_step_and_nothing_else():
    lonlat = places()
    target = Target.of(warmth(lonlat))
    train, held = splits.folds(splits.blocks(lonlat, 20.0), 2, 0)[0]
    once = Settings(dim=8, folds=2, steps=60, batch=64, check_every=60, lr=1e-2)
    weights = []
    for shift in (0.0, 0.1):
        other = replace(target, values=target.values.clone())
        other.values[held] += shift
        torch.manual_seed(0)
        network = Network("xyz", SMALL, 8, 1)
        order = torch.Generator().manual_seed(0)
        _, step = location_training._train(network, lonlat, other, train, held, once, order)
        assert step == 60  # one look besides step 0, so both runs stop at the same step
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_noise_is_answered_with_about_the_mean():
    lonlat = places(120)
    y = np.random.default_rng(5).normal(7, 2, 120)
    fitted = fit(
        "rff-xyz",
        lonlat,
        y,
        splits.blocks(lonlat, 20.0),
        options=[{"sigmas": (8.0,), **SMALL}],
        settings=QUICK,
    )
    new = fitted.predict(places(80, seed=9))
    assert fitted.inner_score > -0.05  # 5-NN has -0.2 on noise
    assert new.std() < 0.5 * y.std() and abs(new.mean() - 7) < 1


def test_seeds_decide_everything_and_leave_the_global_generator_alone():
    lonlat = places(60)
    y, groups = warmth(lonlat), np.arange(60)
    state = torch.get_rng_state()
    first, again, other = (
        fit("rff-xyz", lonlat, y, groups, options=[SMALL], settings=QUICK, seed=s).predict(lonlat)
        for s in (0, 0, 1)
    )
    assert (first == again).all() and (first != other).any()
    assert (torch.get_rng_state() == state).all()


@pytest.mark.parametrize("name", registry.names())
def test_every_encoder_of_the_registry_trains_and_reads_as_its_forward_does(name):
    torch.manual_seed(0)
    options = {"degree": 3} if name == "spherical-harmonics" else {}
    network, lonlat = Network(name, options, 8, 2), places(7)
    torch.nn.init.normal_(network.head.weight)
    got = network.head(torch.nn.functional.gelu(network.encoder(lonlat)))
    torch.testing.assert_close(network(lonlat), got)
    some = torch.tensor([4, 1])
    torch.testing.assert_close(
        network.read(network.features(lonlat)[..., some, :]), got[some], rtol=1e-4, atol=1e-5
    )
    got.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_scales_join_one_ensemble_and_its_inner_predictions_are_their_mean():
    lonlat = places(60)
    y, groups = warmth(lonlat), splits.blocks(lonlat, 20.0)
    scales = [{"sigmas": (s,), **SMALL} for s in (1.0, 4.0)]
    both = fit("rff-xyz", lonlat, y, groups, options=scales, settings=QUICK)
    assert len(both.networks) == len(both.steps) == 4
    for fold, (_, held) in enumerate(splits.folds(groups, QUICK.folds, 0)):
        with torch.inference_mode():
            mean = sum(net(lonlat[held])[:, 0] for net in both.networks[2 * fold : 2 * fold + 2])
        guess = both.target.centre + both.target.spread * mean.double().numpy() / 2
        np.testing.assert_allclose(both.inner[held], guess, rtol=1e-5)


def test_classes_are_learned_and_come_back_by_name():
    lonlat, new = places(), places(80, seed=2)

    def label(p):
        return np.where(p[:, 1] > 20, "north", np.where(p[:, 1] < -20, "south", "middle"))

    fitted = fit(
        "xyz", lonlat, label(lonlat), splits.blocks(lonlat, 20.0), options=[SMALL], settings=QUICK
    )
    assert set(fitted.predict(new)) <= {"north", "south", "middle"}
    assert location_training.score(label(new), fitted.predict(new)) > 0.8
    assert fitted.inner_score == (fitted.inner == label(lonlat)).mean()


def test_the_choice_goes_by_the_inner_score():
    lonlat = places(120)
    y, groups = warmth(lonlat), splits.blocks(lonlat, 20.0)
    fits = [
        fit("rff-xyz", lonlat, y, groups, options=[{"sigmas": (s,), **SMALL}], settings=QUICK)
        for s in (300.0, 2.0)
    ]
    assert choose(fits) is fits[1] and fits[1].inner_score > fits[0].inner_score


def test_bad_input_is_refused():
    lonlat, y = places(20), np.arange(20.0)
    with pytest.raises(BadInput, match="19 targets"):
        fit("xyz", lonlat, y[:-1], np.arange(20))
    with pytest.raises(BadInput, match="0 sets of options"):
        fit("xyz", lonlat, y, np.arange(20), options=[])
    with pytest.raises(BadInput, match="row 3"):
        fit("xyz", lonlat, np.where(y == 3, np.nan, y), np.arange(20))
    with pytest.raises(BadInput, match="is not one of"):
        fit("xyzzy", lonlat, y, np.arange(20), settings=QUICK)
    with pytest.raises(BadInput, match="two groups"):
        fit("xyz", lonlat, y, np.zeros(20), settings=QUICK)
