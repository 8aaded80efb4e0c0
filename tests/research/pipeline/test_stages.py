"""`make repro DATA=` on a tiny dataset: every stage runs, a second run does nothing."""

import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pandas as pd
import pytest
from builders.small_run import SMALL

from gairlib.errors import BadInput, Missing
from research.pipeline import stages

ROOT = Path(__file__).resolve().parents[3]


def test_every_stage_leaves_metrics_and_a_readable_report(run):
    index = (run / "reports/index.html").read_text()
    assert "synthetic" in index.lower() and "tiny" in index
    for stage in ("inspect", "pair", "pretrain", "embed", "explore"):
        assert json.loads((run / f"metrics/{stage}.json").read_text()), stage
    for task in SMALL["tasks"]:
        assert json.loads((run / f"metrics/benchmark/{task}.json").read_text()), task
        assert (run / f"reports/60-{task}.html").stat().st_size > 10_000
    pair = json.loads((run / "outputs/pair/report.json").read_text())
    assert pair["photos_in"] == pair["paired"] + sum(pair["rejected"].values())
    assert pair["paired"] == 36


@pytest.mark.parametrize(
    "stage, key", [("pretrain", "val_recall_at_1"), ("embed", "cosine_true_photo_place")]
)
def test_a_cards_headline_has_its_interval(run, stage, key):
    numbers = json.loads((run / f"metrics/{stage}.json").read_text())
    assert numbers[f"{key}_low"] <= numbers[key] <= numbers[f"{key}_high"]
    index = (run / "reports/index.html").read_text()
    card = index.split(f'id="{stage}"')[1].split("</section>")[0]
    assert re.search(r'class="value">[^<]+<small>\[[^\]]+\]</small>', card)


def test_bad_rows_are_listed_with_their_reasons(run):
    inspected = (run / "outputs/inspect/rejected.csv").read_text()
    paired = set(pd.read_parquet(run / "outputs/pair/rejected.parquet")["photo_id"])
    for bad in ("broken", "gone", "swapped"):
        assert bad in inspected and bad in paired, bad
    assert "far-away" in paired


def test_second_run_does_nothing(run):
    done = subprocess.run(
        ["dvc", "repro"], cwd=run, capture_output=True, text=True, env=stages.environment()
    )
    assert done.returncode == 0, done.stderr
    assert "Running stage" not in done.stdout and "up to date" in done.stdout


def test_metrics_are_readable_with_dvc(run):
    done = subprocess.run(
        ["dvc", "metrics", "show", "--json"],
        cwd=run,
        capture_output=True,
        text=True,
        env=stages.environment(),
    )
    shown = json.loads(done.stdout)
    assert "metrics/benchmark/retrieval.json" in json.dumps(shown)


def test_wrong_folders_end_in_one_sentence(project, tiny, tmp_path, capsys):
    with pytest.raises(Missing, match="no such dataset folder"):
        stages.prepare(tmp_path / "nothing", root=project)
    (project / "data").mkdir(exist_ok=True)
    with pytest.raises(BadInput, match="sample itself"):
        stages.prepare(project / "data", root=project)
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    stages.prepare(tiny, "mine", root=project)
    with pytest.raises(BadInput, match="already belongs to"):
        stages.prepare(other, "mine", root=project)
    assert stages.main([str(tmp_path / "nothing")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "nothing" in said[0]


def test_local_changes_must_name_a_section(project, tiny):
    folder = project / "runs/typo"
    folder.mkdir(parents=True)
    (folder / "params.local.yaml").write_text("pretrian: {steps: 3}\n")
    with pytest.raises(BadInput, match="no section 'pretrian'"):
        stages.prepare(tiny, "typo", root=project)


def test_what_dvc_cannot_read_is_left_out_by_name(tiny, tmp_path, project, capsys):
    folder = shutil.copytree(tiny, tmp_path / "linked")
    assert stages.readable_parts(folder) == ([stages.DATA], [])
    (folder / ".#street.csv").symlink_to("ana@laptop.4711:1700000000")
    (folder / "street/moved.jpg").symlink_to("/mnt/old-disk/photo.jpg")
    os.mkfifo(folder / "scenes/pipe")
    parts, lost = stages.readable_parts(folder)
    assert [path for path, _ in lost] == [".#street.csv", "scenes/pipe", "street/moved.jpg"]
    assert f"{stages.DATA}/tables" in parts and f"{stages.DATA}/street/bern-00.jpg" in parts
    assert not [p for p in parts if "moved" in p or "pipe" in p or p == stages.DATA]
    run = stages.prepare(folder, root=project)
    assert "moved.jpg is a link that leads nowhere" in capsys.readouterr().out
    stages.run_dvc(run, "status", "inspect")  # reads every dependency


def test_a_second_run_waits_for_the_first_and_says_so(tmp_path, capsys):
    order = []

    def second() -> None:
        with stages.waiting("mine", root=tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    with stages.waiting("mine", root=tmp_path), stages.waiting("another", root=tmp_path):
        assert not capsys.readouterr().out
        thread.start()
        thread.join(0.5)
        assert thread.is_alive() and "mine: another `make repro`" in capsys.readouterr().out
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_folder_without_git_ends_in_one_sentence(monkeypatch, tiny, tmp_path, capsys):
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    assert stages.main([str(tiny)]) == 1
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "git clone" in said
