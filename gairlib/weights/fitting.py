"""What published weights fit which tower: their tensors under a model's own names, or BadInput.

Each function reads a file for one tower of a model, compares what its tensors say with the model's
config, field by field, and names every difference together with the field to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from gairlib import preprocess
from gairlib.config import GAIRConfig
from gairlib.errors import BadInput
from gairlib.location.fourier import EqualEarthRFF
from gairlib.location.geoclip import GeoCLIP
from gairlib.model import GAIR
from gairlib.tensor_files import check, read, unwrap
from gairlib.weights.galileo import heads_of, load_galileo
from gairlib.weights.location import load_geoclip
from gairlib.weights.timm_models import efficientnet_names, photo_scale
from gairlib.weights.vit import CROMA_BANDS, HEADS, load_croma, timm_vit_options

CROMA_HEADS = {768: 16, 1024: 16}  # base and large, by width


class Fitted(NamedTuple):
    """Tensors under the model's own names, checked, and those of the file that have no use."""

    tensors: dict[str, Tensor]
    unused: int


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
    """The encoder whose form the model's RS tower has."""
    name = model.config.rs_model
    if name not in _RS:
        raise BadInput(f"{path}: weights for rs_model {name!r}; known are {', '.join(_RS)}.")
    return _RS[name](model, path)


def _croma(model: GAIR, path: Path) -> Fitted:
    """CROMA's optical encoder; with ten bands the other two are held at a band's mean."""
    c, what = model.config, f"{path}: CROMA's optical encoder"
    if c.rs_bands not in (10, CROMA_BANDS):
        raise BadInput(f"{what} does not fit the model: rs_bands is {c.rs_bands}, 10 or 12 fit.")
    chips, _ = preprocess.parts(c.preprocessing)
    fill = 0.0 if chips == "gairlib" else 0.5  # a band's mean in the model's scale
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


def _galileo(model: GAIR, path: Path) -> Fitted:
    """Galileo's encoder; patch and month are the model's own, whatever the file's kernels are."""
    c, rs, what = model.config, model.rs, f"{path}: Galileo's encoder"
    encoder = load_galileo(path, heads=1)  # heads are not in tensors
    width, mlp = encoder.width, encoder.blocks[0].mlp.fc1
    heads, kernel = heads_of(path, width) or c.rs_heads, encoder.embed[0].kernel_size[0]
    own, first = rs.embed[0].kernel_size[0], "space_time_embed.S2_RGB.proj.weight"
    hidden = (mlp.out_features, rs.blocks[0].mlp.fc1.out_features)
    _same(
        what,
        [
            ("dim" if c.rs_width is None else "rs_width", width, c.width, "norm.weight"),
            ("rs_heads", heads, c.rs_heads, "its config.json, or the width,"),
            ("rs_depth", len(encoder.blocks), c.rs_depth, "the number of blocks"),
            ("rs_options.kernel", kernel, own, first),
            ("rs_options.hidden", *hidden, "blocks.0.mlp.fc1.weight"),
        ],
    )
    tensors = _checked(model, "rs", encoder.state_dict(), ("project.",), what)
    return Fitted(tensors, len(encoder.unused_tensors))


_RS = {"vit": _croma, "galileo": _galileo}


def check_photo_scale(config: GAIRConfig, path: Path, source: str) -> None:
    """BadInput where an sv tower's weights are known to take photos in another scale than the
    config's; source: as the weights were named."""
    known = photo_scale(config.sv_model, config.sv_options, path, source)
    if known is None or _near(known[1:], preprocess.photo_scale(config.preprocessing)):
        return
    chips, _ = preprocess.parts(config.preprocessing)
    names = [chips, *(f"{chips}+{photos}" for photos in preprocess.PHOTOS)]
    fits = next((n for n in names if _near(known[1:], preprocess.photo_scale(n))), None)
    mean, std = (f"{' '.join(f'{v / 255:.3f}' for v in scale)}" for scale in known[1:])
    if fits is None:
        remedy = 'none of ours does; name other weights, or "" to start from scratch'
    else:
        how = "(x - 127) / 128 is near enough: " if fits.endswith("+efficientnet-lite") else ""
        remedy = f"{how}set model.changes.preprocessing to {fits!r}"
    raise BadInput(
        f"{path}: weights of {known[0]} take photos of 0..1 less a mean of {mean}, over a standard "
        f"deviation of {std}, and preprocessing {config.preprocessing!r} does not give them so; "
        f"{remedy}. (A config.json beside the file, as timm's hub has it, says otherwise.)"
    )


def _near(one: Sequence[np.ndarray], two: Sequence[np.ndarray]) -> bool:
    """Whether two (mean, standard deviation) [3] of 0..255 are the same to a hundredth of 0..1."""
    return all(np.abs(a - b).max() < 2.55 for a, b in zip(one, two))


def _sv(model: GAIR, path: Path) -> Fitted:
    """A timm model's weights without its classifier; a ViT's sizes are compared by name first."""
    tower, c = model.sv.tower, model.config
    content, source = read(path)
    content = efficientnet_names(content, tower)
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
    return Fitted(
        _checked(model, "sv", named, ("dense.", "side."), f"{source}: {what}"), len(unused)
    )


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


FIT = {"rs": _rs, "sv": _sv, "location": _location}
