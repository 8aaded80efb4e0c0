"""Curves in other programs' files: the same numbers as DVCLive's, again after a run went on."""

import csv

import pytest

from gairlib.errors import BadInput
from gairlib.train.curves import Curves
from gairlib.train.engine import Engine

ROWS = [{"step": 0, "loss": 2.0}, {"step": 5, "loss": 1.5}, {"step": 9, "loss": 1.0, "val": 0.3}]


class Kept:
    def __init__(self):
        self.rows, self.ended = [], None

    def log_metrics(self, metrics, step):
        self.rows.append({"step": step, **metrics})

    def finalize(self, status):
        self.ended = status


def test_rows_reach_every_logger_and_a_run_that_goes_on_has_them_all(tmp_path):
    kept = Kept()
    first = Curves(tmp_path / "live", history := [], ["csv", kept])
    for row in ROWS[:2]:
        history.append(row)
        first.log(row)
    first.close()
    assert kept.rows == ROWS[:2] and kept.ended == "success"
    again = Curves(tmp_path / "live", history, ["csv"])
    history.append(ROWS[2])
    again.log(ROWS[2])
    again.close()
    with open(tmp_path / "loggers/csv/metrics.csv", newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    assert rows == ROWS
    dvc = (tmp_path / "live/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    assert [float(line.split("\t")[-1]) for line in dvc] == [2.0, 1.5, 1.0]


def test_without_loggers_there_are_the_curves_of_dvclive_alone(tmp_path):
    Curves(tmp_path / "live", ROWS).close()
    assert [path.name for path in tmp_path.iterdir()] == ["live"]


def test_unknown_and_missing_loggers_are_named(tmp_path, monkeypatch):
    for wrong in (["comet"], "csv", [3]):
        with pytest.raises(BadInput, match="csv, tensorboard"):
            Engine(loggers=wrong)
    monkeypatch.setitem(__import__("sys").modules, "pytorch_lightning.loggers", None)
    with pytest.raises(ImportError, match="pip install pytorch-lightning wandb"):
        Curves(tmp_path / "live", [], ["wandb"])
