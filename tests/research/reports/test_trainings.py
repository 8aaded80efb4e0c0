"""Claims of the scoreboard beside other trainings: what one of them lacks is undecided."""

import json
from dataclasses import replace

import pytest
from builders.benchmark_results import put

from gairlib.data.dataset import Dataset
from research.evaluation.table import OURS, RANDOM
from research.reports import quoted, trainings
from research.reports.scoreboard import board, claims, page

SPLIT, METRIC = "held-out sites", "R2"


def seeds(values, verdicts, asked=(0, 1, 2)):
    """metrics/seeds.json with one number of sv-green_view."""
    number = {
        "split": SPLIT,
        "metric": METRIC,
        "seeds": list(asked)[: len(values)],
        "values": values,
        "sd": 0.02,
        "least": min(values),
        "most": max(values),
        "verdicts": verdicts,
    }
    tasks = {"sv-green_view": {"r2": number}}
    return {"seeds": list(asked), "steps": 4000, "tasks": tasks}


def build(tiny, folder, found, verdict="wins"):
    out = folder / "outputs"
    encoders = {OURS: (0.6, "tie", "ridge"), RANDOM: (0.2, verdict, "ridge")}
    encoders |= {"raw pixels": (0.3, "wins", "ridge"), "mean": (0.0, "wins", "none")}
    for task in ("sv-green_view", "sv-other"):
        put(out, task, "sv", METRIC, encoders)
    (folder / "metrics").mkdir()
    if found is not None:
        (folder / "metrics/seeds.json").write_text(json.dumps(found))
    made = board.build(
        Dataset(tiny), outputs=out, metrics=folder / "metrics", reports=folder / "reports"
    )
    lines = {x.task: x for x in made.lines}
    return made, lines["sv-green_view"], lines["sv-other"]


def test_a_claim_that_every_training_makes_stands_with_its_spread(tiny, tmp_path):
    made, line, other = build(tiny, tmp_path, seeds([0.6, 0.58, 0.62], ["wins"] * 3))
    assert line.status == "supported" and line.trainings.hold == 3
    said = "In 3 trainings of the same settings: 0.58 to 0.62 (standard deviation 0.02)."
    assert said in claims.claim(line) and other.trainings is None
    html = page.page(made)
    assert "sd over seeds 0.02" in html and html.count("sd over seeds") == 1
    part = made.parts["good"][-1]
    assert len(part.table) == 1 and part.sentences[-1] == "1 of 2 lines are of one training."
    assert "is wider than the interval over places in 0." in part.sentences[0]


@pytest.mark.parametrize("verdict, word", [("wins", "better"), ("loses", "worse")])
def test_a_claim_that_one_training_lacks_is_undecided_in_words(tiny, tmp_path, verdict, word):
    found = seeds([0.6, 0.58, 0.62], [verdict, "tie", verdict])
    made, line, other = build(tiny, tmp_path, found, verdict)
    assert line.status == "no claim" and line.random.verdict == "tie"
    assert other.status != "no claim"
    said = claims.claim(line)
    assert f"undecided, as pretraining is {word} than the same encoder untrained, by 0.4 [" in said
    assert "beyond the interval in 2 of 3 trainings only" in said
    assert made.counts()["sv"]["ties"] == 1
    assert any(
        s.startswith("Undecided, as it holds in 2 of 3") for s in made.parts["good"][-1].sentences
    )


def test_a_training_that_failed_shows_nothing(tiny, tmp_path):
    _, line, _ = build(tiny, tmp_path, seeds([0.6, 0.58], ["wins", "wins"]))
    assert line.status == "no claim" and "in 2 of 3 trainings only" in claims.claim(line)


def test_seeds_of_another_model_or_of_none_say_that_there_is_one_training(tiny, tmp_path):
    for name, found in (("other", seeds([0.5, 0.58, 0.62], ["tie"] * 3)), ("none", None)):
        (tmp_path / name).mkdir()
        made, line, _ = build(tiny, tmp_path / name, found)
        assert line.trainings is None and line.status == "supported"
        assert "every claim here is of one training" in made.parts["good"][-1].sentences[0]
    failed = seeds([0.6, 0.62], ["wins", "wins"])  # the published model itself was not judged
    failed["tasks"]["sv-green_view"]["r2"]["seeds"] = [1, 2]
    assert trainings.of(failed, "sv-green_view", SPLIT, METRIC, 0.6) is None


def test_what_was_undecided_in_the_published_training_stays_so(tiny, tmp_path):
    _, line, _ = build(tiny, tmp_path, seeds([0.6, 0.58, 0.62], ["tie", "wins", "wins"]), "tie")
    assert line.status == "no claim" and not line.trainings.contradicted
    assert "no difference beyond the interval" in claims.claim(line)
    assert trainings.with_trainings(replace(line, random=None), {}).random is None


def test_a_page_shows_the_spread_over_seeds_and_no_bold_that_one_training_lacks(tmp_path):
    value = {"value": 0.2, "difference": 0.4, "difference_low": 0.3, "difference_high": 0.5}
    number = {"split": SPLIT, "metric": METRIC, "unit": "", "n": 40, "clusters": 9}
    about = {"judged": {"r2": number | {"cluster": "site"}}, "question": "?", "claim": "telling"}
    task = {"r2": 0.6, "r2_low": 0.5, "r2_high": 0.7, "others": {"r2": {RANDOM: value}}}
    task |= {"about": about | {"subject": "photo", "data": "synthetic"}, "upper_bounds": {}}
    files = {"benchmark/sv-green_view": task}

    def shown(verdicts):
        known = files | ({"seeds": seeds([0.6, 0.58, 0.62], verdicts)} if verdicts else {})
        return quoted.ours(quoted.Metrics(tmp_path, known).lines["sv-green_view", "r2"])

    assert shown(None) == "**0.6 [0.5, 0.7]**"
    assert shown(["wins"] * 3) == "**0.6 [0.5, 0.7]** (sd over seeds 0.02)"
    assert shown(["wins", "tie", "wins"]) == "0.6 [0.5, 0.7] (sd over seeds 0.02)"
