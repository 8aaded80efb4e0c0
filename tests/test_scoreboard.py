"""The scoreboard: claims follow from the verdicts, whatever ran; the page sorts, offline."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gairlib.benchmark_table import COMPARISON_COLUMNS, OURS, RANDOM, ROW_COLUMNS
from gairlib.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.location_baselines import NEAREST
from gairlib.location_benchmark import CHOSEN, PROBE
from gairlib.offline import external_loads
from gairlib.scoreboard import board, claims, further, page
from gairlib.scoreboard.tables import gather

NAN = float("nan")


def put(folder, task, modality, metric, encoders, split="held-out sites", mainline=True):
    """encoders: name -> (value, verdict of ours against it, probe)."""
    rows, gaps = [], []
    for name, (value, verdict, probe) in encoders.items():
        sure = verdict != ""
        for seed in ("mean", "0"):
            rows.append(dict.fromkeys(ROW_COLUMNS, "") | {
                "task": task, "modality": modality, "split": split, "encoder": name,
                "probe": probe, "n": 40, "seed": seed, "metric": metric, "value": value,
                "low": value - 0.1 if sure else NAN, "high": value + 0.1 if sure else NAN,
                "clusters": 9, "cluster": "site", "n_train": 100, "dataset": "d",
                "data": "synthetic"})  # fmt: skip
        if name != OURS:
            gap = encoders[OURS][0] - value
            gaps.append(dict(zip(COMPARISON_COLUMNS, (
                task, split, metric, "", OURS, name, gap, gap - 0.01 if sure else NAN,
                gap + 0.01 if sure else NAN, "higher", verdict, 9))))  # fmt: skip
    folder = folder / "benchmark" / task
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "rows.parquet")
    pd.DataFrame(gaps, columns=COMPARISON_COLUMNS).to_csv(folder / "comparison.csv", index=False)
    result = {"status": "ran", "dataset": "d"}
    if mainline:
        result["mainline"] = [["key", split, metric]]
    (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture(scope="module")
def found(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    out = folder / "outputs"
    base = {OURS: (0.6, "tie", "ridge"), "mean": (0.0, "wins", "none")}
    put(out, "sv-green_view", "sv", "R2", base | {
        RANDOM: (0.2, "wins", "ridge"), "raw <pixels>": (0.3, "wins", "ridge")})
    put(out, "rs-landcover", "rs", "accuracy", base | {
        RANDOM: (0.5, "wins", "x"), "U-Net": (0.9, "loses", "trained")})
    put(out, "rs-odd", "rs", "accuracy", base | {
        RANDOM: (0.8, "loses", "x"), "U-Net": (0.6, "tie", "trained")}, mainline=False)
    put(out, "retrieval", "sv-rs", "recall@1", {
        OURS: (0.6, "", "c"), RANDOM: (0.7, "", "c"), "chance": (0.1, "", "none"),
        "gair, chip mean": (0.4, "", "c")}, split="all pairs, none held out, all photos")
    put(out, "location-t-warmth", "location", "R2", base | {
        RANDOM: (0.6, "tie", "ridge"), NEAREST: (0.7, "loses", "1/distance"),
        "xyz": (0.9, "loses", PROBE), CHOSEN: (0.8, "loses", PROBE)}, split="random, 5 folds")
    (out / "benchmark/rs-eurosat").mkdir()
    (out / "benchmark/rs-eurosat/result.json").write_text(
        json.dumps({"status": "skipped", "reason": "no folder eurosat_rgb"}))
    (folder / "reports").mkdir()
    (folder / "reports/60-sv-green_view.json").write_text(json.dumps(
        {"html": "60-sv-green_view.html", "seconds": 61.0, "commit": "abc123"}))
    return board.build(Dataset(tiny), outputs=out, metrics=folder, reports=folder / "reports")


def line(found, task):
    return next(x for x in found.lines if x.task == task)


def test_long_format_holds_every_row_and_its_source(found, tmp_path):
    found.save(tmp_path, tmp_path / "scoreboard.json")
    rows = pd.read_parquet(tmp_path / "results.parquet")
    assert list(rows.columns[: len(ROW_COLUMNS)]) == ROW_COLUMNS
    assert len(rows) == len(pd.read_csv(tmp_path / "results.csv")) == 2 * (4 + 4 + 4 + 4 + 6)
    mine = rows[rows["task"] == "sv-green_view"].iloc[0]
    assert (mine["stage"], mine["commit"]) == ("benchmark@sv-green_view", "abc123")
    assert "dvc repro benchmark@sv-green_view" in mine["command"]
    numbers = json.loads((tmp_path / "scoreboard.json").read_text())
    assert numbers["rs"] == {"wins": 1, "ties": 0, "losses": 1, "no_interval": 0,
                             "baseline_ahead": 2}
    assert numbers["sv-rs"]["no_interval"] == 1 and numbers["skipped"] == 1


@pytest.mark.parametrize("task, status, said", [
    ("sv-green_view", "supported", "beats the best of the other baselines (raw <pixels>, 0.3)"),
    ("rs-landcover", "partly", "The best of the other baselines is better (U-Net, 0.9)"),
    ("rs-odd", "refuted", "pretraining is worse than the same encoder untrained, by 0.2 [0.19, "),
    ("retrieval", "no claim", "9 sites are too few for an interval"),
    ("location-t-warmth", "no claim", "no difference beyond the interval"),
])  # fmt: skip
def test_claims_follow_from_the_verdicts(found, task, status, said):
    x = line(found, task)
    assert claims.status(x) == status and said in claims.claim(x)


@pytest.mark.parametrize("task, split, said", [
    ("segmentation-landcover", "held-out sites", "telling the land cover of each pixel of a chip"),
    ("pangaea-mados", "test", "segmenting the chips of PANGAEA's mados"),
    ("placepulse-lively", "x", "telling how people judged a street (lively) from its photo"),
    ("retrieval-sv-location", "held-out sites, photo to location, world gallery",
     "finding the coordinates that belong to a photo, among places all over the world"),
    ("retrieval-rs-location", "held-out sites, location to RS",
     "finding the chip and the position in it that belongs to coordinates, among all held-out"),
    ("retrieval", "held-out sites, within chip", "finding where in its chip a photo was taken"),
])  # fmt: skip
def test_the_subject_of_a_claim_says_what_is_done(task, split, said):
    assert claims.subject(SimpleNamespace(task=task, split=split)).startswith(said)


def test_losses_are_sentences_and_only_where_there_are_some(found):
    assert claims.losses(line(found, "sv-green_view")) == []
    assert claims.losses(line(found, "rs-landcover")) == [
        "On rs-landcover (held-out sites, accuracy), U-Net is better by 0.3 [0.29, 0.31]."]
    (said,) = claims.losses(line(found, "retrieval"))
    assert "random init is ahead by 0.1, without an interval" in said
    assert "no folder eurosat_rgb" in found.conclusions()


def test_questions_and_places(found):
    assert line(found, "retrieval").question == "space"
    assert line(found, "rs-odd").question == "good"
    assert "No pair was held out" in claims.claim(line(found, "retrieval"))
    assert "next door" in claims.claim(line(found, "location-t-warmth"))


def test_registry_counts_against_the_chosen_encoder_not_the_best_by_test_score(found):
    part = found.parts["good"][0]
    assert part.table["encoder"].tolist() == [CHOSEN]
    assert part.table["difference"].iloc[0] == pytest.approx(0.1)
    assert "on 1 of 1 tasks, on 0 beyond the interval" in part.sentences[0]


def test_ablation_says_whether_mlp_beats_linear():
    v = {"mean": 0.4, "difference": 0.1, "low": 0.05, "high": 0.15}
    tie = v | {"low": -0.05, "high": 0.3}
    facts = {"photos": 288, "sites": 6, "steps": 200, "seeds": [0, 1]}
    for values, word in ((v, "is better than the linear one in"), (tie, "A smaller gain could")):
        found = facts | {"variants": {"base": {}, "decoder-mlp": {"place_recall_at_10": values}}}
        assert word in " ".join(further.ablation(found).sentences)
    assert "No ablation" in further.ablation({}).sentences[0]


def test_stress_costs_are_told_mode_by_mode():
    unstressed = {"mean": 0.4, "low": 0.3, "high": 0.5}
    cost = {"difference": -0.2, "difference_low": -0.3, "difference_high": -0.1}
    none = {"difference": -0.01, "difference_low": None, "difference_high": None}
    part = further.stress({"trained": {"base": {"unstressed": unstressed, "noise 100": cost,
                                                "noise 25": none}}})
    assert len(part.table) == 3 and "of 2 levels" in part.sentences[1]
    assert "noise 100 (-0.2 [-0.3, -0.1])" in part.sentences[1]
    assert "noise 25" not in part.sentences[1]


def test_page_needs_no_network_and_sorts_by_number(found, tmp_path):
    html = page.write(found, tmp_path / "scoreboard.html").read_text()
    assert external_loads(html) == [] and "aria-sort" in html and "<pixels>" not in html
    heads = re.findall(r'<th scope="col" data-type="(\w+)"><button', html)
    assert heads[: len(page.COLUMNS)] == ["number" if n else "text" for _, n in page.COLUMNS]
    for row in re.findall(r'<tr class="numbers">(.*?)</tr>', html, re.S):
        keys = re.findall(r'<td class="[^"]*" data-label="[^"]*" data-sort="([^"]*)"', row)
        assert len(keys) == len(page.COLUMNS)
        for key, (_, numeric) in zip(keys, page.COLUMNS):
            if numeric and key:
                assert np.isfinite(float(key))
    body = re.search(r'<tbody data-modality="sv" .*?</tbody>', html, re.S).group(0)
    assert "abc123" in body and "benchmark@sv-green_view" in body


def test_nothing_has_run(tiny, tmp_path):
    found = board.build(Dataset(tiny), outputs=tmp_path, metrics=tmp_path, reports=tmp_path)
    found.save(tmp_path / "out", tmp_path / "scoreboard.json")
    assert "nothing to claim" in found.conclusions()
    assert "No task of this kind has run" in page.page(found)
    assert len(pd.read_parquet(tmp_path / "out/results.parquet")) == 0


def test_tasks_of_an_earlier_run_are_left_out_and_torn_files_named(found, tmp_path):
    put(tmp_path, "sv-old", "sv", "R2", {OURS: (0.1, "tie", "x")})
    assert not len(gather(tmp_path, ["sv-new"]).rows)
    (tmp_path / "benchmark/sv-old/result.json").write_text("{")
    with pytest.raises(BadInput, match="dvc repro benchmark@sv-old"):
        gather(tmp_path)
