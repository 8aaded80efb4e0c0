"""Pretraining in several processes: what torchrun starts, once a device.

    torchrun --standalone --nproc-per-node 8 -m gairlib.train --params params.yaml
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 \\
        -m gairlib.train --params params.yaml

It trains to the last step and leaves a checkpoint there. The notebook (`dvc repro pretrain`) then
finds nothing left to train and writes the weights, figures and metrics, as after any other run.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from gairlib import devices
from gairlib.data.boundary import settings
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.pairs import store
from gairlib.train import loop, prepare
from gairlib.train.engine import Engine

PAIRS, OUT, CHECKPOINTS = "outputs/pair", "outputs/pretrain", "outputs/checkpoints/pretrain"


def by_torchrun(values: dict, engine: Engine, checkpoints: str | Path) -> None:
    """The same training in `engine.devices` processes of this machine, to its last checkpoint.

    values: sections `data`, `model` and `pretrain`, as in params.yaml, and `paths`.
    """
    folder = Path(checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run.json"
    file.write_text(json.dumps(values))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={engine.devices}",
        "-m",
        "gairlib.train",
        "--params",
        str(file),
    ]
    done = subprocess.run(command, check=False, preexec_fn=_end_with_parent)
    if done.returncode:
        raise BadInput(
            f"training in {engine.devices} processes ended with code {done.returncode}; "
            "what they said is above, and the last checkpoint is kept"
        )


# The C library is found before the fork, after which no import is safe.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, even by a kill."""
    if _PRCTL is not None:
        _PRCTL(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def run(values: dict) -> dict:
    """One rank's share of the training that `values` describe."""
    (rank, ranks), local = devices.rank(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    section = values["pretrain"] | {"devices": local, "nodes": ranks // local}
    section.pop("fallback", None)  # this command is for training
    options, engine = prepare.settings(section)
    paths = values.get("paths", {})
    dataset = Dataset(values["data"]["folder"], layouts=values["data"].get("layouts"))
    pairs = store.load(paths.get("pairs", PAIRS), store.LEARNING)
    model, plan = prepare.build_model(pairs, values["model"], section, required=ranks > 1)
    if not plan.train:
        raise BadInput(f"nothing to train: {plan.sentence}")
    batches = prepare.batches(pairs, dataset, model.config, options, share=(rank, ranks))
    return loop.pretrain(
        model,
        batches["train"],
        batches.get("val"),
        paths.get("out", OUT),
        options,
        checkpoints=paths.get("checkpoints", CHECKPOINTS),
        engine=engine,
        finish=False,
        **prepare.told(plan),
    )


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 1 with one sentence."""
    parser = argparse.ArgumentParser(prog="gairlib.train", description=__doc__.split("\n")[0])
    parser.add_argument("--params", default="params.yaml", help="with data, model and pretrain")
    file = Path(parser.parse_args(arguments).params)
    if "RANK" in os.environ:  # torchrun started it
        _end_with_parent()
    try:
        values = settings(file)
        needed = ("data", "model", "pretrain")
        if lacking := [s for s in needed if not isinstance(values.get(s), dict)]:
            raise BadInput(f"{file}: no section {', '.join(lacking)}; params.yaml has them")
        run(values)
    except (BadInput, Missing) as problem:
        print(f"gairlib.train: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
