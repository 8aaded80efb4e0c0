"""One training step of a tiny model on a made-up batch; as a script, one rank's part of it.

    torchrun --nproc-per-node R tests/builders/one_step.py FOLDER

writes the terms and the gradients of several ways to do it to FOLDER/<way>.safetensors.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from gairlib import GAIR, GAIRConfig
from gairlib.train import gradient_cache
from gairlib.train.engine import Engine, full
from gairlib.train.held import Held, keep_places
from gairlib.train.inputs import Inputs
from gairlib.train.options import PretrainOptions
from gairlib.train.towers import Anchors, Tuning, hold, train_mode

CHIPS, SLOTS = 8, 3
OPTIONS = PretrainOptions(
    steps=4,
    chips_per_batch=CHIPS,
    photos_per_chip=SLOTS,
    lr=1e-2,
    incl_exclude_m=30.0,
    secl_exclude_m=700.0,
    queue_size=10,
)
WAYS = {  # strategy, parts, activation checkpointing
    "ddp-1": ("ddp", 1, False),
    "ddp-2": ("ddp", 2, False),
    "fsdp-1": ("fsdp", 1, False),
    "fsdp-2": ("fsdp", 2, True),
}
HELD = {  # the same, with two held towers and an anchored one
    "ddp-held-2": ("ddp", 2, True),
    "fsdp-held-2": ("fsdp", 2, True),
}


def tuned(bare: GAIR) -> dict[str, Tuning]:
    """The photo tower held but for its projection, places held wholly, chips anchored."""
    names = [*bare.state_dict()]
    sv, location, rs = (
        frozenset(n for n in names if n.startswith(p)) for p in ("sv.tower.", "location.", "rs.")
    )
    return {"sv": Tuning(sv, 0), "location": Tuning(location, 0), "rs": Tuning(rs, 0.5, 0.1)}


def model() -> GAIR:
    """Every parameter off its initial value: the field's last layer starts at zero."""
    torch.manual_seed(0)
    made = GAIR(
        GAIRConfig.preset(
            "small",
            dim=16,
            rs_size=16,
            rs_patch=8,
            rs_depth=2,
            rs_heads=2,
            sv_size=16,
            sv_options={
                "img_size": 16,
                "patch_size": 8,
                "embed_dim": 16,
                "depth": 2,
                "num_heads": 2,
            },
            decoder_hidden=(8,),
        )
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def batch() -> tuple[Inputs, torch.Tensor]:
    """Chips with one to three photos some ten to thousand metres apart, and queued coordinates."""
    g = torch.Generator().manual_seed(1)
    keep = torch.tensor([0, 3, 4, 5, 6, 8, 9, 12, 13, 14, 15, 18, 19, 21, 22, 23])
    chip = keep // SLOTS
    lonlat = torch.stack((chip * 0.01, chip * 0.003), 1).double()
    lonlat = lonlat + 4e-4 * torch.rand(len(keep), 2, generator=g, dtype=torch.float64)
    queued = torch.cat((lonlat[3:6], torch.rand(5, 2, generator=g, dtype=torch.float64)))
    return Inputs(
        chips=torch.rand(CHIPS, 10, 16, 16, generator=g),
        xy=torch.rand(CHIPS, SLOTS, 2, generator=g, dtype=torch.float64) * 2 - 1,
        keep=keep,
        photos=torch.rand(len(keep), 3, 16, 16, generator=g),
        lonlat=lonlat,
        heading=torch.full((len(keep),), float("nan"), dtype=torch.float64),
        chip=chip,
        field_xy=torch.rand(CHIPS, 4, 2, generator=g, dtype=torch.float64) * 2 - 1,
        side_m=torch.linspace(100, 900, CHIPS, dtype=torch.float64),
        view=2 * torch.arange(len(keep)),
        photo_ids=[f"p{i}" for i in range(len(keep))],
    ), queued


def step(
    engine: Engine, options: PretrainOptions, share: tuple[int, int] = (0, 1), held: bool = False
):
    """Terms, and gradients by parameter name, of this rank's share."""
    inputs, queued = batch()
    mine = inputs.split(share[1])[share[0]]
    fabric = engine.fabric(options.precision)
    bare = model()
    names = [n for n, _ in bare.named_parameters()]
    towers = tuned(bare) if held else {}
    hold(bare, towers)
    points = torch.cat((inputs.lonlat, queued))
    places = keep_places(bare.location, points, fabric.device) if held else None
    assert (places is not None) == held
    wrapped, optimiser = engine.setup(
        fabric, bare, lambda m: torch.optim.SGD(m.parameters()), parts=options.gradient_parts
    )
    train_mode(wrapped, bare, towers)
    anchors = Anchors(bare, towers)
    if held:
        with torch.no_grad():
            for parameter in bare.rs.parameters():
                parameter.add_(0.02)  # away from where it started
    terms, lonlat = gradient_cache.backward(
        fabric, wrapped, mine, queued, options, held=Held(places)
    )
    anchors.pull()
    assert torch.equal(lonlat, inputs.lonlat), "every rank knows all coordinates, in order"
    gradients = {n: full(p.grad) for n, p in zip(names, bare.parameters()) if p.grad is not None}
    if held:
        terms["anchor_loss"] = torch.tensor(anchors.penalty())
    with torch.no_grad():
        bare.log_temperature.fill_(-9.0)
    bare.hold_temperatures()  # a shard of it, too
    assert torch.allclose(full(bare.log_temperature).exp(), torch.tensor(0.01))
    return {k: v.double() for k, v in terms.items()}, gradients


def write(path: Path, terms: dict, gradients: dict) -> None:
    save_file(
        {f"term.{k}": v.clone() for k, v in terms.items()}
        | {f"gradient.{k}": v.contiguous() for k, v in gradients.items()},
        path,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for way, (strategy, parts, again) in {**WAYS, **HELD}.items():
        engine = Engine("cpu", devices=ranks, strategy=strategy, activation_checkpointing=again)
        options = replace(OPTIONS, gradient_parts=parts)
        found = step(engine, options, (rank, ranks), held=way in HELD)
        if rank == 0:
            write(Path(sys.argv[1]) / f"{way}.safetensors", *found)
