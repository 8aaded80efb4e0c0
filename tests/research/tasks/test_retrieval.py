"""Retrieval of pairs end to end, with answers that are known in advance."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gairlib.pairs import store
from gairlib.pairs.pairing import pair
from research.evaluation import localisation
from research.evaluation.table import Table
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import query as asking
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


def test_the_guess_of_a_place_is_the_one_that_is_off_by_least_on_the_photos_that_calibrate():
    """Where a map's peak is the truth nothing beats the most similar cell; where it lies far off, a
    broad hill around the truth decides."""
    grid = localisation.cell_centres(8)
    truth = grid[np.random.default_rng(0).integers(0, len(grid), 40)]
    query = SimpleNamespace(xy=truth, cells=8, size_m=np.full((len(truth), 2), 640.0))
    distance = np.linalg.norm(grid[None] - truth[:, None], axis=2)  # [n, P]
    rows = np.arange(len(truth))

    misled = np.where(distance < 0.3, 0.95, 0.0)
    misled[rows, distance.argmax(1)] = 1.0
    sure = np.where(distance == 0, 1.0, 0.3 * np.exp(-(((distance - 0.7) / 0.2) ** 2)))
    for maps in (misled, sure):
        reading = Reading(truth, truth, maps, grid)
        temperature, chosen = reading.calibrate(query)
        errors = {
            name: float(np.median(localisation.errors_m(at, truth, query.size_m)))
            for name, at in reading.guesses(temperature).items()
        }
        assert errors[chosen] == min(errors.values())
        assert errors["best"] == 0 if maps is sure else errors["best"] > errors[chosen]


def test_test_photos_have_no_say_in_the_guess(dataset, checkpoint, pairs, monkeypatch):
    """The same temperature and estimator, whatever the judged pairs are."""
    monkeypatch.setattr(asking, "MIN_TRAIN", 5)
    check = asking.calibration(pairs, dataset, 32)
    manifest = store.load(pairs).manifest
    of = manifest.drop_duplicates("photo_id").set_index("photo_id")["split"]
    assert len(check.rows) and set(of[check.rows["photo_id"]]) == {"val"}
    assert not set(check.rows["photo_id"]) & set(held_out(manifest)[0]["photo_id"])
    asked = []
    original = Reading.calibrate
    monkeypatch.setattr(
        Reading, "calibrate", lambda self, q: asked.append(q.label) or original(self, q)
    )
    result = registry.run("retrieval", dataset, Options(checkpoint, pairs, **QUICK))
    assert asked and set(asked) == {"val"}
    assert any(
        "chosen, for each encoder, on 12 photos of the validation" in n for n in result.notes
    )


def test_chip_sizes_are_metres_on_the_ground_in_any_crs():
    utm = chip_size_m("EPSG:32632", (10, 0, 500_000, 0, -10, 5_200_000), 64)
    np.testing.assert_allclose(utm, 640 / 0.9996, rtol=1e-4)  # on the central meridian
    degrees = chip_size_m("EPSG:4326", (1e-4, 0, 10, 0, -1e-4, 60), 64)
    assert degrees[0] == pytest.approx(degrees[1] / 2, rel=0.01)  # at 60 degrees north


def test_shifted_photos_are_a_set_of_their_own(dataset, checkpoint, pairs, tmp_path):
    street = dataset.street()
    street["split"] = street["site"].map({"bern": "train", "quito": "shifted", "perth": "test"})
    pair(street, dataset.scenes(), folder=tmp_path, progress=False)
    for task in ("retrieval", "retrieval-sv-location"):
        result = registry.run(task, dataset, Options(checkpoint, tmp_path, seeds=1, bootstrap=20))
        plain = registry.run(task, dataset, Options(checkpoint, pairs, seeds=1, bootstrap=20))
        split = np.array([name.startswith("shifted") for name in result.rows["split"]])
        assert set(result.rows["split"][~split]) == set(plain.rows["split"])
        names = result.rows["split"][split].str.removeprefix("shifted sites")
        assert {f"held-out sites{name}" for name in names} == set(plain.rows["split"])
        assert all(result.splits[name].shifted for name in set(result.rows["split"][split]))
        assert result.headline["split"].startswith("held-out")
        keys = [key for key, *_ in result.mainline if key.endswith("_shifted")]
        assert len(keys) == (3 if task == "retrieval" else 1)
        ours = result.rows[(result.rows.encoder == "chance") & split]
        assert set(ours["clusters"]) == {1} and set(ours["n"]) == {12}
