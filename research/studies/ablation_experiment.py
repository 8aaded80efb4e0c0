"""An ablation's run as one `dvc exp run`: the same sections data, model and pretrain.

`make ablate` trains each (variant, seed) in a process of one thread, two at a time, and judges all
of them photo by photo. `dvc exp run` executes the stage `pretrain` instead: one training at a time
with all threads, its own figures and metrics, kept by DVC under a name. Both start from the same
params.yaml, so a variant that is worth a closer look can be run either way. `command` writes the
one from the other.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import yaml

from gairlib.errors import Missing
from research.studies.ablation import SECTIONS, Run


def overrides(run: Run, params: str | Path) -> list[str]:
    """Values of `-S` that turn the sections of params.yaml into this run's, in DVC's grammar.

    A key that params.yaml has not is written with `++`; a mapping is replaced key by key.
    """
    path = Path(params)
    if not path.is_file():
        raise Missing(f"{path}: no such file; it is the pipeline's params.yaml")
    before = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
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


def command(run: Run, params: str | Path) -> str:
    """One line for a shell; `--temp` works in a copy and leaves the working tree alone."""
    changes = " ".join("-S " + shlex.quote(text) for text in overrides(run, params))
    return f"dvc exp run --temp -n {run.variant}-seed-{run.seed} {changes} pretrain"
