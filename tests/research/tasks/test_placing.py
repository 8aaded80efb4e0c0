"""Maps of places and roses of directions, judged: known answers, chance, and what is skipped."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gairlib import GAIR
from gairlib.data.dataset import Dataset
from gairlib.pairs import store
from gairlib.pairs.pairing import pair
from research.evaluation import localisation
from research.evaluation.table import OURS, RANDOM, UNKNOWN, Table
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import directions, heading, placing, registry
from research.tasks import query as asking
from research.tasks.query import gather, held_out
from research.tasks.reading import Reading
from research.tasks.task import Options

QUICK = dict(seeds=1, bootstrap=20)


@pytest.fixture(scope="module")
def query(dataset, pairs):
    loaded = store.load(pairs)
    return gather(loaded, dataset, *held_out(loaded.manifest), 32)


def values(table):
    return table.rows(20).set_index(["encoder", "metric"])["value"]


def test_maps_that_know_the_cell_and_guesses_off_by_a_known_distance(query):
    table = Table("localisation", "sv-rs", "site", "d", True)
    score = placing.PlaceScorer(table, query, 0)
    n, cells = len(query.rows), query.cells**2
    known = np.zeros((n, cells), np.float32)
    known[np.arange(n), localisation.cell_of(query.xy, query.cells)] = 1
    for name, shift, maps in (("gair", 0.0, known), ("off", 0.2, np.zeros_like(known))):
        shown = query.xy + [shift, 0]
        score.map(name, Reading(known, known, maps, None, shown), 0.05, probe="p")
    score.constants(np.random.default_rng(0).uniform(-1, 1, (20, 2)))
    got = values(table)
    sure = np.log(1 + (cells - 1) * np.exp(-20))
    assert got["gair", placing.SURPRISE] == pytest.approx(sure, rel=1e-3)
    for blind in ("off", "random point"):
        assert got[blind, placing.SURPRISE] == pytest.approx(np.log(cells))
    assert got["gair", "localisation error"] == 0 and got["gair", "within 25 m"] == 1
    assert got["off", "localisation error"] == pytest.approx(64, abs=0.2)
    assert [got["off", f"within {m} m"] for m in (50, 100)] == [0, 1]
    assert got["random point", "within 300 m"] > got["random point", "within 100 m"] > 0


def test_directions_that_are_known_and_directions_that_are_all_alike(query):
    table = Table("heading", "sv-rs", "site", "d", True)
    score = heading.DirectionScorer(table, query, 0)
    off = (directions.DIRECTIONS - query.heading[:, None] + 180) % 360 - 180
    score.directions("gair", np.cos(np.deg2rad(off)), 0.05, probe="p")
    score.directions("backwards", -np.cos(np.deg2rad(off)), 0.05, probe="p")
    score.directions("flat", np.full((len(off), 36), 0.3), 0.05, probe="p")
    training = np.array([350.0] * 6 + [20.0] * 5)
    score.constants(training)
    got = values(table)
    assert got["gair", "heading error"] <= 5 and got["gair", "within 15°"] == 1
    assert got["backwards", "heading error"] >= 175 and got["backwards", "within 135°"] == 0
    for blind in ("flat", "chance"):
        assert got[blind, heading.SURPRISE] == pytest.approx(np.log(36))
        assert got[blind, "heading error"] == pytest.approx(90, abs=12)
        assert got[blind, "within 45°"] == pytest.approx(0.25, abs=0.08)
    error = np.abs((350 - query.heading + 180) % 360 - 180)
    assert got["best constant", "heading error"] == np.median(error)


def test_colours_ahead_are_those_of_the_window_that_a_camera_faces(query, monkeypatch):
    """The west of the tiny scenes is green, the east grey; photos tell which."""
    monkeypatch.setattr(directions, "AHEAD_M", (100.0,))
    chips = query.chips[:1]
    middle, wide = np.zeros((4, 2)), np.full((4, 2), 640.0)
    seen = directions._ahead(chips, np.zeros(4, int), middle, np.array([0, 90, 270, np.nan]), wide)
    at = np.array([[0, -0.3125], [0.3125, 0], [-0.3125, 0], [0, 0]])
    plain = directions.features.local_statistics(chips, np.zeros(4, int), at)
    np.testing.assert_array_equal(seen, plain)


@pytest.mark.parametrize("task", ["localisation", "heading"])
def test_both_tasks_end_to_end(dataset, directed, pairs, monkeypatch, tmp_path, task):
    monkeypatch.setattr(asking, "MIN_TRAIN", 5)
    result = registry.run(task, dataset, Options(directed, pairs, **QUICK))
    assert result.status == "ran", result.reason
    encoders = set(result.rows.encoder)
    blind = {"random point", "chip centre"} if task == "localisation" else {"chance"}
    assert {OURS, RANDOM, directions.AHEAD, "best constant", *blind} <= encoders
    assert (UNKNOWN in encoders) == (task == "localisation")
    assert result.headline["better"] == "lower" and result.headline["clusters"] == 1
    keys = set(result.metrics())
    assert "neg_log_p" in keys and all(row[2] in set(result.rows.metric) for row in result.mainline)
    assert len(keys & {"within_100_m", "within_45_deg"}) == 1
    result.save(tmp_path / "out", tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["ran"] == 1
    figures.rows(result), example_figures.example(result)
    assert type(registry.get(task, dataset).load(dataset, Options(directed, pairs))).__name__ == (
        "FieldQuery"
    )


def test_localisation_asks_every_model_and_says_nothing_of_a_compass(dataset, checkpoint, pairs):
    result = registry.run("localisation", dataset, Options(checkpoint, pairs, **QUICK))
    assert result.status == "ran" and not {UNKNOWN, directions.AHEAD} & set(result.rows.encoder)
    other = registry.run("retrieval", dataset, Options(checkpoint, pairs, **QUICK))
    split = "held-out sites, within chip"
    for one in (result, other):
        assert one.row(split, "random point", "localisation error") is not None
    same = [r.row(split, OURS, "localisation error")["value"] for r in (result, other)]
    assert same[0] == same[1]


def test_heading_is_skipped_with_the_reason(dataset, checkpoint, directed, pairs, tmp_path):
    result = registry.run("heading", dataset, Options(checkpoint, pairs, **QUICK))
    assert result.status == "skipped" and "decoder mlp" in result.reason
    data, why = registry.get("heading", dataset).load_or_reason(dataset, Options(checkpoint, pairs))
    assert data is None and why == result.reason
    street = pd.read_csv(dataset.folder / "street.csv").head(30)
    shutil.copytree(dataset.folder, tmp_path, dirs_exist_ok=True)
    for path in street["path"]:
        Image.new("RGB", (96, 48)).save(tmp_path / path)
    street.assign(heading=np.nan, is_spherical=True).to_csv(tmp_path / "street.csv", index=False)
    spheres = Dataset(tmp_path)
    result = registry.run("heading", spheres, Options(directed, pairs, **QUICK))
    assert result.status == "skipped" and "0 photos (30 look everywhere" in result.reason


def test_photos_without_a_direction_are_not_asked_for_it(dataset, directed, tmp_path):
    street = dataset.street()
    street.loc[street.index % 6 == 0, "heading"] = np.nan
    pair(street, dataset.scenes(), folder=tmp_path, progress=False)
    result = registry.run("heading", dataset, Options(directed, tmp_path, **QUICK))
    known = street[(street["split"] == "test") & street["heading"].notna()]
    assert set(result.rows.loc[result.rows.encoder == OURS, "n"]) == {len(known)}
    both = registry.run("localisation", dataset, Options(directed, tmp_path, **QUICK))
    assert set(both.rows.loc[both.rows.encoder == OURS, "n"]) == {12}
    assert any(f"{len(known)} of 12 photos" in note for note in both.notes)


def test_a_photo_finds_the_direction_in_which_the_field_agrees_with_it(dataset, directed, pairs):
    """The task's own similarities are those of the photo with its place, read all round."""
    model = GAIR.from_pretrained(directed)
    options = Options(directed, pairs, **QUICK)
    result = registry.run("heading", dataset, options)
    query, around = result.example["query"], result.example["around"]
    field = directions.look_around(model, query)
    assert around.shape == (12, 36) and field.shape == (12, 37, model.config.dim)
    best = directions.DIRECTIONS[around.argmax(1)]
    off = np.abs((best - query.heading + 180) % 360 - 180)
    row = result.row("held-out sites, at the place", OURS, "heading error")
    assert row["value"] == np.median(off)
