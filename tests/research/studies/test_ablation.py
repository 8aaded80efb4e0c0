"""The runs of an ablation: what they depend on, how they are kept, failures that are told."""

import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from builders.small_run import SMALL, small_pairs

from gairlib import GAIR
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.pairs import store
from research.pipeline import parameters
from research.studies import ablation, ablation_run
from research.studies import runs as study
from research.studies.ablation import BASE, Variant
from research.studies.runs import Run
from research.tasks.reading import Reading

ROOT = Path(__file__).resolve().parents[3]
LISTED = [
    {"name": "base"},
    {"name": "no-queue", "asks": "Does it help?", "pretrain": {"queue_size": 0}},
    {"name": "fixed-temperature", "model": {"learn_temperature": False}},
]


def small_base(folder="data"):
    base = ablation.base_values(ROOT / "params.yaml")
    base["model"]["changes"] = SMALL["model"]["changes"]
    base["pretrain"] |= SMALL["pretrain"]
    base["data"]["folder"] = str(folder)
    return base


# ------------------------------------------------------------------------------- variants and keys


def test_the_repositorys_own_variants_can_be_run():
    section = yaml.safe_load((ROOT / "ablation/params.yaml").read_text())["ablation"]
    variants = ablation.read_variants(section["variants"])
    base = ablation.base_values(ROOT / "params.yaml", section["common"])
    runs = ablation.plan_runs(
        base, variants, steps=section["steps"], seeds=section["seeds"], pairs="p"
    )
    assert len({r.key for r in runs}) == len(runs) == len(variants) * len(section["seeds"])
    assert [r.seed for r in runs] == sorted(r.seed for r in runs)  # whole seeds first
    parameters.collect(
        ROOT / "notebooks/35-ablate-the-objective.ipynb",
        ROOT / "ablation/params.yaml",
        ["ablation"],
        [],
    )


def test_the_pipeline_of_the_ablation_depends_on_files_that_exist():
    stage = yaml.safe_load((ROOT / "ablation/dvc.yaml").read_text())["stages"]["ablate"]
    code = [d for d in stage["deps"] if d.startswith(("gairlib/", "notebooks/"))]
    assert not [d for d in code if not (ROOT / d).is_file()]
    assert not [o for o in stage["outs"] if str(o).startswith("ablation/runs")]  # DVC clears outs


@pytest.mark.parametrize(
    "listed, said",
    [
        ([], "first must be 'base'"),
        (LISTED[1:], "first must be 'base'"),
        ([*LISTED, LISTED[1]], "'no-queue' is there twice"),
        ([{"name": "base", "model": {"dim": 8}}], "only 'base' nothing"),
        ([{"name": "base"}, {"name": "idle"}], "'idle' must change something"),
        ([{"name": "base"}, {"name": "No Queue", "model": {"dim": 8}}], "small letters"),
        ([{"name": "base"}, {"name": "x", "pretrian": {"lr": 1.0}}], "unknown key pretrian"),
        ([{"name": "base"}, {"name": "x", "pretrain": {"seed": 4}}], "must not set seed"),
    ],
)
def test_a_wrong_list_of_variants_is_refused(listed, said):
    with pytest.raises(BadInput, match=said):
        ablation.read_variants(listed)


def test_a_refused_option_names_its_variant():
    for changes in (
        {"pretrain": {"queue_sise": 0}},
        {"model": {"dmi": 8}},
        {"pretrain": {"queue_size": -1}},
    ):
        variants = [Variant(BASE), Variant("typo", **changes)]
        with pytest.raises(BadInput, match="'typo': "):
            ablation.plan_runs(small_base(), variants, steps=2, seeds=[0], pairs="p")
    with pytest.raises(BadInput, match="different whole numbers"):
        ablation.plan_runs(small_base(), [Variant(BASE)], steps=2, seeds=[1, 1], pairs="p")
    with pytest.raises(Missing, match="no such parameter file"):
        ablation.base_values("nowhere/params.yaml")


def test_a_run_is_known_by_all_that_its_numbers_depend_on():
    def key(variant=None, steps=2, seed=0, pairs="p", base=None):
        (run,) = ablation.plan_runs(
            base or small_base(), [variant or Variant(BASE)], steps=steps, seeds=[seed], pairs=pairs
        )
        return run.key

    other = small_base()
    other["model"]["changes"] = other["model"]["changes"] | {"dim": 64}
    keys = [
        key(),
        key(steps=3),
        key(seed=1),
        key(pairs="q"),
        key(base=other),
        key(Variant("v", pretrain={"queue_size": 0})),
        key(Variant("v", model={"dim": 16})),
    ]
    assert len(set(keys)) == len(keys)
    assert key(Variant("other-name", asks="?")) == key()
    other["pretrain"]["loss_chunk"] = 7  # bounds memory, changes nothing
    assert key(base=other) == keys[4]


@pytest.fixture(scope="module")
def paired(tiny, tmp_path_factory):
    """(dataset, folder of its pairs)."""
    folder = tmp_path_factory.mktemp("pairs") / "pair"
    return small_pairs(tiny, folder, max_photos=3, repeats_train=2), folder


def test_other_pairs_or_photos_are_other_runs(paired, tmp_path):
    dataset, folder = paired
    same = ablation.pairs_fingerprint(folder, dataset)
    copy = tmp_path / "pair"
    shutil.copytree(folder, copy)
    assert ablation.pairs_fingerprint(copy, dataset) == same
    data = tmp_path / "data"
    shutil.copytree(dataset.folder, data)
    photo = next((data / "street").glob("bern-*.jpg"))
    photo.write_bytes(photo.read_bytes() + b"\0")
    assert ablation.pairs_fingerprint(copy, Dataset(data)) != same
    chunk = max(
        (p for p in (copy / "pairs.zarr").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(bytes(content))
    assert ablation.pairs_fingerprint(copy, dataset) != same
    with pytest.raises(Missing, match="dvc repro pair"):
        ablation.pairs_fingerprint(tmp_path, dataset)


def test_every_variant_is_also_one_dvc_experiment(tmp_path):
    """`dvc exp run -S ...`, applied by DVC to params.yaml, gives the sections of the run."""
    from dvc.utils.hydra import apply_overrides

    section = yaml.safe_load((ROOT / "ablation/params.yaml").read_text())["ablation"]
    runs = ablation.plan_runs(
        ablation.base_values(ROOT / "params.yaml", section["common"]),
        ablation.read_variants(section["variants"]),
        steps=section["steps"],
        seeds=[1],
        pairs="p",
    )
    for run in runs:
        words = shlex.split(ablation.dvc_command(run, ROOT / "params.yaml"))
        assert words[:6] == ["dvc", "exp", "run", "--temp", "-n", f"{run.variant}-seed-1"]
        assert words[-1] == "pretrain"
        file = tmp_path / "params.yaml"
        shutil.copy(ROOT / "params.yaml", file)
        apply_overrides(file, [b for a, b in zip(words, words[1:]) if a == "-S"])
        found = yaml.safe_load(file.read_text())
        assert {s: found[s] for s in ablation.SECTIONS} == run.values, run.variant
    with pytest.raises(Missing, match="no such parameter file"):
        ablation.overrides(runs[0], tmp_path / "none.yaml")


# ----------------------------------------------------------------------------------- the processes

FAKE = """
import json, os, sys, time
spec = json.load(open(sys.argv[1]))
v = spec["values"]
log = open(v["log"], "a"); log.write(f"+{v['name']}\\n"); log.flush()
time.sleep(v.get("sleep", 0.3))
if v.get("kill"): os.kill(os.getpid(), 9)
if v.get("fail"): sys.stderr.write("bar 10%\\rbar 20%\\nfirst line\\n" + v["fail"]); sys.exit(1)
log.write(f"-{v['name']}\\n"); log.close()
if spec["model"]: os.makedirs(spec["model"], exist_ok=True)
json.dump({"name": v["name"], "threads": os.environ["OMP_NUM_THREADS"]}, open(spec["file"], "w"))
"""


def fake_runs(tmp_path, *given):
    log = tmp_path / "log"
    log.touch()
    return [Run(g["name"], 0, g | {"log": str(log)}, g.get("key", g["name"])) for g in given], log


def go(runs, folder, **options):
    command = lambda spec: [sys.executable, "-S", "-c", FAKE, str(spec)]  # noqa: E731
    return study.run_all(runs, "pairs", folder, command=command, **options)


def test_runs_share_the_processes_and_are_kept(tmp_path):
    runs, log = fake_runs(tmp_path, *({"name": n} for n in "abcde"))
    found = go(runs, tmp_path / "runs", processes=2)
    assert [f["name"] for f in found] == list("abcde")
    assert {f["threads"] for f in found} == {"1"}
    level = np.cumsum([1 if s[0] == "+" else -1 for s in log.read_text().split()])
    assert level.max() == 2
    (tmp_path / "runs/c.json").unlink()
    assert go(runs, tmp_path / "runs", processes=2) == found
    assert log.read_text().split()[10:] == ["+c", "-c"]  # the lost one alone


def test_the_same_run_under_two_names_is_done_once(tmp_path):
    runs, log = fake_runs(tmp_path, {"name": "a", "key": "k"}, {"name": "b", "key": "k"})
    assert len(go(runs, tmp_path / "runs", processes=2)) == 2
    assert log.read_text().split() == ["+a", "-a"]


def test_a_run_is_done_again_where_its_weights_are_wanted(tmp_path):
    runs, log = fake_runs(tmp_path, {"name": "a"}, {"name": "b"})
    first = go(runs, tmp_path / "runs")
    assert not study.weights(tmp_path / "runs", "a").exists()
    for _ in range(2):
        assert go([replace(runs[0], keep=True), *runs], tmp_path / "runs")[1:] == first
        assert study.weights(tmp_path / "runs", "a").is_dir()
    assert sorted(log.read_text().split()) == ["+a", "+a", "+b", "-a", "-a", "-b"]


def test_a_failure_is_told_and_tried_again(tmp_path):
    runs, log = fake_runs(
        tmp_path,
        {"name": "a", "fail": "the loss is not finite"},
        {"name": "b"},
        {"name": "c", "kill": True},
    )
    found = go(runs, tmp_path / "runs", processes=1)
    assert found[0] == {"failed": "the loss is not finite"} and found[1]["name"] == "b"
    assert found[2] == {"failed": "ended by signal 9"}
    go(runs, tmp_path / "runs", processes=1)
    assert log.read_text().split().count("+a") == 2 and log.read_text().split().count("+b") == 1
    with pytest.raises(BadInput, match="processes is 0"):
        go(runs, tmp_path / "runs", processes=0)


def test_an_interrupt_ends_the_processes(tmp_path, monkeypatch):
    runs, log = fake_runs(tmp_path, {"name": "a", "sleep": 60})
    started, waited = time.monotonic(), time.sleep

    def interrupt(seconds):
        waited(0.3)
        raise KeyboardInterrupt

    monkeypatch.setattr(study.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        go(runs, tmp_path / "runs")
    assert time.monotonic() - started < 20
    assert not (tmp_path / "runs/a.json").exists()


# ------------------------------------------------------------------------------------ one true run


@pytest.fixture(scope="module")
def trained(paired, tiny, tmp_path_factory):
    """(runs, outcomes) of two variants, the second of which cannot work; true processes."""
    dataset, folder = paired
    variants = [Variant(BASE), Variant("no-data", pretrain={"min_pairs": 10_000})]
    runs = ablation.plan_runs(
        small_base(tiny),
        variants,
        steps=2,
        seeds=[0],
        pairs=ablation.pairs_fingerprint(folder, dataset),
    )
    runs[0] = replace(runs[0], keep=True)
    runs[1] = replace(runs[1], key="other")  # min_pairs changes no number
    where = tmp_path_factory.mktemp("runs")
    return (runs, study.run_all(runs, folder, where, command=ablation.command, processes=2), where)


def test_a_run_answers_for_every_validation_photo(trained, paired):
    runs, outcomes, where = trained
    assert "failed" not in outcomes[0], outcomes[0]
    photos = pd.DataFrame(outcomes[0]["photos"])
    assert set(photos["site"]) == {"quito"} and len(photos) == 12  # the split `val`, each once
    assert photos["place_rank"].between(1, 12).all() and (photos["error_m"] < 320 * 2**0.5).all()
    assert (photos["place_rank"] == photos["site_rank"]).all()  # there is one site
    assert outcomes[0]["steps"] == 2 and outcomes[0]["synthetic"] is True
    assert 4 < outcomes[0]["photos_per_step"] < 4 * 3  # four chips with up to three photos
    assert 60 < outcomes[0]["chance_error_m"] < 250
    assert not (where / f"{runs[0].key}.work").exists()
    model = GAIR.from_pretrained(study.weights(where, runs[0].key))
    assert model.config.dim == SMALL["model"]["changes"]["dim"]


def test_a_field_read_as_its_mean_has_no_error_in_metres(trained, paired):
    (runs, _, where), (dataset, folder) = trained, paired
    model = GAIR.from_pretrained(study.weights(where, runs[0].key))
    query = ablation_run.validation_query(store.load(folder), dataset, model.config.sv_size)
    assert "error_m" in ablation_run.evaluate(model, query)
    mean = GAIR(model.config.replace(query_mode="mean")).eval()
    assert "error_m" not in ablation_run.evaluate(mean, query)


def test_a_run_that_cannot_train_says_why(trained):
    assert "min_pairs asks for 10000" in trained[1][1]["failed"]


def test_answers_are_the_ranks_of_the_true_match():
    rng = np.random.default_rng(0)
    photos, local, places = (rng.normal(size=(9, 4)) for _ in range(3))
    rows = pd.DataFrame({"photo_id": list("abcdefghi"), "site": list("xxxxyyyyz")})
    query = ablation_run.Query(rows, "", None, None, None, None)
    found = ablation_run.answers(query, Reading(photos, local), places)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (photos, local, places)]
    pairs = {"place": (0, 1), "coordinates": (0, 2), "field_coordinates": (1, 2)}
    for name, (a, b) in pairs.items():
        for i in range(9):
            cosine = unit[a][i] @ unit[b].T
            assert found[f"{name}_rank"][i] == 1 + (cosine > cosine[i]).sum()
            assert found[f"{name}_hit1"][i] == float(cosine.argmax() == i)
    cosine = unit[0][5] @ unit[1][4:8].T
    assert found["site_rank"][5] == 1 + (cosine > cosine[1]).sum()
    assert found["site_rank"][8] == 1
