"""Towers trained end to end on labels: positions under turns, splits that share no group, learning
several labels together, seeds, and what is kept for other stages."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.small_models import SMALL

from gairlib.embed import encode
from gairlib.inr import interpolate
from research.evaluation import features, supervised
from research.evaluation.supervised import Images, kept, moved, train

FAST = replace(supervised.SCRATCH, steps=120, batch=32, every=20, warmup=5)
MODEL = encode.random_init(SMALL, 0)


def coloured(n: int, seed: int = 0):
    """Photos as bright as a number says, which is returned as well, and their sites of five."""
    rng = np.random.default_rng(seed)
    value = rng.uniform(-1, 1, n)
    size = SMALL.sv_size
    images = 128 + 80 * value[:, None, None, None] + rng.normal(0, 20, (n, 3, size, size))
    photos = Images(torch.from_numpy(images.clip(0, 255).astype(np.uint8)), True)
    return photos, value, np.arange(n) // 5


def trained(photos, labels, rows, test, sites, *, model=MODEL, seed=0, schedule=FAST):
    return train(deepcopy(model), photos, labels, rows, test, sites, seed=seed, schedule=schedule)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_positions_are_moved_with_their_images(mirror, turns):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 2, 8, 8, generator=generator)
    xy = torch.rand(5, 2, generator=generator).double() * 1.6 - 0.8
    y, at = moved(x, xy, mirror, turns)

    def read(images, places):
        return interpolate(images.movedim(1, 3), places[None])

    torch.testing.assert_close(read(y, at), read(x, xy))
    assert turns == 0 and not mirror or not torch.equal(y, x)


@pytest.mark.parametrize("at_positions", [False, True])
def test_a_network_reads_the_features_that_probes_read(at_positions):
    rng = np.random.default_rng(0)
    chips = rng.integers(200, 4000, (3, 10, SMALL.rs_size, SMALL.rs_size)).astype(np.uint16)
    if at_positions:
        chip, xy = np.array([2, 0, 0, 1, 2]), rng.uniform(-0.9, 0.9, (5, 2))
        images = Images(chips, False, chip, xy)
        expected = encode.local(MODEL, chips, chip, xy, mode="bilinear")
    else:
        images, expected = Images(chips, False), encode.chips(MODEL, chips)
    network = supervised.Network(MODEL, images, 4).eval()
    rows = np.arange(len(expected))[::-1].copy()
    with torch.no_grad():
        found = network(*images.take(rows))
        expected = network.head(torch.from_numpy(expected[rows]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_rows_that_judge_share_no_site_with_those_that_teach():
    groups = np.repeat(np.arange(10), 4)
    rows = np.arange(0, 40, 2)
    learn, judge = supervised.inner_split(rows, groups, 0, 0.2)
    assert sorted([*learn, *judge]) == rows.tolist() and len(judge) == 4
    assert not set(groups[learn]) & set(groups[judge])
    learn, judge = supervised.inner_split(rows, np.zeros(40), 0, 0.2)
    assert len(judge) == 4 and len(learn) == 16  # one site: rows are parted


def test_photos_stay_upright_and_chips_turn():
    x = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(64, 1, 1, 1)
    order = torch.Generator().manual_seed(0)
    photos = {tuple(v.flatten().tolist()) for v in supervised.augmented(x, True, order)}
    assert photos == {tuple(x[0].flatten().tolist()), tuple(x[0].flip(-1).flatten().tolist())}
    chips = {
        tuple(v.flatten().tolist())
        for _ in range(30)
        for v in supervised.augmented(x, False, order)
    }
    assert len(chips) == 8  # the symmetries of a square


def test_it_learns_several_labels_together_and_the_seed_decides():
    photos, value, sites = coloured(200)
    rows, test = np.arange(150), np.arange(150, 200)
    labels = {"number": value * 50 + 300, "class": np.where(value > 0, "bright", "dark")}
    labels["number"][::7] = np.nan  # photos without a label teach the others
    first, again, other = (trained(photos, labels, rows, test, sites, seed=s) for s in (0, 0, 1))
    assert np.corrcoef(first.answers["number"], value[test])[0, 1] > 0.9
    assert np.abs(first.answers["number"] - (value[test] * 50 + 300)).mean() < 15
    assert (first.answers["class"] == labels["class"][test]).mean() > 0.9
    for name in labels:
        np.testing.assert_array_equal(first.answers[name], again.answers[name])
    assert (first.answers["number"] != other.answers["number"]).any()
    assert first.fit == again.fit and set(first.best) == set(labels)
    assert first.fit.curve and all(step <= first.fit.steps for step, _ in first.fit.curve)


def test_it_never_sees_the_labels_of_the_test_rows():
    photos, value, sites = coloured(100)
    labels = np.where(value > 0, "bright", "dark")
    hidden = labels.astype("<U10").copy()
    rows, test = np.arange(70), np.arange(70, 100)
    hidden[test] = "never seen"
    short = replace(FAST, steps=20, every=10)
    found, same = (
        trained(photos, {"x": y}, rows, test, sites, schedule=short) for y in (labels, hidden)
    )
    np.testing.assert_array_equal(found.answers["x"], same.answers["x"])


def test_training_ends_by_its_patience_and_answers_with_the_best_judged_step():
    """Labels are noise: nothing learnt by heart is kept, so the guess stays near the mean."""
    photos, _, sites = coloured(60)
    noise = np.random.default_rng(1).normal(0, 1, 60)
    patient = replace(FAST, steps=400, every=10, patience=2, plateaus=1)
    found = trained(photos, {"x": noise}, np.arange(50), np.arange(50, 60), sites, schedule=patient)
    assert found.fit.steps < 400 and not found.fit.at_limit
    assert np.abs(found.answers["x"] - noise[:50].mean()).max() < 1


def test_a_training_that_meets_its_limit_says_so():
    photos, value, sites = coloured(60)
    short = replace(FAST, steps=3, every=1)
    found = trained(photos, {"x": value}, np.arange(50), np.arange(50, 60), sites, schedule=short)
    assert found.fit.steps == 3 and found.fit.at_limit


def test_a_class_that_only_judges_is_no_error():
    photos, _, sites = coloured(40)
    labels = np.where(sites == sites.max(), "rare", np.where(sites % 2, "a", "b"))
    rows, short = np.arange(40), replace(FAST, steps=2, every=1)
    for seed in range(4):
        found = trained(photos, {"x": labels}, rows, rows, sites, seed=seed, schedule=short)
        assert set(found.answers["x"]) <= {"a", "b", "rare"}


def test_a_label_with_one_value_is_answered_by_it():
    photos, value, sites = coloured(20)
    labels = {"same": np.full(20, "a"), "absent": np.full(20, np.nan)}
    rows, test = np.arange(10), np.arange(10, 20)
    found = trained(photos, labels, rows, test, sites)
    assert set(found.answers["same"]) == {"a"} and np.isnan(found.answers["absent"]).all()
    assert found.fit.steps == 0 and not found.best


def test_what_a_network_answers_is_kept_for_the_same_question_only(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FOLDER", tmp_path)
    photos, value, sites = coloured(40)
    labels = {"number": value, "class": np.where(value > 0, "bright", "dark")}
    rows, test, computed = np.arange(30), np.arange(30, 40), []

    def ask(kind="supervised", model=MODEL, rows=rows, labels=labels):
        def compute():
            computed.append(kind)
            short = replace(FAST, steps=4, every=2)
            return trained(photos, labels, rows, test, sites, model=model, schedule=short)

        return kept(compute, model, photos, labels, rows, test, sites, kind, "cpu")

    first, again = ask(), ask()
    assert len(computed) == 1 and first.fit == again.fit and first.best == again.best
    for name in labels:
        np.testing.assert_array_equal(first.answers[name], again.answers[name])
        assert first.answers[name].dtype.kind == again.answers[name].dtype.kind
    unseen = {**labels, "number": np.where(np.arange(40) < 30, value, 99.0)}
    ask(labels=unseen)  # the test rows' labels are no part of the question
    assert len(computed) == 1
    for other in (
        {"kind": "fine-tuned"},
        {"model": encode.random_init(SMALL, 1)},
        {"rows": rows[1:]},
        {"labels": {**labels, "number": -value}},
    ):
        ask(**other)
    assert len(computed) == 5
    for path in Path(features.FOLDER).glob("*.json"):
        path.write_text(path.read_text()[:50])  # cut short: computed anew
    ask()
    assert len(computed) == 6


def test_what_pretraining_held_is_held_here_too(monkeypatch):
    side = {"sv_side": "resnet10t", "sv_side_options": {"channels": [8] * 4, "stem_type": ""}}
    model = encode.random_init(SMALL.replace(**side), 0)
    held = {name for name in model.state_dict() if name.startswith("sv.tower.")}
    monkeypatch.setattr(supervised, "held_tensors", lambda model: held)
    photos, value, sites = coloured(40)
    network = supervised.Network(model, photos, 1).train()
    learns = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learns and not learns & held and network.sv.side.training
    assert not any(m.training for m in network.sv.tower.modules())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    short = replace(FAST, steps=4, every=2)
    train(model, photos, {"n": value}, np.arange(30), np.arange(9), sites, seed=0, schedule=short)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert "sv.side.conv1.weight" in moved and not moved & held
