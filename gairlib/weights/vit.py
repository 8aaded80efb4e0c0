"""CROMA's optical encoder as our RS encoder, and timm's ViTs as our SV encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

from torch import Tensor

from gairlib import devices
from gairlib.bands import LAYOUTS
from gairlib.errors import BadInput
from gairlib.hub import Where
from gairlib.rs.vit import RSEncoder
from gairlib.sv import SVEncoder
from gairlib.tensor_files import Weights, both, check, count, file_of, read, shape, unwrap
from gairlib.weights.timm_models import FILES

CROMA_BANDS = 12  # B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12: L2A, without B10


def load_croma(
    weights: Weights,
    bands: int = 10,
    fill: float = 0.5,
    size: int = 120,
    heads: int = 16,
    *,
    device: str = "cpu",
    **where: Unpack[Where],
) -> RSEncoder:
    """CROMA's optical encoder: chips [B, bands, H, W] -> Features, float32, in eval mode.

    Source: antofuller/CROMA (MIT licence), CROMA_base.pt and CROMA_large.pt; Fuller et al.,
    NeurIPS 2023 (arXiv 2311.00566). The published file (a dict of state dicts, the optical encoder
    under "s2_encoder"), the whole module's state dict, or the encoder's alone. A ViT of patch 8
    with 2D-ALiBi and **a final layer norm** (GAIR's RS encoder has the same layout without one);
    `heads` (16, base and large) leave no trace in the tensors. Trained at `size` 120 px; other
    multiples of 8 run too. Its pooled vector is our token mean: the file's feed-forward layer on
    top of that (s2_GAP_FFN) is not used, and is listed in `unused_tensors` with the rest.

    Inputs: the published scale, (x - (m - 2s)) / 4s clipped to 0..1, with m and s of each band over
    a batch of images; the "published" preprocessing is the same with fixed m and s.

    bands=12: exactly the published encoder, in its band order. bands=10: for our ten, the patch
    projection's columns of B01 and B09 are dropped, and these two bands are taken to be `fill`
    everywhere, which goes into the projection's bias (its dropped columns' sum times `fill`): 0.5
    is the mean of a band in the published scale, 0 leaves the bias as it is. All other tensors stay
    as they are. So the result is the 12-band encoder on images whose B01 and B09 are `fill`.
    """
    what = "CROMA's optical encoder"
    if bands not in (10, CROMA_BANDS):
        raise BadInput(f"bands {bands!r}: CROMA's optical encoder is read with 10 or 12.")
    content, source = read(file_of(weights, "CROMA_base.pt", "CROMA_large.pt", **where))
    others = ["s1_encoder.", "s1_GAP_FFN.", "s2_GAP_FFN.", "joint_encoder."]  # the published file
    others += ["GAP_FFN_s1.", "GAP_FFN_s2.", "cross_encoder.", "attn_bias"]  # the whole module
    expected = ["linear_input.weight", "linear_input.bias", "transformer.norm_out.weight"]
    state, unused = unwrap(content, source, what, expected, "s2_encoder.", others, others)
    width, values = shape(state, "linear_input.weight", 2, source, what)
    patch = math.isqrt(values // CROMA_BANDS)
    if CROMA_BANDS * patch**2 != values or width % heads or size % max(patch, 1):
        raise BadInput(
            f"{source}: not {what}: linear_input.weight is {[width, values]}; 12 bands times a "
            f"square patch are needed, a width that divides by heads = {heads}, and a size ({size} "
            "px) that divides by the patch."
        )
    depth = count(state, "transformer.layers.")
    table = {"linear_input": ("embed", (width, values)), "transformer.norm_out": ("norm", (width,))}
    for i in range(depth):
        theirs, ours = f"transformer.layers.{i}", f"blocks.{i}"
        table |= {
            f"{theirs}.0.input_norm": (f"{ours}.norm1", (width,)),
            f"{theirs}.0.to_qkv": (f"{ours}.attn.qkv", (3 * width, width)),
            f"{theirs}.0.to_out": (f"{ours}.attn.proj", (width, width)),
            f"{theirs}.1.input_norm": (f"{ours}.norm2", (width,)),
            f"{theirs}.1.net.0": (f"{ours}.mlp.fc1", (4 * width, width)),
            f"{theirs}.1.net.3": (f"{ours}.mlp.fc2", (width, 4 * width)),
        }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (_, dims) in table.items():
        shapes |= both(name, *dims, bias=not name.endswith("to_qkv"))
    check(state, shapes, source, what)

    renamed = {}
    for name, (ours, _) in table.items():
        renamed |= {
            f"{ours}.{k}": state[f"{name}.{k}"]
            for k in ("weight", "bias")
            if f"{name}.{k}" in shapes
        }
    if bands == 10:
        renamed["embed.weight"], renamed["embed.bias"] = _ten_bands(
            renamed["embed.weight"], renamed["embed.bias"], fill
        )
    encoder = RSEncoder(
        width, bands=bands, size=size, patch=patch, depth=depth, heads=heads, final_norm=True
    )
    encoder.load_state_dict(renamed)
    encoder.unused_tensors = unused
    return encoder.eval().to(devices.find(device))


def _ten_bands(weight: Tensor, bias: Tensor, fill: float) -> tuple[Tensor, Tensor]:
    """A 12-band patch projection [D, 12 p p] for our ten bands, the other two held at `fill`."""
    ours = [i - 1 for i in LAYOUTS["l2a-12"][0]]
    theirs = [i for i in range(CROMA_BANDS) if i not in ours]
    by_band = weight.unflatten(1, (CROMA_BANDS, -1))  # columns are (band, row, column)
    constant = by_band[:, theirs].double().sum((1, 2)) * fill
    return by_band[:, ours].flatten(1), (bias.double() + constant).to(bias.dtype)


HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}  # ViT-Ti, S, B, L, H


def load_timm_vit(
    weights: Weights,
    dim: int,
    *,
    heads: int | None = None,
    pooler: str = "linear",
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
    **where: Unpack[Where],
) -> SVEncoder:
    """A ViT of timm's (VisionTransformer) as our SV encoder: photos [B, 3, H, W] -> [B, dim].

    Source: huggingface/pytorch-image-models (code under Apache 2.0; each model's weights have a
    licence of their own, on its hub page): model.safetensors or pytorch_model.bin of a "vit_*"
    model. Sizes are inferred from the tensors: patch, image size, width, depth, MLP ratio, class
    and register tokens, qkv bias and norm, layer scale, pre-norm, and average pooling (fc_norm, or
    no class token). What leaves no trace in them: the number of heads (`heads`; by default that of
    ViT-Ti, S, B, L and H by width), and the activation and norm's epsilon, timm's own unless
    `options` (for timm.create_model) say otherwise, as models in CLIP's layout need.

    The tower is exact; a classifier ("head.") is dropped and listed in `unused_tensors`. The
    projection from the tower's width to `dim` is new (`encoder.dense`, random until trained).
    Inputs must be in the scale the weights were trained with (timm's data config).
    """
    what = "a ViT of timm's"
    content, source = read(file_of(weights, *FILES, **where))
    expected = ["patch_embed.proj.weight", "pos_embed", "cls_token", "blocks.0.mlp.fc1.weight"]
    state, unused = unwrap(content, source, what, expected, dropped=["head."])
    inferred = timm_vit_options(state, heads, source)
    encoder = SVEncoder(
        dim, model="vit_base_patch16_224", options={**inferred, **(options or {})}, pooler=pooler
    )
    own = encoder.tower.state_dict()
    check(state, {k: tuple(v.shape) for k, v in own.items()}, source, what)
    encoder.tower.load_state_dict(state)
    encoder.unused_tensors = unused
    return encoder.eval().to(devices.find(device))


def timm_vit_options(
    state: Mapping[str, Tensor], heads: int | None = None, source: str = "state dict"
) -> dict[str, Any]:
    """Options for timm.create_model("vit_base_patch16_224", ...), to put in `config.sv_options`."""
    what = "a ViT of timm's"
    width, channels, patch, across = shape(state, "patch_embed.proj.weight", 4, source, what)
    if channels != 3 or patch != across:
        raise BadInput(
            f"{source}: patch_embed.proj.weight is {list(state['patch_embed.proj.weight'].shape)}; "
            "3 channels and square patches are needed."
        )
    heads = heads or HEADS.get(width)
    if not heads or width % heads:
        raise BadInput(
            f"{source}: width {width} with heads {heads}: give heads=, a divisor of the width; "
            "the tensors do not tell."
        )
    tokens = {
        k: shape(state, k, 3, source, what)[1] for k in ("cls_token", "reg_token") if k in state
    }
    prefix = sum(tokens.values())
    places = shape(state, "pos_embed", 3, source, what)[1]
    apart = math.isqrt(max(places - prefix, 0)) ** 2 != places - prefix
    side = math.isqrt(places if apart else places - prefix)
    if apart and side**2 != places:
        raise BadInput(f"{source}: pos_embed has {places} places, which is no square grid.")
    hidden = shape(state, "blocks.0.mlp.fc1.weight", 2, source, what)[0]
    average = "cls_token" not in state or "fc_norm.weight" in state
    return {
        "img_size": side * patch,
        "patch_size": patch,
        "embed_dim": width,
        "depth": count(state, "blocks."),
        "num_heads": heads,
        "mlp_ratio": hidden / width,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "qk_norm": "blocks.0.attn.q_norm.weight" in state,
        "init_values": 1.0 if "blocks.0.ls1.gamma" in state else None,
        "class_token": "cls_token" in state,
        "reg_tokens": tokens.get("reg_token", 0),
        "no_embed_class": bool(apart and prefix),
        "pre_norm": "norm_pre.weight" in state,
        "global_pool": "avg" if average else "token",
        "fc_norm": "fc_norm.weight" in state,
    }
