"""Ablation: the same training with one switch changed, several seeds each (`make ablate`).

A run is one (variant, seed): it trains from scratch on a shortened schedule in a process of its
own (research.studies.ablation_run) and is judged on the validation sites; the test sites stay unseen. Runs
with the same seed begin with the same weights and meet the same batches wherever the switch allows
it, so that variants are compared run by run and photo by photo (research.studies.ablation_table).

Each finished run is one small file, named by what its numbers depend on: the model's config, the
options, the pairs, and the code that computes them (comments and docstrings aside). An ablation
that was interrupted goes on, a new variant costs itself only, and a run that fails is a row that
says why, tried again the next time. A variant with `keep: true` also keeps its weights, for tests
that ask more of the same models (research.studies.stress).
"""

import hashlib
import json
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import yaml
from tqdm.auto import tqdm

from gairlib.config import GAIRConfig
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.files import sha256
from gairlib.train import checkpoint, prepare
from research.imports import code_hash
from research.pipeline import notebook, stages

BASE = "base"
SECTIONS = ("data", "model", "pretrain")
MODULE = "research.studies.ablation_run"  # what a run's process runs: changed code is another run
THREADS = dict.fromkeys(notebook.THREADS, "1")


@dataclass(frozen=True)
class Variant:
    """`asks`: the question; `model`, `pretrain`: what differs; `keep`: whether weights stay."""

    name: str
    asks: str = ""
    model: dict = field(default_factory=dict)  # fields of GAIRConfig
    pretrain: dict = field(default_factory=dict)  # keys of the section `pretrain`
    keep: bool = False


@dataclass(frozen=True)
class Run:
    """One training: `values` are the sections data, model and pretrain; `key` names its file.

    keep: the weights stay, in the folder `weights(runs, key)`.
    """

    variant: str
    seed: int
    values: dict
    key: str
    keep: bool = False


def read_variants(listed: Sequence[dict]) -> list[Variant]:
    """Entries of `ablation.variants`; the first is `base`, every other one changes something."""
    found = []
    for entry in listed:
        if unknown := sorted(set(entry) - set(Variant.__dataclass_fields__)):
            raise BadInput(
                f"ablation.variants: unknown key {', '.join(unknown)} in {entry!r}; an "
                "entry has name, asks, model, pretrain and keep"
            )
        variant = Variant(**entry)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", variant.name):
            raise BadInput(
                f"ablation.variants: the name {variant.name!r} is not of small letters, "
                "digits and dashes"
            )
        if variant.name in [v.name for v in found]:
            raise BadInput(f"ablation.variants: {variant.name!r} is there twice")
        if (variant.name == BASE) == bool(variant.model or variant.pretrain):
            raise BadInput(
                f"ablation.variants: {variant.name!r} must change something, and only "
                f"{BASE!r} nothing"
            )
        if "seed" in variant.pretrain or "steps" in variant.pretrain:
            raise BadInput(
                f"ablation.variants: {variant.name!r} must not set seed or steps, which "
                "are the same for all"
            )
        found.append(variant)
    if not found or found[0].name != BASE:
        raise BadInput(f"ablation.variants: the first must be {BASE!r}, which changes nothing")
    return found


def base_values(params: str | Path, common: Mapping[str, dict] | None = None) -> dict:
    """Sections data, model and pretrain of the pipeline's params.yaml.

    common: `model` (fields of GAIRConfig) and `pretrain` that differ from it in all runs.
    """
    path = Path(params)
    if not path.is_file():
        raise Missing(f"{path}: no such file; `base` is the pipeline's params.yaml")
    everything = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if lacking := [s for s in SECTIONS if s not in everything]:
        raise BadInput(f"{path}: no section {', '.join(lacking)}")
    common = dict(common or {})
    if unknown := sorted(set(common) - {"model", "pretrain"}):
        raise BadInput(f"ablation.common: unknown key {', '.join(unknown)}; it has model, pretrain")
    values = {s: dict(everything[s]) for s in SECTIONS}
    values["model"]["changes"] = (values["model"].get("changes") or {}) | common.get("model", {})
    values["pretrain"] |= common.get("pretrain", {})
    return values


def values_of(base: dict, variant: Variant, *, steps: int, seed: int) -> dict:
    """The sections of one run: from scratch, on one device, with one checkpoint in between."""
    model = base["model"] | {"changes": (base["model"].get("changes") or {}) | variant.model}
    same = {
        "init": "",
        "steps": steps,
        "seed": seed,
        "validate_every": steps,
        "checkpoint_every": max(1, steps // 2),
        "devices": 1,
        "nodes": 1,
        "strategy": "auto",
    }
    return {
        "data": base["data"],
        "model": model,
        "pretrain": base["pretrain"] | same | variant.pretrain,
    }


# -------------------------------------------------------------------------- what a run depends on


def pairs_fingerprint(folder: str | Path, dataset: Dataset) -> str:
    """Hash of the pairs' manifest and chips, and of the sizes of the photos' files."""
    folder, digest = Path(folder), hashlib.sha256()
    manifest = folder / "manifest.parquet"
    if not manifest.is_file():
        raise Missing(f"{manifest}: no pairs there; run `dvc repro pair` first")
    for path in [manifest, *sorted(p for p in (folder / "pairs.zarr").rglob("*") if p.is_file())]:
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}".encode())
    for name in sorted(set(pd.read_parquet(manifest, columns=["path"])["path"].dropna())):
        photo = dataset.folder / name
        digest.update(f"{name} {photo.stat().st_size if photo.is_file() else -1}".encode())
    return digest.hexdigest()[:16]


def plan_runs(
    base: dict, variants: Sequence[Variant], *, steps: int, seeds: Sequence[int], pairs: str
) -> list[Run]:
    """Every (variant, seed), seed by seed: an ablation that is cut short has whole seeds.

    pairs: fingerprint of the pairs. A variant whose options or config are refused is BadInput
    here, before anything has run.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise BadInput(f"ablation.seeds: {list(seeds)} must be one or more different whole numbers")
    code, runs = code_hash(MODULE), []
    for seed in seeds:
        for variant in variants:
            values = values_of(base, variant, steps=steps, seed=seed)
            try:
                options, _ = prepare.settings(values["pretrain"])
                model = values["model"]
                config = GAIRConfig.preset(model.get("preset", "small"), **model["changes"])
            except BadInput as problem:
                raise BadInput(f"ablation.variants: {variant.name!r}: {problem}") from None
            start = values["pretrain"].get("init_towers") or {}
            key = checkpoint.fingerprint(options.identity(), config.to_dict(), start, pairs, code)
            runs.append(Run(variant.name, seed, values, key, variant.keep))
    return runs


# -------------------------------------------------------------------------------------- the runs


def weights(folder: str | Path, key: str) -> Path:
    """Where a run with `keep` leaves its model (`GAIR.from_pretrained` reads it)."""
    return Path(folder) / f"{key}.model"


def run_all(
    runs: Sequence[Run],
    pairs: str | Path,
    folder: str | Path,
    *,
    processes: int = 2,
    progress: bool = True,
    command: Callable[[Path], list[str]] | None = None,
    title: str = "ablation",
) -> list[dict]:
    """What every run gave, in the order of `runs`: its file's content, or {"failed": reason}.

    Each run is a fresh process of one thread. `folder` keeps the finished ones; whatever stops
    this function also ends the processes, which have kept a checkpoint to go on from. A run whose
    weights are to be kept and are not there is done again, with the same numbers. command: of the
    process that reads a run's spec (default: training); title: of the progress bar.
    """
    if processes < 1:
        raise BadInput(f"ablation.processes is {processes}, at least 1 is needed")
    folder, command = Path(folder), command or _command
    folder.mkdir(parents=True, exist_ok=True)
    kept, missing = {r.key for r in runs if r.keep}, {}
    for run in runs:  # two variants may be the same run
        there = (folder / f"{run.key}.json").is_file()
        if not there or (run.key in kept and not weights(folder, run.key).is_dir()):
            missing.setdefault(run.key, replace(run, keep=run.key in kept))
    waiting, running, failed = deque(missing.values()), {}, {}
    total = len({r.key for r in runs})
    bar = tqdm(
        total=total,
        initial=total - len(missing),
        desc=title,
        unit="run",
        smoothing=0,
        mininterval=10,
        miniters=0,
        disable=not progress,
    )  # a report keeps every line
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                run = waiting.popleft()
                running[run.key] = _start(run, pairs, folder, command)
                bar.set_postfix_str(f"{run.variant}, seed {run.seed}", refresh=False)
            time.sleep(0.1)
            bar.update(0)
            for key in [k for k, p in running.items() if p.poll() is not None]:
                process = running.pop(key)
                if process.returncode or not (folder / f"{key}.json").is_file():
                    failed[key] = _reason(process.returncode, folder / f"{key}.work/log.txt")
                    run = missing[key]
                    tqdm.write(f"{run.variant}, seed {run.seed} failed: {failed[key]}")
                bar.update()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=30)  # a step, and a checkpoint
            except subprocess.TimeoutExpired:
                process.kill()
        bar.close()
    return [
        {"failed": failed[r.key]}
        if r.key in failed
        else json.loads((folder / f"{r.key}.json").read_text())
        for r in runs
    ]


def _command(spec: Path) -> list[str]:
    return [sys.executable, "-m", MODULE, str(spec)]


def _start(run: Run, pairs: str | Path, folder: Path, command) -> subprocess.Popen:
    work = folder / f"{run.key}.work"  # with the checkpoints of a run that was interrupted
    work.mkdir(exist_ok=True)
    spec = work / "spec.json"
    model = str(weights(folder, run.key)) if run.keep else ""
    spec.write_text(
        json.dumps(
            {
                "values": run.values,
                "pairs": str(pairs),
                "work": str(work),
                "model": model,
                "file": str(folder / f"{run.key}.json"),
            }
        )
    )
    with open(work / "log.txt", "w") as log:
        return subprocess.Popen(
            command(spec), stdout=log, stderr=subprocess.STDOUT, env=stages.environment() | THREADS
        )


def _reason(code: int, log: Path) -> str:
    """The last thing a failed process said."""
    said = [s.strip() for s in re.split(r"[\r\n]", log.read_text(errors="replace")) if s.strip()]
    if code < 0:
        return f"ended by signal {-code}"
    return said[-1][:300] if said else f"ended with code {code} and said nothing"
