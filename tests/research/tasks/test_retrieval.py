"""Retrieval of pairs end to end, with answers that are known in advance."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gairlib.pairs import store
from gairlib.pairs.pairing import pair
from research.evaluation.table import Table
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import registry, retrieval
from research.tasks.query import chip_size_m, gather, held_out
from research.tasks.reading import Reading
from research.tasks.task import Options

QUICK = dict(seeds=2, bootstrap=50)


def test_retrieval_end_to_end_on_one_held_out_site(dataset, checkpoint, pairs):
    result = registry.run("retrieval", dataset, Options(checkpoint, pairs, **QUICK))
    r = result.rows[result.rows.seed == "mean"].set_index(["split", "encoder", "metric"])["value"]
    site, chip = "held-out sites, within site", "held-out sites, within chip"
    assert r[site, "chance", "recall@1"] == pytest.approx(1 / 12)
    assert r[site, "chance", "median rank"] == 6.5
    names = {e for s, e, _ in r.index if s == site}
    assert {"gair", "random init", "gair, chip mean", "chance"} <= names
    assert any("not its training mode" in n for n in names)
    positions = {e for s, e, _ in r.index if s == chip}
    assert {"random point", "chip centre", "best constant", "a training position"} <= positions
    assert 200 < r[chip, "random point", "localisation error"] < 420
    assert result.headline["chance"] == pytest.approx(1 / 12)
    figures.rows(result), example_figures.example(result)


def test_a_model_that_knows_the_answer_is_scored_as_one(dataset, pairs):
    loaded = store.load(pairs)
    rows, label = held_out(loaded.manifest)
    query = gather(loaded, dataset, rows, label, 32)
    assert query.cells == 32 and np.allclose(query.size_m, 640, atol=1.5)
    table = Table("retrieval", "sv-rs", "site", "d", True)
    score = retrieval.PairScorer(table, query, 0)
    known = np.eye(len(rows))
    score.both_ways("gair", Reading(known, known), probe="p")
    score.positions("gair", query.xy, probe="p")
    score.positions("off by 32 m", query.xy + [0.1, 0.0], probe="p")
    got = table.rows(20).set_index(["encoder", "metric", "split"])["value"]
    assert got["gair", "recall@1", "held-out sites, all photos"] == 1
    assert got["gair", "median rank", "held-out sites, within site"] == 1
    assert got["gair", "localisation error", "held-out sites, within chip"] == 0
    assert got["off by 32 m", "localisation error", "held-out sites, within chip"] == pytest.approx(
        32, abs=0.1
    )


def test_zero_and_three_pairs_are_reported(dataset, checkpoint, tmp_path):
    street = dataset.street()
    far = street.assign(lon=street["lon"] + 5)
    pair(far, dataset.scenes(), folder=tmp_path / "zero", progress=False)
    result = registry.run("retrieval", dataset, Options(checkpoint, tmp_path / "zero", **QUICK))
    assert result.status == "skipped" and result.reason.startswith("0 pairs")
    result.save(tmp_path / "out", tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == {"ran": 0}
    assert pd.read_parquet(tmp_path / "out/rows.parquet").empty
    assert not result.judgements() and isinstance(figures.rows(result), Figure)

    three = street.groupby("site").head(1).drop(columns=["split", "site"])
    pair(three, dataset.scenes(), folder=tmp_path / "three", progress=False)
    result = registry.run("retrieval", dataset, Options(checkpoint, tmp_path / "three", **QUICK))
    assert result.headline["split"] == "all pairs, none held out, all photos"
    assert result.rows.low.isna().all()  # three places support no interval
    assert not result.rows.split.str.contains("within site").any()  # nobody to be confused with
    assert any("alone at their site" in n for n in result.notes)
    figures.rows(result), example_figures.example(result)


def test_chip_sizes_are_metres_on_the_ground_in_any_crs():
    utm = chip_size_m("EPSG:32632", (10, 0, 500_000, 0, -10, 5_200_000), 64)
    np.testing.assert_allclose(utm, 640 / 0.9996, rtol=1e-4)  # on the central meridian
    degrees = chip_size_m("EPSG:4326", (1e-4, 0, 10, 0, -1e-4, 60), 64)
    assert degrees[0] == pytest.approx(degrees[1] / 2, rel=0.01)  # at 60 degrees north
