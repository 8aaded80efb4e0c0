"""Ablation: the same training with one switch changed, several seeds each (`make ablate`).

A run is one (variant, seed): it trains from scratch on a shortened schedule in a process of its
own (`ablation_run`) and is judged on the validation sites; the test sites stay unseen. Runs with
the same seed begin with the same weights and meet the same batches wherever the switch allows it,
so that variants are compared run by run and photo by photo (`ablation_table`).

A run's file is named by the model's config, the options, the pairs, and the code that computes its
numbers (`research.studies.runs`). A variant with `keep: true` also keeps its weights, for tests
that ask more of the same models (research.studies.stress).

`dvc exp run` is the other way to try a variant: it executes the stage `pretrain`, one training at a
time with all threads, its own figures and metrics, kept by DVC under a name. Both start from the
same params.yaml; `dvc_command` writes the one from the other.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gairlib.config import GAIRConfig
from gairlib.data.boundary import settings
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.files import sha256
from gairlib.train import checkpoint, prepare
from research.imports import code_hash
from research.studies.runs import Run, command_of

BASE = "base"
SECTIONS = ("data", "model", "pretrain")
MODULE = "research.studies.ablation_run"  # what a run's process runs: changed code is another run
command = command_of(MODULE)  # for `runs.run_all`


@dataclass(frozen=True)
class Variant:
    """`asks`: the question; `model`, `pretrain`: what differs; `keep`: whether weights stay."""

    name: str
    asks: str = ""
    model: dict = field(default_factory=dict)  # fields of GAIRConfig
    pretrain: dict = field(default_factory=dict)  # keys of the section `pretrain`
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
    everything = settings(params)
    if lacking := [s for s in SECTIONS if s not in everything]:
        raise BadInput(f"{params}: no section {', '.join(lacking)}")
    common = dict(common or {})
    if unknown := sorted(set(common) - {"model", "pretrain"}):
        raise BadInput(f"ablation.common: unknown key {', '.join(unknown)}; it has model, pretrain")
    values = {s: dict(everything[s]) for s in SECTIONS}
    values["model"]["changes"] = (values["model"].get("changes") or {}) | common.get("model", {})
    values["pretrain"] |= common.get("pretrain", {})
    return values


def values_of(base: dict, variant: Variant, *, steps: int, seed: int) -> dict:
    """The sections of one run: from scratch, on one device, with checkpoints on the way."""
    model = base["model"] | {"changes": (base["model"].get("changes") or {}) | variant.model}
    same = {
        "init": "",
        "steps": steps,
        "seed": seed,
        "validate_every": steps,
        "checkpoint_every": max(1, min(steps // 2, base["pretrain"]["checkpoint_every"])),
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
            start = values["pretrain"].get("towers") or {}
            key = checkpoint.fingerprint(options.identity(), config.to_dict(), start, pairs, code)
            runs.append(Run(variant.name, seed, values, key, variant.keep))
    return runs


# ------------------------------------------------------------------ a run as an experiment of DVC


def overrides(run: Run, params: str | Path) -> list[str]:
    """Values of `-S` that turn the sections of params.yaml into this run's, in DVC's grammar.

    A key that params.yaml has not is written with `++`; a mapping is replaced key by key.
    """
    before = settings(params)
    return [
        found
        for section in SECTIONS
        if section != "data"
        for found in _changed(before.get(section) or {}, run.values[section], section)
    ]


def _changed(before: dict, after: dict, where: str) -> Iterator[str]:
    for key, value in after.items():
        name = f"{where}.{key}"
        if key in before and before[key] == value:
            continue
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            yield from _changed(before[key], value, name)
        else:
            yield f"{'' if key in before else '++'}{name}={_text(value)}"
    for key in set(before) - set(after):
        yield f"~{where}.{key}"


def _text(value) -> str:
    """A value in the grammar of Hydra's overrides: {a:1,b:[2,3]}, true, null, 'text'."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    return json.dumps(value)


def dvc_command(run: Run, params: str | Path) -> str:
    """One line for a shell; `--temp` works in a copy and leaves the working tree alone."""
    changes = " ".join("-S " + shlex.quote(text) for text in overrides(run, params))
    return f"dvc exp run --temp -n {run.variant}-seed-{run.seed} {changes} pretrain"
