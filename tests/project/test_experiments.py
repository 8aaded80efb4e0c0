"""`dvc exp run -S pretrain.lr=...` trains once more, and DVC shows both runs side by side."""

import json
import subprocess
import warnings
from pathlib import Path

import pytest
import yaml
from builders.small_run import SMALL, small_pairs

from research.pipeline import pixels
from research.pipeline import stages as pipeline

ROOT = Path(__file__).resolve().parents[2]


def call(where: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=where, env=pipeline.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def experiment(tiny, tmp_path_factory):
    """A git and DVC repository with the stage `pretrain`, its pairs, and one run committed."""
    root = tmp_path_factory.mktemp("experiment")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in SMALL.items():
        if isinstance(changes, dict):
            params[section].update(changes)
    params["pretrain"]["steps"] = 2
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    stages["stages"] = {"pretrain": stages["stages"]["pretrain"]}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (root / "dvc.yaml").write_text(yaml.safe_dump(stages, sort_keys=False, width=1000))
    for name in ("gairlib", "notebooks", "research"):
        (root / name).symlink_to(ROOT / name)
    (root / "outputs").mkdir()
    (root / "outputs/sites").symlink_to(tiny)
    (root / "outputs/assets.txt").write_text("")  # of the stage `assets`: the run names none
    (root / ".gitignore").write_text("/outputs/\n/reports/\n/logs/\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small_pairs(tiny, root / "outputs/pair", max_photos=4, repeats_train=2)
    known = {"parameters": {"out": "outputs/pair"}}
    known["pixels"] = pixels.digest(root / "outputs/pair" / pixels.STORE)
    (root / "reports").mkdir()
    (root / pixels.RECORD).write_text(json.dumps(known))
    for command in (
        "git init -q .",
        "git config user.email test@example.org",
        "git config user.name test",
        "dvc init -q",
        "dvc config core.analytics false",
        "git add -A",
        "git commit -qm stage",
        "dvc repro -q",
        "git add -A",
        "git commit -qm base",
    ):  # DVCLive needs a commit
        call(root, *command.split())
    return root


def test_an_experiment_with_another_learning_rate_is_compared(experiment):
    before = yaml.safe_load((experiment / "params.yaml").read_text())["pretrain"]["lr"]
    call(experiment, *"dvc exp run -q -n faster -S pretrain.lr=0.01 pretrain".split())
    shown = json.loads(call(experiment, "dvc", "exp", "show", "--json"))
    commit = next(row for row in shown if row["rev"] != "workspace")
    revisions = {"base": commit["data"]}
    for found in commit["experiments"] or []:
        for rev in found["revs"]:
            revisions[found["name"]] = rev["data"]
    assert set(revisions) == {"base", "faster"}

    def read(name):
        data = revisions[name]
        lr = data["params"]["params.yaml"]["data"]["pretrain"]["lr"]
        return lr, data["metrics"]["metrics/pretrain.json"]["data"]["loss"]

    (lr, loss), (other_lr, other_loss) = read("base"), read("faster")
    assert (lr, other_lr) == (before, 0.01)
    assert loss != other_loss

    change = json.loads(call(experiment, "dvc", "metrics", "diff", "HEAD", "faster", "--json"))
    row = change["metrics/pretrain.json"]["loss"]
    assert (row["old"], row["new"]) == (loss, other_loss)
    curves = call(experiment, "dvc", "plots", "diff", "HEAD", "faster", "--json")
    assert "Pretraining loss" in curves and "faster" in curves
    dirty = call(experiment, "git", "status", "--short").split("\n")
    assert {line[3:] for line in dirty if line} <= {
        "dvc.lock",
        "metrics/pretrain.json",
        "params.yaml",
    }
