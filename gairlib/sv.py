"""SV encoder: any timm model over street-level photos, pooled and projected to D.

A second model may stand beside the first (`side`): its features are joined to the first one's, and
the projection reads both. That is side-tuning (Zhang et al., ECCV 2020, arXiv 1912.13503): a tower
whose weights are known and held keeps all that it can do, and a small net beside it learns what it
lacks. In the form here nothing is added up, so that neither has to have the other's width; and in
training the first model's features are taken away from some photos at random (as views are in
ModDrop, Neverova et al. 2016, arXiv 1501.00102), or the second would learn only what is left to
learn: half of what it knows alone, on the sample's validation sites (docs/log).

Published form (GAIR section 3.2): ViT-B/16 at 224 px, class token through a final layer norm, one
dense layer and tanh (the pooler of Hugging Face's ViTModel). tanh keeps every value within +-1,
which costs contrast in a space that is compared by cosine; ours is linear by default.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gairlib.errors import BadInput

# Convolutions are up to twice as fast on this layout; the values are the same to rounding, and the
# weights stay as they are saved.
_LAYOUT = torch.channels_last
# Options of timm.create_model that read or fetch weights
OUTWARD = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}


class SVEncoder(nn.Module):
    """Photos [B, 3, H, W], preprocessed -> [B, D].

    `model` and `options` go to timm.create_model (never with pretrained weights: nothing here
    reaches the network), and so do `side` and `side_options`, "" for none; side_alone: share of
    the photos of a training step for which it stands alone. `backbone(images)` gives timm's own
    pooled features, those of `model` first where there are two.
    """

    def __init__(
        self,
        dim: int,
        *,
        model: str = "vit_tiny_patch16_224",
        options: dict[str, Any] | None = None,
        side: str = "",
        side_options: dict[str, Any] | None = None,
        side_alone: float = 0.0,
        pooler: str = "linear",
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.tower = _create("sv_model", model, options)
        self.side = _create("sv_side", side, side_options) if side else None
        self.side_alone = side_alone
        if norm_eps is not None:
            for module in self.tower.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = norm_eps
        self.width = width(self.tower) + (width(self.side) if self.side is not None else 0)
        self.dense = nn.Linear(self.width, dim)
        self.activation = nn.Tanh() if pooler == "tanh" else nn.Identity()

    def backbone(
        self, images: Float[Tensor, "b 3 H W"], known: Float[Tensor, "b w"] | None = None
    ) -> Float[Tensor, "b width"]:
        """The pooled features, before the projection. known: what `base` makes of the images, where
        that was computed before."""
        own = self.base(images) if known is None else known
        if self.side is None:
            return own
        if self.training:
            own = own * (torch.rand(len(own), 1, device=own.device) >= self.side_alone)
        else:  # their mean in training
            own = own * (1 - self.side_alone)
        return torch.cat((own, self.side(images.contiguous(memory_format=_LAYOUT))), 1)

    def base(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b w"]:
        """The features of `model` alone."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise BadInput(f"SV images: shape {list(images.shape)}, but [B, 3, H, W] is needed.")
        embed = getattr(self.tower, "patch_embed", None)
        size = getattr(embed, "img_size", None)
        if size and getattr(embed, "strict_img_size", True) and tuple(size) != images.shape[2:]:
            raise BadInput(
                f"SV images: {images.shape[2]} x {images.shape[3]} pixels, but this tower takes "
                f"{size[0]} x {size[1]}; resize with gairlib.preprocess."
            )
        return self.tower(images.contiguous(memory_format=_LAYOUT))

    def forward(
        self, images: Float[Tensor, "b 3 H W"], known: Float[Tensor, "b w"] | None = None
    ) -> Float[Tensor, "b d"]:
        return self.activation(self.dense(self.backbone(images, known)))


def _create(field: str, model: str, options: dict[str, Any] | None) -> nn.Module:
    """timm's model of a field of the config, without a classifier and without weights. A config
    comes with weights of others: no name or option in it reaches a hub, or a file."""
    if not timm.is_model(str(model).split(".")[0]):
        raise BadInput(
            f"{field} {model!r}: timm has no model of that name; its plain names alone are taken "
            "(vit_tiny_patch16_224), no address of a hub or folder"
        )
    if odd := sorted(OUTWARD & set(options or {})):
        raise BadInput(f"{field} {model!r}: the option {odd[0]} is not taken; remove it")
    try:
        return timm.create_model(model, pretrained=False, num_classes=0, **(options or {}))
    except (RuntimeError, TypeError, AssertionError) as error:
        raise BadInput(f"{field} {model!r} with {options or {}}: timm says: {error}") from None


def width(net: nn.Module) -> int:
    """Of what a net returns without a classifier (some have a hidden head layer)."""
    return getattr(net, "head_hidden_size", None) or net.num_features
