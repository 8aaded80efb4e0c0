"""The supervised baseline: crops against a loop, splits that share no group, learning, seeds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from research.evaluation import supervised

FAST = replace(supervised.SCHEDULE, steps=60, every=10, warmup=5)


def coloured(n: int, seed: int = 0, side: int = 16):
    """Images whose first channel is bright in proportion to a number, which is returned as well."""
    rng = np.random.default_rng(seed)
    value = rng.uniform(-1, 1, n)
    images = rng.normal(0, 0.3, (n, 3, side, side))
    images[:, 0] += value[:, None, None]
    return supervised.shrunk(images), value, np.arange(n) // 5  # five images a site


def test_crops_are_windows_around_the_position_with_the_edge_repeated():
    rng = np.random.default_rng(0)
    chips = rng.integers(0, 9999, (3, 2, 8, 8))
    chip_of, xy = np.array([2, 0, 1, 1]), np.array([[0, 0], [-1, -1], [1, 1], [0.6, -0.9]])
    found = supervised.crops(chips, chip_of, xy)
    assert found.shape == (4, 2, 4, 4)
    for k in range(4):
        column, row = (min(int((v + 1) / 2 * 8), 7) for v in xy[k])
        for i in range(4):
            for j in range(4):
                r, c = min(max(row + i - 2, 0), 7), min(max(column + j - 2, 0), 7)
                np.testing.assert_array_equal(found[k, :, i, j], chips[chip_of[k], :, r, c])


@pytest.mark.parametrize("size, side", [(8, 16), (32, 32), (48, 48), (50, 48), (224, 64)])
def test_images_of_any_size_fit_the_network(size, side):
    images = supervised.shrunk(np.full((2, 3, size, size), 7, np.uint8))
    assert images.shape == (2, 3, side, side) and images.sub(7).abs().max() < 1e-3
    assert supervised.CompactViT(3, side, 5)(images).shape == (2, 5)


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


def test_it_learns_a_number_that_the_images_show_and_the_seed_decides():
    images, value, sites = coloured(200)
    train, test = np.arange(150), np.arange(150, 200)
    run = dict(upright=True, schedule=FAST)
    first, again, other = (
        supervised.fit_predict(images, value * 50 + 300, train, test, sites, seed=s, **run)
        for s in (0, 0, 1)
    )
    assert np.corrcoef(first, value[test])[0, 1] > 0.9
    assert np.abs(first - (value[test] * 50 + 300)).mean() < 15
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_it_learns_classes_and_never_sees_the_labels_of_the_test_rows():
    images, value, sites = coloured(200)
    labels = np.where(value > 0, "bright", "dark")
    train, test = np.arange(150), np.arange(150, 200)
    run = dict(upright=False, seed=0, schedule=FAST)
    found = supervised.fit_predict(images, labels, train, test, sites, **run)
    assert (found == labels[test]).mean() > 0.9
    hidden = labels.copy()
    hidden[test] = "never seen"
    np.testing.assert_array_equal(
        found, supervised.fit_predict(images, hidden, train, test, sites, **run)
    )


def test_training_ends_at_the_best_judged_step(monkeypatch):
    """Labels are noise: nothing learnt by heart is kept, so the guess stays near the mean."""
    images, _, sites = coloured(60)
    noise = np.random.default_rng(1).normal(0, 1, 60)
    steps = []
    kept = supervised.augmented
    monkeypatch.setattr(supervised, "augmented", lambda *a: steps.append(1) or kept(*a))
    patient = replace(FAST, steps=400, patience=2)
    guess = supervised.fit_predict(
        images,
        noise,
        np.arange(50),
        np.arange(50, 60),
        sites,
        upright=True,
        seed=0,
        schedule=patient,
    )
    assert len(steps) < 400 and np.abs(guess - noise[:50].mean()).max() < 1


def test_a_class_that_only_judges_is_no_error():
    images, _, sites = coloured(40)
    labels = np.where(sites == sites.max(), "rare", np.where(sites % 2, "a", "b"))
    for seed in range(4):
        found = supervised.fit_predict(
            images,
            labels,
            np.arange(40),
            np.arange(40),
            sites,
            upright=True,
            seed=seed,
            schedule=replace(FAST, steps=2, every=1),
        )
        assert set(found) <= {"a", "b", "rare"}
