"""The table of an ablation: paired differences, honest verdicts, failures that stay visible."""

import json

import numpy as np
import pandas as pd
import pytest
from builders.intervals import naive_interval
from matplotlib.figure import Figure

from gairlib.errors import BadInput
from research.figures import studies as figures
from research.studies import ablation_table
from research.studies.ablation import BASE, Variant
from research.studies.runs import Run


def outcome(
    seed,
    shift=0.0,
    sites=8,
    each=10,
    metrics=("place", "site", "coordinates", "field_coordinates"),
    error=True,
):
    """A run whose ranks are about `shift` worse than they would be (by exactly as much in every
    draw there would be no interval); hard sites are hard for all."""
    rng = np.random.default_rng(seed)
    hard = np.repeat(np.random.default_rng(7).normal(40, 15, sites), each)
    noise = rng.normal(0, 3, sites * each)
    rank = np.clip(hard + noise + shift * rng.uniform(0.8, 1.2, sites * each), 1, 80)
    photos = {
        "photo_id": [f"p{i}" for i in range(sites * each)],
        "site": [f"s{i // each}" for i in range(sites * each)],
    }
    for m in metrics:
        photos |= {
            f"{m}_hit1": (rank <= 1) * 1.0,
            f"{m}_hit10": (rank <= 30) * 1.0,
            f"{m}_rank": rank,
        }
    if error:
        photos["error_m"] = 3 * rank
    return {
        "photos": {k: list(v) for k, v in photos.items()},
        "steps": 200,
        "seconds": 100.0,
        "resumed_from_step": 0,
        "synthetic": True,
        "dataset": "made up",
        "split": "val",
        "chance_error_m": 250.0,
    }


def summarised(bootstrap=300):
    """Four variants: a worse one, a better one, one like the base, and one with a failed seed."""
    shifts = {BASE: 0.0, "worse": 12.0, "better": -12.0, "like": 0.0}
    runs = [Run(v, s, {}, f"{v}{s}") for s in range(3) for v in shifts]
    outcomes = [outcome(10 * r.seed + 100 * (r.variant == "like"), shifts[r.variant]) for r in runs]
    runs.append(Run("broken", 0, {}, "k"))
    outcomes.append({"failed": "the loss is not finite"})
    return ablation_table.summarise(runs, outcomes, bootstrap=bootstrap), runs, outcomes


def test_differences_are_paired_by_photo_and_seed():
    result, runs, outcomes = summarised()
    table = result.table.set_index(["variant", "metric"])
    values = {}
    for r, o in zip(runs, outcomes):
        if "failed" not in o:
            values.setdefault(r.variant, []).append(np.median(o["photos"]["place_rank"]))
    for v in ("worse", "better", "like"):
        row = table.loc[(v, "place_median_rank")]
        assert row["mean"] == pytest.approx(np.mean(values[v]))
        assert row["difference"] == pytest.approx(np.mean(np.subtract(values[v], values[BASE])))
        assert row["low"] <= row["difference"] <= row["high"]
    for v, said in {"worse": "worse", "better": "better", "like": "tie"}.items():
        for metric in ("place_median_rank", "place_recall_at_10", "localisation_error_m"):
            assert table.loc[(v, metric), "verdict"] == said, (v, metric)
    # what is hard about a site is common to both: the difference is far better known
    row = table.loc[("worse", "place_median_rank")]
    assert row["mean_high"] - row["mean_low"] > 3 * (row["high"] - row["low"])
    assert result.speed == dict.fromkeys((BASE, "worse", "better", "like"), 0.5)


def test_intervals_against_a_naive_bootstrap():
    """Sites and seeds drawn one by one give the interval of the weighted sums."""
    runs = [Run(v, s, {}, f"{v}{s}") for s in range(3) for v in (BASE, "v")]
    outcomes = [outcome(r.seed, 5.0 * (r.variant == "v"), sites=24) for r in runs]
    table = ablation_table.summarise(runs, outcomes, bootstrap=2000).table
    frames = {
        (r.variant, r.seed): pd.DataFrame(o["photos"]).groupby("site")["place_hit10"].mean()
        for r, o in zip(runs, outcomes)
    }
    gaps = np.stack([frames["v", s] - frames[BASE, s] for s in range(3)])  # [seeds, sites]
    row = table.set_index(["variant", "metric"]).loc[("v", "place_recall_at_10")]
    assert row["difference"] == pytest.approx(gaps.mean())
    assert row["high"] - row["low"] > 0.1
    assert [row["low"], row["high"]] == pytest.approx(naive_interval(gaps, 4000), abs=0.015)


def test_a_failed_run_is_a_row_and_ends_nothing():
    result, *_ = summarised()
    failed = result.rows[result.rows["status"] != "done"]
    assert failed["variant"].tolist() == ["broken"]
    assert failed["status"].tolist() == ["failed: the loss is not finite"]
    variants = [Variant(v) for v in (BASE, "worse", "better", "like", "broken")]
    assert "broken" not in str(ablation_table.by_verdict(result, variants))
    assert "failed" in ablation_table.readable(result, variants).loc["broken"].tolist()
    with pytest.raises(BadInput, match="no run of 'base' has finished.*disk is full"):
        ablation_table.summarise([Run(BASE, 0, {}, "k")], [{"failed": "the disk is full"}])


def test_variants_are_grouped_by_what_the_numbers_show():
    result, *_ = summarised()
    variants = [Variant(v) for v in (BASE, "worse", "better", "like", "broken")]
    groups = ablation_table.by_verdict(result, variants)
    names = {kind: [text.split("`")[1] for text in found] for kind, found in groups.items()}
    assert names == {"worse": ["worse"], "better": ["better"], "mixed": [], "tie": ["like"]}
    assert "photo to place, recall@10 -" in groups["worse"][0] and " pp]" in groups["worse"][0]
    mixed = result.table["variant"].eq("worse") & result.table["metric"].eq("localisation_error_m")
    result.table.loc[mixed, "verdict"] = "better"
    assert len(ablation_table.by_verdict(result, variants)["mixed"]) == 1
    (place, *_, error) = ablation_table.base_against_chance(result)
    assert place.startswith("photo to place, recall@10 ") and "(chance 250.0 m)" in error


def test_too_few_sites_give_no_interval_and_no_verdict():
    runs = [Run(v, 0, {}, v) for v in (BASE, "v")]
    result = ablation_table.summarise(
        runs, [outcome(0, sites=3), outcome(0, 9.0, sites=3)], bootstrap=50
    )
    assert result.table["low"].isna().all() and set(result.table["verdict"]) == {""}
    assert ablation_table.by_verdict(result, [Variant(BASE), Variant("v")])["tie"] == ["`v`"]
    assert isinstance(figures.differences(result, ["place_recall_at_10"]), Figure)


def test_a_mode_without_positions_has_no_error():
    runs = [
        Run(BASE, 0, {}, BASE),
        Run("mean", 0, {"model": {"changes": {"query_mode": "mean"}}}, "mean"),
    ]
    result = ablation_table.summarise(runs, [outcome(0), outcome(1, error=False)], bootstrap=50)
    both = result.table[result.table["metric"] == "localisation_error_m"]
    assert both["variant"].tolist() == [BASE]
    shown = ablation_table.readable(result, [Variant(BASE), Variant("mean")])
    assert shown.loc["mean", "median localisation error in the chip"] == "-"
    figures.differences(result, ["place_recall_at_10", "localisation_error_m"])


def test_other_photos_are_refused():
    runs = [Run(v, 0, {}, v) for v in (BASE, "v")]
    with pytest.raises(BadInput, match="other photos"):
        ablation_table.summarise(runs, [outcome(0), outcome(0, each=9)], bootstrap=50)


def test_what_is_saved_can_be_read_and_is_small(tmp_path):
    result, *_ = summarised()
    result.save(tmp_path / "out", tmp_path / "metrics/ablation.json")
    kept = json.loads((tmp_path / "metrics/ablation.json").read_text())
    assert kept["data"] == "synthetic" and kept["seeds"] == [0, 1, 2] and kept["failed"] == 1
    row = kept["variants"]["worse"]["place_recall_at_10"]
    assert set(row) == {"mean", "difference", "low", "high"}
    assert row["low"] <= row["difference"] <= row["high"]
    assert kept["variants"][BASE]["place_recall_at_10"]["difference"] is None
    rows = pd.read_parquet(tmp_path / "out/rows.parquet")
    assert set(rows.columns) == {"variant", "seed", "metric", "value", "status"}


def test_the_same_numbers_give_the_same_bytes_however_long_they_took(tmp_path):
    runs, outcomes = summarised()[1:]
    for name, factor in (("first", 1), ("second", 3)):
        slower = [o | {"seconds": factor * o["seconds"]} if "seconds" in o else o for o in outcomes]
        result = ablation_table.summarise(runs, slower, bootstrap=50)
        result.save(tmp_path / name / "out", tmp_path / name / "metrics/ablation.json")
        speed = json.loads((tmp_path / name / "logs/ablation-speed.json").read_text())
        assert speed[BASE] == 0.5 * factor
    for path in ("out/rows.parquet", "out/table.csv", "metrics/ablation.json"):
        first, second = (tmp_path / name / path for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), path


def test_chance_is_what_a_random_order_reaches():
    result, *_ = summarised(bootstrap=20)
    assert result.chance["place_recall_at_10"] == pytest.approx(10 / 80)
    assert result.chance["site_recall_at_10"] == 1.0  # ten photos at each site
    assert result.chance["place_median_rank"] == 40.5
    assert result.chance["localisation_error_m"] == 250.0


def test_figure_has_a_row_a_variant_and_marks_the_data():
    result, *_ = summarised(bootstrap=50)
    figure = figures.differences(result, ["place_recall_at_10", "coordinates_median_rank"])
    axes = figure.axes
    assert len(axes) == 2
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["worse", "better", "like"]
    assert "synthetic data" in [t.get_text() for t in figure.texts]
