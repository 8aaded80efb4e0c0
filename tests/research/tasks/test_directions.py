"""Photos with a compass look at every place in their own direction; both readings side by side."""

import numpy as np
import pytest
import torch

from gairlib import GAIR, preprocess
from gairlib.pairs import store
from research.evaluation import localisation
from research.evaluation.table import OURS, SHARED, SHARED_UNKNOWN, UNKNOWN
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import directions, geolocalisation, registry
from research.tasks.query import FieldQuery, Query, gather, held_out
from research.tasks.reading import read
from research.tasks.task import Options

QUICK = dict(seeds=1, bootstrap=20)


@pytest.fixture(scope="module")
def query(dataset, pairs):
    """Held-out photos; the first knows no direction, the second looks between two of 36."""
    loaded = store.load(pairs)
    rows, label = held_out(loaded.manifest)
    heading = 40.0 * np.arange(len(rows))
    heading[:2] = np.nan, 47.0
    query = gather(loaded, dataset, rows.assign(heading=heading), label, 32)
    query.size_m = query.size_m * [1.0, 0.5]  # metres east are other ones than metres south
    return query


@pytest.fixture(scope="module")
def model(directed):
    return GAIR.from_pretrained(directed)


@torch.inference_mode()
def at(model, query, row, xy, heading):
    """The field of a photo's chip at xy [k, 2] in one direction: unit vectors [k, D]."""
    k = query.chip_of[row]
    dn = torch.from_numpy(query.chips[k : k + 1].astype(np.float32))
    images = preprocess.get(model.config.preprocessing).rs(dn, model.config.rs_size)
    encoded = model.encode_rs(images, side_m=query.size_m[row : row + 1])
    look = None if np.isnan(heading) else heading
    return model.query_rs(encoded, xy[None], heading=look, normalize=True)[0].numpy()


def test_a_photo_looks_at_every_place_in_its_own_direction(model, query):
    got, n = read(model, query), len(query.rows)
    assert query.cells == 32 and not np.isfinite(query.heading[0])
    grid = localisation.cell_centres(32)
    similarity = np.empty((n, n))
    for i, heading in enumerate(query.heading):
        own = at(model, query, i, query.xy[i : i + 1], heading)[0]
        np.testing.assert_allclose(got.local[i], own, atol=2e-5)
        maps = at(model, query, i, grid, heading) @ got.photos[i]
        np.testing.assert_allclose(got.maps[i], maps, atol=2e-5)
        rounded = 50.0 if i == 1 else heading  # to the nearest of 36
        for j in range(n):
            place = at(model, query, j, query.xy[j : j + 1], rounded)[0]
            similarity[i, j] = got.photos[i] @ place
    some = np.arange(n) != 3
    for back, matrix in ((False, similarity), (True, similarity.T)):
        among = matrix[np.ix_(some, some)]
        better = (among > np.diag(among)[:, None] + 2e-5).sum(1)
        found = got.ranks(some, back=back)
        assert found.better.tolist() == better.tolist() and set(found.size) == {n - 1}
    groups = np.arange(n) % 2
    alone = got.ranks(np.ones(n, bool), groups)
    assert set(alone.size) == {(groups == 0).sum(), (groups == 1).sum()}
    assert alone.better[2] == (similarity[2, ::2] > similarity[2, 2] + 2e-5).sum()


def test_without_the_compass_every_direction_is_read_as_unknown(model, query):
    got = read(model, query, compass=False)
    assert got.views is None
    for i in (1, 4):
        own = at(model, query, i, query.xy[i : i + 1], np.nan)[0]
        np.testing.assert_allclose(got.local[i], own, atol=2e-5)
        maps = at(model, query, i, localisation.cell_centres(32), np.nan) @ got.photos[i]
        np.testing.assert_allclose(got.maps[i], maps, atol=2e-5)
    vectors = geolocalisation.vectors(model, query, "rs", compass=False)
    np.testing.assert_allclose(vectors, got.local, atol=2e-5)
    looking = geolocalisation.vectors(model, query, "rs")
    np.testing.assert_allclose(looking, read(model, query).local, atol=2e-5)
    assert np.abs(looking - vectors)[1:].max() > 0.01  # the direction matters here
    assert not directions.reads(model, "bilinear")


def test_nearest_directions():
    assert directions.nearest([0, 4.9, 5.1, 359, -10, 720, np.nan]).tolist() == [
        *(0, 0, 1, 0, 35, 0, 36)
    ]


@pytest.mark.parametrize("task", ["retrieval", "retrieval-rs-location", "rs-street-green_view"])
def test_both_readings_stand_side_by_side_where_a_model_has_a_compass(
    dataset, directed, checkpoint, pairs, task
):
    unknown = SHARED_UNKNOWN if task.startswith("rs-street") else UNKNOWN
    ours = SHARED if task.startswith("rs-street") else OURS
    with_one = registry.run(task, dataset, Options(directed, pairs, **QUICK))
    rows = with_one.rows[with_one.rows.seed == "mean"].set_index(["split", "metric", "encoder"])
    assert with_one.status == "ran" and {ours, unknown} <= set(rows.index.get_level_values(2))
    both = rows["value"].unstack()[[ours, unknown]].dropna()
    assert (both[ours] != both[unknown]).any()
    figures.rows(with_one), example_figures.example(with_one)
    plain = registry.run(task, dataset, Options(checkpoint, pairs, **QUICK))
    assert unknown not in set(plain.rows.encoder)
    assert not any("compass" in note for note in plain.notes)
    if not task.startswith("rs-street"):
        assert any("12 of 12 photos" in note and "compass" in note for note in with_one.notes)


def test_what_is_asked_says_whether_a_place_has_one_vector(dataset, directed, checkpoint, pairs):
    task = registry.get("retrieval", dataset)
    assert type(task.load(dataset, Options(checkpoint, pairs))) is Query
    assert type(task.load(dataset, Options(directed, pairs))) is FieldQuery
