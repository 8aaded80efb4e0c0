"""What every benchmark says of itself, and what its saved record keeps of that."""

import json

import numpy as np
import pytest

from research.evaluation import stats
from research.evaluation.table import Table
from research.tasks import registry
from research.tasks.areas import Area
from research.tasks.eurosat import EuroSATMultispectral
from research.tasks.location import Location
from research.tasks.task import TOGETHER, Measured, Options, Task


def test_every_task_says_what_it_is(dataset):
    found = registry.tasks(dataset)
    without = {EuroSATMultispectral, Area}  # the folder has no eurosat_ms and no areas
    assert {type(task) for task in found} == set(registry.TASKS) - without
    for task in found:
        assert task.question.endswith("?") and task.claim and task.name
        assert task.subject in ("photo", "chip", "place", "pair")
        assert task.kind in ("probe", "segmentation", *TOGETHER)
        assert task.held_out in ("site", "block", "city", "published split", "row")
        assert registry.get(task.name, dataset) == task or type(task).__eq__ is object.__eq__


def test_a_dash_in_a_table_s_name_is_no_end_of_it(dataset, monkeypatch):
    tables = {"a-b": dataset.tables()["warmth"]}
    monkeypatch.setattr(type(dataset), "tables", lambda self: tables)
    assert registry.get("location-a-b-warmth", dataset) == Location("a-b", "warmth")


@pytest.mark.parametrize(
    "name, held_out",
    [("location-warmth-warmth", "block"), ("retrieval", "site"), ("retrieval-sv-location", "site")],
)
def test_the_record_of_a_result_says_what_its_task_is(
    name, held_out, dataset, checkpoint, pairs, tmp_path
):
    task = registry.get(name, dataset)
    result = task.run(dataset, Options(checkpoint, pairs, seeds=1, bootstrap=20))
    result.save(tmp_path)
    about = json.loads((tmp_path / "result.json").read_text())
    for key in ("question", "claim", "subject", "kind"):
        assert about[key] == getattr(task, key)
    assert about["held_out"] == held_out
    assert set(result.rows["split"]) <= set(about["splits"])
    assert all(split in about["splits"] for _, split, _ in result.mainline)
    claims = {split["claim"] for split in about["splits"].values()}
    assert claims == {""} or len(claims) > 2  # of its own where splits ask different things


def test_a_task_without_a_score_that_is_a_number_is_skipped_with_a_reason(dataset, tmp_path):
    class Undefined(Task):
        name, question, claim, subject, held_out, kind = "u", "?", "u", "place", "row", "probe"

        def available(self, dataset):
            return None

        def load(self, dataset, options):
            return None

        def measure(self, dataset, options):
            table = Table("u", "location", "row", "d", False)
            codes = np.arange(6)
            for encoder in ("gair", "random init", "mean"):
                score = stats.mean(np.full(6, np.nan), codes)
                table.add("rows", encoder, "R2", score, clusters=6, probe="", n=6)
            return Measured(table, [("r2", "rows", "R2")], [], [], {})

    result = Undefined().run(dataset, Options(bootstrap=5))
    assert result.status == "skipped" and "number" in result.reason
    result.save(tmp_path / "out", tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == {"ran": 0}
