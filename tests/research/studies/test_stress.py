"""Stress tests: places are wrong by what is said, neutral levels change nothing, curves add up."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from builders.small_run import SMALL, small_pairs
from matplotlib.figure import Figure
from pyproj import Transformer

from gairlib import GAIR, GAIRConfig, geo, ranks
from gairlib.data.scene_reader import Reader
from gairlib.errors import BadInput
from gairlib.pairs import store
from research.figures import studies as figures
from research.pipeline import parameters
from research.studies import ablation
from research.studies.runs import Run
from research.studies.stress import curves, evaluate, findings, levels, perturb, plan
from research.tasks import query as pair_query
from research.tasks.reading import read

ROOT = Path(__file__).resolve().parents[3]
TORONTO = np.array([[-79.38, 43.65], [151.2, -33.9], [10.75, 59.9]])
WANTED = {
    "noise": [0, 50],
    "shift_east": [-40, 0, 40],
    "shift_north": [0, 30],
    "scale": [0.5, 1, 2],
    "position": [0, 0.5, 0.9],
    "heading": [-50, 0, 60],
    "compass": [0, 20, 180],
}


# -------------------------------------------------------------------------------- perturbations


@pytest.mark.parametrize("metres", [10.0, 100.0, 500.0])
def test_noise_moves_a_place_by_that_distance(metres):
    away, found = perturb.directions(TORONTO, metres, lambda p: np.ones(len(p), bool), seed=3)
    assert found.all()
    places = perturb.moved(TORONTO, away, metres)
    assert geo.haversine(TORONTO, places) == pytest.approx(np.full(3, metres), rel=6e-3)
    again, _ = perturb.directions(TORONTO, metres, lambda p: np.ones(len(p), bool), seed=3)
    other, _ = perturb.directions(TORONTO, metres, lambda p: np.ones(len(p), bool), seed=4)
    assert (again == away).all() and (other != away).all()


def test_a_place_is_moved_only_where_it_can_be_read():
    west = lambda p: p[:, 0] < TORONTO[:, 0]  # noqa: E731
    away, found = perturb.directions(TORONTO, 80.0, west, seed=0)
    assert found.all() and ((180 < away) & (away < 360)).all()
    assert not perturb.directions(TORONTO, 80.0, lambda p: np.zeros(3, bool), seed=0)[1].any()


def test_heading_90_moves_east_and_backwards_west():
    utm = Transformer.from_crs(4326, 32617, always_xy=True)
    x, y = np.array(utm.transform(*perturb.moved(TORONTO[:1], 90.0, 100.0)[0]))
    x0, y0 = np.array(utm.transform(*TORONTO[0]))
    assert x - x0 == pytest.approx(100, abs=0.2) and abs(y - y0) < 3  # the grid's convergence
    assert perturb.moved(TORONTO, 0.0, 50.0)[:, 1] == pytest.approx(
        TORONTO[:, 1] + 50 / 111_200, abs=5e-6
    )
    back = perturb.moved(perturb.moved(TORONTO, 37.0, 200.0), 37.0, -200.0)
    assert back == pytest.approx(TORONTO, abs=1e-7)


def test_a_chip_moves_no_further_than_it_must():
    box = np.array([[10.0, 10.0, 32.0, 32.0]])
    assert (perturb.least_moved(box, [[40.0, 12.0]], (96, 96)) == box).all()
    moved = perturb.least_moved(box, [[60.0, 20.0]], (96, 96))
    assert moved[0, 1] == 10 and 0.8 < perturb.box_xy([[60.0, 20.0]], moved)[0, 0] <= 0.95
    edge = perturb.least_moved(box, [[95.5, 20.0]], (96, 96))
    assert edge[0, 0] == 64  # at the scene's edge


def test_a_ring_leads_from_centre_to_edge_inside_the_scene():
    target = np.random.default_rng(0).uniform(0, 96, (200, 2))
    extent = np.full((200, 2), 32.0)
    xy, able = perturb.ring(target, extent, (96, 96), seed=0)
    assert np.abs(xy).max(1) == pytest.approx(np.ones(200))
    assert (able == ((target >= 16) & (target <= 80)).all(1)).all()
    for share in (0, 0.5, 1):
        start = target[able] - 16 * (xy[able] * share + 1)
        assert (start >= -1e-9).all() and (start + 32 <= 96 + 1e-9).all()


# --------------------------------------------------------------------------------------- levels


@pytest.fixture(scope="module")
def paired(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "pair"
    return small_pairs(tiny, folder, max_photos=3, repeats_train=2), folder


@pytest.fixture(scope="module")
def made(paired):
    """(rows, scenes, boxes, levels, usable) of the test site."""
    dataset, folder = paired
    pairs = store.load(folder)
    rows, _ = pair_query.held_out(pairs.manifest)
    scenes = {s.id: s for s in dataset.scenes()}
    boxes = levels.own_boxes(pairs, rows, scenes)
    return rows, scenes, boxes, *levels.make_levels(rows, boxes, scenes, WANTED, 0)


def lonlat_of(rows, scenes, targets):
    return np.array([scenes[s].to_lonlat(*t) for s, t in zip(rows["scene_id"], targets)])


def test_every_level_reads_a_place_as_far_off_as_it_says(made):
    rows, scenes, _, found, usable = made
    true = rows[["lon", "lat"]].to_numpy()
    assert usable["noise"].all() and all(take.any() for take in usable.values())
    for level in found:
        take = usable[level.stress]
        off = geo.haversine(true, lonlat_of(rows, scenes, level.targets))
        moved = level.stress in ("noise", "heading") or level.stress.startswith("shift")
        expected = abs(level.value) if moved else 0.0
        assert off[take] == pytest.approx(np.full(take.sum(), expected), rel=6e-3, abs=0.01), level
        xy = perturb.box_xy(level.targets, level.boxes)
        assert (np.abs(xy[take]) <= 1).all()
        assert (level.boxes[take, :2] >= 0).all()
        assert (level.boxes[take, :2] + level.boxes[take, 2:] <= 96).all()


def test_positions_are_those_of_the_chips_own_geometry(made):
    """The same xy as through the cut chip's CRS and transform; a scale mismatch keeps the place."""
    rows, scenes, _, found, usable = made
    for level in (v for v in found if v.stress in ("scale", "position")):
        for i in np.flatnonzero(usable[level.stress])[:3]:
            with Reader(scenes[rows["scene_id"][i]]) as reader:
                chip = reader.chip(*level.boxes[i], 32)
            exact = geo.chip_xy(
                rows[["lon", "lat"]].to_numpy()[i], reader.scene.crs, chip.transform, (32, 32)
            )
            got = perturb.box_xy(level.targets, level.boxes)[i]
            assert got == pytest.approx(exact, abs=1e-9)
            wide = level.boxes[i, 2] / 32
            assert wide == pytest.approx(level.value if level.stress == "scale" else 1)
            if level.stress == "position":
                assert np.abs(got).max() == pytest.approx(level.value, abs=1 / 32 + 1e-9)


def test_neutral_levels_are_the_pairs_as_they_were_made(made, paired):
    rows, scenes, boxes, found, _ = made
    xy = rows[["x", "y"]].to_numpy()
    for level in found:
        if level.value == levels.NEUTRAL.get(level.stress, 0.0) and level.stress != "position":
            assert (level.boxes == boxes).all()
            assert perturb.box_xy(level.targets, level.boxes) == pytest.approx(xy, abs=1e-6)
    pairs = store.load(paired[1])
    with Reader(scenes[rows["scene_id"][0]]) as reader:
        chip = reader.chip(*boxes[0], 32).values
    assert (chip == pairs.read_chips(rows["chip"].to_numpy()[:1])[0]).all()


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({}, "none given"),
        ({"fog": [0]}, "unknown 'fog'"),
        ({"noise": [10]}, "neutral level 0"),
        ({"scale": [0, 1]}, "lie in 0.1..10"),
        ({"position": [0, 1.2]}, "lie in 0..1"),
    ],
)
def test_wrong_levels_are_refused(wrong, said):
    with pytest.raises(BadInput, match=said):
        levels.check(wrong)


# ----------------------------------------------------------------------------- one model, curves


@pytest.fixture(scope="module")
def answered(paired, tmp_path_factory):
    """(model, folder, answer) of one untrained model under all stresses."""
    torch.manual_seed(0)
    model = GAIR(GAIRConfig(**SMALL["model"]["changes"])).eval()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    dataset, pairs = paired
    values = {
        "data": {"folder": str(dataset.folder)},
        "model": str(folder),
        "levels": WANTED,
        "noise_seed": 0,
    }
    return model, values, evaluate.run(values, str(pairs))


def test_without_stress_it_is_the_plain_retrieval(answered, paired):
    model, _, answer = answered
    dataset, folder = paired
    pairs = store.load(folder)
    rows, label = pair_query.held_out(pairs.manifest)
    query = pair_query.gather(pairs, dataset, rows, label, model.config.sv_size)
    for mode in ("nili", "bilinear"):
        plain = read(model, query, mode=mode)
        expected = ranks.match_ranks(plain.photos, plain.local)
        for stress, level in (("none", 0), ("noise", 0)):
            (got,) = [
                r
                for r in answer["ranks"]
                if (r["mode"], r["stress"], r["level"], r["gallery"])
                == (mode, stress, level, "all")
            ]
            assert got["better"] == expected.better.tolist()


def test_the_same_spec_gives_the_same_ranks(answered, paired):
    _, values, answer = answered
    again = evaluate.run(values, str(paired[1]))
    assert again["ranks"] == answer["ranks"] and again["usable"] == answer["usable"]


def test_other_modes_are_kept_apart(answered):
    _, _, answer = answered
    assert answer["own"] == "nili"
    modes = {r["mode"] for r in answer["ranks"]}
    assert modes == {"nili", "bilinear", "bicubic", "nearest", "mean"}
    assert "compass" not in {r["stress"] for r in answer["ranks"]}
    assert {r["stress"] for r in answer["ranks"] if r["mode"] == "mean"} == {"none", "noise"}


def made_up(seed, cost, sites=8, each=12):
    """An outcome whose places are `cost` ranks worse for each metre of noise."""
    rng = np.random.default_rng(seed)
    n = sites * each
    base = rng.integers(0, each, n)
    rows = []
    for mode in ("nili", "mean"):
        for stress, level in [("none", 0.0)] + [(s, v) for s, vs in LEVELS.items() for v in vs]:
            for gallery, most in (("site", each - 1), ("all", n - 1)):
                away = level - levels.NEUTRAL.get(stress, 0.0)
                worse = np.clip(base + cost * abs(away), 0, most).astype(int)
                rows.append(
                    {
                        "mode": mode,
                        "stress": stress,
                        "level": level,
                        "gallery": gallery,
                        "better": worse.tolist(),
                        "tied": [0] * n,
                    }
                )
    return {
        "own": "nili",
        "split": "held-out sites",
        "dataset": "made up",
        "synthetic": True,
        "sites": [f"s{i // each}" for i in range(n)],
        "photos": [f"p{i}" for i in range(n)],
        "usable": {s: [True] * n for s in ("none", *LEVELS)},
        "ranks": rows,
    }


LEVELS = {"noise": [0.0, 10.0, 100.0], "heading": [-50.0, 0.0, 50.0]}
TRAINED = {"linear NILI": "base", "bilinear": "mode-bilinear"}


@pytest.fixture(scope="module")
def result():
    runs = [Run(v, s, {}, f"{v}{s}") for s in (0, 1) for v in TRAINED.values()]
    outcomes = [made_up(r.seed, 0.05 if r.variant == "base" else 0.0) for r in runs]
    return curves.summarise(TRAINED, runs, outcomes, draws=200)


def test_curves_are_means_with_paired_differences(result):
    table = result.of("noise").set_index(["trained", "level"])
    better = [np.array(made_up(s, 0.05)["ranks"][0]["better"]) for s in (0, 1)]
    for level in LEVELS["noise"]:
        want = np.mean([(np.clip(b + 0.05 * level, 0, 11).astype(int) < 10).mean() for b in better])
        row = table.loc[("linear NILI", level)]
        assert row["mean"] == pytest.approx(want)
        assert row["low"] <= row["mean"] <= row["high"]
    assert np.isnan(table.loc[("linear NILI", 0.0), "difference"])
    assert table.loc[("linear NILI", 100.0), "difference_high"] < 0
    assert table.loc[("bilinear", 100.0), "difference"] == 0  # paired: nothing was lost
    assert table.loc[("bilinear", 0.0), "chance"] == pytest.approx(10 / 12)
    assert not result.of("noise", own=False).empty
    assert set(result.of("none", own=False)["read"]) == {"mean"}


def test_what_is_kept_and_said(result, tmp_path):
    result.save(tmp_path / "out", tmp_path / "stress.json")
    kept = json.loads((tmp_path / "stress.json").read_text())
    assert set(kept["trained"]) == set(TRAINED) and kept["seeds"] == [0, 1]
    assert kept["trained"]["linear NILI"]["noise 100"]["difference"] < 0
    assert not {"commit", "seconds"} & set(kept)
    assert [(gap["first"], gap["second"]) for gap in kept["gaps"]] == [("linear NILI", "bilinear")]
    assert len(pd.read_parquet(tmp_path / "out/curves.parquet")) == len(result.curves)
    costs = {x["mode"]: x for x in findings.costs_of_noise(result)}
    assert costs["linear NILI"]["from_m"] == 100 and costs["bilinear"]["from_m"] is None
    assert costs["linear NILI"]["left"] < costs["bilinear"]["left"]
    assert set(findings.peaks_along_heading(result)) <= set(TRAINED)
    (gap,) = findings.headline_gaps(result)
    assert gap.startswith("linear NILI against bilinear ") and gap.endswith("(a tie)")
    assert any("not its training mode" in row[1] for row in findings.readable(result).index)
    for stress in LEVELS:
        assert isinstance(figures.curves(result, stress), Figure)
    assert isinstance(figures.curves(result, "noise", "all", "median rank"), Figure)
    assert isinstance(figures.readings(result), Figure)


def test_headline_gaps_between_modes_are_kept_with_their_intervals(result, tmp_path):
    gaps = pd.DataFrame(
        [
            {
                "first": first,
                "second": "bilinear",
                "gallery": gallery,
                "metric": metric,
                "difference": value,
                "low": low,
                "high": 0.25,
            }
            for first, gallery, metric, value, low in (
                ("MLP NILI", "site", "recall@10", 0.2, 0.123456),
                ("nearest", "all", "recall@10", 9, 0),
                ("MLP NILI", "site", "recall@1", 9, 0),
                ("nearest", "site", "recall@10", 0.1, np.nan),
            )
        ]
    )
    replace(result, gaps=gaps).save(tmp_path / "out", tmp_path / "stress.json")
    assert json.loads((tmp_path / "stress.json").read_text())["gaps"] == [
        {
            "first": "MLP NILI",
            "second": "bilinear",
            "difference": 0.2,
            "low": 0.12346,
            "high": 0.25,
        },
        {"first": "nearest", "second": "bilinear", "difference": 0.1, "low": None, "high": 0.25},
    ]


def test_a_mode_without_a_finished_run_is_an_error(result):
    runs = [Run("base", 0, {}, "k")]
    with pytest.raises(BadInput, match="no run of 'base' has finished.*out of memory"):
        curves.summarise({"linear NILI": "base"}, runs, [{"failed": "out of memory"}])


# ------------------------------------------------------------------------------------- the stage


def test_the_stage_has_its_modes_and_files():
    params = yaml.safe_load((ROOT / "ablation/params.yaml").read_text())
    variants = {v.name: v for v in ablation.read_variants(params["ablation"]["variants"])}
    trained = params["stress"]["trained"]
    assert len(trained) == 6 and all(variants[name].keep for name in trained.values())
    # none of these modes reads directions
    assert set(levels.check(params["stress"]["levels"])) == set(levels.NEUTRAL) - {"compass"}
    kept = {(s, v) for s, vs in curves.KEPT.items() for v in vs if s != "compass"}
    assert kept <= {(s, float(v)) for s, vs in params["stress"]["levels"].items() for v in vs}
    assert {curves.LINEAR, curves.MLP, curves.BILINEAR} <= set(trained)
    stage = yaml.safe_load((ROOT / "ablation/dvc.yaml").read_text())["stages"]["stress"]
    code = [d for d in stage["deps"] if d.startswith(("gairlib/", "notebooks/"))]
    assert not [d for d in code if not (ROOT / d).is_file()]
    parameters.collect(
        ROOT / "notebooks/36-stress-the-alignment.ipynb",
        ROOT / "ablation/params.yaml",
        ["ablation", "stress"],
        [],
    )


def test_a_reading_is_known_by_its_model_and_levels(tmp_path):
    run = Run("base", 0, {"data": {}}, "a")

    def key(run, **changes):
        asked = {"levels": WANTED, "noise_seed": 0, "pairs": "p"} | changes
        return plan.plan_runs([run], tmp_path, **asked)[0].key

    keys = [
        key(run),
        key(replace(run, key="b")),
        key(run, noise_seed=1),
        key(run, pairs="q"),
        key(run, levels={"noise": [0, 1]}),
    ]
    assert len(set(keys)) == len(keys) and key(replace(run, variant="other")) == key(run)
