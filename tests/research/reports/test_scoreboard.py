"""The scoreboard: claims follow from the verdicts, whatever ran; the page sorts, offline."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.location import registry as location
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import COMPARISON_COLUMNS, OURS, RANDOM, ROW_COLUMNS
from research.pipeline.offline import external_loads
from research.reports.scoreboard import board, claims, further, page
from research.reports.scoreboard.lines import Against, Line
from research.reports.scoreboard.location_encoders import counts
from research.reports.scoreboard.location_encoders import section as trained_encoders
from research.reports.scoreboard.tables import gather
from research.tasks.trained import CHOSEN, PROBE

NAN = float("nan")


def put(
    folder, task, modality, metric, encoders, split="held-out sites", mainline=True, neighbours=()
):
    """encoders: name -> (value, verdict of ours against it, probe). neighbours: (encoder,
    difference to 5-NN, low, high, verdict)."""
    rows, gaps = [], []
    for name, (value, verdict, probe) in encoders.items():
        sure = verdict != ""
        for seed in ("mean", "0"):
            rows.append(
                dict.fromkeys(ROW_COLUMNS, "")
                | {
                    "task": task,
                    "modality": modality,
                    "split": split,
                    "encoder": name,
                    "probe": probe,
                    "n": 40,
                    "seed": seed,
                    "metric": metric,
                    "value": value,
                    "low": value - 0.1 if sure else NAN,
                    "high": value + 0.1 if sure else NAN,
                    "clusters": 9,
                    "cluster": "site",
                    "n_train": 100,
                    "dataset": "d",
                    "data": "synthetic",
                }
            )
        if name != OURS:
            gap = encoders[OURS][0] - value
            gaps.append(
                dict(
                    zip(
                        COMPARISON_COLUMNS,
                        (
                            task,
                            split,
                            metric,
                            "",
                            OURS,
                            name,
                            gap,
                            gap - 0.01 if sure else NAN,
                            gap + 0.01 if sure else NAN,
                            "higher",
                            verdict,
                            9,
                            1,
                        ),
                    )
                )
            )
    folder = folder / "benchmark" / task
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "rows.parquet")
    pd.DataFrame(gaps, columns=COMPARISON_COLUMNS).to_csv(folder / "comparison.csv", index=False)
    near = [
        (task, split, metric, "", name, NEAREST, gap, low, high, "higher", verdict, 9, 1)
        for name, gap, low, high, verdict in neighbours
    ]
    pd.DataFrame(near, columns=COMPARISON_COLUMNS).to_csv(folder / "neighbours.csv", index=False)
    result = {"status": "ran", "dataset": "d"}
    if mainline:
        result["mainline"] = [["key", split, metric]]
    (folder / "result.json").write_text(json.dumps(result))


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
        mainline=False,
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
        split="all pairs, none held out, all photos",
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
        split="random, 5 folds",
        neighbours=[(OURS, -0.1, -0.2, -0.05, "loses"), (CHOSEN, 0.1, 0.05, 0.15, "wins")],
    )
    (out / "benchmark/rs-eurosat").mkdir()
    (out / "benchmark/rs-eurosat/result.json").write_text(
        json.dumps({"status": "skipped", "reason": "no folder eurosat_rgb"})
    )
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
    assert claims.status(x) == status and said in claims.claim(x)


@pytest.mark.parametrize(
    "task, split, said",
    [
        (
            "segmentation-landcover",
            "held-out sites",
            "telling the land cover of each pixel of a chip",
        ),
        ("pangaea-mados", "test", "segmenting the chips of PANGAEA's mados"),
        ("placepulse-lively", "x", "telling how people judged a street (lively) from its photo"),
        (
            "retrieval-sv-location",
            "held-out sites, photo to location, world gallery",
            "finding the coordinates that belong to a photo, among places all over the world",
        ),
        (
            "retrieval-rs-location",
            "held-out sites, location to RS",
            "finding the chip and the position in it that belongs to coordinates, among all held-out",
        ),
        ("retrieval", "held-out sites, within chip", "finding where in its chip a photo was taken"),
    ],
)
def test_the_subject_of_a_claim_says_what_is_done(task, split, said):
    assert claims.subject(SimpleNamespace(task=task, split=split)).startswith(said)


def test_losses_are_sentences_and_only_where_there_are_some(found):
    assert claims.losses(line(found, "sv-green_view")) == []
    assert claims.losses(line(found, "rs-landcover")) == [
        "On rs-landcover (held-out sites, accuracy), U-Net is better by 0.3 [0.29, 0.31]."
    ]
    (said,) = claims.losses(line(found, "retrieval"))
    assert "random init is ahead by 0.1, without an interval" in said
    assert "no folder eurosat_rgb" in found.conclusions()


def test_what_the_folder_has_no_data_for_is_listed_by_family(found):
    absent = dict(found.absent)
    assert absent["pangaea-*, 4 tasks"] == "no folder pangaea/<set>"
    assert "rs-eurosat" not in " ".join(absent)  # it is among the skipped ones of the run
    html = page.page(found)
    assert f"not in this folder ({1 + len(absent)})" in html and "pangaea-*, 4 tasks" in html
    assert "pangaea-*, 4 tasks" in found.conclusions()


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
    assert f"of 2 trained encoders, of {len(location.names())} in the" in part.sentences[0]


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
    part = trained_encoders(
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
    assert "location-t-lose (0.3 against 0.6, -0.3 [-0.31, -0.29], behind beyond the int" in said
    assert "location-t-old (0.7 against 0.6, 0.1, no interval)" in said and "-win" not in said
    assert "location-t-lights holds hardly any signal for neighbours" in signal
    assert "-0.08 [-0.2, 0.02]" in signal
    assert "1 classification table:" in classes and "does not beat" not in classes
    assert counts(part.table) == {
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
    part = trained_encoders(
        pd.concat([rows, fine]), pd.concat([near, near_fine.assign(encoder="xyz")])
    )
    assert len(part.sentences) == 2  # one encoder alone is not the best by test score of several
    assert part.sentences[1].startswith("0.5° blocks, 5 folds, 1 regression table: the one train")
    fine = tables([("location-c-value", "R2", 0.5, 0.6, 0.5, "loses")])[0]
    part = trained_encoders(fine[fine["encoder"] != CHOSEN], near)
    assert "flatters" in part.sentences[-1] and part.table["encoder"].tolist() == ["xyz"]


def of(verdicts, metric="R2", unit=""):
    """A line whose baselines have these verdicts, best first after the untrained one."""
    others = [
        Against(name, 0.4 - 0.01 * i, 0.2, 0.1, 0.3, v)
        for i, (name, v) in enumerate(verdicts.items())
    ]
    return Line(
        "sv-x",
        "sv",
        "held-out sites",
        metric,
        unit,
        0.6,
        0.5,
        0.7,
        40,
        9,
        "site",
        "d",
        "real",
        True,
        others[0],
        None,
        others[1],
        others,
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
    assert claims.status(x) == status and said in claims.claim(x)
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
        assert ("already reads the 3 x 3 tokens" in text) == (values is not v)
    mixed = said(**{"decoder-mlp": {"place_recall_at_10": worse, "site_recall_at_10": tie}})
    assert "A smaller gain" not in mixed and "200 steps" in mixed
    assert "3 x 3" not in said(**{"mode-bilinear": {"place_recall_at_10": worse}})
    assert "No ablation" in further.ablation({}).sentences[0]


def test_sources_name_the_commit_and_a_command_that_is_there():
    for part in (further.ablation, further.stress):
        assert "commit abc123" in part({"commit": "abc123", "trained": {}}).source
        assert "commit unknown" in part({"trained": {}}).source
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
    assert "no paired differences between modes" in part.sentences[-1]  # an earlier file


@pytest.mark.parametrize(
    "value, low, high, word",
    [
        (0.031, 0.01, 0.05, "trained as MLP NILI is better than trained as linear NILI"),
        (-0.035, -0.065, -0.006, "is worse than"),
        (0.01, -0.02, 0.04, "does not differ beyond"),
        (0.01, None, None, "without an interval"),
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
    assert ("already reads the 3 x 3 tokens" in said) == ("better" not in word)
    other = further.stress({"trained": {}, "gaps": [gap | {"second": "bilinear"}]}).sentences[0]
    assert "3 x 3" not in other


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
    assert "0.2 [0.1, 0.3] m: better, beyond the interval" in said[1]
    assert "chip centre" in said[2] and "no difference beyond the interval" in said[2]
    assert "a training position" in said[3] and "worse, beyond the interval" in said[3]
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
    assert "nothing to claim" in found.conclusions()
    assert "No task of this kind has run" in page.page(found)
    assert len(pd.read_parquet(tmp_path / "out/results.parquet")) == 0


def test_tasks_of_an_earlier_run_are_left_out_and_torn_files_named(found, tmp_path):
    put(tmp_path, "sv-old", "sv", "R2", {OURS: (0.1, "tie", "x")})
    assert not len(gather(tmp_path, ["sv-new"]).rows)
    (tmp_path / "benchmark/sv-old/result.json").write_text("{")
    with pytest.raises(BadInput, match="dvc repro benchmark@sv-old"):
        gather(tmp_path)


@pytest.mark.parametrize(
    "split, says",
    [
        ("held-out sites", "new places"),
        ("10° blocks, 5 folds", "new places"),
        ("random rows", "same places"),
        ("random, 5 folds", "same places"),
        ("published split", "as published"),
        ("published split, 100 labels", "as published"),
        ("all pairs, none held out, within chip", "not held out"),
    ],
)
def test_what_a_split_says_of_new_places(split, says):
    assert Line.held_out.fget(SimpleNamespace(split=split)) == says
