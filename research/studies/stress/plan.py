"""The runs of the stress tests: one process a trained model."""

from collections.abc import Sequence
from pathlib import Path

from gairlib.train import checkpoint
from research.imports import code_hash
from research.studies.runs import Run, command_of, weights
from research.studies.stress.levels import check

MODULE = "research.studies.stress.evaluate"  # what a process runs: changed code is another run
command = command_of(MODULE)  # for `runs.run_all`


def plan_runs(
    trained: Sequence[Run], folder: str | Path, levels: dict, noise_seed: int, pairs: str
) -> list[Run]:
    """A run for each trained model, of the models in `folder`; its key says what its numbers
    depend on."""
    wanted = check(levels)
    code = code_hash(MODULE)
    return [
        Run(
            r.variant,
            r.seed,
            {
                "data": r.values["data"],
                "model": str(weights(folder, r.key)),
                "levels": wanted,
                "noise_seed": noise_seed,
            },
            "stress-" + checkpoint.fingerprint(r.key, wanted, noise_seed, pairs, code),
        )
        for r in trained
    ]
