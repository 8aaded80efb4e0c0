"""Trained encoders, published weights and errors by region in the tables of probing tasks."""

import numpy as np
import pandas as pd
import pytest
import torch
from builders.small_weights import croma_shapes, random_state, satclip_state
from matplotlib.figure import Figure

from gairlib import GAIR
from gairlib.config import GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput, Missing
from research.evaluation import geographic_bias, stats
from research.evaluation.location_training import Settings
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import Table
from research.figures import benchmarks as figures
from research.tasks import encoders, location, registry, trained
from research.tasks.data import Places, TaskData
from research.tasks.street import Street
from research.tasks.task import Options
from research.tasks.trained import CHOSEN, PROBE

SMALL = GAIRConfig(
    dim=16,
    rs_size=32,
    rs_patch=8,
    rs_depth=1,
    rs_heads=2,
    sv_size=32,
    decoder_hidden=(16,),
    sv_options={"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
)
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
        "random init",
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


# ------------------------------------------------------------------------------ errors by region


def test_errors_by_region_are_those_of_a_planted_table():
    truth, regions = np.arange(20.0), np.repeat(["a", "b", "c"], [10, 8, 2])
    guess = truth + np.where(regions == "b", 3.0, 1.0)
    found = geographic_bias.by_region("s", "gair", truth, guess, regions, np.zeros((20, 2)))
    assert found["region"].tolist() == ["a", "b"] and found["n"].tolist() == [10, 8]
    assert found["error"].tolist() == [1.0, 3.0]  # c has two rows only
    (row,) = geographic_bias.summary(found).to_dict("records")
    assert (row["median"], row["worst_tenth"], row["worst_over_median"]) == (2.0, 3.0, 1.5)
    texts = geographic_bias.by_region(
        "s", "e", np.array(["x"] * 6), np.array(["x", "y"] * 3), np.array(["r"] * 6)
    )
    assert texts["error"].tolist() == [0.5] and texts["lon"].isna().all()
    assert geographic_bias.sentences(found, "s") == []


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


# ---------------------------------------------------------------------------- published weights


def test_croma_reads_chips_and_positions(tmp_path):
    path = tmp_path / "croma.pt"
    torch.save(random_state(croma_shapes(16, 1)), path)
    croma = Options(weights={"croma": str(path)})
    rng = np.random.default_rng(0)
    chips = rng.integers(200, 4000, (3, 10, 32, 32)).astype(np.uint16)
    xy = rng.uniform(-1, 1, (5, 2))

    def data(inputs, n):
        return TaskData(
            "t", "rs", "regression", "y", inputs, np.zeros(n), np.arange(n), "site", [], True
        )

    (row,) = encoders.published(data(chips, 3), None, croma)
    assert row[:2] == ("CROMA", "published") and row[2].shape == (3, 16)
    chip = np.array([2, 0, 0, 1, 2])
    (row,) = encoders.published(data(Places(chips, chip, xy), 5), None, croma)
    one = Places(chips[[2]], np.zeros(1, int), xy[:1])
    (alone,) = encoders.published(data(one, 1), None, croma)
    np.testing.assert_allclose(row[2][0], alone[2][0], atol=1e-5)
    location = TaskData(
        "t", "location", "regression", "y", xy, np.zeros(5), np.arange(5), "block", [], True
    )
    assert encoders.published(location, None, croma) == []


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(Missing, match="benchmark.weights.geoclip"):
        Options(weights={"geoclip": str(tmp_path / "absent.pt")})
    with pytest.raises(BadInput, match="'dinov9'"):
        Options(weights={"dinov9": "x"})


def test_training_of_the_registry_has_two_names():
    assert trained.settings("quick") == trained.QUICK
    full = trained.settings("full")
    assert full.folds > trained.QUICK.folds
    with pytest.raises(BadInput, match="benchmark.trained is 'fast'; there are quick, full"):
        trained.settings("fast")


def test_photos_and_chips_have_their_neighbours_labels_as_a_rival(tiny, tmp_path):
    """The tiny world is green in the west: over rows, neighbours know it; over sites nobody does"""
    data = Street("green_view").load(Dataset(tiny))
    assert data.lonlat.shape == (len(data.labels), 2)
    GAIR(SMALL).save_pretrained(tmp_path)
    found, _ = encoders.compared(data, Dataset(tiny), Options(tmp_path, seeds=1))
    assert {NEAREST, "inverse distance", "coordinates"} <= {e.name for e in found}


def test_a_baseline_of_fewer_seeds_is_compared_on_those():
    table = Table("t", "rs", "site", "d", True)
    for seed in range(3):
        codes = np.repeat(np.arange(8), 5)
        add = dict(n=40, clusters=8)
        table.add(
            "s", "gair", "accuracy", stats.mean(np.full(40, 0.1 * seed), codes), probe="p", **add
        )
        if seed < 1:
            table.add(
                "s", "dear", "accuracy", stats.mean(np.full(40, 0.5), codes), probe="q", **add
            )
    row = table.comparison(20).iloc[0]
    assert row.difference == pytest.approx(-0.5) and row.seeds == 1  # not minus 0.4, of all three
