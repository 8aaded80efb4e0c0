"""The stage that fetches assets: none named, one, one that no index gives, one that is unknown."""

from pathlib import Path

import pytest
import yaml

from gairlib.assets import Asset
from gairlib.errors import BadInput, Missing
from research.pipeline import assets


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Runs the stage on `pretrain.towers` and `benchmark.weights`; gives its exit code and file."""
    asked = []

    def find(name, fetch=False):
        asked.append((name, fetch))
        if name == "geoclip":
            made = {"what": "", "distribution": "", "licence": "", "citation": ""}
            files = {"folder": tmp_path, "files": (tmp_path / "w.pth",)}
            return Asset(name=name, sha256="5" * 64, version="1.3.0", **files, **made)
        if name == "stones":
            raise Missing("asset stones: uv could not fetch it")
        raise BadInput(f"asset {name!r} is not one of geoclip")

    def run(towers, weights=None):
        params = {"pretrain": {"towers": towers}, "benchmark": {"weights": weights or {}}}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        out = tmp_path / "outputs/assets.txt"
        code = assets.main(["--params", str(tmp_path / "params.yaml"), "--out", str(out)])
        return code, out.read_text() if out.exists() else None

    monkeypatch.setattr(assets.assets, "find", find)
    run.asked = asked
    return run


def test_the_sample_names_its_assets():
    params = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
    found = assets.named([params["pretrain"]["towers"], params["benchmark"]["weights"]])
    assert found == ["efficientnet-lite0", "geoclip"]


def test_nothing_is_fetched_that_is_not_named(stage):
    assert stage({"sv": {"start": "hub:timm/vit", "rate": 0}, "rs": "scratch"})[1] == assets.NONE
    assert stage.asked == []


def test_what_is_named_is_fetched_once_and_listed(stage):
    towers = {"location": {"start": "asset:geoclip", "rate": 0}, "sv": "asset:geoclip"}
    assert stage(towers) == (0, f"geoclip 1.3.0 {'5' * 64}\n")
    assert stage({}, {"geoclip": "asset:geoclip", "croma": "croma.pt"})[1].startswith("geoclip ")
    assert stage.asked == [("geoclip", True)] * 2


def test_without_a_network_one_sentence_and_the_run_goes_on(stage, capsys):
    towers = {"sv": {"start": "asset:stones"}, "location": {"start": "asset:geoclip"}}
    assert stage(towers) == (0, f"stones is not there\ngeoclip 1.3.0 {'5' * 64}\n")
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "uv could not fetch it. What would start" in said


def test_an_unknown_name_ends_the_stage(stage, capsys):
    assert stage({"sv": {"start": "asset:geo-clip"}}) == (1, None)
    assert "'geo-clip' is not one of" in capsys.readouterr().err
