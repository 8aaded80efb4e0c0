"""Checkpoints: exact, whole or not there, and unharmed by a full disk, a kill or a pulled plug."""

import errno
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.damage import attempt, damaged
from safetensors.torch import load_file, save_file
from torch import nn

from gairlib import files
from gairlib.errors import BadInput
from gairlib.train import checkpoint

sys.path.insert(0, str(Path(__file__).parent))
X = torch.arange(6.0).reshape(3, 2)


def make(fused=None, seed=0, scalar=True, lr=1e-2):
    """A model with an uneven matrix, a norm, a buffer and a parameter without dimensions."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3), nn.LayerNorm(3))
    model.register_buffer("seen", torch.zeros(2))
    if scalar:  # fully_shard refuses these
        model[0].scale = nn.Parameter(torch.tensor(1.5))
    return model, torch.optim.AdamW(model.parameters(), lr=lr, fused=fused)


def train(model, optimiser, first, last):
    """Steps first..last-1; the data of step k come from k alone."""
    for step in range(first, last):
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(step))
        loss = (model(x) * torch.arange(3.0)).square().sum()
        scale = dict(model.named_parameters()).get("0.scale")
        (loss if scale is None else loss * scale).backward()
        optimiser.step()
        optimiser.zero_grad()


def save(folder, step, model=None, optimiser=None, run="r", **options):
    if model is None:
        model, optimiser = make()
    return checkpoint.save(
        folder,
        **{
            "step": step,
            "model": model,
            "optimiser": optimiser,
            "buffers": {},
            "history": [],
            "run": run,
        }
        | options,
    )


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same_state(one, two):
    """Weights and optimiser state equal bit for bit, by name."""
    (a, oa), (b, ob) = one, two
    weights = all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    other = dict(b.named_parameters())
    return weights and all(
        torch.equal(v, ob.state[other[n]][k]) and v.dtype == ob.state[other[n]][k].dtype
        for n, p in a.named_parameters()
        for k, v in oa.state[p].items()
    )


@pytest.mark.parametrize("fused", [None, False, True])
def test_goes_on_bit_for_bit(tmp_path, fused):
    undisturbed = make(fused)
    train(*undisturbed, 0, 6)
    first = make(fused)
    train(*first, 0, 3)
    pushed = torch.tensor([[7.4, 46.9]], dtype=torch.float64)
    path = save(
        tmp_path,
        3,
        *first,
        buffers={"lonlat": pushed, "pushed": torch.tensor(1)},
        history=[{"step": 0, "loss": 2.5}],
    )
    second = make(fused, seed=1)
    train(*second, 10, 12)  # state of its own, which must go
    step, history, buffers = checkpoint.load(path, model=second[0], optimiser=second[1])
    assert (step, history) == (3, [{"step": 0, "loss": 2.5}])
    assert torch.equal(buffers["lonlat"], pushed) and int(buffers["pushed"]) == 1
    assert same_state(first, second)
    train(*second, 3, 6)
    assert same_state(undisturbed, second)


def test_state_held_before_is_dropped(tmp_path):
    path = save(tmp_path, 0)  # before the first step AdamW has no state
    model, optimiser = make()
    train(model, optimiser, 0, 2)
    checkpoint.load(path, model=model, optimiser=optimiser)
    assert not optimiser.state


@pytest.mark.gpu
@pytest.mark.parametrize("fused", [False, True])
def test_state_lies_where_a_fresh_optimiser_puts_it(tmp_path, fused):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    stored, fresh, loaded = ((m.cuda(), o) for m, o in (make(fused) for _ in range(3)))
    for model, optimiser in (stored, fresh):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimiser.step()
    checkpoint.load(save(tmp_path, 1, *stored), model=loaded[0], optimiser=loaded[1])
    for a, b in zip(fresh[0].parameters(), loaded[0].parameters()):
        for field, value in fresh[1].state[a].items():
            assert loaded[1].state[b][field].device == value.device


def test_nan_and_infinity_in_the_history_come_back(tmp_path):
    path = save(tmp_path, 1, history=[{"loss": math.nan, "norm": math.inf, "low": -math.inf}])
    model, optimiser = make()
    row = checkpoint.load(path, model=model, optimiser=optimiser)[1][0]
    assert math.isnan(row["loss"]) and row["norm"] == math.inf and row["low"] == -math.inf


def test_the_newest_of_this_run_are_kept_in_order_of_their_steps(tmp_path):
    for step in (900, 1000):
        save(tmp_path, step, run="another run")
    for step in (9, 10, 9_999_999, 10_000_000):  # the last has a digit more
        save(tmp_path, step)
    assert names(tmp_path) == ["step-0000900", "step-0001000", "step-10000000", "step-9999999"]
    assert checkpoint.latest(tmp_path, "r").name == "step-10000000"
    assert checkpoint.latest(tmp_path, "another run").name == "step-0001000"
    assert checkpoint.latest(tmp_path, "a third") is None
    assert checkpoint.latest(tmp_path / "absent", "r") is None


def test_same_step_again_keeps_what_is_there_unless_it_is_damaged(tmp_path):
    path = save(tmp_path, 4)
    before = content(path)
    save(tmp_path, 4, history=[{"step": 1}])
    assert content(path) == before
    (path / "state.json").write_text("{")
    save(tmp_path, 4, history=[{"step": 1}])
    assert json.loads((path / "state.json").read_text())["history"] == [{"step": 1}]


# ---- full and failing disks


@pytest.fixture
def two_saved(tmp_path):
    model, optimiser = make()
    train(model, optimiser, 0, 1)
    for step in (1, 2):
        save(tmp_path, step, model, optimiser)
    return tmp_path


def check_nothing_lost(folder, step, message):
    """A failing save of `step` names what happened and leaves all as it was."""
    before = content(folder)
    trained = make()
    train(*trained, 0, 2)
    with pytest.raises(checkpoint.NotSaved) as caught:
        save(folder, step, *trained)
    text = str(caught.value)
    assert isinstance(caught.value, OSError) and message in text
    assert f"checkpoint of step {step} " in text and "MB are free" in text
    assert f"last good checkpoint is {folder / 'step-0000002'}" in text
    assert content(folder) == before and names(folder) == ["step-0000001", "step-0000002"]
    assert checkpoint.latest(folder, "r").name == "step-0000002"


@pytest.mark.parametrize("limit", [0, 1000])  # refused at once, and in the middle of the file
def test_a_write_that_the_kernel_refuses_loses_nothing(two_saved, limit):
    size = (two_saved / "step-0000002/state.safetensors").stat().st_size
    assert size > limit
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG in place of the signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        check_nothing_lost(two_saved, 3, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert save(two_saved, 3).name == "step-0000003"  # the next try, with room again
    assert names(two_saved) == ["step-0000002", "step-0000003"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_after_writing_loses_nothing(two_saved, monkeypatch, function, code):
    def refuse(*args):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, function, refuse)
        check_nothing_lost(two_saved, 3, os.strerror(code))
    assert save(two_saved, 3).name == "step-0000003"


def test_too_little_space_is_refused_before_writing(two_saved, monkeypatch):
    usage = shutil.disk_usage(two_saved)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=500))
    monkeypatch.setattr(checkpoint, "save_file", lambda *a: pytest.fail("it was written"))
    check_nothing_lost(two_saved, 3, "No space left")


def test_a_folder_that_cannot_be_made_is_not_saved_too(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(checkpoint.NotSaved, match="last good checkpoint is none"):
        save(tmp_path / "file/checkpoints", 1)


def test_the_rename_itself_is_synced(tmp_path, monkeypatch):
    """Content, then the partial folder, then the rename, then the folder that holds the name."""
    events, sync, replace = [], files._sync, os.replace
    monkeypatch.setattr(files, "_sync", lambda p: (events.append(p.name), sync(p)))

    def rename(a, b):
        if Path(b).parent == tmp_path:
            events.append(("rename", Path(a).name))
        replace(a, b)

    monkeypatch.setattr(checkpoint.os, "replace", rename)
    save(tmp_path, 1)
    assert sorted(events[:3]) == [files.SUMS, "state.json", "state.safetensors"]
    partial = events[3]
    assert partial.startswith(".step-0000001.") and partial.endswith(".part")
    assert events[4:] == [("rename", partial), tmp_path.name]


def test_what_a_killed_save_left_is_removed_at_the_next(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    orphan = tmp_path / f".step-0000001.{files._HOST}-{ended.pid}-0.part"
    orphan.mkdir()
    (orphan / "state.safetensors").write_bytes(b"half")
    assert checkpoint.latest(tmp_path, "r") is None
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-0000002"]


# ---- damage


def damage(path, how):
    file = path / "state.safetensors"
    whole = file.read_bytes()
    if how == "absent":
        file.unlink()
    elif how == "no json":
        (path / "state.json").unlink()
    elif how == "half a json":
        (path / "state.json").write_text('{"step": 3, "ru')
    else:
        file.write_bytes(
            {
                "one byte short": whole[:-1],
                "half": whole[: len(whole) // 2],
                "header cut": whole[:20],
                "empty": b"",
                "zeros": bytes(len(whole)),
            }[how]
        )


@pytest.mark.parametrize(
    "how",
    ["one byte short", "half", "header cut", "empty", "zeros", "absent", "no json", "half a json"],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, how):
    for step in (1, 2):
        save(tmp_path, step)
    damage(tmp_path / "step-0000002", how)
    assert checkpoint.latest(tmp_path, "r").name == "step-0000001"
    model, optimiser = make(seed=1)
    before = deepcopy(model.state_dict())
    with pytest.raises(BadInput, match="damaged .* go on from the one before"):
        checkpoint.load(tmp_path / "step-0000002", model=model, optimiser=optimiser)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    save(tmp_path, 3)  # the damaged one counts for nothing and goes
    assert names(tmp_path) == ["step-0000001", "step-0000003"]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", files.SUMS])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_is_noticed_passed_over_and_written_anew(tmp_path, name, place):
    for step in (1, 2):
        save(tmp_path, step)
    path = tmp_path / "step-0000002"
    whole = (path / name).read_bytes()
    at = int(place * len(whole))
    (path / name).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    assert checkpoint.latest(tmp_path, "r").name == "step-0000001"
    model, optimiser = make(seed=1)
    with pytest.raises(BadInput, match="step-0000002: this checkpoint is damaged"):
        checkpoint.load(path, model=model, optimiser=optimiser)
    save(tmp_path, 2)
    assert checkpoint.latest(tmp_path, "r") == path and (path / name).read_bytes() == whole


def test_a_checkpoint_of_an_older_version_is_read(tmp_path):
    path = save(tmp_path, 2)
    (path / files.SUMS).unlink()
    assert checkpoint.latest(tmp_path, "r") == path
    model, optimiser = make(seed=1)
    assert checkpoint.load(path, model=model, optimiser=optimiser)[0] == 2


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_of_a_checkpoint_altered_anyhow_all_is_taken_or_nothing(tmp_path, name):
    model, optimiser = make()
    train(model, optimiser, 0, 1)
    path = save(tmp_path, 3, model, optimiser, history=[{"loss": math.inf}], buffers={"q": X})
    (path / files.SUMS).unlink()  # as of an older version: nothing tells beforehand
    whole, read = (path / name).read_bytes(), []

    def resume(path):
        model, optimiser = make(seed=1)
        before = deepcopy(model.state_dict())
        checkpoint.latest(tmp_path, "r")
        try:
            step, history, _ = checkpoint.load(path, model=model, optimiser=optimiser)
        except BadInput:
            assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
            assert not optimiser.state
            raise
        assert step >= 0 and isinstance(history, list)
        train(model, optimiser, 1, 2)
        read.append(path)

    assert attempt(resume, path) is None and len(read) == 1
    for seed in range(200):
        (path / name).write_bytes(damaged(whole, np.random.default_rng(seed)))
        assert attempt(resume, path) is None, seed
    for other in (b"PK\3\4", b"\x80\x02}.", b"GIF89a", b"[" * 100_000, b"null", b"\xff\xfe{\0}"):
        (path / name).write_bytes(other)
        assert attempt(resume, path) is None, other[:9]
    assert len(read) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"optimiser.exp_avg.0.weight": torch.zeros(7, 4)},
        {"optimiser.exp_avg.0.surprise": torch.zeros(7, 5)},
        {"optimiser.exp_avg.0.weight": torch.zeros(7, 5, dtype=torch.int32)},
        {"model.0.weight": torch.zeros(7, 5, dtype=torch.int64)},
        {"surprise": torch.zeros(1)},
    ],
)
def test_tensors_that_do_not_fit_are_refused_before_any_is_taken(tmp_path, change):
    model, optimiser = make()
    train(model, optimiser, 0, 1)
    path = save(tmp_path, 1, model, optimiser)
    (path / files.SUMS).unlink()  # as of an older version: nothing tells beforehand
    file = path / "state.safetensors"
    save_file(load_file(file) | change, file)
    model, optimiser = make(seed=1)
    before = deepcopy(model.state_dict())
    with pytest.raises(BadInput, match=next(iter(change)).removeprefix("model.")):
        checkpoint.load(path, model=model, optimiser=optimiser)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not optimiser.state


def test_weights_of_another_model_are_refused_and_change_nothing(tmp_path):
    path = save(tmp_path, 1)
    wide = nn.Sequential(nn.Linear(5, 8))
    before = deepcopy(wide.state_dict())
    with pytest.raises(BadInput, match=r"do not fit the model \(.* 0.bias first"):
        checkpoint.load(path, model=wide, optimiser=torch.optim.AdamW(wide.parameters()))
    assert all(torch.equal(v, before[k]) for k, v in wide.state_dict().items())
    twin = make(seed=2)[0]
    with pytest.raises(BadInput, match="not the model's"):
        save(tmp_path, 2, twin, make()[1])


# ---- wrappers and shards


class Fabricated(nn.Module):
    """Holds a module as Fabric's own wrapper does."""

    def __init__(self, module):
        super().__init__()
        self._forward_module = module


def test_names_are_plain_whatever_wraps_the_model(tmp_path):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model, optimiser = make()
    train(model, optimiser, 0, 2)
    plain = save(tmp_path / "plain", 2, model, optimiser)
    model[2] = torch.compile(model[2])  # compiled at its first call, which does not come
    model[3] = checkpoint_wrapper(model[3])
    wrapped = Fabricated(torch.compile(model))
    assert any("_orig_mod" in n for n, _ in wrapped.named_parameters())
    other = save(tmp_path / "wrapped", 2, wrapped, optimiser)
    assert content(plain) == content(other)
    fresh = make(seed=1)
    fresh[0][2] = torch.compile(fresh[0][2])
    checkpoint.load(plain, model=torch.compile(fresh[0]), optimiser=fresh[1])
    bare = make(seed=3)
    checkpoint.load(other, model=bare[0], optimiser=bare[1])
    for p, q in zip(fresh[0].parameters(), bare[0].parameters()):
        assert torch.equal(p, q)
        assert torch.equal(fresh[1].state[p]["exp_avg_sq"], bare[1].state[q]["exp_avg_sq"])


def sharded(fused, mesh, seed=0):
    from torch.distributed.fsdp import fully_shard

    model = make(seed=seed, scalar=False)[0]
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)


def local_parts(model, optimiser):
    """This rank's rows, by the names that the checkpoint gives the whole."""
    parts = {f"model.{n}": p for n, p in model.named_parameters()}
    parts |= {
        f"optimiser.{field}.{n}": optimiser.state[p][field]
        for n, p in model.named_parameters()
        for field in ("exp_avg", "exp_avg_sq")
    }
    return {k: v.detach().to_local().clone() for k, v in parts.items()}


def one_rank(rank, folder):
    """Both ranks see the same batch: half the sum of two equal gradients is that gradient."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    mesh = torch.distributed.init_device_mesh("cpu", (2,))
    for fused in (False, True):
        place = folder / f"fused-{fused}"
        first = sharded(fused, mesh)
        train(*first, 0, 3)
        save_file(local_parts(*first), folder / f"fused-{fused}-rank-{rank}.safetensors")
        with torch.no_grad():
            first[0](torch.ones(1, 5))  # leaves the root's weights unsharded, as validation does
        path = save(place, 3, *first, write=rank == 0)
        torch.distributed.barrier()
        assert names(place) == ["step-0000003"] and path == place / "step-0000003"
        second = sharded(fused, mesh, seed=1)
        with torch.no_grad():
            second[0](torch.ones(1, 5))
        checkpoint.load(path, model=second[0], optimiser=second[1])
        train(*first, 3, 6)
        train(*second, 3, 6)
        one, two = local_parts(*first), local_parts(*second)
        assert all(torch.equal(one[k], two[k]) for k in one)
        save(place, 6, *second, write=rank == 0)
    model, optimiser = make()
    replicas = Fabricated(nn.parallel.DistributedDataParallel(model))
    train(model, optimiser, 0, 1)
    save(folder / "replicas", 1, replicas, optimiser, write=rank == 0)
    if rank == 0:
        save(folder / "bare", 1, model, optimiser)
        assert content(folder / "replicas") == content(folder / "bare")
    # made before sharding, as Fabric.setup(model, optimiser) would: it holds what trains no more
    model, stale = make(scalar=False)
    torch.distributed.fsdp.fully_shard(model, mesh=mesh)
    with pytest.raises(BadInput, match="make the optimiser after it"):
        save(folder / "stale", 1, model, stale, write=rank == 0)
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_sharded_training_goes_on_sharded_and_on_one_device(tmp_path):
    torch.multiprocessing.spawn(one_rank, (tmp_path,), nprocs=2)
    for fused in (False, True):
        place = tmp_path / f"fused-{fused}"
        ranks = [load_file(tmp_path / f"fused-{fused}-rank-{r}.safetensors") for r in (0, 1)]
        assert ranks[0]["model.0.weight"].shape == (4, 5)  # of 7 rows
        stored = load_file(place / "step-0000003/state.safetensors")
        assert len(ranks[0]) == 18 and set(ranks[0]) < set(stored)
        assert all(torch.equal(torch.cat([r[k] for r in ranks]), stored[k]) for k in ranks[0])
        alone = make(fused, scalar=False, seed=2)  # on one device
        checkpoint.load(place / "step-0000003", model=alone[0], optimiser=alone[1])
        again = checkpoint._gather(*alone, write=True)
        assert set(again) == set(stored) and all(torch.equal(again[k], stored[k]) for k in stored)
        train(*alone, 3, 6)
        ended = make(fused, scalar=False, seed=3)
        checkpoint.load(place / "step-0000006", model=ended[0], optimiser=ended[1])
        undisturbed = make(fused, scalar=False)
        train(*undisturbed, 0, 6)
        if fused:  # its CPU kernel rounds elements that fill no whole vector otherwise than others
            for one, two, three in zip(*(m.parameters() for m, _ in (ended, alone, undisturbed))):
                torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
                torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-6)
        else:
            assert same_state(ended, alone) and same_state(ended, undisturbed)
