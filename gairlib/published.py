"""A published GAIR checkpoint (github zpl99/GAIR) in our model, strictly by name and shape.

All sizes are inferred from the tensors, except the numbers of attention heads, which leave no
trace in them. Our model keeps the same parameters under timm's names: the table below is the
whole conversion, with query, key and value joined for timm's `qkv`. The loaded model reads
"bilinear" and "bicubic" with zero padding and rounds token centres to float32, as the published
code does, and asks for the published preprocessing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from torch import Tensor

from gairlib.config import GAIRConfig
from gairlib.errors import BadInput
from gairlib.origins import GAIR_PUBLISHED, Origin
from gairlib.tensor_files import check, count, read, shape, unwrap

RS, SV, LOC = "rs_encoder.s2_encoder", "sv_encoder", "location_encoder"
WHAT = "a published GAIR checkpoint"
BANDS = 10
TELLING = (  # tensors by which it is known behind a prefix
    f"{RS}.linear_input.weight",
    f"{SV}.embeddings.cls_token",
    f"{SV}.embeddings.position_embeddings",
    f"{LOC}.LocEnc0.capsule.0.b",
    "imnet.weight",
)
# Left over from pretraining, tensors or modules: the published inference code does not use these
# either.
UNUSED = (
    "nerf_fn",
    "query_feature",
    "rs_patch_pos_encoding",
    "queue_for_location",
    "queue_ptr_location",
    "radar_proj",
    "optical_proj",
    "location_proj",
    "logit_scale",
    "rs_encoder.layer_norm",
    "rs_encoder.head",
)


class Model(Protocol):
    """What is asked of gairlib.model.GAIR, whose class is handed in: it is built on this module."""

    def __init__(self, config: GAIRConfig) -> None: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def eval(self) -> Self: ...


M = TypeVar("M", bound=Model)


def load(
    build: type[M], weights: str | Path | Mapping[str, Any], rs_heads: int = 16, sv_heads: int = 12
) -> M:
    """What gairlib.weights.official.load_official says, of a file or a state dict."""
    content, source = read(weights)
    state, beside = unwrap(content, source, WHAT, TELLING)
    config = infer_config(state, rs_heads, sv_heads, source)
    model = build(config)
    own = model.state_dict()
    table = _table(config)
    used = {k: v for k, v in state.items() if k in table or not _unused(k)}
    check(used, {name: _shape(own, slot) for name, slot in table.items()}, source, WHAT)
    for name, slot in table.items():
        target = own[slot.name]  # state_dict shares memory with the model
        (target if slot.part is None else target.chunk(slot.parts)[slot.part]).copy_(
            state[name].reshape(_shape(own, slot))
        )
    model.unused_tensors = sorted([*beside, *(k for k in state if k not in table)])
    model.origins = (Origin("model", source, *GAIR_PUBLISHED),)
    return model.eval()


class _Slot(NamedTuple):
    """Where a published tensor goes: our tensor, or one of equal parts along its first axis."""

    name: str
    part: int | None = None
    parts: int = 1


def _table(config: GAIRConfig) -> dict[str, _Slot]:
    """Published name -> our slot, for every tensor that inference uses."""
    table: dict[str, _Slot] = {}

    def both(theirs: str, ours: str, part: int | None = None, parts: int = 1) -> None:
        for kind in ("weight", "bias"):
            table[f"{theirs}.{kind}"] = _Slot(f"{ours}.{kind}", part, parts)

    both(f"{RS}.linear_input", "rs.embed")
    for i in range(config.rs_depth):
        theirs, ours = f"{RS}.transformer.layers.{i}", f"rs.blocks.{i}"
        both(f"{theirs}.0.input_norm", f"{ours}.norm1")
        table[f"{theirs}.0.to_qkv.weight"] = _Slot(f"{ours}.attn.qkv.weight")
        both(f"{theirs}.0.to_out", f"{ours}.attn.proj")
        both(f"{theirs}.1.input_norm", f"{ours}.norm2")
        both(f"{theirs}.1.net.0", f"{ours}.mlp.fc1")
        both(f"{theirs}.1.net.3", f"{ours}.mlp.fc2")

    table[f"{SV}.embeddings.cls_token"] = _Slot("sv.tower.cls_token")
    table[f"{SV}.embeddings.position_embeddings"] = _Slot("sv.tower.pos_embed")
    both(f"{SV}.embeddings.patch_embeddings.projection", "sv.tower.patch_embed.proj")
    for i in range(config.sv_options["depth"]):
        theirs, ours = f"{SV}.encoder.layer.{i}", f"sv.tower.blocks.{i}"
        both(f"{theirs}.layernorm_before", f"{ours}.norm1")
        for part, kind in enumerate(("query", "key", "value")):
            both(f"{theirs}.attention.attention.{kind}", f"{ours}.attn.qkv", part, 3)
        both(f"{theirs}.attention.output.dense", f"{ours}.attn.proj")
        both(f"{theirs}.layernorm_after", f"{ours}.norm2")
        both(f"{theirs}.intermediate.dense", f"{ours}.mlp.fc1")
        both(f"{theirs}.output.dense", f"{ours}.mlp.fc2")
    both(f"{SV}.layernorm", "sv.tower.norm")
    both(f"{SV}.pooler.dense", "sv.dense")

    scales = len(config.location_options["sigmas"])
    for k in range(scales):
        theirs, ours = f"{LOC}.LocEnc{k}", f"location.nets.{k}"
        table[f"{theirs}.capsule.0.b"] = _Slot("location.frequencies", k, scales)
        for layer, name in enumerate(("capsule.1", "capsule.3", "capsule.5", "head.0")):
            both(f"{theirs}.{name}", f"{ours}.{2 * layer}")

    both("imnet", "field.linear")
    return table


def infer_config(
    state: Mapping[str, Tensor], rs_heads: int, sv_heads: int, source: str = "state dict"
) -> GAIRConfig:
    """The configuration that a published state dict (prefixes taken off) was made with."""

    def axes(name: str, number: int) -> list[int]:
        return shape(state, name, number, source, WHAT)

    def depth(prefix: str) -> int:
        return max(1, count(state, prefix))  # without any, the first one's tensors are missing

    dim, values = axes(f"{RS}.linear_input.weight", 2)
    patch = math.isqrt(values // BANDS)
    if BANDS * patch**2 != values or not patch:
        raise BadInput(
            f"{source}: tensor {RS}.linear_input.weight takes {values} values, which is no square "
            f"patch of {BANDS} bands."
        )
    # With ALiBi the grid's size leaves no trace but in an unused tensor; published 12 x 12.
    tokens = state.get("rs_patch_pos_encoding")
    side = 12
    if tokens is not None:
        side = math.isqrt(axes("rs_patch_pos_encoding", 3)[1])
        if not side or side**2 != tokens.shape[1]:
            raise BadInput(
                f"{source}: tensor rs_patch_pos_encoding is {list(tokens.shape)}; its second axis "
                "must be a square number of tokens."
            )

    sv_width, _, sv_patch, _ = axes(f"{SV}.embeddings.patch_embeddings.projection.weight", 4)
    sv_side = math.isqrt(axes(f"{SV}.embeddings.position_embeddings", 3)[1] - 1)
    sv_hidden = axes(f"{SV}.encoder.layer.0.intermediate.dense.weight", 2)[0]
    for name, heads, width in (("sv_heads", sv_heads, sv_width), ("rs_heads", rs_heads, dim)):
        if heads < 1 or width % heads:
            raise BadInput(f"{name} {heads} does not divide the encoder's width {width}.")

    features = axes(f"{LOC}.LocEnc0.capsule.0.b", 2)[0]
    hidden = axes(f"{LOC}.LocEnc0.capsule.1.weight", 2)[0]
    scales = depth(f"{LOC}.LocEnc")
    return GAIRConfig(
        dim=dim,
        rs_bands=BANDS,
        rs_size=side * patch,
        rs_patch=patch,
        rs_depth=depth(f"{RS}.transformer.layers."),
        rs_heads=rs_heads,
        rs_final_norm=False,
        sv_model="vit_base_patch16_224",
        sv_options={
            "img_size": sv_side * sv_patch,
            "patch_size": sv_patch,
            "embed_dim": sv_width,
            "depth": depth(f"{SV}.encoder.layer."),
            "num_heads": sv_heads,
            "mlp_ratio": sv_hidden / sv_width,
        },
        sv_size=sv_side * sv_patch,
        sv_pooler="tanh",
        sv_norm_eps=1e-12,
        location="rff",
        # The frequencies themselves are in the checkpoint; sigma has no further use.
        location_options={
            "sigmas": [16.0**k for k in range(scales)],
            "features": features,
            "hidden": hidden,
        },
        query_mode="nili",
        decoder="linear",
        interpolation_padding="zeros",
        float32_centres=True,
        learn_temperature=False,
        preprocessing="published",
    )


def _shape(own: Mapping[str, Tensor], slot: _Slot) -> tuple[int, ...]:
    first, *rest = own[slot.name].shape or (1,)
    if slot.name == "location.frequencies":
        return tuple(rest)  # one scale of [S, F, 2]
    return (first // slot.parts, *rest)


def _unused(name: str) -> bool:
    """Whether a tensor is one of UNUSED or lies in such a module."""
    return any(name == part or name.startswith(part + ".") for part in UNUSED)
