"""SV encoder: any timm model over street-level photos, pooled and projected to D.

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


class SVEncoder(nn.Module):
    """Photos [B, 3, H, W], preprocessed -> [B, D].

    `model` and `options` go to timm.create_model (never with pretrained weights: nothing here
    reaches the network); `backbone(images)` gives timm's own pooled features.
    """

    def __init__(
        self,
        dim: int,
        *,
        model: str = "vit_tiny_patch16_224",
        options: dict[str, Any] | None = None,
        pooler: str = "linear",
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        try:
            self.tower = timm.create_model(
                model, pretrained=False, num_classes=0, **(options or {})
            )
        except (RuntimeError, TypeError, AssertionError) as error:
            raise BadInput(f"sv_model {model!r} with {options or {}}: timm says: {error}") from None
        if norm_eps is not None:
            for module in self.tower.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = norm_eps
        # Width of what the tower returns without a classifier (some have a hidden head layer).
        self.width = getattr(self.tower, "head_hidden_size", None) or self.tower.num_features
        self.dense = nn.Linear(self.width, dim)
        self.activation = nn.Tanh() if pooler == "tanh" else nn.Identity()

    def backbone(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b width"]:
        """The tower's pooled features, before the projection."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise BadInput(f"SV images: shape {list(images.shape)}, but [B, 3, H, W] is needed.")
        embed = getattr(self.tower, "patch_embed", None)
        size = getattr(embed, "img_size", None)
        if size and getattr(embed, "strict_img_size", True) and tuple(size) != images.shape[2:]:
            raise BadInput(
                f"SV images: {images.shape[2]} x {images.shape[3]} pixels, but this tower takes "
                f"{size[0]} x {size[1]}; resize with gairlib.preprocess."
            )
        # Convolutions are up to twice as fast on this layout; the values
        # are the same to rounding, and the weights stay as they are saved.
        return self.tower(images.contiguous(memory_format=torch.channels_last))

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]:
        return self.activation(self.dense(self.backbone(images)))
