"""Read a published GAIR checkpoint (github zpl99/GAIR) into our model, strictly by name and shape.

All sizes are inferred from the tensors, except the numbers of attention heads, which leave no
trace in them. Our model keeps the same parameters under timm's names: the table below is the
whole conversion, with query, key and value joined for timm's `qkv`. The loaded model reads
"bilinear" and "bicubic" with zero padding and rounds token centres to float32, as the published
code does, and asks for the published preprocessing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gairlib.config import GAIRConfig
from gairlib.errors import BadInput, Missing
from gairlib.model import GAIR

RS, SV, LOC = "rs_encoder.s2_encoder", "sv_encoder", "location_encoder"
BANDS = 10
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


def load_official(
    weights: str | Path | Mapping[str, Any], rs_heads: int = 16, sv_heads: int = 12
) -> GAIR:
    """A published checkpoint -> GAIR in eval mode, float32.

    weights: a .safetensors file, a .pth file (read with weights_only) or a state dict; a "model"
    wrapper and "module." prefixes are taken off. rs_heads, sv_heads: attention heads, which leave
    no trace in the tensors. Missing, unknown, misshapen and whole-number tensors raise BadInput by
    name; those that inference does not use are allowed and listed in `model.unused_tensors`.
    """
    state, source = _state(weights)
    config = infer_config(state, rs_heads, sv_heads, source)
    model = GAIR(config)
    own = model.state_dict()
    table = _table(config)
    _check(state, own, table, source)
    for name, slot in table.items():
        target = own[slot.name]  # state_dict shares memory with the model
        (target if slot.part is None else target.chunk(slot.parts)[slot.part]).copy_(
            state[name].reshape(_shape(own, slot))
        )
    model.unused_tensors = sorted(k for k in state if k not in table)
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

    def shape(name: str, axes: int) -> list[int]:
        if name not in state:
            raise BadInput(f"{source}: tensor {name} is missing; is this a GAIR checkpoint?")
        if state[name].ndim != axes:
            raise BadInput(
                f"{source}: tensor {name} is {list(state[name].shape)}, {axes} axes are needed."
            )
        return list(state[name].shape)

    def count(prefix: str) -> int:
        """Numbers after the prefix; a gap shows up later as missing tensors."""
        found = {k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)}
        return 1 + max((int(n) for n in found if n.isdigit()), default=0)

    dim, values = shape(f"{RS}.linear_input.weight", 2)
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
        side = math.isqrt(shape("rs_patch_pos_encoding", 3)[1])
        if not side or side**2 != tokens.shape[1]:
            raise BadInput(
                f"{source}: tensor rs_patch_pos_encoding is {list(tokens.shape)}; its second axis "
                "must be a square number of tokens."
            )

    sv_width, _, sv_patch, _ = shape(f"{SV}.embeddings.patch_embeddings.projection.weight", 4)
    sv_side = math.isqrt(shape(f"{SV}.embeddings.position_embeddings", 3)[1] - 1)
    sv_hidden = shape(f"{SV}.encoder.layer.0.intermediate.dense.weight", 2)[0]
    for name, heads, width in (("sv_heads", sv_heads, sv_width), ("rs_heads", rs_heads, dim)):
        if heads < 1 or width % heads:
            raise BadInput(f"{name} {heads} does not divide the encoder's width {width}.")

    features = shape(f"{LOC}.LocEnc0.capsule.0.b", 2)[0]
    hidden = shape(f"{LOC}.LocEnc0.capsule.1.weight", 2)[0]
    scales = count(f"{LOC}.LocEnc")
    return GAIRConfig(
        dim=dim,
        rs_bands=BANDS,
        rs_size=side * patch,
        rs_patch=patch,
        rs_depth=count(f"{RS}.transformer.layers."),
        rs_heads=rs_heads,
        rs_final_norm=False,
        sv_model="vit_base_patch16_224",
        sv_options={
            "img_size": sv_side * sv_patch,
            "patch_size": sv_patch,
            "embed_dim": sv_width,
            "depth": count(f"{SV}.encoder.layer."),
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


def _check(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], table: dict[str, _Slot], source: str
) -> None:
    faults = [f"{k} is missing" for k in table if k not in state]
    faults += [f"{k} is unknown" for k in state if k not in table and not _unused(k)]
    for k in (k for k in table if k in state):
        if tuple(state[k].shape) != _shape(own, table[k]):
            faults.append(f"{k} is {list(state[k].shape)} instead of {list(_shape(own, table[k]))}")
        elif not state[k].is_floating_point():
            faults.append(f"{k} holds {state[k].dtype}, not floating-point numbers")
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise BadInput(f"{source}: not a published GAIR checkpoint: {'; '.join(faults[:8])}{more}.")


def _unused(name: str) -> bool:
    """Whether a tensor is one of UNUSED or lies in such a module."""
    return any(name == part or name.startswith(part + ".") for part in UNUSED)


def _state(weights: str | Path | Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Tensors by published name, and what to call their source in errors."""
    source = "state dict"
    if isinstance(weights, (str, Path)):
        path, source = Path(weights), str(weights)
        if not path.is_file():
            raise Missing(f"{path}: no such checkpoint file.")
        try:
            if path.suffix == ".safetensors":
                weights = load_file(path)
            else:
                # Training scripts in the manner of MAE keep their options beside "model": a plain
                # holder of values, which runs nothing when it is read.
                with torch.serialization.safe_globals([argparse.Namespace]):
                    weights = torch.load(path, map_location="cpu", weights_only=True)
        except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
            raise BadInput(f"{path}: cannot be read as a checkpoint: {error}") from None
        except Exception as error:  # the unpickler refuses anything but tensors
            raise BadInput(
                f"{path}: refused, since it holds more than tensors ({type(error).__name__}); "
                "save its state dict alone, best as .safetensors."
            ) from None
    if isinstance(weights, Mapping) and isinstance(weights.get("model"), Mapping):
        weights = weights["model"]
    if not isinstance(weights, Mapping) or not weights:
        raise BadInput(f"{source}: holds no state dict.")
    state: dict[str, Any] = {}
    for key, value in weights.items():
        name = str(key).removeprefix("module.")
        if name in state:
            raise BadInput(f"{source}: {name} stands there twice, with and without 'module.'.")
        state[name] = value
    if wrong := [k for k, v in state.items() if not isinstance(v, Tensor)]:
        raise BadInput(f"{source}: {wrong[0]} is no tensor; give the model's state dict.")
    return state, source
