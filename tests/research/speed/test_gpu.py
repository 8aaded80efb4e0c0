"""The script of `make bench-gpu`, in small on the CPU: every part runs, and says what is right."""

import json
import subprocess
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gairlib import GAIR
from gairlib.train.engine import Engine
from research.speed.gpu import (
    __main__,
    exactness,
    flops,
    large_batch,
    loader,
    machine,
    product_rate,
    ranks,
    utilisation,
)
from research.speed.gpu.record import Failed, Sizes, attempt, table
from research.speed.gpu.steps import Stepper, random_inputs

CPU = torch.device("cpu")
QUICK = replace(Sizes.quick(), compiled=(False,))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_flops_are_those_of_the_formulas():
    """Oracle: every product of the towers written out by hand, 2 for a multiply-add."""
    c, chips, q, queue = QUICK.config, 6, QUICK.photos, QUICK.queue
    n, d = chips * q, c.dim
    options = utilisation.options_for(QUICK, chips, loss_chunk=5)
    found = flops.of_step(GAIR(c), options, chips, q, queue)

    def tower(images, tokens, width, patch_values, image_tokens, head):
        block = 12 * width * width * tokens + 2 * tokens * tokens * width  # multiply-adds
        embed = patch_values * width * image_tokens
        forward = 2 * images * (embed + c.rs_depth * block + head)
        return 3 * forward - 2 * images * embed  # no gradient for the image

    side = (c.rs_size // c.rs_patch) ** 2
    assert found["rs"] == tower(chips, side, d, 10 * c.rs_patch**2, side, 0)
    patches = (16 // 8) ** 2
    assert found["sv"] == tower(n, patches + 1, 16, 3 * 8 * 8, patches, 16 * d)
    # one product serves both directions of INCL, SECL with its queue, and RSLL
    products = n * n + n * (n + queue) + n * n + n * options.field_points
    assert found["loss"] == 3 * 2 * products * d
    assert found["total"] == sum(found[k] for k in (*flops.TOWERS, "loss"))
    assert 0.7 < found["total"] / found["forward_times_3"] <= 1


def test_flops_do_not_count_what_is_computed_again():
    x = torch.randn(2, 4, 16, 8, requires_grad=True)
    once = 2 * 2 * 2 * 4 * 16 * 16 * 8  # scores and their sum, one pass
    attend = torch.nn.functional.scaled_dot_product_attention
    assert flops.count(flops.both_ways(lambda: attend(x, x, x))) == 3 * once


def test_clock_counts_its_calls_and_its_time(monkeypatch):
    calls, now = [], iter(range(100))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: float(next(now)))
    times = machine.clock(lambda: calls.append(1), CPU, warmup=2, repeat=3)
    assert len(calls) == 5 and times == [1.0, 1.0, 1.0]
    assert machine.spread([1.0, 3.0, 2.0])["median_ms"] == 2000
    assert machine.Memory(CPU).start().stop()["reserved_bytes"] is None
    assert machine.about(CPU)["float32_matmul_precision"] == "highest"


def test_product_rate_knows_the_towers_layers():
    wanted = product_rate.shapes(GAIR(QUICK.config), 2, 4, (32,))
    assert wanted["square 32"] == (32, 32, 32)
    assert wanted["SV attn.qkv"] == (4 * 5, 16, 48) and wanted["RS mlp.fc1"] == (2 * 4, 16, 64)
    measured = product_rate.measure(CPU, {"small": (8, 8, 8), "large": (64, 64, 64)}, 0.001)
    assert product_rate.best(measured) == max(m["flops_per_second"] for m in measured.values())


def test_a_step_trains_and_a_divided_one_gives_the_same_gradients():
    options = utilisation.options_for(QUICK, 4, precision="32-true", lr=1e-2)
    stepper = Stepper(QUICK.config, options, Engine(accelerator="cpu"), queue=QUICK.queue)
    batch = random_inputs(QUICK.config, 4, 2, CPU)
    again = random_inputs(QUICK.config, 4, 2, CPU)
    assert torch.equal(batch.photos, again.photos) and len(batch.photo_ids) == 8
    losses = [float(stepper(batch)["loss"]) for _ in range(15)]
    assert losses[-1] < losses[0]
    whole = exactness.gradients(stepper, batch, 1, 0)
    divided = exactness.gradients(stepper, batch, 2, 3)
    off = exactness.deviation(divided, whole)
    assert off["gradients"] < 1e-5 and off["loss"] < 1e-6
    assert stepper.options.gradient_parts == 2 and stepper.options.loss_chunk == 3


def test_deviation_is_relative_and_names_the_worst():
    true = 2.0, {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0]), "c": torch.tensor([0.0])}
    other = 2.2, {"a": torch.tensor([3.0, 0.3]), "b": torch.tensor([4.4]), "c": torch.zeros(1)}
    found = exactness.deviation(other, true)
    assert found["loss"] == pytest.approx(0.1) and found["gradients"] == pytest.approx(0.1)
    assert found["worst_parameter"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="different parameters"):
        exactness.deviation((1.0, {"a": torch.ones(1)}), (1.0, {"b": torch.ones(1)}))


def test_failures_are_recorded_and_let_go_of_their_tensors():
    held = []

    def full(size):
        tensor = torch.zeros(size)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError(f"CUDA out of memory: {tensor.numel()}\nmore")

    found = attempt(full, 3)
    assert found["failed"] == "out of memory: CUDA out of memory: 3" and held[0]() is None
    assert found["where"].startswith("test_gpu.py:")
    assert attempt(lambda: {}["x"])["failed"] == "KeyError: 'x'"
    assert attempt(lambda: {"fine": 1}) == {"fine": 1}


def out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory.")


def test_batch_is_halved_until_it_fits(monkeypatch):
    def measure(sizes, device, chips, compiled):
        return {"chips_seen": chips} if chips <= 4 else out_of_memory()

    monkeypatch.setattr(utilisation, "_measure", measure)
    found = utilisation._fitting(replace(QUICK, chips=16), CPU, False)
    assert found == {"chips": 4, "photos": 8, "chips_seen": 4}
    monkeypatch.setattr(utilisation, "_measure", out_of_memory)
    assert "out of memory" in utilisation._fitting(QUICK, CPU, False)["failed"]


def test_parts_are_as_few_as_fit():
    sizes, seen = replace(QUICK, large_chips=16, large_part=16), []

    def measure(sizes, device, parts):
        seen.append(parts)
        return {"alloc_retries": 3 if parts == 4 else 0} if parts > 2 else out_of_memory()

    found = large_batch._fewest_parts(sizes, CPU, measure)
    assert seen == [2, 4, 8] and found["parts"] == 8 and found["pairs_a_part"] == 4
    with pytest.raises(Failed, match="out of memory in 16 parts"):
        large_batch._fewest_parts(sizes, CPU, out_of_memory)
    with pytest.raises(Failed, match="KeyError"):
        large_batch._fewest_parts(sizes, CPU, lambda *_: {}["x"])


@pytest.mark.parametrize("part", [utilisation, large_batch, loader, exactness, ranks])
def test_every_part_runs(part):
    found = part.run(QUICK, CPU)
    assert found["targets"] and all(row["measured"] for row in found["targets"])
    json.dumps(found)
    if part is utilisation:
        mode = found["modes"]["eager"]
        assert mode["chips"] == QUICK.chips and mode["utilisation"] > 0
        assert set(mode["towers"]) == {*flops.TOWERS, "loss"}
        assert all(t["utilisation"] > 0 for t in mode["towers"].values())
        share = mode["flops"]["total"] / (mode["median_ms"] / 1e3)
        assert mode["utilisation"] == pytest.approx(
            share / found["product_rate"]["flops_per_second"]
        )
    if part is large_batch:
        for row in (found["held"], found["made"]):
            assert row["pairs"] == 16 and row["parts"] == 2 and row["pairs_per_second"] > 0
    if part is loader:
        mode = found["modes"]["eager"]
        assert 0 < mode["busy_share"] and len(mode["busy_shares"]) == loader.ROUNDS
        assert found["photos"] == QUICK.stored_chips * 8 and mode["waited_seconds"] >= 0
    if part is exactness:
        assert [row["reached"] for row in found["targets"]] == [True, True]
    if part is ranks:
        assert found["targets"][0]["reached"] is None


@pytest.mark.slow
def test_ranks_give_the_gradients_of_one():
    assert ranks.run(replace(QUICK, ranks=2), CPU)["targets"][0]["reached"]


def test_command_line(monkeypatch, tmp_path, capsys):
    if not torch.cuda.is_available():
        assert __main__.main([]) == 1
        assert "no CUDA device" in capsys.readouterr().err
    assert __main__.main(["--device", "cpu"]) == 1
    assert "add --quick" in capsys.readouterr().err

    written = tmp_path / "metrics/bench.json"
    parts = {
        "loader": lambda: out_of_memory(),
        "ranks": lambda: {
            "targets": [
                {"target": "a", "measured": "1", "reached": True},
                {"target": "b", "measured": "2", "reached": None},
            ]
        },
    }
    monkeypatch.setattr(
        __main__.importlib,
        "import_module",
        lambda name: SimpleNamespace(run=lambda sizes, device: parts[name.rsplit(".", 1)[-1]]()),
    )
    command = ["--device", "cpu", "--quick", "--only", "loader", "ranks", "--out", str(written)]
    assert __main__.main(command) == 1  # one part failed, the other was measured all the same
    record = json.loads(written.read_text())
    assert record["parts"]["loader"]["failed"].startswith("out of memory")
    assert record["quick"] and record["machine"]["torch"] == torch.__version__
    shown = table(record).splitlines()
    assert [line.split()[-1] for line in shown[2:]] == ["no", "yes", "measured"]
    assert shown[-1] in capsys.readouterr().out


def test_a_part_whose_process_dies_is_recorded(monkeypatch):
    commands = []
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: commands.append(command) or SimpleNamespace(returncode=-9, stderr=""),
    )
    found = __main__.apart("loader", "cuda", True)
    assert "ended with code -9" in found["failed"]
    asked = ["-m", "research.speed.measure", "research.speed.gpu.__main__:measure"]
    assert commands[0][1:] == [*asked, '["loader", "cuda", true]']


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_in_small(tmp_path):
    assert __main__.main(["--quick", "--out", str(tmp_path / "bench.json")]) == 0
    record = json.loads((tmp_path / "bench.json").read_text())
    assert record["parts"]["large_batch"]["held"]["reserved_bytes"] > 0
    assert record["parts"]["utilisation"]["modes"]["compiled"]["utilisation"] > 0
    assert record["machine"]["driver"]
