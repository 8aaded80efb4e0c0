"""The steps of a task, one by one as a notebook shows them, give the numbers that its run gives."""

import pytest

from gairlib import ranks
from gairlib.embed import encode
from research.evaluation import features, stats
from research.tasks import registry
from research.tasks.encoders import linear
from research.tasks.geolocalisation import galleries, vectors
from research.tasks.probing import guesses, scores
from research.tasks.query import ask
from research.tasks.reading import read
from research.tasks.search import WITHIN_KM, search
from research.tasks.segmentation import benchmark, data, train
from research.tasks.segmentation import linear as linear_head
from research.tasks.task import Options


def row(result, split, metric, seed="mean"):
    r = result.rows
    at = (r.split == split) & (r.metric == metric) & (r.encoder == "gair") & (r.seed == seed)
    return tuple(r[at][["value", "low", "high"]].iloc[0])


def same(interval, expected):
    found = (interval.value, interval.low, interval.high)
    assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["sv-green_view", "location-warmth-warmth"])
def test_a_probe(name, dataset, checkpoint):
    options = Options(checkpoint, seeds=2, bootstrap=30)
    task, model = registry.get(name, dataset), options.model
    examples = task.load(dataset, options)
    images = None
    if task.subject == "photo":
        images = encode.read_photos(dataset, examples.inputs, model.config.sv_size)
    x = features.of_task(examples, model, images, options.device)

    scheme, gair, found = examples.schemes[-1], linear("gair", examples, x), []
    for seed in range(options.seeds):
        rows, guess, _ = guesses(examples, gair, scheme, seed)
        ((metric, score, _), *_), clusters = scores(examples, scheme, rows, guess)
        found.append(score)
    result = task.run(dataset, options)
    draws = options.bootstrap
    same(stats.cluster_bootstrap(found, clusters, draws=draws), row(result, scheme.name, metric))
    first = stats.cluster_bootstrap(found[:1], clusters, draws=draws)
    same(first, row(result, scheme.name, metric, "0"))


def test_retrieval(dataset, checkpoint, pairs):
    options = Options(checkpoint, pairs, seeds=1, bootstrap=30)
    task = registry.get("retrieval", dataset)
    query = task.load(dataset, options)
    reading = read(options.model, query, device=options.device)
    found = ranks.match_ranks(reading.photos, reading.local)
    codes, sites = stats.encode_clusters(query.sites)
    score = stats.mean(found.recall_at(1), codes)
    split = f"{query.label}, all photos"
    expected = row(task.run(dataset, options), split, "recall@1")
    same(stats.cluster_bootstrap([score], sites, draws=30), expected)


def test_geolocalisation(dataset, checkpoint, pairs):
    options = Options(checkpoint, pairs, seeds=1, bootstrap=30)
    task, model = registry.get("retrieval-sv-location", dataset), options.model
    query, training, _ = ask(dataset, pairs, model.config.sv_size)
    where = galleries(dataset, query.rows, training)
    photos = vectors(model, query, task.modality)
    places = ranks.unit(encode.locations(model, where.lonlat))
    found = search(photos, places, where.lonlat[: where.n], where.lonlat)
    codes, sites = stats.encode_clusters(query.sites)
    score = stats.mean(found.hits[:, WITHIN_KM.index(2500)], codes)
    split = f"{query.label}, photo to location, world gallery"
    expected = row(task.run(dataset, options), split, "hit within 2,500 km")
    same(stats.cluster_bootstrap([score], sites, draws=30), expected)


def test_segmentation(mapped, embedded, monkeypatch):
    fast = train.Schedule(steps=3, batch=2)
    monkeypatch.setattr(train, "UPERNETS", {"narrow": (8, fast)})
    options = Options(embedded[2] / "model", seeds=1, bootstrap=30)
    task = registry.get("segmentation-landcover", mapped)
    tiles = task.load(mapped, options)
    known, new = (
        train.Tiles(train.features(options.model, chips)[-1:], masks, tiles.splits[split].clusters)
        for split, (chips, masks) in (
            (split, data.load(tiles, split)) for split in ("train", "test")
        )
    )
    head, *_ = linear_head.fit(known, len(tiles.classes), seed=0)
    guess, truth = train.predict(head, new.inputs), new.masks
    codes, sites = stats.encode_clusters(tiles.splits["test"].clusters)
    matrices = benchmark.confusion(truth, guess, codes, len(tiles.classes))
    expected = row(task.run(mapped, options), tiles.split_name, "mIoU")
    same(stats.cluster_bootstrap([benchmark.miou(matrices)], sites, draws=30), expected)
