"""A whole GAIR by the name of where its weights are: a folder, a file, a hub, the sample's run."""

from __future__ import annotations

from pathlib import Path

from gairlib import hub, origins
from gairlib.errors import Missing
from gairlib.model import CONFIG, GAIR, WEIGHTS

PUBLISHED = "hub:PingL/GAIR/checkpoint.pth"  # named by the README of github zpl99/GAIR
SAMPLE = "sample:"  # before a folder: that of the weights which the sample's run has trained
FORM = (
    "a folder that `save_pretrained` wrote (for the sample's: run `make repro` first), a file of "
    'the published weights (.pth, .safetensors), or "hub:owner/name[/file][@revision]"'
)


def find(source: str) -> Path:
    """The file that holds the weights of a source (FORM), fetched where it is a hub's. BadInput
    for another form, Missing where it is not there or the hub does not give it."""
    named = source.removeprefix(SAMPLE)
    if not named.startswith(hub.PREFIX) and not Path(named).exists():
        raise Missing(f"{source}: nothing is there; it takes {FORM}")
    try:
        return hub.find(named, (WEIGHTS, hub.CHECKPOINT), (CONFIG, origins.FILE)).path
    except Missing as error:
        raise Missing(f"{source}: {error}; it takes {FORM}") from None


def load(source: str) -> GAIR:
    """The model of a source (FORM), with its own config. Its `origins` are never None."""
    find(source)
    model = GAIR.from_pretrained(source.removeprefix(SAMPLE))
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
