"""Several processes: torchrun trains, and a single process finishes from its last checkpoint."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from builders.small_training import CONFIG, OPTIONS, pair_up
from safetensors.torch import load_file

from gairlib import GAIRConfig
from gairlib.errors import BadInput
from gairlib.train import __main__, loop, prepare, towers
from gairlib.train.engine import Engine
from research.pipeline import stages


@pytest.fixture
def values(tiny, tmp_path):
    dataset, pairs = pair_up(tiny, folder=tmp_path / "pair")
    paths = {
        "pairs": str(tmp_path / "pair"),
        "out": str(tmp_path / "out"),
        "checkpoints": str(tmp_path / "checkpoints"),
    }
    section = asdict(OPTIONS) | {"min_pairs": 5, "init": "", "accelerator": "cpu"}
    changes = {k: v for k, v in CONFIG.to_dict().items()}
    return (
        dataset,
        pairs,
        {
            "data": {"folder": str(tiny)},
            "paths": paths,
            "pretrain": section,
            "model": {"preset": "small", "changes": changes},
        },
    )


def finish(dataset, pairs, values, folder):
    options, engine = prepare.settings(values["pretrain"])
    torch.set_num_threads(1)
    model, plan = prepare.build_model(pairs, values["model"], values["pretrain"])
    data = prepare.batches(pairs, dataset, model.config, options)
    return loop.pretrain(
        model,
        data["train"],
        data.get("val"),
        folder / "out",
        options,
        checkpoints=folder / "checkpoints",
        engine=engine.alone(),
        initial_weights=prepare.initial_weights(plan),
        progress=False,
    )


def test_ranks_end_with_the_one_that_started_them(values, tmp_path):
    """Killed without a word, as a notebook's kernel may be; and so with torchrun alone."""
    values = values[2] | {"pretrain": values[2]["pretrain"] | {"steps": 100_000}}
    (tmp_path / "values.json").write_text(json.dumps(values))
    code = (
        "import json, sys\n"
        "from gairlib.train import __main__\n"
        "from gairlib.train.engine import Engine\n"
        "values = json.load(open(sys.argv[1]))\n"
        "__main__.by_torchrun(values, Engine('cpu', devices=2), values['paths']['checkpoints'])\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "values.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
    )

    def running():
        return [p for p in Path("/proc").glob("[0-9]*") if str(tmp_path / "checkpoints") in said(p)]

    def said(process):
        try:
            return (process / "cmdline").read_text()
        except OSError:
            return ""

    until = time.monotonic() + 300
    while not list((tmp_path / "checkpoints").glob("step-*")):
        assert caller.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    assert len(running()) == 3  # torchrun and two ranks
    caller.kill()
    caller.wait()
    until = time.monotonic() + 120
    while running():
        assert time.monotonic() < until, "they train on"
        time.sleep(0.1)


def test_two_processes_train_what_one_does(values, tmp_path, monkeypatch):
    dataset, pairs, values = values
    alone = finish(dataset, pairs, values, tmp_path / "alone")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    __main__.by_torchrun(values, Engine("cpu", devices=2), tmp_path / "checkpoints")
    assert not (tmp_path / "out/model").exists(), "the stage that asked for it writes the weights"
    together = finish(dataset, pairs, values, tmp_path)
    assert together["resumed_from_step"] == OPTIONS.steps and together["ranks"] == 2
    assert together["pairs_per_second"] > 0
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-3)
    first, second = (
        load_file(tmp_path / p / "model/model.safetensors") for p in ("alone/out", "out")
    )
    start = prepare.build_model(pairs, values["model"], values["pretrain"])[0].state_dict()
    for name, value in first.items():
        learnt = float((value - start[name]).abs().max())
        assert float((second[name] - value).abs().max()) <= 0.05 * learnt + 1e-6, name
    assert not (tmp_path / "checkpoints").exists()


def test_a_failing_rank_is_one_sentence(values, tmp_path, monkeypatch):
    _, _, values = values
    values["pretrain"]["chips_per_batch"] = 5  # two ranks cannot share that
    with pytest.raises(BadInput, match="training in 2 processes ended with code 1"):
        __main__.by_torchrun(values, Engine("cpu", devices=2), tmp_path / "checkpoints")


def test_command_line_says_what_is_wrong(tmp_path, capsys):
    assert __main__.main(["--params", str(tmp_path / "none.yaml")]) == 1
    (tmp_path / "half.yaml").write_text(yaml.safe_dump({"data": {}}))
    assert __main__.main(["--params", str(tmp_path / "half.yaml")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "no such parameter file" in said[0] and "no section model, pretrain" in said[1]


def test_unknown_keys_of_the_section_are_named():
    with pytest.raises(BadInput, match="unknown key learning_rate"):
        prepare.settings({"learning_rate": 1.0})
    options, engine = prepare.settings({"steps": 3, "devices": 2, "init": ""})
    assert options.steps == 3 and engine.ranks == 2


def test_checkpoints_of_other_initial_weights_are_not_resumed(values, tmp_path):
    _, pairs, values = values
    model, plan = prepare.build_model(pairs, values["model"], values["pretrain"])
    model.save_pretrained(tmp_path / "weights")
    other = values["pretrain"] | {"init": str(tmp_path / "weights")}
    again, other_plan = prepare.build_model(pairs, values["model"], other)
    assert other_plan.train and again.config == model.config
    assert prepare.initial_weights(other_plan) != prepare.initial_weights(plan)
    assert len(json.loads(prepare.initial_weights(other_plan))["init"]) == 64


def test_the_preset_of_the_published_size_fits_the_pipeline(tmp_path):
    root = Path(__file__).resolve().parents[3]
    params = yaml.safe_load((root / "params.yaml").read_text())
    shutil.copy(root / "presets/base.yaml", tmp_path / "params.local.yaml")
    stages._merge(params, tmp_path / "params.local.yaml")
    options, _ = prepare.settings(params["pretrain"])
    config = GAIRConfig.preset(params["model"]["preset"], **params["model"]["changes"])
    assert (config.dim, config.sv_size, config.rs_size) == (768, 224, params["pair"]["chip_px"])
    assert options.chips_per_batch * options.photos_per_chip == 16_384
    assert all(tower.start for tower in towers.read(params["pretrain"]["towers"]).values())
