"""From digital numbers and 8-bit photos to what the encoders take; chosen by name in the config.

- "published": exactly the published form (spec section 2): RS clipped to m +- 2s, truncated to
  8 bits, bicubic; SV standardised on 0-255 pixels, squashed bicubic; no antialiasing, overshoot
  kept.
- "gairlib": RS standardised with the same m and s, soft-limited at +-4 (clouds and roofs keep
  their order where the published clip makes them all 1; no 8-bit steps); photos with the ImageNet
  mean and standard deviation, resized with antialiasing.

Digital numbers are reflectance x 10000 without the +1000 of processing baseline 04.00 and later
(gairlib.scenes removes it), nodata 0, bands B02 B03 B04 B05 B06 B07 B08 B8A B11 B12.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gairlib.errors import BadInput
from gairlib.geo import checkable

# Mean m and standard deviation s of each band, in digital numbers, as published
RS_MEAN = (1172.9397, 1378.0846, 1509.3327, 1750.0275, 2073.2758)
RS_MEAN += (2207.3283, 2245.1629, 2284.6384, 2231.7283, 1899.1932)
RS_STD = (706.6250, 720.1862, 783.1424, 707.1962, 714.2782)
RS_STD += (748.1827, 852.3585, 762.0849, 690.0165, 669.9036)
SV_MEAN = (135.47184384, 142.28621995, 145.12271992)
SV_STD = (59.19978436, 59.35279219, 72.02295734)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SOFT_LIMIT = 4.0  # standard deviations


def check_dn(dn: Any, bands: int = 10) -> Tensor:
    """Digital numbers [B, bands, H, W] as a tensor; mistakes of shape and scale raise BadInput.

    Values are looked at on the CPU only: not finite, negative, above 16 bits, or so small that
    they must be reflectance (0..1).
    """
    x = torch.as_tensor(dn)
    if x.ndim != 4 or x.shape[1] != bands:
        raise BadInput(
            f"RS chips: shape {list(x.shape)}, but [B, {bands}, H, W] digital numbers are needed."
        )
    if x.dtype == torch.uint8:
        raise BadInput(
            "RS chips: 8-bit values, but digital numbers (reflectance x 10000) are needed; "
            "gairlib.bands.from_rgb rescales 8-bit images."
        )
    if not x.is_floating_point():
        return x if x.dtype == torch.uint16 else _check_range(x)
    return _check_range(x)


def _check_range(x: Tensor) -> Tensor:
    if not checkable(x) or not x.numel():
        return x
    low, high = (float(v) for v in x.aminmax())
    if not (low >= 0 and high <= 65535):  # also catches NaN
        raise BadInput(
            f"RS chips: values from {low:g} to {high:g}; digital numbers lie in 0..65535 with "
            "nodata 0 (normalised or offset data? give the harmonised digital numbers)."
        )
    if 0 < high <= 2 and x.is_floating_point():
        raise BadInput(
            f"RS chips: the largest value is {high:g}, which looks like reflectance in 0..1; "
            "multiply by 10000 to get digital numbers."
        )
    return x


def check_rgb(rgb: Any) -> Tensor:
    """Photos [B, 3, H, W] or [B, H, W, 3], values 0..255 -> a tensor [B, 3, H, W]."""
    x = torch.as_tensor(rgb)
    if x.ndim == 4 and x.shape[1] != 3 and x.shape[-1] == 3:
        x = x.permute(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] != 3:
        raise BadInput(
            f"photos: shape {list(x.shape)}, but [B, 3, H, W] or [B, H, W, 3] is needed."
        )
    if x.is_floating_point() and checkable(x) and x.numel():
        low, high = (float(v) for v in x.aminmax())
        if not (low >= 0 and high <= 255) or 0 < high <= 1:
            raise BadInput(
                f"photos: values from {low:g} to {high:g}; pixels in 0..255 are needed (multiply "
                "photos in 0..1 by 255)."
            )
    return x


def _constants(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).to(like)[:, None, None]


def _resize(x: Tensor, size: int, mode: str, antialias: bool = False) -> Tensor:
    if x.shape[-2:] == (size, size):
        return x
    if not x.shape[0]:
        return x.new_empty(0, x.shape[1], size, size)
    return F.interpolate(x, (size, size), mode=mode, align_corners=False, antialias=antialias)


class Published:
    """The published normalisation, exactly. RS values in 0..1 in steps of 1/255 before resizing."""

    name = "published"

    def rs(self, dn: Any, size: int) -> Float[Tensor, "b 10 size size"]:
        """Digital numbers [B, 10, H, W] -> float32 [B, 10, size, size]."""
        x = check_dn(dn).to(torch.float64)  # the truncation sees rounding of the last digit
        m, s = _constants(RS_MEAN, x), _constants(RS_STD, x)
        x = ((x - (m - 2 * s)) / (4 * s)).clamp(0, 1)
        return _resize((x * 255).trunc().float() / 255, size, "bicubic")

    def sv(self, rgb: Any, size: int) -> Float[Tensor, "b 3 size size"]:
        """Photos, 0..255 -> float32 [B, 3, size, size], squashed to a square."""
        x = check_rgb(rgb).float()
        x = (x - _constants(SV_MEAN, x)) / _constants(SV_STD, x)
        return _resize(x, size, "bicubic")


class Ours:
    """Standardised reflectance within +-4, ImageNet-standardised photos."""

    name = "gairlib"

    def rs(self, dn: Any, size: int) -> Float[Tensor, "b 10 size size"]:
        """Digital numbers [B, 10, H, W] -> float32 [B, 10, size, size]."""
        x = check_dn(dn).float()
        z = (x - _constants(RS_MEAN, x)) / _constants(RS_STD, x)
        z = z / (1 + (z / SOFT_LIMIT) ** 2).sqrt()
        shrink = size < min(x.shape[-2:])
        return _resize(z, size, "bilinear", antialias=shrink)

    def sv(self, rgb: Any, size: int) -> Float[Tensor, "b 3 size size"]:
        """Photos, 0..255 -> float32 [B, 3, size, size], squashed to a square."""
        x = check_rgb(rgb).float()
        x = _resize(x, size, "bicubic", antialias=True).clamp(0, 255) / 255
        return (x - _constants(IMAGENET_MEAN, x)) / _constants(IMAGENET_STD, x)


_REGISTRY = {"gairlib": Ours, "published": Published}


def names() -> list[str]:
    """Names that `get` knows."""
    return sorted(_REGISTRY)


def get(name: str) -> Published | Ours:
    """The preprocessing of that name: `.rs(dn, size)` and `.sv(rgb, size)`."""
    if name not in _REGISTRY:
        raise BadInput(f"preprocessing {name!r} is not one of {', '.join(names())}.")
    return _REGISTRY[name]()
