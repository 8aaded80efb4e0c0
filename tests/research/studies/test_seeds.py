"""Other pretraining seeds: trainings that go on, numbers that are carried over, their spread."""

import json
import math

import pytest
from builders.small_run import SMALL, small_pairs
from builders.small_training import CONFIG

from gairlib import GAIR
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from research.evaluation import features
from research.studies import ablation, seeds, seeds_run, seeds_table
from research.studies import runs as study
from research.studies.runs import Run
from research.tasks import registry
from research.tasks.task import Options

HOW = {"seeds": 2, "bootstrap": 50, "block_degrees": [10.0]}


def small_base(folder="data"):
    base = ablation.base_values("params.yaml")
    base["model"]["changes"] = SMALL["model"]["changes"]
    base["pretrain"] |= SMALL["pretrain"] | {"steps": 6}
    base["data"]["folder"] = str(folder)
    return base


# ------------------------------------------------------------------------------- the arithmetic


def test_spread_is_that_of_a_sample_worked_by_hand():
    found = seeds_table.spread([0.1, 0.2, 0.4])
    # mean 7/30; deviations -4/30, -1/30, 5/30; squares 16 + 1 + 25 = 42; 42/900/2 = 7/300
    assert found["mean"] == pytest.approx(7 / 30)
    assert found["sd"] == pytest.approx(math.sqrt(7 / 300))
    assert (found["least"], found["most"]) == (0.1, 0.4)
    alone = seeds_table.spread([0.3])
    assert math.isnan(alone["sd"]) and alone["least"] == alone["most"] == 0.3


@pytest.mark.parametrize(
    "verdicts, together",
    [
        (["wins", "wins", "wins"], "wins"),
        (["loses", "loses", "loses"], "loses"),
        (["wins", "tie", "wins"], "tie"),
        (["wins", "wins", "loses"], "tie"),
        (["wins", "wins"], "tie"),  # a training has failed
        (["wins", "", "wins"], ""),
    ],
)
def test_a_verdict_is_what_every_training_gives(verdicts, together):
    assert seeds_table.agreed(verdicts, 3) == together


def answer(value, low, high, verdict, **about):
    """The outcome of a judging run with one number."""
    number = {
        "key": "recall",
        "split": "held-out sites, within site",
        "metric": "recall@1",
        "unit": "",
        "lower": False,
        "shifted": False,
        "n": 480,
        "clusters": 10,
        "cluster": "site",
        "value": value,
        "low": low,
        "high": high,
        "untrained": 0.02,
        "difference": value - 0.02,
        "difference_low": low and low - 0.02,
        "difference_high": high and high - 0.02,
        "verdict": verdict,
    }
    head = {"status": "ran", "reason": "", "dataset": "d", "synthetic": True}
    return head | {"numbers": [number | about]}


def made(*outcomes, task="retrieval"):
    """Runs of seeds 3, 1, 2 (3 is the published one) and what they gave."""
    return [Run(task, seed, {}, f"k{seed}") for seed in (3, 1, 2)], list(outcomes)


def test_values_stand_in_the_order_of_the_seeds_beside_their_intervals(tmp_path):
    planned, outcomes = made(
        answer(0.1, 0.05, 0.15, "wins"),
        answer(0.2, 0.1, 0.3, "wins"),
        answer(0.4, 0.3, 0.5, "wins"),
    )
    order = [2, 0, 1]  # however they are handed in
    result = seeds_table.summarise(
        [3, 1, 2], 4000, [planned[i] for i in order], [outcomes[i] for i in order]
    )
    result.save(tmp_path / "out", tmp_path / "metrics/seeds.json")
    text = (tmp_path / "metrics/seeds.json").read_text()
    found = json.loads(text)
    assert '"values": [ 0.1, 0.2, 0.4 ]' in text
    assert (found["seeds"], found["steps"], found["failed"]) == ([3, 1, 2], 4000, 0)
    line = found["tasks"]["retrieval"]["recall"]
    assert line["seeds"] == [3, 1, 2] and line["low"] == [0.05, 0.1, 0.3]
    assert line["difference"] == pytest.approx([0.08, 0.18, 0.38])
    assert (line["mean"], line["sd"]) == pytest.approx((7 / 30, math.sqrt(7 / 300)), rel=1e-5)
    assert (line["least"], line["most"], line["verdict"]) == (0.1, 0.4, "wins")
    (row,) = seeds_table.readable(result).to_dict("records")
    assert row["seed 3"] == "0.1" and row["over places, seed 3"] == "[0.05, 0.15]"
    assert row["in trainings"] == "3 of 3" and row["against untrained"] == "better"


def test_what_holds_in_some_trainings_only_is_undecided_in_words():
    planned, outcomes = made(
        answer(0.1, 0.05, 0.15, "wins"), answer(0.2, 0.1, 0.3, "tie"), answer(0.4, 0.3, 0.5, "wins")
    )
    result = seeds_table.summarise([3, 1, 2], 6, planned, outcomes)
    assert result.table["verdict"].tolist() == ["tie"] and result.table["hold"].tolist() == [2]
    said = " ".join(seeds_table.sentences(result))
    assert "so undecided:** `retrieval` recall@1, held-out sites, within site (2 of 3)" in said


def test_a_failed_run_claims_nothing_and_one_without_an_interval_is_kept(tmp_path):
    planned, outcomes = made(
        answer(0.1, None, None, ""), {"failed": "no space left"}, answer(0.4, None, None, "")
    )
    result = seeds_table.summarise([3, 1, 2], 6, planned, outcomes)
    result.save(tmp_path, tmp_path / "seeds.json")
    line = json.loads((tmp_path / "seeds.json").read_text())["tasks"]["retrieval"]["recall"]
    assert line["seeds"] == [3, 2] and line["low"] == [None, None] and line["verdict"] == ""
    assert result.facts["failed"] == 1
    planned, outcomes = made(answer(0.1, 0.0, 0.2, "wins"), {"failed": "x"}, {"failed": "x"})
    result = seeds_table.summarise([3, 1, 2], 6, planned, outcomes)
    assert result.table["verdict"].tolist() == ["tie"] and result.numbers()["failed"] == 2
    with pytest.raises(BadInput, match="no space left"):
        seeds_table.summarise([3], 6, planned[:1], [{"failed": "no space left"}])


# ------------------------------------------------------------------------------- what is planned


def test_the_published_seed_is_not_trained_again_and_the_settings_are_the_published_ones():
    base = ablation.base_values("params.yaml")
    with pytest.raises(BadInput, match="0 is the seed of params.yaml"):
        seeds.plan_trainings(base, [0, 1], "p")
    planned = seeds.plan_trainings(base, [1, 2], "p")
    assert [r.seed for r in planned] == [1, 2] and all(r.keep for r in planned)
    same = planned[0].values["pretrain"] | {"seed": base["pretrain"]["seed"]}
    free = {"validate_every", "devices", "strategy", "init", "nodes", "checkpoint_every"}
    changed = {k for k, v in same.items() if base["pretrain"].get(k) != v}
    assert planned[0].values["model"] == base["model"] and changed <= free
    assert same["checkpoint_every"] < base["pretrain"]["steps"] / 4  # little is lost by a kill


def folder_of_a_model(folder, seed=0):
    GAIR(CONFIG.replace(learn_temperature=bool(seed))).save_pretrained(folder)
    return folder


def test_a_judging_run_is_known_by_weights_task_options_and_data(tmp_path):
    first, second = (folder_of_a_model(tmp_path / str(k), k) for k in (0, 1))

    def key(model=first, task="retrieval", options=HOW, known="f"):
        return seeds.plan_judging({0: model}, [task], options, {}, known)[0].key

    keys = [key(), key(second), key(task="sv-x"), key(options=HOW | {"seeds": 3}), key(known="g")]
    assert len(set(keys)) == len(keys)
    copy = tmp_path / "copy"
    GAIR.from_pretrained(first).save_pretrained(copy)
    assert key(copy) == key()  # wherever it lies
    planned = seeds.plan_judging({0: first, 1: second}, ["a", "b"], HOW, {}, "f")
    assert [(r.variant, r.seed) for r in planned] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_a_training_that_failed_leaves_no_model_to_judge(tmp_path):
    base, published = small_base(), folder_of_a_model(tmp_path / "published")
    planned = seeds.plan_trainings(base, [1, 2], "p")
    folder_of_a_model(study.weights(tmp_path, planned[1].key))
    found = seeds.models(published, base, planned, tmp_path)
    assert found == {0: published, 2: study.weights(tmp_path, planned[1].key)}
    with pytest.raises(Missing, match="dvc repro pretrain"):
        seeds.models(tmp_path / "none", base, planned, tmp_path)


def test_other_labels_are_other_data(tiny, tmp_path):
    import shutil

    copy = shutil.copytree(tiny, tmp_path / "data")
    first = seeds.data_fingerprint(Dataset(copy))
    assert first == seeds.data_fingerprint(Dataset(tiny))
    table = copy / "tables/warmth.csv"
    table.write_text(table.read_text().replace("1", "2"))
    assert seeds.data_fingerprint(Dataset(copy)) != first


# ----------------------------------------------------------------------------- true, small runs


@pytest.fixture(scope="module")
def paired(tiny, tmp_path_factory):
    """(dataset, folder of its pairs)."""
    folder = tmp_path_factory.mktemp("pairs") / "pair"
    return small_pairs(tiny, folder, max_photos=3, repeats_train=2), folder


def test_a_training_killed_in_the_middle_goes_on_and_gives_the_same(
    paired, tiny, tmp_path, monkeypatch
):
    dataset, folder = paired
    base = small_base(tiny)
    base["pretrain"]["steps"] = 40
    known = ablation.pairs_fingerprint(folder, dataset)
    planned = seeds.plan_trainings(base, [1], known)
    work, waited = tmp_path / "broken" / f"{planned[0].key}.work", study.time.sleep

    def kill_when_there_is_a_checkpoint(seconds):
        waited(0.02)
        if list(work.glob("checkpoints/step-*")):
            raise KeyboardInterrupt

    def train(where):
        return study.run_all(planned, folder, where, command=ablation.command, processes=1)[0]

    with monkeypatch.context() as patch:
        patch.setattr(study.time, "sleep", kill_when_there_is_a_checkpoint)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken")
    assert study.result(tmp_path / "broken", planned[0].key) is None
    second, whole = train(tmp_path / "broken"), train(tmp_path / "whole")
    assert second["resumed_from_step"] > 0 == whole["resumed_from_step"]
    assert second["photos"] == whole["photos"]
    models = [study.weights(tmp_path / f, planned[0].key) for f in ("broken", "whole")]
    first, again = (m.joinpath("model.safetensors").read_bytes() for m in models)
    assert first == again
    started = work.parent / f"{planned[0].key}.json"
    before = started.stat().st_mtime_ns
    assert train(tmp_path / "broken") == second and started.stat().st_mtime_ns == before


def test_a_damaged_result_is_made_anew_and_a_result_is_the_same_again(paired, tiny, tmp_path):
    model = folder_of_a_model(tmp_path / "model")
    planned = seeds.plan_judging({0: model}, ["sv-green_view"], HOW, {"folder": str(tiny)}, "f")

    def judge():
        return study.run_all(planned, paired[1], tmp_path, command=seeds.command, processes=1)[0]

    first = judge()
    assert "failed" not in first, first
    file = tmp_path / f"{planned[0].key}.json"
    for damage in (b'{"status": "ran", "numb', b"\xff\xfe\x00"):
        file.write_bytes(damage)
        assert judge() == first
        assert json.loads(file.read_text()) == first


def test_a_training_is_judged_as_the_benchmark_judges(paired, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "FOLDER", str(tmp_path / "features"))
    dataset, folder = paired
    model = folder_of_a_model(tmp_path / "model")
    for task in ("sv-green_view", "retrieval", "location-warmth-warmth"):
        values = {"data": {"folder": str(tiny)}, "model": str(model), "task": task, "options": HOW}
        found = seeds_run.run(values, folder)
        assert found["status"] == "ran" and found["numbers"]
        whole = registry.run(task, dataset, Options(model, folder, upper_bounds=(), **HOW))
        assert len(whole.mainline) == len(found["numbers"])
        for number, (key, split, metric) in zip(found["numbers"], whole.mainline):
            row, gap = whole.row(split, "gair", metric), whole.versus(split, "random init", metric)
            assert (number["key"], number["split"], number["metric"]) == (key, split, metric)
            assert number["value"] == row["value"] and number["verdict"] == gap["verdict"]
            assert number["difference"] == gap["difference"]
            assert number["low"] is None if math.isnan(row["low"]) else number["low"] == row["low"]
        assert set(whole.rows["encoder"]) > {"gair", "random init"}
    absent = seeds_run.run(values | {"task": "rs-landcover"}, folder)
    assert absent["status"] == "skipped" and not absent["numbers"] and absent["reason"]
