"""The scoreboard: claims follow from the verdicts, whatever ran; the page sorts, offline."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from builders.benchmark_results import put, skip

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.location import registry
from research.evaluation import verdicts
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import COMPARISON_COLUMNS, OURS, RANDOM, ROW_COLUMNS
from research.pipeline.offline import external_loads
from research.reports.gather import TaskRecord, gather
from research.reports.lines import Against, Line
from research.reports.scoreboard import board, claims, further, location_encoders, page
from research.tasks.result import Split
from research.tasks.trained import CHOSEN, PROBE


@pytest.fixture(scope="module")
def found(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    out = folder / "outputs"
    base = {OURS: (0.6, "tie", "ridge"), "mean": (0.0, "wins", "none")}
    put(
        out,
        "sv-green_view",
        "sv",
        "R2",
        base | {RANDOM: (0.2, "wins", "ridge"), "raw <pixels>": (0.3, "wins", "ridge")},
    )
    put(
        out,
        "rs-landcover",
        "rs",
        "accuracy",
        base | {RANDOM: (0.5, "wins", "x"), "U-Net": (0.9, "loses", "trained")},
    )
    put(
        out,
        "rs-odd",
        "rs",
        "accuracy",
        base | {RANDOM: (0.8, "loses", "x"), "U-Net": (0.6, "tie", "trained")},
    )
    put(
        out,
        "retrieval",
        "sv-rs",
        "recall@1",
        {
            OURS: (0.6, "", "c"),
            RANDOM: (0.7, "", "c"),
            "chance": (0.1, "", "none"),
            "gair, chip mean": (0.4, "", "c"),
        },
        split=Split(
            "all photos", None, query="photo", target="chip", gallery="held out", claim="finding"
        ),
    )
    put(
        out,
        "location-t-warmth",
        "location",
        "R2",
        base
        | {
            RANDOM: (0.6, "tie", "ridge"),
            NEAREST: (0.7, "loses", "1/distance"),
            "xyz": (0.9, "loses", PROBE),
            "rff": (0.5, "loses", PROBE),
            CHOSEN: (0.8, "loses", PROBE),
        },
        split=Split("random, 5 folds", "row"),
        neighbours=[(OURS, -0.1, -0.2, -0.05, "loses"), (CHOSEN, 0.1, 0.05, 0.15, "wins")],
    )
    skip(out, "rs-eurosat", "no folder eurosat_rgb")
    (folder / "reports").mkdir()
    (folder / "reports/60-sv-green_view.json").write_text(
        json.dumps({"html": "60-sv-green_view.html"})
    )
    return board.build(Dataset(tiny), outputs=out, metrics=folder, reports=folder / "reports")


def line(found, task):
    return next(x for x in found.lines if x.task == task)


def test_long_format_holds_every_row_and_its_source(found, tmp_path):
    found.save(tmp_path, tmp_path / "scoreboard.json")
    rows = pd.read_parquet(tmp_path / "results.parquet")
    assert list(rows.columns[: len(ROW_COLUMNS)]) == ROW_COLUMNS
    assert len(rows) == len(pd.read_csv(tmp_path / "results.csv")) == 2 * (4 + 4 + 4 + 4 + 7)
    mine = rows[rows["task"] == "sv-green_view"].iloc[0]
    assert mine["stage"] == "benchmark@sv-green_view"
    assert "dvc repro benchmark@sv-green_view" in mine["command"]
    numbers = json.loads((tmp_path / "scoreboard.json").read_text())
    assert numbers["rs"] == {
        "wins": 1,
        "ties": 0,
        "losses": 1,
        "no_interval": 0,
        "baseline_ahead": 2,
    }
    assert numbers["sv-rs"]["no_interval"] == 1 and numbers["skipped"] == 1
    assert numbers["registry_beats_5nn"]["random, 5 folds, regression"]["beyond_interval"] == 1
    near = pd.read_csv(tmp_path / "neighbours.csv")
    assert len(near) == 2 and set(near["stage"]) == {"benchmark@location-t-warmth"}


@pytest.mark.parametrize(
    "task, status, said",
    [
        ("sv-green_view", "supported", "beats the best of the other baselines (raw <pixels>, 0.3)"),
        ("rs-landcover", "partly", "The best of the other baselines is better (U-Net, 0.9)"),
        (
            "rs-odd",
            "refuted",
            "pretraining is worse than the same encoder untrained, by 0.2 [0.19, ",
        ),
        ("retrieval", "no claim", "9 sites are too few for an interval"),
        ("location-t-warmth", "no claim", "no difference beyond the interval"),
    ],
)
def test_claims_follow_from_the_verdicts(found, task, status, said):
    x = line(found, task)
    assert x.status == status and said in claims.claim(x)


def test_a_claim_begins_with_what_the_split_does_else_the_task(found):
    assert claims.claim(line(found, "retrieval")).startswith("Finding: ")
    assert claims.claim(line(found, "sv-green_view")).startswith("Telling sv-green_view: ")


def test_losses_are_sentences_and_only_where_there_are_some(found):
    assert claims.losses(line(found, "sv-green_view")) == []
    assert claims.losses(line(found, "rs-landcover")) == [
        "On rs-landcover (held-out sites, accuracy), U-Net is better by 0.3 [0.29, 0.31]."
    ]
    (said,) = claims.losses(line(found, "retrieval"))
    assert "random init is ahead by 0.1, without an interval" in said
    assert "no folder eurosat_rgb" in str(found.absent + found.run.skipped)


def test_what_the_folder_has_no_data_for_is_listed_by_reason(found):
    named = [name for names, _ in found.absent for name in names.split(", ")]
    assert "pangaea-mados" in named and len(named) == len(set(named))
    assert not {"rs-eurosat", "sv-green_view"} & set(named)  # in this run's list
    reasons = [why for _, why in found.absent]
    assert len(reasons) == len(set(reasons))
    html = page.page(found)
    assert f"not in this folder ({1 + len(found.absent)})" in html and "pangaea-mados" in html


def test_questions_and_places(found):
    assert line(found, "retrieval").question == "space"
    assert line(found, "rs-odd").question == "good"
    assert "No pair was held out" in claims.claim(line(found, "retrieval"))
    assert "next door" in claims.claim(line(found, "location-t-warmth"))


def test_registry_counts_against_the_chosen_encoder_not_the_best_by_test_score(found):
    part = found.parts["good"][0]
    assert part.table["encoder"].tolist() == [CHOSEN]
    assert part.table["difference"].iloc[0] == pytest.approx(0.1)
    assert part.table["verdict"].tolist() == ["wins"]  # of neighbours.csv: gair's own loses
    assert "by value on 1, beyond the interval on 1" in part.sentences[0]
    assert f"of 2 trained encoders, of {len(registry.names())} in the" in part.sentences[0]


def tables(found, split="10° blocks, 5 folds"):
    """Rows and neighbours of `found`: (task, metric, value, 5-NN and its low, verdict)."""
    rows, near = [], []
    for task, metric, value, five, low, verdict in found:
        head = {"task": task, "split": split, "metric": metric, "data": "real"}
        for name, probe, v in (
            (NEAREST, "1/distance", five),
            ("rff", PROBE, value - 0.3),
            ("xyz", PROBE, value - 0.2),
            (CHOSEN, PROBE, value),
        ):
            seeds = {"mean": v, "0": v} if name != NEAREST else {"mean": v + 0.5, "0": v, "1": v}
            rows += [
                head
                | {
                    "encoder": name,
                    "probe": probe,
                    "seed": seed,
                    "value": x,
                    "low": low if name == NEAREST else x - 0.1,
                    "high": x + 0.1,
                }
                for seed, x in seeds.items()
            ]
        away = {"wins": 0.01, "loses": 0.01, "tie": 1.0}.get(verdict)
        if away is not None:  # "": an earlier run's folder without neighbours.csv
            gap = value - five
            near.append(
                head
                | {
                    "encoder": CHOSEN,
                    "baseline": NEAREST,
                    "difference": gap,
                    "low": gap - away,
                    "high": gap + away,
                    "verdict": verdict,
                }
            )
    return pd.DataFrame(rows), pd.DataFrame(near, columns=COMPARISON_COLUMNS)


def test_registry_takes_verdicts_from_the_paired_differences_to_neighbours():
    part = location_encoders.section(
        *tables(
            [
                ("location-t-win", "R2", 0.8, 0.6, 0.5, "wins"),
                ("location-t-tie", "R2", 0.7, 0.6, 0.5, "tie"),
                ("location-t-lose", "R2", 0.3, 0.6, 0.5, "loses"),
                ("location-t-lights", "R2", -0.1, -0.08, -0.2, "tie"),
                ("location-t-old", "R2", 0.7, 0.6, 0.5, ""),
                ("location-t-country", "accuracy", 0.7, 0.6, -0.1, "wins"),
            ]
        )
    )
    assert part.table["verdict"].tolist() == ["wins", "tie", "loses", "tie", "", "wins"]
    assert part.table["5-NN"].tolist() == [0.6, 0.6, 0.6, -0.08, 0.6, 0.6]  # of the same folds
    said, signal, classes = part.sentences
    assert said.startswith("10° blocks, 5 folds, 5 regression tables: the best of 2 trained enc")
    assert "by value on 3, beyond the interval on 1." in said
    assert "It does not beat 5-NN on location-t-tie (0.7 against 0.6, 0.1 [-0.9, 1.1], " in said
    assert "location-t-lose (0.3 against 0.6, -0.3 [-0.31, -0.29], worse)" in said
    assert "location-t-old (0.7 against 0.6, 0.1, no interval)" in said and "-win" not in said
    assert "location-t-lights holds hardly any signal for neighbours" in signal
    assert "-0.08 [-0.2, 0.02]" in signal
    assert "1 classification table:" in classes and "does not beat" not in classes
    assert location_encoders.counts(part.table) == {
        "10° blocks, 5 folds, regression": {
            "tasks": 5,
            "ahead": 3,
            "beyond_interval": 1,
            "behind_beyond_interval": 1,
        },
        "10° blocks, 5 folds, classification": {
            "tasks": 1,
            "ahead": 1,
            "beyond_interval": 1,
            "behind_beyond_interval": 0,
        },
    }


def test_other_block_sizes_and_a_single_encoder_are_sentences_of_their_own():
    rows, near = tables([("location-t-a", "R2", 0.8, 0.6, 0.5, "wins")])
    fine, near_fine = tables(
        [("location-c-value", "R2", 0.5, 0.6, 0.5, "loses")], "0.5° blocks, 5 folds"
    )
    fine = fine[~fine["encoder"].isin(["rff", CHOSEN])]
    part = location_encoders.section(
        pd.concat([rows, fine]), pd.concat([near, near_fine.assign(encoder="xyz")])
    )
    assert len(part.sentences) == 2  # one encoder alone is not the best by test score of several
    assert part.sentences[1].startswith("0.5° blocks, 5 folds, 1 regression table: the one train")
    fine = tables([("location-c-value", "R2", 0.5, 0.6, 0.5, "loses")])[0]
    part = location_encoders.section(fine[fine["encoder"] != CHOSEN], near)
    assert "flatters" in part.sentences[-1] and part.table["encoder"].tolist() == ["xyz"]


def of(verdicts, metric="R2", unit=""):
    """A line whose baselines have these verdicts, best first after the untrained one."""
    others = [
        Against(name, 0.4 - 0.01 * i, 0.2, 0.1, 0.3, v)
        for i, (name, v) in enumerate(verdicts.items())
    ]
    return Line(
        TaskRecord("sv-x", "benchmark@sv-x", "60-sv-x"),
        Split("held-out sites", "site"),
        "sv",
        metric,
        unit,
        0.6,
        0.5,
        0.7,
        40,
        9,
        "site",
        "real",
        random=others[0],
        best=others[1],
        others=others,
    )


@pytest.mark.parametrize(
    "verdicts, status, said",
    [
        (("wins", "wins", "wins", "wins"), "supported", "It beats the best of the other"),
        (("wins", "wins", "tie", "wins"), "partly", "Level within the interval: B (0.38)."),
        (("wins", "wins", "wins", ""), "partly", "Without an interval: C (0.37)."),
        (("wins", "tie", "tie", "tie"), "partly", "Level within the interval: B (0.38), C (0.37)."),
    ],
)
def test_supported_takes_a_win_over_every_baseline(verdicts, status, said):
    x = of(dict(zip((RANDOM, "A", "B", "C"), verdicts)))
    assert x.status == status and said in claims.claim(x)
    assert ("Level" in claims.claim(x)) == ("tie" in verdicts[2:])


def test_ablation_says_whether_mlp_beats_linear():
    v = {"mean": 0.4, "difference": 0.1, "low": 0.05, "high": 0.15}
    tie = v | {"low": -0.05, "high": 0.3}
    facts = {"photos": 288, "sites": 6, "steps": 200, "seeds": [0, 1]}
    worse = v | {"difference": -0.1, "low": -0.15, "high": -0.05}

    def said(**values):
        return further.ablation(facts | {"variants": {"base": {}} | values}).sentences[-1]

    for values, word in (
        (v, "is better than the linear one in"),
        (tie, "A smaller gain could"),
        (
            worse,
            "is worse than the linear one, beyond the interval, in photo to "
            "place, recall@10 -10.0 pp [-15.0 pp, -5.0 pp]",
        ),
    ):
        text = said(**{"decoder-mlp": {"place_recall_at_10": values}})
        assert word in text and ("A smaller gain" in text) == (values is tie)
    mixed = said(**{"decoder-mlp": {"place_recall_at_10": worse, "site_recall_at_10": tie}})
    assert "A smaller gain" not in mixed
    assert "No ablation" in further.ablation({}).sentences[0]


def test_sources_name_a_command_that_is_there():
    for part in (further.ablation, further.stress):
        assert "`make ablate`" in part({}).source and "make stress" not in part({}).source


def test_stress_costs_are_told_mode_by_mode():
    unstressed = {"mean": 0.4, "low": 0.3, "high": 0.5}
    cost = {"difference": -0.2, "difference_low": -0.3, "difference_high": -0.1}
    none = {"difference": -0.01, "difference_low": None, "difference_high": None}
    part = further.stress(
        {"trained": {"base": {"unstressed": unstressed, "noise 100": cost, "noise 25": none}}}
    )
    assert len(part.table) == 3 and "of 2 levels" in part.sentences[1]
    assert "noise 100 (-0.2 [-0.3, -0.1])" in part.sentences[1]
    assert "noise 25" not in part.sentences[1]


@pytest.mark.parametrize(
    "value, low, high, word",
    [
        (0.031, 0.01, 0.05, "is better than trained as linear NILI"),
        (-0.035, -0.065, -0.006, "is worse than"),
        (0.01, -0.02, 0.04, "does not differ from"),
        (0.01, None, None, "has no interval against"),
    ],
)
def test_modes_are_set_against_one_another(value, low, high, word):
    gap = {
        "first": "MLP NILI",
        "second": "linear NILI",
        "difference": value,
        "low": low,
        "high": high,
    }
    (said,) = further.stress({"trained": {}, "gaps": [gap]}).sentences
    assert word in said and f"{100 * value:+.1f}" in said


def test_localisation_is_set_against_guesses_that_look_at_nothing():
    names = {
        RANDOM: "wins",
        "best constant": "wins",
        "chip centre": "tie",
        "a training position": "loses",
        "random point": "wins",
    }
    x = of(names, "localisation error", "m")
    x.blind = x.others[-1]
    said = further.readings([x]).sentences
    assert "likeliest disc) against best constant: 0.6 m against 0.39 m in the median, " in said[1]
    assert "0.2 [0.1, 0.3] m: better" in said[1]
    assert "chip centre" in said[2] and "undecided" in said[2]
    assert "a training position" in said[3] and "worse" in said[3]
    assert len(said) == 4  # the random point has the first sentence
    x.metric, x.unit, x.others = "localisation error, great circle", "km", x.others[-1:]
    assert "0.6 [0.5, 0.7] km in the median" in further.readings([x]).sentences[0]


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
    assert "benchmark@sv-green_view" in body


def test_nothing_has_run(tiny, tmp_path):
    found = board.build(Dataset(tiny), outputs=tmp_path, metrics=tmp_path, reports=tmp_path)
    found.save(tmp_path / "out", tmp_path / "scoreboard.json")
    assert "nothing to claim" in found.summary()
    html = page.page(found)
    assert "No task of this kind has run" in html and "Nothing was compared" in html
    assert "No baseline is ahead" not in html
    assert len(pd.read_parquet(tmp_path / "out/results.parquet")) == 0


def test_tasks_of_an_earlier_run_are_left_out_and_torn_files_named(tiny, tmp_path):
    folders = dict(outputs=tmp_path, metrics=tmp_path / "m", reports=tmp_path / "r")
    put(tmp_path, "sv-old", "sv", "R2", {OURS: (0.1, "tie", "x")})
    assert not len(gather(Dataset(tiny), **folders, tasks=["sv-new"]).rows)
    assert len(gather(Dataset(tiny), **folders).rows)
    (tmp_path / "benchmark/sv-old/result.json").write_text("{")
    with pytest.raises(BadInput, match="sv-old/result.json"):
        gather(Dataset(tiny), **folders)


@pytest.mark.parametrize(
    "held_out, says",
    [
        ("site", "new places"),
        ("block", "new places"),
        ("row", "same places"),
        ("published split", "as published"),
        (None, "not held out"),
    ],
)
def test_what_a_split_says_of_new_places(held_out, says):
    assert Line.held_out.fget(SimpleNamespace(split=Split("x", held_out))) == says


@pytest.mark.parametrize(
    "gallery, question",
    [("", "good"), ("chip", "alignment"), ("site", "alignment"), ("world", "space")],
)
def test_which_question_a_split_answers(gallery, question):
    split = Split("x", "site", query="photo" if gallery else "", gallery=gallery)
    assert Line.question.fget(SimpleNamespace(split=split)) == question


def test_a_verdict_follows_from_the_interval_and_the_better_direction():
    assert [verdicts.of(*ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))] == [
        "wins",
        "loses",
        "tie",
    ]
    assert verdicts.of(0.1, 0.2, lower=True) == "loses"
    assert verdicts.of(None, None) == verdicts.of(float("nan"), 1.0) == verdicts.known(None) == ""


def test_coordbench_has_the_columns_of_the_other_tasks(tiny, tmp_path):
    head = "task,target,metric,encoder,split,value,low,high,n,clusters,cluster,synthetic"
    (tmp_path / "coordbench").mkdir()
    rows = [
        f'cities-rain,rain_mm,R2,"{encoder}",{split},{value},,,10,4,10° block,True'
        for encoder, value in (("GAIR", 0.5), ("GAIR, untrained", 0.7))
        for split in ("random", "blocked")
    ]
    (tmp_path / "coordbench/rows.csv").write_text("\n".join([head, *rows]))
    found = board.build(Dataset(tiny), outputs=tmp_path, metrics=tmp_path, reports=tmp_path)
    assert [(x.split.name, x.held_out) for x in found.lines] == [
        ("random, 5 folds", "same places"),
        ("blocks, 5 folds", "new places"),
    ]
    assert {x.record.stage for x in found.lines} == {"coordbench"}
    x = found.lines[0]
    assert (x.value, x.random.value, x.random.verdict, x.status) == (0.5, 0.7, "", "no claim")
    assert "rain mm" in claims.claim(x) and np.isnan(x.low) and x.data == "synthetic"
