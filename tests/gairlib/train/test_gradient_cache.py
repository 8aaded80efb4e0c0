"""Exactness: parts and ranks give the loss and the gradients of one undivided batch."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from builders import one_step
from safetensors.torch import load_file

from gairlib import GAIR, geo
from gairlib.errors import BadInput
from gairlib.train import gradient_cache
from gairlib.train.engine import Engine

CPU = Engine("cpu")


@pytest.fixture(scope="module")
def whole():
    return one_step.step(CPU, one_step.OPTIONS)


def check_same(found, whole):
    terms, gradients = found
    assert terms.keys() == whole[0].keys() and gradients.keys() == whole[1].keys()
    for name, value in whole[0].items():
        torch.testing.assert_close(terms[name], value, rtol=2e-6, atol=1e-7, msg=name)
    for name, value in whole[1].items():
        scale = float(value.abs().max())
        assert scale > 0, f"{name} has no gradient at all"
        assert float((gradients[name] - value).abs().max()) < 2e-5 * scale, name


def test_the_whole_against_the_definition(whole):
    """A plain loss over the embeddings, differentiated straight through the encoders."""
    inputs, queued = one_step.batch()
    options, model = one_step.OPTIONS, one_step.model()
    sv = F.normalize(model.encode_sv(inputs.photos), dim=-1)
    grid = model.encode_rs(inputs.chips)
    local = F.normalize(model.query_rs(grid, inputs.xy).flatten(0, 1)[inputs.keep], dim=-1)
    points = torch.cat((inputs.lonlat, queued))
    places = F.normalize(model.encode_location(points), dim=-1)
    n, tau = len(sv), model.temperatures()
    metres = haversine(points[:n, None], points[None])

    def nce(a, b, temperature, near):
        logits = a @ b.T / temperature
        off = ~torch.eye(*logits.shape, dtype=torch.bool)
        masked = torch.where((metres[:, : len(b)] <= near) & off, -torch.inf, logits)
        target = torch.arange(n)
        back = masked[:, :n].T
        return (F.cross_entropy(masked, target) + F.cross_entropy(back, target)) / 2

    loss = (
        nce(sv, local, tau["incl"], options.incl_exclude_m)
        + options.secl_weight * nce(sv, places, tau["secl"], options.secl_exclude_m)
        + options.rs_location_weight
        * nce(local, places[:n], tau["rs_location"], options.secl_exclude_m)
    )
    field = F.normalize(model.query_rs(grid, inputs.field_xy), dim=-1)
    rows = []
    for i, chip in enumerate(inputs.chip.tolist()):
        at = inputs.xy.flatten(0, 1)[inputs.keep[i]]
        away = (inputs.field_xy[chip] - at).norm(dim=-1) / 2 * inputs.side_m[chip]
        wrong = field[chip][away > options.field_exclude_m]
        logits = torch.cat((local[i][None], wrong)) @ sv[i] / tau["incl"]
        rows.append(-torch.log_softmax(logits, 0)[0])
    loss = loss + options.field_weight * torch.stack(rows).mean()
    loss.backward()
    torch.testing.assert_close(whole[0]["loss"], loss.detach().double(), rtol=1e-6, atol=1e-7)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(whole[1][name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def haversine(a, b):
    """Metres between (lon, lat) in degrees, written down anew."""
    lon, lat = torch.deg2rad(a).unbind(-1)
    lon2, lat2 = torch.deg2rad(b).unbind(-1)
    h = torch.sin((lat2 - lat) / 2) ** 2
    h = h + torch.cos(lat) * torch.cos(lat2) * torch.sin((lon2 - lon) / 2) ** 2
    return 2 * geo.EARTH_RADIUS * torch.asin(h.sqrt())


@pytest.fixture(scope="module")
def held():
    return one_step.step(CPU, one_step.OPTIONS, held=True)


def test_held_parameters_have_no_gradient_and_anchored_ones_that_of_the_penalty(held):
    """The rest of the gradient is as if nothing were held or anchored."""
    bare = one_step.model()
    towers = one_step.tuned(bare)
    moved = {
        n: p.detach() + 0.02 if n.startswith("rs.") else p.detach()
        for n, p in bare.named_parameters()
    }
    bare.load_state_dict(moved, strict=False)
    inputs, queued = one_step.batch()
    fabric = CPU.fabric("32-true")
    wrapped = fabric.setup_module(bare)
    terms, _ = gradient_cache.backward(fabric, wrapped, inputs, queued, one_step.OPTIONS)
    loaded = towers["sv"].loaded | towers["location"].loaded
    numbers = sum(p.numel() for n, p in bare.named_parameters() if n in towers["rs"].loaded)
    assert float(held[0]["anchor_loss"]) == pytest.approx(0.1 / 2 * 0.02**2 * numbers, rel=1e-4)
    for name, parameter in bare.named_parameters():
        want = parameter.grad + (0.1 * 0.02 if name in towers["rs"].loaded else 0.0)
        if name in loaded:
            assert name not in held[1]
        else:
            torch.testing.assert_close(held[1][name], want, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_with_held_and_anchored_towers_are_the_whole(held, parts):
    engine = replace(CPU, activation_checkpointing=True)
    options = replace(one_step.OPTIONS, gradient_parts=parts)
    check_same(one_step.step(engine, options, held=True), held)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_are_the_whole(whole, parts):
    check_same(one_step.step(CPU, replace(one_step.OPTIONS, gradient_parts=parts)), whole)


def test_chunks_of_the_loss_and_recomputed_blocks_change_nothing(whole):
    options = replace(one_step.OPTIONS, loss_chunk=5)  # uneven: 16 photos
    engine = replace(CPU, activation_checkpointing=True)
    check_same(one_step.step(engine, options), whole)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_are_the_whole(whole, held, tmp_path, ranks):
    """DDP and FSDP over gloo, each with one part and with two."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
        one_step.__file__,
        str(tmp_path),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    ways = [*one_step.WAYS, *one_step.HELD] if ranks == 2 else ["ddp-1", "fsdp-2"]
    for way in ways:
        stored = load_file(tmp_path / f"{way}.safetensors")
        found = [
            {k.removeprefix(p): v for k, v in stored.items() if k.startswith(p)}
            for p in ("term.", "gradient.")
        ]
        check_same(found, held if way in one_step.HELD else whole)


def test_what_is_random_in_the_towers_is_drawn_alike_in_both_encodings(monkeypatch):
    """Or the gradients would be of other embeddings than the loss."""
    model, seen = one_step.model(), []
    drop = torch.nn.Dropout(0.5)
    drop.register_forward_hook(lambda module, args, out: seen.append(out.detach() == 0))
    model.sv.tower.blocks[0].drop_path1 = drop
    monkeypatch.setattr(one_step, "model", lambda: model)
    one_step.step(CPU, replace(one_step.OPTIONS, gradient_parts=2))
    first, second, first_again, second_again = seen
    assert torch.equal(first, first_again) and torch.equal(second, second_again)
    assert 0.3 < first.float().mean() < 0.7 and not torch.equal(first, second[: len(first)])


def test_batch_norm_is_refused_where_it_would_see_a_part():
    model = GAIR(
        one_step.model().config.replace(
            sv_model="resnet10t", sv_options={"channels": [8, 8, 8, 8], "stem_type": ""}, sv_size=32
        )
    )
    fabric = CPU.fabric("32-true")
    with pytest.raises(BadInput, match=r"sv\.tower\.bn1 is a batch norm.*gradient_parts to 1"):
        CPU.setup(fabric, model, lambda m: torch.optim.SGD(m.parameters()), parts=2)
    CPU.setup(fabric, model, lambda m: torch.optim.SGD(m.parameters()), parts=1)
    held = [name for name, _ in model.named_modules() if name.startswith("sv.tower")]
    CPU.setup(fabric, model, lambda m: torch.optim.SGD(m.parameters()), parts=2, held=held)


def test_a_wrong_engine_is_named():
    with pytest.raises(BadInput, match="strategy is 'dp'"):
        Engine(strategy="dp")
    with pytest.raises(BadInput, match="devices is 0"):
        Engine(devices=0)
