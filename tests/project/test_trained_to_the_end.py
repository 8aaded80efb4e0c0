"""No number of the sample stands on a training that was cut short at its limit of steps."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "metrics/benchmark").glob("*.json")), ids=lambda path: path.stem
)
def test_no_training_of_a_benchmark_ended_at_its_limit(path):
    assert json.loads(path.read_text()).get("trainings_at_limit", 0) == 0


@pytest.mark.parametrize(
    "path", sorted((ROOT / "metrics/upper_bounds").glob("*.json")), ids=lambda path: path.stem
)
def test_no_upper_bound_ended_at_its_limit(path):
    networks = json.loads(path.read_text())["networks"]
    assert not [name for name, bound in networks.items() if bound["fit"]["at_limit"]]
