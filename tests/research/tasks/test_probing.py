"""Probing tasks end to end on a tiny folder, with answers that are known in advance."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gairlib.errors import BadInput, Missing
from research.figures import benchmarks as figures
from research.figures import examples as example_figures
from research.tasks import probing, registry
from research.tasks.data import TaskData, site_schemes
from research.tasks.encoders import Encoder
from research.tasks.task import Options

QUICK = dict(seeds=2, bootstrap=50)


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
    judged, others, bounds = (
        numbers.pop("about"),
        numbers.pop("others"),
        numbers.pop("upper_bounds"),
    )
    assert all(isinstance(v, int | float) and np.isfinite(v) for v in numbers.values())
    assert judged["question"] == result.question and judged["data"] == "synthetic"
    pairs = [(key, v["split"], v["metric"]) for key, v in judged["judged"].items()]
    assert pairs == [tuple(row) for row in result.mainline]
    assert judged["judged"]["r2"]["n"] == 300 and bounds == {}
    assert set(others) == set(judged["judged"]) and len(others) == 2
    others = others["r2"]
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
    (said,) = [j for j in result.judgements() if j["split"] == head["split"]]
    assert said["blind"] == "mean" and said["value"].startswith(f"{head['value']:.3g} [")
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
    assert result.judgements()[0]["verdict"] == "no interval from 1 site(s)"
    assert (result.comparison.verdict == "").all()
    numbers = result.metrics()
    _, others, bounds = (numbers.pop(k) for k in ("about", "others", "upper_bounds"))
    assert all(np.isfinite(v) for v in numbers.values())
    assert all("supervised" in of and "supervised" not in others[k] for k, of in bounds.items())
    others = others["r2"]
    assert others["colour statistics"]["value"] > 0.9
    assert all(set(v) == {"value", "difference"} for v in others.values())  # one site: no intervals
    figures.rows(result), example_figures.example(result)


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


def test_shifted_rows_are_asked_by_the_fits_that_answer_the_test_rows():
    split = np.array(["train"] * 60 + ["test"] * 20 + ["shifted"] * 10)
    sites = np.array([f"s{i % 6}" for i in range(60)] + ["t", "v"] * 10 + ["u", "w"] * 5)
    schemes = site_schemes(pd.Series(split), sites)
    labels = np.random.default_rng(0).normal(size=90)
    data = TaskData("x", "sv", "regression", "y", None, labels, sites, "site", schemes, True)
    fits = []

    def predict(train, test, scheme, seed):
        fits.append((scheme.name, seed))
        return labels[test] + (split[test] == "shifted")

    encoder = Encoder("gair", "ridge", predict)
    known, other = probing.asked(data, encoder, schemes[-1], 0)
    assert len(fits) == 1 and (known[0], other[0]) == ("held-out sites", "shifted sites")
    assert set(split[known[1]]) == {"test"} and set(split[other[1]]) == {"shifted"}
    np.testing.assert_array_equal(known[2], labels[known[1]])
    np.testing.assert_array_equal(other[2], labels[other[1]] + 1)
    assert known[3] == other[3] == len(schemes[-1].folds(0)[0][0])
    assert [s.name for s in probing.splits(data)] == [
        "held-out sites",
        "held-out sites, 100 labels",
        "random rows",
        "shifted sites",
    ]
    judged = probing.judged(data)
    assert judged[0] == ("r2", "held-out sites", "R2")
    assert judged[-1] == ("r2_shifted", "shifted sites", "R2") and len({k for k, *_ in judged}) == 4
