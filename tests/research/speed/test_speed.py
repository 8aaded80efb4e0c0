"""The harness of `make bench`; what it measures is tested elsewhere, in small."""

import time

import pytest

from research.speed import measure


def test_timed_is_the_median():
    pauses = iter([0.0, 0.05, 0.01])
    assert 0.01 <= measure.timed(lambda: time.sleep(next(pauses))) < 0.04


def test_side_by_side_takes_turns():
    order = []
    both = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = measure.side_by_side(both, 3)
    assert order == list("ababab") and set(seconds) == {"a", "b"}


def test_a_race_is_judged_round_by_round(monkeypatch):
    seconds = {"slow": [4.0, 8.0, 2.0], "quick": [2.0, 2.0, 2.0]}
    monkeypatch.setattr(measure, "rounds", lambda *_, first_in_turn: seconds)
    assert measure.race({}, 3) == ({"slow": 4.0, "quick": 2.0}, 2.0)


def test_peak_runs_in_a_fresh_process_and_sees_its_memory():
    small = measure.peak("builtins:len", "abc")
    large = measure.peak("builtins:eval", "len(b'x' * 200_000_000)")
    assert small["value"] == 3 and large["value"] == 200_000_000
    assert large["peak_bytes"] - small["peak_bytes"] > 150_000_000
    with pytest.raises(RuntimeError, match="TypeError"):
        measure.peak("builtins:len", 5)


def test_every_figure_has_its_run():
    names = measure.names()
    assert {
        "join",
        "pairing",
        "scene_reading",
        "batch_reading",
        "inr",
        "dense",
        "spherical_harmonics",
    } <= set(names)
    for name in names:
        source = (measure.RESULTS.parents[1] / f"research/speed/{name}.py").read_text()
        assert "def run(quick: bool = False" in source, name


def test_ten_million_in_small(monkeypatch):
    from research.speed import pairing

    monkeypatch.setattr(pairing, "QUICK", 3000)
    monkeypatch.setattr(pairing, "SCENES", 2)
    found = pairing.run(quick=True)
    assert found["all_photos_in"] == 3000 and found["quarter_photos_in"] == 750
    assert found["all_paired"] + found["all_rejected"] == 3000


def test_photos_in_either_layout_give_the_same():
    from research.speed import photo_layout

    found = photo_layout.run(quick=True)
    assert found["largest_difference"] < 1e-5
    assert found["train_times_faster"] > 0 and found["read_times_faster"] > 0
