"""Towers that start from other projects' published weights: a file, an asset, a Hugging Face hub.

Meant for the published size (`GAIRConfig.preset("base", ...)`), where towers from scratch would
need more pairs than most have. Per tower a source:

| tower    | weights                                              | fresh in any case           |
|----------|------------------------------------------------------|-----------------------------|
| rs       | CROMA's optical encoder (`load_croma`), for rs_model | `project`, where width != D |
|          | "galileo" Galileo's encoder (`load_galileo`)         | the same                    |
| sv       | a timm model's, of the same `sv_model`               | `dense`                     |
| location | GeoCLIP's location encoder (`load_geoclip`)          | `dense` (`geoclip`), or the |
|          |                                                      | last layers, where D != 512 |

Decisions. Nothing is fetched unless a source names an asset or a hub. Weights must fit the config
exactly: what does not is refused with the tensor and the config's field, nothing is skipped,
resized or averaged; what has to be fresh by the table above is listed in the provenance. All three
are read and checked before one value of the model changes. One that cannot be reached leaves that
tower as it is, and says so, unless the weights are `required`; a file that is named but not there,
or that does not fit, is an error in any case. Only tensors are read (`weights_only`), never code.

The input scale is not in the weights: CROMA's is that of the "published" preprocessing, Galileo's
"galileo", GeoCLIP's is degrees. A timm model's is in its data config, which the file's config.json,
its name, the hub's id or sv_model tells (`timm_models.photo_scale`): a preprocessing that scales
photos otherwise is refused, with the one that would be right. `sv_norm_eps` and the activation
leave no trace in the tensors either; timm's own are what its weights were trained with
(`sv_norm_eps: null`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gairlib import assets
from gairlib.errors import BadInput, Missing
from gairlib.files import sha256
from gairlib.hub import fetch, hub_parts
from gairlib.model import GAIR, WEIGHTS
from gairlib.origins import Origin, of
from gairlib.weights.fitting import FIT, Fitted, check_photo_scale

TOWERS = {"rs": "RS encoder", "sv": "SV encoder", "location": "location encoder"}
FORM = 'a file, "asset:NAME", "hub:owner/name[/file][@revision]", or "" to start from scratch'


class Start(NamedTuple):
    """What `initialise` did, per tower: a sentence, a record for provenance.json, and the names of
    the tensors that were loaded (of towers that have any)."""

    sentences: list[str]
    provenance: dict[str, dict[str, Any]]
    loaded: dict[str, list[str]]


class Weights(NamedTuple):
    """A source's file, and where it came from."""

    path: Path
    origin: Origin
    revision: str | None = None  # as asked for, or the asset's version
    commit: str | None = None  # what the hub gave


def initialise(
    model: GAIR, sources: Mapping[str, str], *, hub: str | None = None, required: bool = False
) -> Start:
    """Load the towers that `sources` names weights for, in place; the others stay as they are.

    sources: tower ("rs", "sv", "location") -> "" (from scratch, as is a tower left out), a file,
    "asset:NAME" (gairlib.assets), or "hub:owner/name[/file][@revision]", file by default
    model.safetensors, revision a branch, tag or commit (pin a commit for results that last). hub:
    address of another hub than the client's own (HF_ENDPOINT). required: an asset or a hub's file
    that cannot be fetched is Missing; otherwise that tower starts from scratch, and its sentence
    and record say why. `model.origins` becomes those of the towers that were loaded.

    Temperatures, field and everything fresh keep their values, and torch's random state too. The
    record of a tower holds `start` ("weights" or "scratch"), `source`, and either `licence`,
    `citation`, `revision`, `commit`, `sha256` of the file, `new` (the tower's tensors that the file
    has none for) and `unused` (how many of the file's were left), or the `reason`. Raises BadInput
    and Missing as the module's header says.
    """
    for name, source in sources.items():
        if name not in TOWERS or not isinstance(source, str):
            raise BadInput(
                f"towers: {name}: {source!r}; the towers are {', '.join(TOWERS)}, and each "
                f"takes {FORM}."
            )
    sought: dict[str, Weights | str] = {}  # a file, or why there is none
    for name in TOWERS:
        sought[name] = _find(name, sources.get(name, ""), hub, required)
    fitted: dict[str, Fitted] = {}
    with torch.random.fork_rng(devices=[]):  # the converters build encoders, which draws
        for name, weights in sought.items():
            if isinstance(weights, Weights):
                try:
                    fitted[name] = FIT[name](model, weights.path)
                    if name == "sv":
                        check_photo_scale(model.config, weights.path, weights.origin.source)
                except BadInput as error:
                    raise BadInput(f"towers.{name}.start: {error}") from None
    own = model.state_dict()  # shares memory with the model
    start = Start([], {}, {})
    for name, weights in sought.items():
        source = sources.get(name, "")
        record: dict[str, Any]
        if isinstance(weights, str):
            record = {"start": "scratch", "source": source, "reason": weights}
            words = f"The {TOWERS[name]} starts from scratch: {weights}."
        else:
            tensors, unused = fitted[name]
            for key, value in tensors.items():
                own[key].copy_(value)
            start.loaded[name] = sorted(tensors)
            new = [k for k in own if k.startswith(f"{name}.") and k not in tensors]
            record = {
                "start": "weights",
                "source": source,
                "licence": weights.origin.licence,
                "citation": weights.origin.citation,
                "revision": weights.revision,
                "commit": weights.commit,
                "sha256": sha256(weights.path),
                "new": new,
                "unused": unused,
            }
            at = f" (commit {weights.commit[:12]})" if weights.commit else ""
            more = f"; new in it: {', '.join(_modules(new, own))}" if new else ""
            words = f"The {TOWERS[name]} starts from {source}{at}{more}."
        start.sentences.append(words)
        start.provenance[name] = record
    model.origins = tuple(w.origin for w in sought.values() if isinstance(w, Weights))
    return start


def _modules(new: Sequence[str], all_keys: Iterable[str]) -> list[str]:
    """The largest modules that hold nothing but these tensors."""
    known = set(all_keys).difference(new)
    found: dict[str, None] = {}
    for key in new:
        steps = list(accumulate(key.split(".")[:-1], lambda a, b: f"{a}.{b}"))
        whole = (m for m in steps if not any(k.startswith(f"{m}.") for k in known))
        found[next(whole, key)] = None
    return list(found)


# ---------------------------------------------------------------------------- where weights are


def _find(name: str, source: str, hub: str | None, required: bool) -> Weights | str:
    """The file of a source, or why there is none."""
    if not source:
        return "no weights are named for it"
    if source.startswith(assets.PREFIX):
        try:
            asset = assets.find(source.removeprefix(assets.PREFIX), fetch=True)
        except BadInput as error:
            raise BadInput(f"towers.{name}.start: {error}") from None
        except Missing as error:
            if required:
                raise Missing(f"towers.{name}.start: {error}") from None
            return str(error).rstrip(".")
        return Weights(
            asset.path, Origin(name, source, asset.licence, asset.citation), asset.version
        )
    if not source.startswith("hub:"):
        if not Path(source).is_file():
            raise Missing(f"towers.{name}.start: {source}: there is no such file; give {FORM}.")
        return Weights(Path(source), of(name, source))
    try:
        repository, file, revision = hub_parts(source)
    except BadInput as error:
        raise BadInput(f"towers.{name}.start: {error}") from None
    try:
        path, commit = fetch(repository, file or WEIGHTS, revision, hub)
    except Missing as error:
        if required:
            raise Missing(f"towers.{name}.start: {error}.") from None
        return str(error)
    return Weights(path, of(name, source), revision, commit)
