"""Photos, chips and coordinates look for each other: both tasks end to end."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gairlib.pairs import store
from gairlib.pairs.pairing import pair
from research.evaluation.table import Table
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.figures import retrieval as retrieval_figures
from research.tasks import geolocalisation as places
from research.tasks import registry
from research.tasks.query import Query, gather
from research.tasks.task import Options

TASKS = ("retrieval-sv-location", "retrieval-rs-location")
QUICK = dict(seeds=2, bootstrap=20)


@pytest.fixture(scope="module")
def results(dataset, checkpoint, pairs):
    return {
        t: registry.run(t, dataset, Options(checkpoint, pairs, **QUICK))
        for t in ("retrieval", *TASKS)
    }


def test_a_detour_is_two_searches():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(9, 3))
    got = places.detour(a, b)
    for i in range(7):
        assert (got[i] == b[max(range(9), key=lambda j: a[i] @ b[j])]).all()


def test_six_directions_are_scored_with_their_baselines(results):
    rows = pd.concat([r.rows for r in results.values()])
    rows = rows[rows.seed == "mean"]
    chance = rows[(rows.encoder == "chance") & (rows.metric == "recall@1")].set_index("split")
    splits = {name: split for r in results.values() for name, split in r.splits.items()}
    ways = {name: (s.query, s.target, s.gallery) for name, s in splits.items()}
    for way in retrieval_figures.DIRECTIONS.values():
        (split,) = [name for name in chance.index if ways[name] == way]
        assert chance["value"][split] == pytest.approx(1 / 12)  # 12 held-out photos
        r = rows[(rows.split == split) & (rows.metric == "recall@1")]
        assert {"gair", "random init", "chance"} <= set(r.encoder)
    world = rows[rows.split == "held-out sites, photo to location, world gallery"]
    assert {"medoid of the training sites", "gair, by way of RS"} <= set(world.encoder)
    assert "gair, chip mean" in set(
        rows[rows.split == "held-out sites, RS to location, world gallery"].encoder
    )
    hits = world[world.encoder == "chance"].set_index("metric")["value"]
    assert hits["recall@1"] == pytest.approx(1 / (12 + 12 + 300))
    names = [f"hit within {km} km" for km in ("1", "25", "200", "750", "2,500")]
    assert hits[names].is_monotonic_increasing and hits["hit within 25 km"] >= 12 / 324
    assert len(retrieval_figures.directions(rows, splits).axes) == 6


def test_results_tell_what_they_are_judged_by(results):
    for name, key in (
        ("retrieval", "recall_at_1_site"),
        ("retrieval-sv-location", "recall_at_10_to_location"),
        ("retrieval-rs-location", "recall_at_10_to_location"),
    ):
        result = results[name]
        assert result.status == "ran" and result.mainline[0][0] == key
        assert all(np.isfinite(v) for v in result.metrics().values() if not isinstance(v, dict))
        assert isinstance(figures.rows(result), Figure) and isinstance(
            example_figures.example(result), Figure
        )
    assert {"recall_at_1_site_back", "recall_at_10_all_back"} <= set(results["retrieval"].metrics())
    found = results["retrieval-sv-location"]
    assert {f"hit_within_{km}_km" for km in (1, 25, 200, 750, 2500)} <= set(found.metrics())
    assert {
        f"{what}_{way}_location"
        for way in ("to", "from")
        for what in ("recall_at_1", "recall_at_5", "median_rank")
    } <= set(found.metrics())
    assert "error_km" in found.metrics()
    assert not found.rows.metric.eq("cosine margin").any()  # one held-out site
    assert any("no colour baseline" in note for note in found.notes)
    assert list(retrieval_figures.curves(found)) == ["directions", "kilometres"]
    assert list(retrieval_figures.curves(results["retrieval"])) == ["directions"]


def planted():
    """Ten photos at two sites, a gallery of their places and two more."""
    rows = pd.DataFrame(
        {
            "site": ["a"] * 5 + ["b"] * 5,
            "x": 0.0,
            "y": 0.0,
            "lon": [*np.linspace(8, 8.001, 5), *np.linspace(20, 20.001, 5)],
            "lat": 47.0,
            "photo_id": [str(i) for i in range(10)],
        }
    )
    query = Query(
        rows,
        "held-out sites",
        np.zeros((1, 10, 4, 4)),
        np.zeros(10, int),
        np.full((10, 2), 640.0),
        None,
    )
    lonlat = np.concatenate([rows[["lon", "lat"]].to_numpy(), [[-70.0, 0.0], [100.0, 10.0]]])
    return query, places.Galleries(lonlat, 10, 0)


def test_an_encoder_that_knows_the_answer_is_scored_as_one():
    query, where = planted()
    table = Table("t", "sv-location", "site", "d", True)
    score = places.PlaceScorer(table, query, "photo", where, 0)
    known = np.eye(12)
    score.both_ways("gair", known[:10], known, probe="p")
    score.both_ways("of the other site", np.roll(known[:10], 5, 0), known, probe="p")
    score.margin(score.forward, "gair", known[:10], known[:10], dict(probe="p"))
    got = table.rows(5).set_index(["encoder", "split", "metric"])["value"]
    for split in (score.forward, score.world, score.back):
        assert got["gair", split, "recall@1"] == 1 and got["gair", split, "median rank"] == 1
        assert got["gair", split, "hit within 1 km"] == 1
        assert got["of the other site", split, "recall@1"] == 0
        assert got["of the other site", split, "hit within 750 km"] == 0  # 12 degrees: 910 km
        assert got["of the other site", split, "hit within 2,500 km"] == 1
        assert got["of the other site", split, places.ERROR] == pytest.approx(910, rel=0.01)
    assert got["gair", score.forward, "cosine margin"] == 1


def test_nearest_colours_are_those_of_the_same_photo(dataset, pairs):
    loaded = store.load(pairs)
    rows = loaded.manifest.drop_duplicates("photo_id").reset_index(drop=True)
    train = gather(loaded, dataset, rows, "train", 32)
    few = gather(loaded, dataset, rows[5:9].reset_index(drop=True), "q", 32)
    for modality in ("sv", "rs"):
        got = places.nearest_colours(few, train, modality)
        np.testing.assert_allclose(got, rows.loc[5:8, ["lon", "lat"]])


def test_the_world_gallery_holds_cities_where_there_are_any(dataset, monkeypatch):
    street = dataset.street()
    where = places.galleries(dataset, street[:4], street[4:10])
    assert (where.n, where.train, len(where.lonlat)) == (4, 6, 310)
    np.testing.assert_array_equal(where.lonlat[:4], street[["lon", "lat"]][:4])
    monkeypatch.setattr(places, "MAX_TABLE", 50)
    assert len(places.galleries(dataset, street[:4], street[4:10]).lonlat) == 60
    cities = pd.DataFrame({"lon": [1.0], "lat": [2.0]})
    both = dataset.tables() | {"cities": cities}
    monkeypatch.setattr(type(dataset), "tables", lambda self: both)
    assert len(places.galleries(dataset, street[:4], street[4:10]).lonlat) == 11


def test_few_pairs_one_site_and_no_training_split(dataset, checkpoint, tmp_path):
    street = dataset.street()
    for n in (0, 1):
        some = street.assign(lon=street["lon"] + 5) if n == 0 else street[:1]
        pair(some, dataset.scenes(), folder=tmp_path / str(n), progress=False)
        for task in TASKS:
            result = registry.run(task, dataset, Options(checkpoint, tmp_path / str(n), **QUICK))
            assert result.status == "skipped" and result.reason.startswith(f"{n} pair")
            assert retrieval_figures.curves(result) == {}
    lone = street.groupby("site").head(1).drop(columns=["split", "site"])
    pair(lone, dataset.scenes(), folder=tmp_path / "lone", progress=False)
    for task in TASKS:  # three photos, alone at their places, none of them for training
        result = registry.run(task, dataset, Options(checkpoint, tmp_path / "lone", **QUICK))
        assert result.status == "ran" and result.rows.low.isna().all()
        assert "medoid of the training sites" not in set(result.rows.encoder)
        assert result.mainline[0][0] == "hit_within_200_km"  # ten of three are no finding
        assert "cosine margin" in set(result.rows.metric)
        assert isinstance(figures.rows(result), Figure) and isinstance(
            example_figures.example(result), Figure
        )
        assert "directions" in retrieval_figures.curves(result)
