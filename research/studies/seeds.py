"""Pretraining seeds: do the benchmarks' claims about the training hold in other trainings, too?

The stage `pretrain` trains one model. Here the same settings are trained with other seeds (runs of
the ablation's own kind, at full length), and every model, the published one among them, is judged
by the benchmarks' own code beside the same model untrained, on both sets of held-out places
(`seeds_run`). Nothing is chosen by these numbers. `seeds_table` puts the spread over trainings
beside the interval over places.

A judging run is one (task, seed). Its file is named by the model's weights, the data, the options
and the code that computes its numbers, so that a finished one is carried over.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gairlib.data.boundary import settings
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.files import sha256
from gairlib.train import checkpoint
from research.imports import code_hash
from research.studies import ablation
from research.studies.runs import Run, command_of, weights

PUBLISHED = "published"  # settings, as params.yaml has them
MODULE = "research.studies.seeds_run"  # what a judging process runs: changed code is another run
command = command_of(MODULE)  # for `runs.run_all`
HOW = ("seeds", "bootstrap", "block_degrees")  # of the section `benchmark`; rivals are left out


def plan_trainings(base: dict, seeds: Sequence[int], pairs: str) -> list[Run]:
    """The published settings with other seeds. base: of `ablation.base_values`; pairs: their
    fingerprint. BadInput for the published seed, which the stage `pretrain` has trained."""
    if base["pretrain"]["seed"] in seeds:
        raise BadInput(
            f"seeds.seeds: {base['pretrain']['seed']} is the seed of params.yaml, whose training "
            "is there already; name others"
        )
    steps = base["pretrain"]["steps"]
    settings = [ablation.Variant(PUBLISHED, keep=True)]
    return ablation.plan_runs(base, settings, steps=steps, seeds=seeds, pairs=pairs)


def models(published: str | Path, base: dict, trained: Sequence[Run], runs: str | Path) -> dict:
    """Seed -> folder of a model: the published one, and those of the trainings that have ended."""
    if not (Path(published) / "model.safetensors").is_file():
        raise Missing(f"{published}: no model there; run `dvc repro pretrain` first")
    found = {base["pretrain"]["seed"]: Path(published)}
    found |= {run.seed: weights(runs, run.key) for run in trained}
    return {seed: folder for seed, folder in found.items() if folder.is_dir()}


def asked(params: str | Path) -> tuple[list[str], dict]:
    """Tasks, and the options that they are run with, of the pipeline's params.yaml."""
    everything = settings(params)
    if lacking := {"tasks", "benchmark"} - set(everything):
        raise BadInput(f"{params}: no section {', '.join(sorted(lacking))}")
    return list(everything["tasks"]), {k: everything["benchmark"][k] for k in HOW}


def data_fingerprint(dataset: Dataset) -> str:
    """Hash of the tables' content and of the names and sizes of all other files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in dataset.folder.rglob("*") if p.is_file()):
        what = sha256(path) if path.suffix == ".csv" else path.stat().st_size
        digest.update(f"{path.relative_to(dataset.folder).as_posix()} {what}\n".encode())
    return digest.hexdigest()[:16]


def plan_judging(
    found: Mapping[int, Path], tasks: Sequence[str], options: dict, data: dict, known: str
) -> list[Run]:
    """A run a task and model, task by task. found: of `models`; data: section of params.yaml;
    known: fingerprint of data and pairs."""
    code, planned = code_hash(MODULE), []
    names = {
        seed: [sha256(folder / part) for part in ("config.json", "model.safetensors")]
        for seed, folder in found.items()
    }
    for task in tasks:
        for seed, folder in found.items():
            values = {"data": data, "model": str(folder), "task": task, "options": options}
            key = checkpoint.fingerprint(names[seed], task, options, data, known, code)
            planned.append(Run(task, seed, values, f"seeds-{key}"))
    return planned
