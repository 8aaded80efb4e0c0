"""Towers that start from other projects' published weights: a file, an asset, a Hugging Face hub.

Meant for the published size (`GAIRConfig.preset("base", ...)`), where towers from scratch would
need more pairs than most have. Per tower a source:

| tower    | weights                                              | fresh in any case           |
|----------|------------------------------------------------------|-----------------------------|
| rs       | CROMA's optical encoder (`load_croma`)               | `project`, where width != D |
| sv       | a timm model's, of the same `sv_model`               | `dense`                     |
| location | GeoCLIP's location encoder (`load_geoclip`)          | `dense` (`geoclip`), or the |
|          |                                                      | last layers, where D != 512 |

Decisions. Nothing is fetched unless a source names an asset or a hub. Weights must fit the config
exactly: what does not is refused with the tensor and the config's field, nothing is skipped,
resized or averaged; what has to be fresh by the table above is listed in the provenance. All three
are read and checked before one value of the model changes. One that cannot be reached leaves that
tower as it is, and says so, unless the weights are `required`; a file that is named but not there,
or that does not fit, is an error in any case. Only tensors are read (`weights_only`), never code.

The input scale is not in the weights: CROMA's is that of the "published" preprocessing, GeoCLIP's
is degrees, a timm model's is in its data config. `sv_norm_eps` and the activation leave no trace
in the tensors either; timm's own are what its weights were trained with (`sv_norm_eps: null`).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from gairlib import assets
from gairlib.errors import BadInput, Missing
from gairlib.files import sha256
from gairlib.location.fourier import EqualEarthRFF
from gairlib.location.geoclip import GeoCLIP
from gairlib.model import GAIR, WEIGHTS
from gairlib.origins import Origin, of
from gairlib.preprocess import LITE
from gairlib.weights.location import load_geoclip
from gairlib.weights.read import check, read, unwrap
from gairlib.weights.timm_models import efficientnet_names
from gairlib.weights.vit import CROMA_BANDS, HEADS, load_croma, timm_vit_options

TOWERS = {"rs": "RS encoder", "sv": "SV encoder", "location": "location encoder"}
HUB = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@(\S+))?")
FORM = 'a file, "asset:NAME", "hub:owner/name[/file][@revision]", or "" to start from scratch'
CROMA_HEADS = {768: 16, 1024: 16}  # base and large, by width
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)  # of our disk, not the hub's


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


class Fitted(NamedTuple):
    """Tensors under the model's own names, checked, and those of the file that have no use."""

    tensors: dict[str, Tensor]
    unused: int


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
                    fitted[name] = _FIT[name](model, weights.path)
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
            layers = dict.fromkeys(k.removesuffix(".weight").removesuffix(".bias") for k in new)
            more = f"; new in it: {', '.join(layers)}" if new else ""
            words = f"The {TOWERS[name]} starts from {source}{at}{more}."
        start.sentences.append(words)
        start.provenance[name] = record
    model.origins = tuple(w.origin for w in sought.values() if isinstance(w, Weights))
    return start


# ---------------------------------------------------------------------------- where weights are


def _find(name: str, source: str, hub: str | None, required: bool) -> Weights | str:
    """The file of a source, or why there is none."""
    if not source:
        return "no weights are named for it"
    if source.startswith("asset:"):
        try:
            asset = assets.find(source.removeprefix("asset:"), fetch=True)
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
    parts = HUB.fullmatch(source)
    if not parts:
        raise BadInput(f"towers.{name}.start: {source!r} is not of the form {FORM}.")
    repository, file, revision = parts.groups()
    try:
        path, commit = _fetch(repository, file or WEIGHTS, revision, hub)
    except Missing as error:
        if required:
            raise Missing(f"towers.{name}.start: {error}.") from None
        return str(error)
    return Weights(path, of(name, source), revision, commit)


def _fetch(repository: str, file: str, revision: str | None, hub: str | None) -> tuple[Path, str]:
    """One file of a hub's repository, and its commit; from the client's cache where there is no
    network."""
    from huggingface_hub import errors, hf_hub_download

    try:
        path = Path(hf_hub_download(repository, file, revision=revision, endpoint=hub))
    except Exception as error:
        if getattr(error, "errno", None) in NO_PLACE:  # no reason to train from scratch
            raise
        reasons = {
            errors.RepositoryNotFoundError: "has no such repository for us",
            errors.RevisionNotFoundError: f"has no revision {revision!r} of it",
            errors.RemoteEntryNotFoundError: "has no such file in it",
            errors.LocalEntryNotFoundError: "cannot be reached and the file was not fetched before",
        }
        reason = next((v for k, v in reasons.items() if isinstance(error, k)), "did not give it")
        raise Missing(
            f"{repository}/{file} was asked for, but the Hugging Face hub {reason} "
            f"({type(error).__name__})"
        ) from None
    parts = path.parts  # .../snapshots/<commit>/<file>
    commit = parts[len(parts) - 1 - len(Path(file).parts)]
    return path, commit


# ---------------------------------------------------------------------------- what fits where


def _same(what: str, wanted: list[tuple[str, Any, Any, str]]) -> None:
    """BadInput that lists (config field, the file's value, the config's, the tensor that says)."""
    faults = [
        f"{tensor} asks for {field} = {theirs!r}, the config has {ours!r}"
        for field, theirs, ours, tensor in wanted
        if theirs != ours
    ]
    if faults:
        raise BadInput(
            f"{what} does not fit the model: {'; '.join(faults)}. Change the config "
            '(model.changes), or name other weights, or "" to start from scratch.'
        )


def _checked(
    model: GAIR, name: str, state: Mapping[str, Tensor], fresh: tuple[str, ...], what: str
) -> dict[str, Tensor]:
    """A tower's tensors under the model's names: all of them but `fresh`, of the right shapes."""
    own = getattr(model, name).state_dict()
    counters = [k for k in own if k.endswith("num_batches_tracked")]  # whole numbers, no weights
    shapes = {
        k: tuple(v.shape) for k, v in own.items() if k not in counters and not k.startswith(fresh)
    }
    check({k: v for k, v in state.items() if k not in counters}, shapes, what, "fit for the model")
    return {f"{name}.{k}": v for k, v in state.items()}


def _rs(model: GAIR, path: Path) -> Fitted:
    """CROMA's optical encoder; with ten bands the other two are held at a band's mean."""
    c, what = model.config, f"{path}: CROMA's optical encoder"
    if c.rs_bands not in (10, CROMA_BANDS):
        raise BadInput(f"{what} does not fit the model: rs_bands is {c.rs_bands}, 10 or 12 fit.")
    published = c.preprocessing.partition("+")[0] == "published"
    fill = 0.5 if published else 0.0  # a band's mean in the model's scale
    encoder = load_croma(path, bands=c.rs_bands, fill=fill, heads=1)  # heads are not in tensors
    width = encoder.embed.out_features
    _same(
        what,
        [
            ("dim" if c.rs_width is None else "rs_width", width, c.width, "linear_input.bias"),
            (
                "rs_heads",
                CROMA_HEADS.get(width, c.rs_heads),
                c.rs_heads,
                "the width of to_qkv.weight",
            ),
            ("rs_patch", encoder.patch, c.rs_patch, "linear_input.weight"),
            ("rs_depth", len(encoder.blocks), c.rs_depth, "the number of transformer.layers"),
            ("rs_final_norm", True, c.rs_final_norm, "transformer.norm_out.weight"),
        ],
    )
    tensors = _checked(model, "rs", encoder.state_dict(), ("project.",), what)
    return Fitted(tensors, len(encoder.unused_tensors))


def _sv(model: GAIR, path: Path) -> Fitted:
    """A timm model's weights without its classifier; a ViT's sizes are compared by name first."""
    tower, c = model.sv.tower, model.config
    content, source = read(path)
    content = efficientnet_names(content, tower)
    if c.sv_model.startswith("tf_efficientnet_lite") and not c.preprocessing.endswith(f"+{LITE}"):
        raise BadInput(
            f"{source}: weights of {c.sv_model} take photos as (x - 127) / 128, and preprocessing "
            f"{c.preprocessing!r} does not give them so; set model.changes.preprocessing to "
            f"{c.preprocessing.partition('+')[0] + '+' + LITE!r}"
        )
    classifier = tower.pretrained_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    what = f"a timm model's weights for sv_model {c.sv_model!r} with sv_options {c.sv_options}"
    dropped = [f"{h}." for h in heads] or ["head."]
    state, unused = unwrap(content, source, what, [*tower.state_dict()], dropped=dropped)
    if isinstance(tower, VisionTransformer) and "patch_embed.proj.weight" in state:
        number = tower.blocks[0].attn.num_heads
        known = HEADS.get(state["patch_embed.proj.weight"].shape[0], number)
        theirs = timm_vit_options(state, known, source)
        ours = timm_vit_options(tower.state_dict(), number, "sv tower")
        _same(
            f"{source}: a ViT of timm's",
            [
                (f"sv_options.{k}", theirs[k], ours[k], _VIT_TENSORS.get(k, "the set of tensors"))
                for k in theirs
            ],
        )
    named = {f"tower.{k}": v for k, v in state.items()}
    return Fitted(_checked(model, "sv", named, ("dense.",), f"{source}: {what}"), len(unused))


_VIT_TENSORS = {
    "img_size": "pos_embed (and sv_size)",
    "patch_size": "patch_embed.proj.weight",
    "embed_dim": "patch_embed.proj.weight",
    "depth": "the number of blocks",
    "num_heads": "the width of blocks.0.attn.qkv.weight",
    "mlp_ratio": "blocks.0.mlp.fc1.weight",
}


def _location(model: GAIR, path: Path) -> Fitted:
    """GeoCLIP's location encoder: Equal Earth, random Fourier features and three summed MLPs."""
    ours, what = model.location, f"{path}: GeoCLIP's location encoder"
    encoder = load_geoclip(path)
    if not isinstance(ours, EqualEarthRFF):
        _same(what, [("location", "geoclip", model.config.location, "LocEnc0.capsule.0.b")])
    scales, features, _ = encoder.frequencies.shape
    mine = ours.frequencies.shape
    first, last = encoder.nets[0][0], encoder.nets[0][-1]
    _same(
        what,
        [
            ("the number of location_options.sigmas", scales, mine[0], "the number of LocEnc*"),
            ("location_options.features", features, mine[1], "LocEnc0.capsule.0.b"),
            (
                "location_options.hidden",
                first.out_features,
                ours.nets[0][0].out_features,
                "LocEnc0.capsule.1.weight",
            ),
        ],
    )
    state, fresh = encoder.state_dict(), ()
    if isinstance(ours, GeoCLIP):
        width = ours.dense.in_features
        said = ("location_options.width", last.out_features, width, "LocEnc0.head.0.weight")
        _same(what, [said])
        fresh = ("dense.",)
    elif last.out_features != model.config.dim:
        top = len(encoder.nets[0]) - 1
        fresh = tuple(f"nets.{k}.{top}." for k in range(scales))
        state = {k: v for k, v in state.items() if not k.startswith(fresh)}
    return Fitted(_checked(model, "location", state, fresh, what), len(encoder.unused_tensors))


_FIT = {"rs": _rs, "sv": _sv, "location": _location}
