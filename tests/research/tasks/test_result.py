"""Every kind of task end to end on a tiny folder, with answers that are known in advance."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gairlib.config import GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.errors import BadInput, Missing
from gairlib.pairs import store
from gairlib.pairs.pairing import pair
from research.evaluation import stats
from research.evaluation.table import Table
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import registry, retrieval
from research.tasks.query import chip_size_m, gather, held_out
from research.tasks.reading import Reading
from research.tasks.task import Options

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
QUICK = dict(seeds=2, bootstrap=50)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    encode.random_init(SMALL, 9).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tiny):
    return Dataset(tiny)


@pytest.fixture(scope="module")
def pairs(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    pair(dataset.street(), dataset.scenes(), folder=folder, progress=False)
    return folder


# ------------------------------------------------------------------------------- gathering scores


def planted():
    """gair right in 8 of 10 rows (7 to 9 a site), "random init" in 5, "majority" in 9."""
    table = Table("t", "rs", "site", "d", True)
    codes, clusters = stats.encode_clusters(np.repeat(np.arange(8), 10))
    for name, right in (("gair", 8), ("random init", 5), ("majority", 9)):
        for _ in range(2):
            spread = np.tile([-1, 1], 4) if name == "gair" else np.zeros(8)
            hits = (np.arange(10) < (right + spread)[:, None]).ravel()
            table.add(
                "s", name, "accuracy", stats.mean(hits, codes), probe="p", n=80, clusters=clusters
            )
    return table


def test_rows_and_comparisons_follow_from_planted_scores():
    table = planted()
    rows = table.rows(100)
    assert rows[rows.encoder == "gair"].seed.tolist() == ["mean", "0", "1"]
    assert (rows[rows.encoder == "gair"].value == 0.8).all()
    c = table.comparison(100).set_index("baseline")
    assert c.difference["random init"] == pytest.approx(0.3)
    assert c.verdict.to_dict() == {"random init": "wins", "majority": "loses"}
    with pytest.raises(BadInput, match="answers for 3 sites"):
        table.add(
            "s",
            "other",
            "accuracy",
            stats.mean(np.ones(3), np.arange(3)),
            probe="p",
            n=3,
            clusters=3,
        )


def test_lower_is_better_for_errors_and_ranks():
    table = Table("t", "rs", "site", "d", True)
    for name, metres in (("gair", [99.0, 100, 100, 100, 100, 101]), ("random init", [200.0] * 6)):
        table.add(
            "s",
            name,
            "localisation error",
            stats.mean(np.array(metres), np.arange(6)),
            probe="p",
            n=6,
            clusters=6,
        )
    (row,) = table.comparison(50).to_dict("records")
    assert row["difference"] == -100 and row["better"] == "lower" and row["verdict"] == "wins"


def test_a_class_in_few_sites_gets_no_interval():
    table = Table("t", "rs", "site", "d", True)
    truth, codes = np.array(["a", "a", "b"] + ["a"] * 9), np.arange(12)
    score = stats.balanced_accuracy(truth, truth, codes)
    table.add(
        "s",
        "gair",
        "balanced accuracy",
        score,
        probe="p",
        n=12,
        clusters=12,
        independent=stats.class_clusters(truth, codes),
    )
    assert table.rows(50)["value"][0] == 1 and table.rows(50)["low"].isna().all()


# ---------------------------------------------------------------------------------------- probing


def test_location_task_finds_that_neighbours_know_a_smooth_field(dataset, checkpoint, tmp_path):
    result = registry.run(
        "location-warmth-warmth", dataset, Options(checkpoint, "nowhere", **QUICK)
    )
    r = result.rows[(result.rows.seed == "mean") & (result.rows.metric == "R2")]
    assert set(r.split) == {"random, 5 folds", "10° blocks, 5 folds"}
    value = r.set_index(["split", "encoder"])["value"]
    assert value["random, 5 folds", "5 nearest neighbours"] > 0.8
    assert abs(value["random, 5 folds", "mean"]) < 0.1
    assert {"gair", "random init", "inverse distance", "coordinates"} <= set(r.encoder)
    assert (r.low <= r.value).all() and (r.value <= r.high).all() and (r.n == 300).all()
    head = result.headline
    assert head["split"].startswith("10°") and head["chance_name"] == "mean"
    assert head["best_baseline"] in ("5 nearest neighbours", "inverse distance", "random init")

    result.save(tmp_path / "out", tmp_path / "metrics/x.json")
    assert set(pd.read_parquet(tmp_path / "out/rows.parquet").columns) == set(r.columns)
    numbers = json.loads((tmp_path / "metrics/x.json").read_text())
    assert numbers["ran"] == 1 and numbers["r2"] == pytest.approx(head["value"], rel=1e-5)
    others = numbers.pop("others")
    assert all(isinstance(v, int | float) and np.isfinite(v) for v in numbers.values())
    assert set(others) == set(r.encoder) - {"gair"}
    near, best = (
        others["5 nearest neighbours"],
        result.row(head["split"], "5 nearest neighbours", "R2"),
    )
    gap = result.versus(head["split"], "5 nearest neighbours", "R2")
    expected = {
        "value": best.value,
        "low": best.low,
        "high": best.high,
        "difference": gap.difference,
        "difference_low": gap.low,
        "difference_high": gap.high,
    }
    assert near == pytest.approx(expected, rel=1e-5)
    about = json.loads((tmp_path / "out/result.json").read_text())
    assert about["status"] == "ran" and about["data"] == "synthetic"
    assert "synthetic data" in result.conclusions()
    assert isinstance(figures.rows(result), Figure) and isinstance(
        example_figures.example(result), Figure
    )


def test_street_task_learns_a_plain_colour_and_claims_no_interval_from_one_site(
    dataset, checkpoint
):
    result = registry.run("sv-green_view", dataset, Options(checkpoint, "nowhere", **QUICK))
    r = result.rows[(result.rows.seed == "mean") & (result.rows.metric == "R2")]
    assert set(r.split) == {"random rows", "held-out sites, 100 labels", "held-out sites"}
    r = r[r.split == "held-out sites"]
    value = r.set_index("encoder")["value"]
    assert value["colour statistics"] > 0.9 and value["mean"] < 0.2  # the label *is* the colour
    assert r.low.isna().all() and (r.clusters == 1).all() and (r.n == 12).all()
    assert "no interval from 1 site" in result.conclusions()
    assert (result.comparison.verdict == "").all()
    numbers = result.metrics()
    others = numbers.pop("others")
    assert all(np.isfinite(v) for v in numbers.values())
    assert others["colour statistics"]["value"] > 0.9
    assert all(set(v) == {"value", "difference"} for v in others.values())  # one site: no intervals
    figures.rows(result), example_figures.example(result)


# -------------------------------------------------------------------------------------- retrieval


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
    assert "skipped" in result.conclusions() and isinstance(figures.rows(result), Figure)

    three = street.groupby("site").head(1).drop(columns=["split", "site"])
    pair(three, dataset.scenes(), folder=tmp_path / "three", progress=False)
    result = registry.run("retrieval", dataset, Options(checkpoint, tmp_path / "three", **QUICK))
    assert result.headline["split"] == "all pairs, none held out, all photos"
    assert result.rows.low.isna().all()  # three places support no interval
    assert not result.rows.split.str.contains("within site").any()  # nobody to be confused with
    assert any("alone at their site" in n for n in result.notes)
    figures.rows(result), example_figures.example(result)


# ------------------------------------------------------------------------------------- bad input


def test_what_cannot_run_is_skipped_or_named(dataset, checkpoint, tmp_path):
    result = registry.run("rs-eurosat", dataset, Options(checkpoint, "nowhere", **QUICK))
    assert result.status == "skipped" and "eurosat_rgb" in result.reason
    assert result.headline == {} and result.metrics() == {"ran": 0}
    assert isinstance(example_figures.example(result), Figure)
    with pytest.raises(BadInput, match="unknown task"):
        registry.run("sleep", dataset, Options(checkpoint, "nowhere"))
    with pytest.raises(BadInput, match="letters, digits"):
        registry.run("../x", dataset, Options(checkpoint, "nowhere"))
    with pytest.raises(BadInput, match="seeds=0"):
        registry.run("retrieval", dataset, Options(checkpoint, "nowhere", seeds=0))
    with pytest.raises(Missing):
        registry.run("retrieval", dataset, Options(tmp_path / "absent", "nowhere"))


def test_chip_sizes_are_metres_on_the_ground_in_any_crs():
    utm = chip_size_m("EPSG:32632", (10, 0, 500_000, 0, -10, 5_200_000), 64)
    np.testing.assert_allclose(utm, 640 / 0.9996, rtol=1e-4)  # on the central meridian
    degrees = chip_size_m("EPSG:4326", (1e-4, 0, 10, 0, -1e-4, 60), 64)
    assert degrees[0] == pytest.approx(degrees[1] / 2, rel=0.01)  # at 60 degrees north
