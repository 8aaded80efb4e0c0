"""The training loop: it learns, repeats itself exactly, survives kill -9 and refuses NaN."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.small_training import CONFIG, OPTIONS, pair_up, train
from safetensors.torch import load_file

from gairlib import GAIR, files
from gairlib.errors import BadInput, Missing
from gairlib.train import checkpoint, loop, prepare
from gairlib.train.options import learning_rate, limit_queue
from gairlib.train.towers import Tuning


def tuned(model):
    """Places held but for what maps to D, photos at a half of the rate and anchored."""
    names = [*model.state_dict()]
    last = f".{len(model.location.nets[0]) - 1}."
    location = {n for n in names if n.startswith("location.") and last not in n}
    sv = frozenset(n for n in names if n.startswith("sv.tower."))
    return {"location": Tuning(frozenset(location), 0), "sv": Tuning(sv, 0.5, 0.1)}


def run_training(tiny, out, options=OPTIONS, model=None, towers=False):
    """Used by the tests here and, through `python test_loop.py`, by the process that is killed."""
    dataset, pairs = pair_up(tiny)
    torch.set_num_threads(1)  # sums of two threads differ in the last bit from those of one
    torch.manual_seed(0)
    model = model or GAIR(CONFIG)
    return train(model, dataset, pairs, out, options, tuned(model) if towers else None)


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    return out, run_training(tiny, out)


def test_a_run_repeats_itself_bit_for_bit(tiny, undisturbed, tmp_path):
    run_training(tiny, tmp_path)
    first = (undisturbed[0] / "model/model.safetensors").read_bytes()
    assert (tmp_path / "model/model.safetensors").read_bytes() == first


@pytest.fixture(scope="module")
def with_towers(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("with_towers")
    return out, run_training(tiny, out, towers=True)


def test_held_stays_anchored_moves_less_and_the_rest_learns(with_towers, undisturbed):
    torch.manual_seed(0)
    start = GAIR(CONFIG)
    towers, first = tuned(start), start.state_dict()
    ended, free = (
        load_file(out / "model/model.safetensors") for out, _ in (with_towers, undisturbed)
    )
    same = {n for n in first if torch.equal(first[n], ended[n])}
    # one site is nearer than SECL's exclusion: what is new in the location encoder only decays
    biases = {n for n in first if n.startswith("location.") and n.endswith("bias")}
    buffers = {n for n, _ in start.named_buffers()}
    held = towers["location"].loaded
    assert held <= same <= held | biases | buffers
    for name in towers["sv"].loaded:
        moved, freely = ((w[name] - first[name]).norm() for w in (ended, free))
        assert moved < freely, name
    lines = (with_towers[0] / "live/plots/metrics/anchor_loss.tsv").read_text().splitlines()
    values = [float(line.split("\t")[-1]) for line in lines[1:]]
    assert values[0] > 0 and values[-1] > values[0]  # the first after one step


@pytest.mark.parametrize("kind", ["undisturbed", "with_towers"])
def test_killed_run_ends_in_the_same_weights(tiny, kind, request, tmp_path):
    undisturbed = request.getfixturevalue(kind)
    command = [sys.executable, __file__, str(tiny), str(tmp_path), kind]
    environment = {**os.environ, "SLOW_STEPS": "0.15", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    target = tmp_path / "checkpoints/step-0000006"
    deadline = time.monotonic() + 120
    while not target.exists():
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "model").exists()
    summary = run_training(tiny, tmp_path, towers=kind == "with_towers")
    assert summary["resumed_from_step"] >= 6
    first, second = (load_file(p / "model/model.safetensors") for p in (undisturbed[0], tmp_path))
    assert all(torch.equal(first[k], second[k]) for k in first)
    curves = [
        (p / "live/plots/metrics/loss.tsv").read_text().split("\n")
        for p in (undisturbed[0], tmp_path)
    ]
    assert [c.split("\t")[-2:] for c in curves[0]] == [c.split("\t")[-2:] for c in curves[1]]


def test_an_interrupt_ends_the_step_and_the_run_goes_on_to_the_same_weights(
    tiny, undisturbed, tmp_path, monkeypatch
):
    original, steps = loop.gradient_cache.backward, []

    def interrupted(*arguments, **options):
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.gradient_cache, "backward", interrupted)
        run_training(tiny, tmp_path)
    assert (tmp_path / "checkpoints/step-0000005").is_dir() and len(steps) == 5
    assert run_training(tiny, tmp_path)["resumed_from_step"] == 5
    first, second = (load_file(p / "model/model.safetensors") for p in (undisturbed[0], tmp_path))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_full_disk_is_said_and_training_goes_on(tiny, undisturbed, tmp_path, monkeypatch, capsys):
    original, kept = checkpoint.save, []

    def full(folder, *, step, **rest):
        if step == 6:
            raise checkpoint.NotSaved("no space left for step 6")
        kept.append(original(folder, step=step, **rest))

    monkeypatch.setattr(checkpoint, "save", full)
    run_training(tiny, tmp_path)
    assert "no space left for step 6; training goes on" in capsys.readouterr().out
    assert [p.name for p in kept] == ["step-0000003", "step-0000009"]
    first = (undisturbed[0] / "model/model.safetensors").read_bytes()
    assert (tmp_path / "model/model.safetensors").read_bytes() == first


def test_curves_that_the_disk_does_not_take_end_nothing(
    tiny, undisturbed, tmp_path, monkeypatch, capsys
):
    import dvclive

    write, failed = dvclive.Live.log_metric, []

    def full(live, name, value):
        if live.step in (2, 4):
            failed.append(live.step)
            raise OSError(28, "No space left on device")
        write(live, name, value)

    monkeypatch.setattr(dvclive.Live, "log_metric", full)
    run_training(tiny, tmp_path)
    said = capsys.readouterr().out
    assert failed and said.count("training goes on without them") == 1
    first = (undisturbed[0] / "model/model.safetensors").read_bytes()
    assert (tmp_path / "model/model.safetensors").read_bytes() == first


def test_a_second_training_is_told_who_trains(tiny, tmp_path):
    with files.owner(tmp_path / "checkpoints"):
        with pytest.raises(BadInput, match="checkpoints: process .* is working on it"):
            run_training(tiny, tmp_path)


def test_loss_falls_and_validation_is_logged(tiny, tmp_path):
    options = replace(OPTIONS, steps=60, validate_every=30, checkpoint_every=1000, log_every=1)
    summary = run_training(tiny, tmp_path, options)
    lines = (tmp_path / "live/plots/metrics/incl_loss.tsv").read_text().splitlines()[1:]
    values = [float(line.split("\t")[-1]) for line in lines]
    assert len(values) == 60
    assert np.mean(values[-10:]) < np.mean(values[:10]) - 0.1
    assert summary["val_photos"] == 12 and 0 <= summary["val_recall_at_1"] <= 1


def test_a_temperature_outside_of_its_range_is_brought_back_and_goes_on_learning(tiny, tmp_path):
    """It used to stick: a clamp in the forward pass has no gradient outside. Without a distance,
    SECL has negatives among the photos of one site, so that all three temperatures are taught."""
    torch.manual_seed(0)
    model = GAIR(CONFIG)
    with torch.no_grad():
        model.log_temperature.fill_(-9.0)
    run_training(tiny, tmp_path, replace(OPTIONS, lr=1e-2, secl_exclude_m=-1.0), model)
    learnt = GAIR.from_pretrained(tmp_path / "model").log_temperature
    assert (learnt > math.log(0.01) + 1e-3).all(), learnt


def test_nan_stops_with_step_and_photos(tiny, tmp_path):
    model = GAIR(CONFIG)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(BadInput, match=r"not finite at step 0 .*bern-"):
        run_training(tiny, tmp_path, model=model)


def test_batches_are_a_function_of_the_step_and_serve_every_chip(tiny):
    dataset, pairs = pair_up(tiny)
    data = prepare.batches(pairs, dataset, CONFIG, OPTIONS)["train"]
    for step in (0, 7):
        one, two = data.batch(step), data.batch(step)
        assert torch.equal(one.chips, two.chips) and torch.equal(one.photos, two.photos)
        assert one.photo_ids == two.photo_ids and len(one.photo_ids) == int(one.valid.sum())
    steps = -(-data.chips // data.chips_per_batch)
    drawn = np.concatenate([data.chips_of_step(s) for s in range(steps)])
    assert set(drawn[: data.chips]) == set(range(data.chips))


def test_few_pairs_take_the_given_weights_and_say_so(tiny, tmp_path):
    _, pairs = pair_up(tiny)
    GAIR(CONFIG).save_pretrained(tmp_path / "weights")
    plan = prepare.make_plan(pairs, init=str(tmp_path / "weights"), min_pairs=1000)
    assert not plan.train and "nothing is trained" in plan.sentence
    assert prepare.make_plan(pairs, init="", min_pairs=5).train
    with pytest.raises(BadInput, match="min_pairs asks for 1000"):
        prepare.make_plan(pairs, init="", min_pairs=1000)
    with pytest.raises(Missing, match="nothing is there"):
        prepare.make_plan(pairs, init=str(tmp_path / "nothing"), min_pairs=5)


def test_learning_rate_rises_then_falls_to_zero():
    options = replace(OPTIONS, steps=100, warmup=0.1, lr=1.0)
    rates = [learning_rate(s, options) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10) and rates[-1] < 0.001
    assert all(a >= b for a, b in zip(rates[10:], rates[11:]))


def test_queue_is_at_most_a_quarter_of_the_photos():
    assert limit_queue(OPTIONS, 1000) == 250
    assert limit_queue(replace(OPTIONS, queue_size=100), 1000) == 100
    assert limit_queue(replace(OPTIONS, queue_max_share=1.0), 1000) == 1000


if __name__ == "__main__":  # the process that gets killed: slowed down so that the kill hits it
    from pathlib import Path

    original = loop.gradient_cache.backward

    def slowly(*arguments, **options):
        time.sleep(float(os.environ["SLOW_STEPS"]))
        return original(*arguments, **options)

    loop.gradient_cache.backward = slowly
    run_training(Path(sys.argv[1]), Path(sys.argv[2]), towers=sys.argv[3] == "with_towers")
