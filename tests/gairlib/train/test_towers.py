"""Settings of towers: how they are read, refused, and what becomes of them in a plan."""

import json
from dataclasses import asdict

import pytest
import torch
from builders.small_training import CONFIG, OPTIONS, pair_up
from safetensors.torch import save_file

from gairlib import GAIR
from gairlib.errors import BadInput
from gairlib.origins import Origin
from gairlib.train import prepare
from gairlib.train.options import adamw, learning_rate, parameter_groups, set_learning_rate
from gairlib.train.towers import Tower, Tuning, held_modules, held_names, hold, read, train_mode

MODEL = {"preset": "small", "changes": CONFIG.to_dict()}


@pytest.fixture(scope="module")
def pairs(tiny):
    return pair_up(tiny)[1]


@pytest.fixture
def vit(tmp_path):
    """A timm file of the photo tower of CONFIG."""
    torch.manual_seed(7)
    save_file(GAIR(CONFIG).sv.tower.state_dict(), tmp_path / "vit.safetensors")
    return str(tmp_path / "vit.safetensors")


def section(**towers):
    return asdict(OPTIONS) | {"min_pairs": 5, "init": "", "towers": towers}


@pytest.mark.parametrize(
    "given, words",
    [
        ({"radar": {}}, "rs, sv, location"),
        (["rs"], "rs, sv, location"),
        ({"rs": "croma.pt"}, r"towers\.rs: 'croma\.pt'.*start, rate, anchor"),
        ({"rs": {"source": "x"}}, r"towers\.rs: .*start, rate, anchor"),
        ({"sv": {"start": None}}, r"towers\.sv\.start is None"),
        ({"sv": {"start": "x", "rate": True}}, r"sv\.rate is True, a number from 0"),
        ({"sv": {"start": "x", "rate": -1}}, r"sv\.rate is -1"),
        ({"sv": {"start": "x", "anchor": "1e-3"}}, r"sv\.anchor is '1e-3'"),
        ({"sv": {"start": "x", "anchor": float("inf")}}, r"sv\.anchor is inf"),
        ({"sv": {"start": "x", "rate": 0, "anchor": 0.1}}, r"towers\.sv: .*needs no anchor"),
    ],
)
def test_wrong_settings_are_named(given, words):
    with pytest.raises(BadInput, match=words):
        read(given)


def test_what_is_left_out_starts_from_scratch():
    nothing = {name: Tower() for name in ("rs", "sv", "location")}
    assert read({}) == read(None) == read({"rs": None, "sv": {"start": "scratch"}}) == nothing
    assert read({"sv": {"start": "f", "rate": 0}})["sv"] == Tower("f", 0, 0.0)


def test_the_old_key_is_refused_with_the_new_one():
    with pytest.raises(BadInput, match=r"init_towers.*towers: \{rs: \{start"):
        prepare.settings({"init_towers": {}})
    assert "init_towers" in prepare.SETTINGS  # so that a notebook hands it over


def test_rate_and_anchor_need_something_that_was_loaded(pairs, tmp_path):
    for wrong in ({"rate": 0}, {"anchor": 0.1}, {"start": "scratch", "rate": 0.1}):
        with pytest.raises(BadInput, match=r"pretrain\.towers\.location: .*start"):
            prepare.build_model(pairs, MODEL, section(location=wrong))
    GAIR(CONFIG).save_pretrained(tmp_path)
    built, plan = prepare.build_model(
        pairs, MODEL, section(location={"rate": 0}) | {"init": str(tmp_path)}
    )
    whole = {n for n in built.state_dict() if n.startswith("location.")}
    assert plan.tuning == {"location": Tuning(frozenset(whole), 0)}
    assert "location encoder is held" in plan.sentence
    assert plan.towers["location"] == {"rate": 0, "anchor": 0.0}
    few = section(location={"rate": 0}) | {"init": str(tmp_path), "min_pairs": 10_000}
    assert not prepare.build_model(pairs, MODEL, few)[1].tuning  # nothing is trained


def test_locked_image_tuning_is_one_line(pairs, vit, tmp_path):
    built, plan = prepare.build_model(pairs, MODEL, section(sv={"start": vit, "rate": 0}))
    loaded = {f"sv.tower.{n}" for n in built.sv.tower.state_dict()}
    assert plan.tuning == {"sv": Tuning(frozenset(loaded), 0)}
    assert plan.towers["sv"]["rate"] == 0 and plan.towers["sv"]["start"] == "weights"
    assert "SV encoder is held" in plan.sentence
    hold(built, plan.tuning)
    fixed = {n for n, p in built.named_parameters() if not p.requires_grad}
    assert fixed == loaded & {n for n, _ in built.named_parameters()}
    train_mode(built, built, plan.tuning)
    assert not built.sv.tower.training and built.rs.training and built.location.training
    groups = parameter_groups(built, 0.05, plan.tuning)
    assert [g["rate"] for g in groups] == [1.0, 1.0]
    assert not {id(p) for g in groups for p in g["params"]} & {
        id(p) for n, p in built.named_parameters() if n in loaded
    }


def test_what_learns_beside_a_held_tower_is_not_held(pairs, vit):
    side = {"sv_side": "resnet10t", "sv_side_options": {"channels": [8] * 4, "stem_type": ""}}
    model = {"preset": "small", "changes": CONFIG.to_dict() | side}
    built, plan = prepare.build_model(pairs, model, section(sv={"start": vit, "rate": 0}))
    assert any(name.startswith("sv.side.") for name in plan.towers["sv"]["new"])
    hold(built, plan.tuning)
    assert all(p.requires_grad for p in [*built.sv.side.parameters(), *built.sv.dense.parameters()])
    train_mode(built, built, plan.tuning)
    awake = {name for name, module in built.named_modules() if module.training}
    assert {"sv", "sv.side", "sv.side.bn1", "sv.dense", "rs", ""} <= awake
    assert not any(name.startswith("sv.tower") for name in awake)
    modules = held_modules(built, held_names(plan.tuning))
    assert set(modules) == {n for n, _ in built.named_modules() if f"{n}.".startswith("sv.tower.")}
    assert not held_modules(built, set())


def test_a_rate_of_its_own_and_an_anchor_instead_of_decay(pairs, vit):
    given = {"start": vit, "rate": 0.1, "anchor": 0.01}
    built, plan = prepare.build_model(pairs, MODEL, section(sv=given))
    names = {id(p): n for n, p in built.named_parameters()}
    groups = parameter_groups(built, 0.05, plan.tuning)
    found = {(g["rate"], g["weight_decay"]): {names[id(p)] for p in g["params"]} for g in groups}
    assert found.keys() == {(1.0, 0.05), (1.0, 0.0), (0.1, 0.0)}
    assert found[0.1, 0.0] == {n for n in names.values() if n.startswith("sv.tower.")}
    assert "sv.dense.weight" in found[1.0, 0.05]
    optimiser = adamw(built, OPTIONS, plan.tuning)
    set_learning_rate(optimiser, 3, OPTIONS)
    rates = {g["rate"]: g["lr"] for g in optimiser.param_groups}
    assert rates == {1.0: learning_rate(3, OPTIONS), 0.1: learning_rate(3, OPTIONS) * 0.1}


def test_a_tower_whose_hub_does_not_answer_learns_at_the_full_rate(pairs, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    given = section(sv={"start": "hub:timm/vit_x", "rate": 0})
    _, plan = prepare.build_model(pairs, MODEL, given)
    assert plan.tuning == {} and "SV encoder starts from scratch" in plan.sentence
    assert "held" not in plan.sentence and json.dumps(plan.towers)


def test_licences_go_from_run_to_run(pairs, vit, tmp_path):
    """A run that starts from a run's weights inherits what that one started from."""
    built, plan = prepare.build_model(pairs, MODEL, section(sv={"start": vit}))
    want = (Origin("sv", vit, f"unknown, see {vit}"),)
    assert plan.origins == want == built.origins
    summary = {"steps": 3}
    made = prepare.write_records(
        summary, plan, out=tmp_path, metrics=tmp_path / "metrics/pretrain.json"
    )
    assert made["started_from"] == {"sv": f"{vit} (unknown, see {vit})"}
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert vit in written["licence"] and written["origins"] == [asdict(want[0])]
    built.save_pretrained(tmp_path / "model")
    again, plan = prepare.build_model(pairs, MODEL, section() | {"init": str(tmp_path / "model")})
    assert plan.origins == want == again.origins
    (tmp_path / "model/origins.json").unlink()
    again, plan = prepare.build_model(pairs, MODEL, section() | {"init": str(tmp_path / "model")})
    assert [o.licence for o in plan.origins] == [f"unknown, see {tmp_path / 'model'}"]
    scratch, plan = prepare.build_model(pairs, MODEL, section())
    assert plan.origins == () == scratch.origins


def test_by_default_nothing_is_tuned(pairs):
    built, plan = prepare.build_model(pairs, MODEL, section())
    assert plan.tuning == {} == plan.towers and plan.sentence.endswith("from scratch.")
    torch.manual_seed(OPTIONS.seed)
    same = GAIR(CONFIG).state_dict()
    assert all(torch.equal(v, same[k]) for k, v in built.state_dict().items())
