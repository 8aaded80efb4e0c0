"""A folder with too few pairs to train: what its run takes, skips, says, and goes on with."""

import html
import json

import pytest
import yaml
from builders import in_process, open_weights
from builders.small_run import SMALL

from gairlib.errors import Skipped
from gairlib.train import fallback
from research.pipeline import stages, weights
from research.tasks import standing

TASKS = ["sv-green_view", "location-warmth-warmth", "retrieval"]


@pytest.fixture
def few(project, tiny, tmp_path, monkeypatch):
    """(prepare a run of the tiny folder, which assets are at hand, what was sought)."""
    there, asked = {}, []
    files = open_weights.stand_ins(tmp_path)
    open_weights.take(monkeypatch, files, there, asked)

    def prepare(name, **pretrain):
        (project / "runs" / name).mkdir(parents=True, exist_ok=True)
        local = SMALL | {"tasks": TASKS, "pretrain": {"min_pairs": 10_000} | pretrain}
        (project / "runs" / name / "params.local.yaml").write_text(yaml.safe_dump(local))
        return stages.prepare(tiny, name, root=project)

    return prepare, there, asked


def read(run, path):
    return json.loads((run / path).read_text())


@pytest.mark.filterwarnings("ignore")
def test_without_weights_the_report_says_so_and_with_assets_the_run_goes_on(few):
    prepare, there, asked = few
    run = prepare("few")
    assert (run / weights.AT_HAND).read_text() == "" and not asked
    in_process.repro(run)
    index = html.unescape((run / "reports/index.html").read_text())
    assert "Weights: none at hand" in index and "python -m gairlib.assets" in index
    assert read(run, "metrics/embed.json")["skipped"].startswith("the RS encoder and the")
    for task in TASKS:
        assert "untrained" in read(run, f"outputs/benchmark/{task}/result.json")["reason"], task

    there |= dict.fromkeys(open_weights.LICENCES, True)
    run = prepare("few")  # the stage depends on what is there by now
    assert (run / weights.AT_HAND).read_text() == "asset:efficientnet-lite0\nasset:geoclip\n"
    deps = yaml.safe_load((run / "dvc.yaml").read_text())["stages"]["pretrain"]["deps"]
    assert weights.AT_HAND in deps
    in_process.repro(run)
    index = html.unescape((run / "reports/index.html").read_text())
    assert "Weights: others' towers, taken as they are" in index and fallback.APART in index
    why = read(run, "outputs/benchmark/retrieval/result.json")["reason"]
    assert why.startswith("the RS encoder is untrained")
    assert "RS encoder is untrained" in index and "MIT" in index
    embed = read(run, "metrics/embed.json")
    assert embed == {"chips": 0, "photos": embed["photos"], "places": embed["places"]}
    assert embed["photos"] > 30 and embed["places"] > 30
    assert read(run, "metrics/explore.json")["skipped"].startswith("the RS encoder is untrained")
    found = {t: read(run, f"outputs/benchmark/{t}/result.json")["status"] for t in TASKS}
    assert found == dict(zip(TASKS, ["ran", "ran", "skipped"]))
    prepare("few")
    assert len((run / weights.AT_HAND).read_text().splitlines()) == 2  # and stays


def test_the_samples_weights_are_named_only_where_they_are_asked_for(few):
    prepare, _, _ = few
    run = prepare("own")
    params = yaml.safe_load((run / "params.yaml").read_text())
    assert params["pretrain"]["init"] == params["pretrain"]["fallback"] == ""
    assert not weights.asks_for_the_samples(params)
    for key in ("init", "fallback"):
        run = prepare(f"sample-{key}", **{key: "sample"})
        params = yaml.safe_load((run / "params.yaml").read_text())
        assert params["pretrain"][key] == "sample:../../outputs/pretrain/model"
        assert weights.asks_for_the_samples(params)
        deps = yaml.safe_load((run / "dvc.yaml").read_text())["stages"]["pretrain"]["deps"]
        assert "../../outputs/pretrain/model" in deps
    hub = {"pretrain": {"init": "", "fallback": "hub:owner/name"}}
    assert weights.dependencies(hub, run) == [weights.AT_HAND]


def test_what_weights_can_be_asked_stands_beside_them(tmp_path):
    model = tmp_path / "model"
    assert (
        standing.why_not(model, "rs", "sv", together=True) == ""
    )  # nothing is written: a training
    about = {"aligned": False, "untrained": ["rs"]}
    (tmp_path / "provenance.json").write_text(json.dumps(about))
    assert standing.why_not(model, "sv") == "" == standing.why_not(model, "location")
    assert standing.why_not(model, "sv", "location", together=True) == standing.APART
    standing.need_any(model)
    with pytest.raises(Skipped, match="the RS encoder is untrained"):
        standing.need(model, "rs", "sv", together=True)
