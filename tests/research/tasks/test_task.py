"""What every benchmark says of itself, and what its saved record keeps of that."""

import json

import pytest

from research.tasks import registry
from research.tasks.eurosat import EuroSATMultispectral
from research.tasks.location import Location
from research.tasks.task import Options


def test_every_task_says_what_it_is(dataset):
    found = registry.tasks(dataset)
    without = {EuroSATMultispectral}  # the folder has no eurosat_ms
    assert {type(task) for task in found} == set(registry.TASKS) - without
    for task in found:
        assert task.question.endswith("?") and task.claim and task.name
        assert task.subject in ("photo", "chip", "place", "pair")
        assert task.kind in ("probe", "segmentation", "retrieval", "geolocalisation")
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
