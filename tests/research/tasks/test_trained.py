"""Encoders trained end to end in the table of a location task, chosen by inner folds alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from builders.small_models import SMALL
from builders.small_weights import satclip_state
from matplotlib.figure import Figure

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.location import registry as location_encoders
from research.evaluation import geographic_bias
from research.evaluation.location_training import Settings
from research.evaluation.neighbours import NEAREST
from research.figures import benchmarks as figures
from research.tasks import location, registry, trained
from research.tasks.task import Options
from research.tasks.trained import CHOSEN, PROBE

QUICK = Settings(dim=8, folds=2, steps=10, batch=64, check_every=5, lr=1e-2)


@pytest.fixture(scope="module")
def result(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    encode.random_init(SMALL, 9).save_pretrained(folder)
    satclip = folder / "satclip.pt"
    torch.save(satclip_state(4, hidden=16, dim=8), satclip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geographic_bias, "MIN_ROWS", 1)  # 226 blocks hold the 300 rows
        return registry.run(
            "location-warmth-warmth",
            Dataset(tiny),
            Options(
                folder,
                "nowhere",
                seeds=2,
                bootstrap=30,
                block_degrees=(10.0, 20.0),
                location_encoders=("xyz", "wrap"),
                weights={"satclip": str(satclip)},
                settings=QUICK,
            ),
        )


def test_one_table_holds_frozen_and_trained_encoders_on_the_same_rows(result):
    r = result.rows[result.rows["seed"] == "mean"]
    assert {
        "gair",
        "gair, shared space",
        "random init",
        "random init, shared space",
        NEAREST,
        "inverse distance",
        "coordinates",
        "mean",
        "xyz",
        "wrap",
        CHOSEN,
        "SatCLIP",
    } == set(r["encoder"])
    assert (r["n"] == 300).all() and (r.groupby("split")["clusters"].nunique() == 1).all()
    assert set(r[r.encoder.isin(["xyz", "wrap", CHOSEN])]["probe"]) == {PROBE}
    assert dict(zip(r["split"], r["cluster"])) == {
        "random, 5 folds": "10° block",
        "10° blocks, 5 folds": "10° block",
        "20° blocks, 5 folds": "20° block",
    }
    assert [key for key, *_ in result.mainline] == ["r2", "r2_20_degree_blocks", "r2_random_folds"]
    assert result.headline["split"] == "10° blocks, 5 folds"


def test_differences_from_neighbours_are_of_the_same_folds(result):
    gaps = result.neighbours
    assert set(gaps["encoder"]) == {"gair", "xyz", "wrap", CHOSEN}
    assert set(gaps["baseline"]) == {NEAREST}
    rows = result.rows.set_index(["split", "encoder", "metric", "seed"])["value"]
    for g in gaps[gaps.encoder == "xyz"].itertuples():
        want = (
            rows[g.split, "xyz", g.metric, "mean"] - rows[g.split, NEAREST, g.metric, "0"]
        )  # trained on the first assignment alone
        assert g.difference == pytest.approx(want)
    assert any(CHOSEN in note for note in result.notes)


def test_the_chosen_encoder_is_one_of_the_trained_ones_in_every_fold():
    rng = np.random.default_rng(0)
    lonlat = np.stack([rng.uniform(-180, 180, 120), rng.uniform(-60, 60, 120)], 1)
    y = np.where(lonlat[:, 1] > 0, "north", "south")
    found = trained.predictors(lonlat, y, ["xyz", "wrap"], QUICK)
    scheme = location.blocked(lonlat, 20.0, 10.0)
    for train, test in scheme.folds(0):
        guess = {name: f(train, test, scheme, 0) for name, f in found.items()}
        assert any((guess[CHOSEN] == guess[name]).all() for name in ("xyz", "wrap"))


def test_encoder_names_and_block_sizes_are_checked(tiny):
    assert len(trained.names("all")) > 10
    assert trained.names(["xyz", "xyz"]) == ["xyz"]
    with pytest.raises(BadInput, match="'sphere'"):
        trained.names(["sphere"])
    with pytest.raises(BadInput, match="list of encoder names"):
        trained.names("some")
    with pytest.raises(BadInput, match="divide 180"):
        registry.run("location-warmth-warmth", Dataset(tiny), Options(block_degrees=[7.0]))
    near = np.random.default_rng(0).uniform(0, 9, (200, 2))
    assert location.block_sizes(near, [10.0]) == [0.5]
    world = np.random.default_rng(0).uniform(-80, 80, (500, 2))
    assert location.block_sizes(world, [2, 10, 20]) == [2.0, 20.0, 10.0]


def test_training_of_the_registry_has_two_names():
    assert trained.settings("quick") == trained.QUICK
    full = trained.settings("full")
    assert full.folds > trained.QUICK.folds
    with pytest.raises(BadInput, match="benchmark.trained is 'fast'; there are quick, full"):
        trained.settings("fast")


def test_the_figure_and_the_files_of_a_result(result, tmp_path):
    assert isinstance(figures.bias(result), Figure)
    assert len(figures.bias(result).axes) == figures.MOST + 1  # and the shared colour scale
    assert figures.shown(result.regions)[:3] == ["gair", CHOSEN, NEAREST]
    result.save(tmp_path)
    assert set(pd.read_csv(tmp_path / "regions.csv")["encoder"]) == set(result.rows["encoder"])
    bias = pd.read_csv(tmp_path / "bias.csv")
    assert (bias["worst_tenth"] >= bias["median"]).all()
    assert len(pd.read_csv(tmp_path / "neighbours.csv")) == len(result.neighbours)
    sites = pd.DataFrame(
        {
            "split": "s",
            "encoder": ["gair", "gair", "other", "other"],
            "region": ["a", "b"] * 2,
            "lon": np.nan,
            "lat": np.nan,
            "n": 9,
            "error": [0.1, 0.2, 0.3, 0.4],
        }
    )
    assert isinstance(figures.regions(sites, "t", "share wrong", True, None), Figure)


def test_labels_of_the_test_rows_change_no_guess_for_them():
    rng = np.random.default_rng(0)
    lonlat = np.stack([rng.uniform(-180, 180, 150), rng.uniform(-70, 70, 150)], 1)
    y = np.cos(np.deg2rad(lonlat[:, 1])) + 0.1 * rng.normal(size=150)
    scheme = location.blocked(lonlat, 20.0, 10.0)
    train, test = scheme.folds(0)[0]
    other = y.copy()
    other[test] = 99.0
    first, second = (trained.predictors(lonlat, v, ["xyz", "wrap"], QUICK) for v in (y, other))
    assert set(first) == {"xyz", "wrap", CHOSEN}
    for name, guess in first.items():
        one, two = guess(train, test, scheme, 0), second[name](train, test, scheme, 0)
        np.testing.assert_array_equal(one, two, err_msg=name)


def test_every_encoder_of_the_registry_has_options_that_build_it():
    for name in location_encoders.names():
        for degrees in (None, 0.5, 10.0, 20.0):
            for options in trained.options(name, degrees):
                built = location_encoders.create(name, 8, **options)
                assert built([[1.0, 2.0]]).shape == (1, 8)
