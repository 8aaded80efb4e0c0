"""Priors over classes from places: the published loss, counts, and the product, by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from research.evaluation import geo_prior
from research.evaluation.geo_prior import Grid, Neighbours, Schedule


def test_the_product_by_hand():
    """Four images of three classes: 2 of 4 right alone, 3 of 4 with the prior."""
    image = np.array([[0.5, 0.4, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    prior = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    labels = np.array([1, 0, 2, 2])
    alone, first = geo_prior.judge(lambda at: image[at], lambda at: np.ones((4, 3))[at], labels)
    assert alone.recall_at(1).tolist() == [0, 1, 1, 0] and first.tolist() == [0, 0, 2, 1]
    # 0.5 * 0.2 < 0.4 * 0.7;  0.5 * 0.6 > 0.4 * 0.3;  0.1 * 0.8 > 0.7 * 0.1;  0.3 * 0.8 > 0.4 * 0.1
    both, first = geo_prior.judge(lambda at: image[at], lambda at: prior[at], labels)
    assert both.recall_at(1).tolist() == [1, 1, 0, 1] and first.tolist() == [1, 0, 0, 2]
    assert both.recall_at(2).tolist() == [1, 1, 1, 1]  # 0.07 is the second of 0.08, 0.02, 0.07
    place, _ = geo_prior.judge(None, lambda at: prior[at], labels)
    assert place.recall_at(1).tolist() == [1, 1, 0, 1]
    # the true class's 0 is tied with another's: one chance in two of being second
    tied, _ = geo_prior.judge(lambda at: np.array([[0.0, 0.0, 1.0]]), lambda at: prior[:1], [1])
    assert tied.recall_at(1).tolist() == [0] and tied.recall_at(2).tolist() == [0.5]


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    image, prior, labels = rng.random((50, 6)), rng.random((50, 6)), rng.integers(0, 6, 50)
    whole, first = geo_prior.judge(lambda at: image[at], lambda at: prior[at], labels)
    monkeypatch.setattr(geo_prior, "CHUNK", 7)
    parts, again = geo_prior.judge(lambda at: image[at], lambda at: prior[at], labels)
    np.testing.assert_array_equal(whole.rank(), parts.rank())
    np.testing.assert_array_equal(first, again)


def test_the_loss_is_the_published_one():
    """Against sums over single classes, as equation 7 has them; values and gradients."""
    generator = torch.Generator().manual_seed(0)
    photos = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    background = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 3, 1, 1, 2])
    rows = []
    for row, label in zip(photos.sigmoid(), labels):
        terms = [-torch.log(1 - p) for p in row]
        terms[label] = -4 * torch.log(row[label])
        rows.append(sum(terms) / 4)
    plain = sum(rows) / 5 + sum(-torch.log(1 - p) for p in background.sigmoid().flatten()) / 12
    found = geo_prior.presence_loss(photos, labels, background)
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)
    for one, other in zip(*(torch.autograd.grad(x, (photos, background)) for x in (found, plain))):
        torch.testing.assert_close(one, other)
    shares = photos.sigmoid() / photos.sigmoid().sum(1, keepdim=True)
    expected = -shares[torch.arange(5), labels].log().mean()
    torch.testing.assert_close(geo_prior.surprise(photos, labels), expected)


def test_a_pass_shows_no_more_than_so_many_photos_of_a_class(monkeypatch):
    monkeypatch.setattr(geo_prior, "MOST", 3)
    labels = np.array([0] * 20 + [1] * 3 + [2] * 2)
    rows = geo_prior.capped_batches(labels, 8, np.random.default_rng(0))
    seen = [next(rows).numpy() for _ in range(3)]
    assert all(len(set(one.tolist())) == 8 for one in seen)  # 3 + 3 + 2, each once
    assert all(np.bincount(labels[one]).tolist() == [3, 3, 2] for one in seen)
    assert len({tuple(sorted(one)) for one in seen}) > 1  # of the large class, others each time


def test_counts_near_by_and_in_cells_by_hand():
    lonlat = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [100.0, 50.0]])
    labels = np.array([0, 1, 1, 2])
    near = Neighbours(lonlat, labels, 3, imagined=1.0, size=2)
    np.testing.assert_allclose(
        near([[0.4, 0.0], [1.9, 0.0]]), [[2 / 5, 2 / 5, 1 / 5]] * 1 + [[1 / 5, 3 / 5, 1 / 5]]
    )
    cells = Grid(lonlat, labels, 3, imagined=0.5, size=10.0)
    found = cells([[5.0, 5.0], [-50.0, 0.0], [101.0, 51.0]])
    np.testing.assert_allclose(found[0], np.array([1.5, 2.5, 0.5]) / 4.5)
    np.testing.assert_allclose(found[1], [1 / 3] * 3)  # an empty cell says nothing
    np.testing.assert_allclose(found[2], np.array([0.5, 0.5, 1.5]) / 2.5)
    np.testing.assert_allclose(geo_prior.frequencies(labels, 4), np.array([2, 3, 2, 1]) / 8)


def test_what_is_chosen_predicts_photos_that_were_left_out():
    """Classes in cells of 10 degrees of the same field: large and tiny cells know less."""
    rng = np.random.default_rng(0)
    lonlat = np.stack([rng.uniform(-90, 90, 3000), rng.uniform(-45, 45, 3000)], 1)
    labels = (np.floor(lonlat[:, 0] / 10) + np.floor(lonlat[:, 1] / 10)).astype(int) % 2
    prior = geo_prior.chosen(Grid, lonlat, labels, 2, (40.0, 10.0, 0.2))
    assert prior.size == 10.0 and prior.imagined < 1.0
    np.testing.assert_allclose(prior([[5.0, 5.0], [15.0, 5.0]]).argmax(1), [0, 1])
    noise = rng.integers(0, 2, 3000)  # nothing to know: the more imagined photos, the better
    assert geo_prior.chosen(Grid, lonlat, noise, 2, (10.0,)).imagined == 1.0


def test_a_head_learns_where_classes_live_and_stops_by_itself():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(600, 3))).float()
    labels = (x[:, 0].numpy() + 0.3 * rng.normal(size=600) > 0).astype(np.int64)
    background = torch.from_numpy(rng.normal(size=(500, 3))).float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(3, 2)
    schedule = Schedule(batch=64)
    fit = geo_prior.fit_head(head, head, x, labels, background, schedule=schedule)
    assert not fit.at_limit
    assert (head(x).argmax(1).numpy() == labels).mean() > 0.85
