"""What contrib/ offers names classes that are there and take what the files give them."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml

CONTRIB = Path(__file__).parents[2] / "contrib"


def bound(target: str, given: dict) -> inspect.BoundArguments:
    module, _, name = target.rpartition(".")
    return inspect.signature(getattr(import_module(module), name)).bind(**given)


def test_the_image_models_file_is_taken_whole():
    given = yaml.safe_load((CONTRIB / "torchgeo-bench/model/gair.yaml").read_text())
    target = given.pop("_target_")
    normalization = "model_native"  # the runner adds these two
    found = bound(target, {**given, "bands": [], "normalization": normalization})
    assert found.arguments["name"] == "gair"


@pytest.mark.parametrize("name", ["gair.yaml", "coord-run.yaml"])
def test_the_location_encoders_files_are_taken_whole(name):
    given = yaml.safe_load((CONTRIB / "coordbench" / name).read_text())
    given = given.get("model", given)
    device = {"device": "cpu"}  # the runner's
    assert bound(given["target"], {**given["kwargs"], **device}).arguments["checkpoint"]
    assert given["name"] == "gair-location"
