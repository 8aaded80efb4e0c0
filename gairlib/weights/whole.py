"""A whole GAIR by the name of where its weights are: a folder, a file, a hub, the sample's run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gairlib import origins
from gairlib.errors import Missing
from gairlib.model import GAIR, WEIGHTS
from gairlib.weights.official import load_official
from gairlib.weights.towers import fetch, hub_parts

PUBLISHED = "hub:PingL/GAIR/checkpoint.pth"  # named by the README of github zpl99/GAIR
SAMPLE = "sample:"  # before a folder: that of the weights which the sample's run has trained
FORM = (
    "a folder that `save_pretrained` wrote (for the sample's: run `make repro` first), a file of "
    'the published weights (.pth, .safetensors), or "hub:owner/name[/file][@revision]"'
)


def find(source: str) -> Path:
    """The file that holds the weights of a source (FORM), fetched where it is a hub's. BadInput
    for another form, Missing where it is not there or the hub does not give it."""
    if source.startswith("hub:"):
        repository, file, revision = hub_parts(source)
        return fetch(repository, file or WEIGHTS, revision, None)[0]
    path = Path(source.removeprefix(SAMPLE))
    file = path / WEIGHTS if path.is_dir() or not path.suffix else path
    if not file.is_file():
        raise Missing(f"{source}: no {file.name} there; it takes {FORM}")
    return file


def load(source: str) -> GAIR:
    """The model of a source (FORM), with its own config. Its `origins` are never None."""
    file = find(source)
    if source.startswith("hub:"):
        repository, name, revision = hub_parts(source)
        if name:
            model = load_official(file)
            model.origins = tuple(replace(o, source=source) for o in model.origins or ())
        else:
            model = GAIR.from_pretrained(repository, revision)
    else:
        model = GAIR.from_pretrained(file.parent) if file.name == WEIGHTS else load_official(file)
    if model.origins is None:
        model.origins = (origins.of("model", source),)
    return model


def words(source: str) -> str:
    """A source in a sentence, with what is known of its weights."""
    if source.startswith(SAMPLE):
        where = source.removeprefix(SAMPLE)
        return (
            f"the sample's weights (`{where}`), which learned in a synthetic world and have seen "
            "nothing real,"
        )
    return f"the weights in `{source}`"
