"""Weights of a run that has too few pairs to train: what the user names, or real ones at hand.

`pretrain.fallback` of params.yaml says which:

    a source    a whole GAIR, see gairlib.weights.whole (a folder, a file, a hub id)
    published   the weights that GAIR's authors published, where `pretrain.accept_licence` accepts
                their licence; from the hub client's cache, or from the hub
    assets      tower by tower: what `pretrain.towers` names, and for the rest GeoCLIP's location
                encoder and ImageNet's EfficientNet-Lite0 (gairlib.assets, fetched where there is
                a network); there are no such weights for the RS encoder, which stays untrained
    ""          towers that are named and no assets: as `assets`; else `published` where the licence
                is accepted and they can be had, else `assets`

Towers that others trained apart from each other share no space: each one's own features stand, and
no similarity between them does. With nothing at hand the model is untrained, and the plan says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gairlib.assets import PREFIX
from gairlib.config import GAIRConfig
from gairlib.errors import BadInput, Missing
from gairlib.model import GAIR
from gairlib.preprocess import parts
from gairlib.train.towers import Tower
from gairlib.weights import whole
from gairlib.weights.towers import TOWERS, initialise

PUBLISHED, ASSETS = "published", "assets"
LICENCE = "CC BY-NC"  # of the published weights
LITE = "efficientnet-lite"  # how its photos are scaled, see gairlib.preprocess
# tower -> its asset, and what the config must be for it. ImageNet's photos were of 224 pixels.
OPEN: dict[str, tuple[str, dict[str, Any]]] = {
    "sv": (
        "asset:efficientnet-lite0",
        {
            "sv_model": "tf_efficientnet_lite0",
            "sv_options": {},
            "sv_size": 224,
            "sv_pooler": "linear",
            "sv_norm_eps": None,
        },
    ),
    "location": ("asset:geoclip", {"location": "geoclip", "location_options": {}}),
}
APART = (
    "Others trained these towers apart from each other, and nothing has brought them into one "
    "space. What a tower tells by itself stands: its embeddings, and probes of its own features. "
    "A similarity between photos, chips and places would mean nothing, so retrieval, localisation "
    "and the map of where a photo could be are left out"
)


@dataclass(frozen=True)
class Found:
    """The weights, and what they can be asked. init: the source of a whole model, "" for towers;
    towers: a record for each, as of gairlib.weights.initialise; aligned: whether the towers share
    a space; untrained: towers that nothing was loaded for."""

    model: GAIR
    sentence: str
    init: str = ""
    towers: dict[str, dict[str, Any]] = field(default_factory=dict)
    aligned: bool = True
    untrained: tuple[str, ...] = ()


def take(model: Mapping[str, Any], section: Mapping[str, Any], asked: Mapping[str, Tower]) -> Found:
    """The weights that section `pretrain` asks for. model: `preset` and `changes`, for towers.

    BadInput for a licence that is not accepted, or weights that do not fit; Missing for those named
    in `fallback` that cannot be had.
    """
    wanted, accepted = section.get("fallback") or "", section.get("accept_licence") or ""
    if accepted not in ("", LICENCE):
        raise BadInput(f"pretrain.accept_licence is {accepted!r}; {LICENCE!r} accepts it, or ''")
    if wanted not in ("", PUBLISHED, ASSETS):
        if not isinstance(wanted, str):
            raise BadInput(f"pretrain.fallback is {wanted!r}; it is a text, such as {ASSETS!r}")
        return _named(wanted)
    if wanted == PUBLISHED and not accepted:
        raise BadInput(
            f"pretrain.fallback: the published weights are {LICENCE} (no commercial use); accept "
            f"it by pretrain.accept_licence: {LICENCE}, or choose {ASSETS!r}"
        )
    own = any(t.start and not t.start.startswith(PREFIX) for t in asked.values())
    if wanted == ASSETS or (own and not wanted):
        return _tower_by_tower(model, section, asked)
    if not accepted:
        why = (
            f"The published GAIR weights were not looked for: `pretrain.accept_licence: {LICENCE}` "
            "would accept their licence (no commercial use)."
        )
        return _tower_by_tower(model, section, asked, why)
    try:
        return Found(
            whole.load(whole.PUBLISHED),
            f"The weights are those that GAIR's authors published ({whole.PUBLISHED}, {LICENCE}: "
            "no commercial use), taken as they are: real data, one space for all three towers.",
            whole.PUBLISHED,
        )
    except Missing as error:
        if wanted:
            raise
        why = f"The published GAIR weights could not be had: {str(error).rstrip('.')}."
        found = _tower_by_tower(model, section, asked, why)
        record = {"start": "scratch", "source": whole.PUBLISHED, "reason": str(error)}
        found.towers["model"] = record
        return found


def _named(source: str) -> Found:
    about = whole.words(source)
    try:
        model = whole.load(source)
    except (BadInput, Missing) as error:
        raise type(error)(f"pretrain.fallback: {error}") from None
    return Found(
        model, f"{about[0].upper()}{about[1:]} are taken as they are, as asked for.", source
    )


def _tower_by_tower(
    model: Mapping[str, Any], section: Mapping[str, Any], asked: Mapping[str, Tower], why: str = ""
) -> Found:
    sources = {name: tower.start for name, tower in asked.items()}
    # without NILI's decoder, which nothing has trained, the field is the tokens themselves
    # and a net beside the photo tower would be untrained
    changes = dict(model.get("changes", {})) | {"query_mode": "bilinear", "sv_side": ""}
    for name, (asset, fields) in OPEN.items():
        if sources[name] in ("", asset):
            sources[name] = asset
            changes |= fields
    config = GAIRConfig.preset(model.get("preset", "small"), **changes)
    if sources["sv"] == OPEN["sv"][0]:
        config = config.replace(preprocessing=f"{parts(config.preprocessing)[0]}+{LITE}")
    torch.manual_seed(section.get("seed", 0))
    built = GAIR(config).eval()
    start = initialise(built, sources)
    records = start.provenance
    untrained = tuple(name for name in TOWERS if name not in start.loaded)
    said = [why] if why else []
    for name in start.loaded:
        record = records[name]
        said.append(f"The {TOWERS[name]} is that of {record['source']} ({record['licence']}).")
    if start.loaded:
        said.append(f"{APART}.")
        for name in untrained:
            said.append(
                f"The {TOWERS[name]} is untrained ({records[name]['reason']}), and nothing is "
                f"asked of it; `pretrain.towers: {{{name}: {{start: ...}}}}` names weights."
            )
    else:
        lacking = "; ".join(dict.fromkeys(r["reason"] for r in records.values() if r["source"]))
        names = " ".join(asset.removeprefix(PREFIX) for asset, _ in OPEN.values())
        said.append(
            f"No weights were at hand, so nothing is embedded or measured here: {lacking}. Where "
            f"there is a network, `python -m gairlib.assets {names}` fetches open weights (57 MB), "
            "and the same `make repro` goes on with them; `pretrain.fallback` names others, such "
            "as `sample`."
        )
    return Found(built, " ".join(said), "", records, False, untrained)
