"""From digital numbers and 8-bit photos to what the encoders take; chosen by name in the config.

- "published": exactly what the published code does: RS clipped to m +- 2s, truncated to
  8 bits, bicubic; SV standardised on 0-255 pixels, squashed bicubic; no antialiasing, overshoot
  kept.
- "gairlib": RS standardised with the same m and s, soft-limited at +-4 (clouds and roofs keep
  their order where the published clip makes them all 1; no 8-bit steps); photos with the ImageNet
  mean and standard deviation, resized with antialiasing.
- "galileo": RS as Galileo was trained, (x - (m - 2s)) / 4s with its own m and s; photos as above.
- any of them with "+imagenet", "+clip" or "+efficientnet-lite": photos in the scale of such
  weights ((x - 127) / 128 for the last, which many ViTs of timm's have too), resized as ours.

All take what `RS_INPUT` says: surface reflectance (L2A) x 10000 without the +1000 of processing
baseline 04.00 and later, nodata 0, bands B02 B03 B04 B05 B06 B07 B08 B8A B11 B12. The name stands
in the config that is stored with the weights, so a model brings its own scale. Shape and scale are
judged from the numbers; a wrong order, level or offset hardly shows in them, so callers who know
say it (`bands`, `level`, `offset`, `scale`), and what does not fit is refused with the remedy.
`to_dn` is that remedy: it picks the ten bands by name and takes scale and offset off. Scenes read
through gairlib.data.scenes come out right already.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gairlib.bands import BANDS, GALILEO_MEAN, GALILEO_STD, MEAN, STD, canonical, find
from gairlib.errors import BadInput
from gairlib.geo import checkable
from gairlib.spectra import scale_of

# Photos on 0-255 pixels, as published; RS statistics are in gairlib.bands
SV_MEAN = (135.47184384, 142.28621995, 145.12271992)
SV_STD = (59.19978436, 59.35279219, 72.02295734)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SOFT_LIMIT = 4.0  # standard deviations
# What every preprocessing takes: value = reflectance x scale + offset
RS_INPUT = {"bands": BANDS, "level": "L2A", "scale": 10000.0, "offset": 0.0, "nodata": 0}
OFFSET = 1000  # DN, of processing baseline 04.00 and later
BRIGHTEST_REFLECTANCE = 10.0  # glint and clouds reach 2 to 3; no chip in DN stays below 10


def check_dn(
    dn: Any,
    *,
    bands: Sequence[str] | None = None,
    level: str | None = None,
    offset: float | None = None,
    scale: float | None = None,
    allow_l1c: bool = False,
) -> Tensor:
    """Digital numbers [B, 10, H, W] as a tensor; anything that does not fit RS_INPUT is BadInput.

    bands (names in the order of the values), level ("L2A", "L1C"), offset and scale (value =
    reflectance x scale + offset) are checked where they are given. allow_l1c: take values at the
    top of the atmosphere knowingly, for data sets that exist in no other form (EuroSAT). The values
    themselves are looked at on the CPU only: not finite, negative, above 16 bits, or so small that
    they must be reflectance are errors; where all lie above 1000, a warning says that the offset
    may be left in them.
    """
    check_declared(bands, level, offset, scale, allow_l1c)
    x = torch.as_tensor(dn)
    if x.ndim != 4 or x.shape[1] != len(BANDS):
        raise BadInput(f"RS chips: shape {list(x.shape)}, but {_shape_hint(x)}.")
    if x.dtype in (torch.uint8, torch.bool):
        raise BadInput(
            "RS chips: 8-bit values, but digital numbers (reflectance x 10000) are needed; "
            "gairlib.bands.from_rgb rescales 8-bit images."
        )
    if checkable(x) and x.numel():
        check_range(x, offset is not None)
    return x


def check_declared(
    bands: Sequence[str] | None = None,
    level: str | None = None,
    offset: float | None = None,
    scale: float | None = None,
    allow_l1c: bool = False,
) -> None:
    """Raise BadInput where a declaration (None: not said) differs from RS_INPUT."""
    if bands is not None and tuple(canonical(b) for b in bands) != BANDS:
        raise BadInput(
            f"RS chips: bands {' '.join(map(str, bands))}, but {' '.join(BANDS)} are needed in "
            "this order; gairlib.preprocess.to_dn(values, bands=[...]) picks them by name."
        )
    if scale is not None and scale != RS_INPUT["scale"]:
        raise BadInput(
            f"RS chips: reflectance x {scale:g}, but reflectance x 10000 is needed; "
            f"gairlib.preprocess.to_dn(values, scale={scale:g}) rescales."
        )
    if offset is not None and offset != RS_INPUT["offset"]:
        raise BadInput(
            f"RS chips: the offset of {offset:g} is still in the values (processing baseline 04.00 "
            f"and later); gairlib.preprocess.to_dn(values, offset={offset:g}) subtracts it, clips "
            "at 0 and leaves nodata 0."
        )
    if level is not None and str(level).upper() not in ("L2A", "L1C"):
        raise BadInput(f"RS chips: level {level!r} is unknown; it is 'L2A' or 'L1C'.")
    if level is not None and str(level).upper() == "L1C" and not allow_l1c:
        raise BadInput(
            "RS chips: level L1C (top of atmosphere), but the weights know L2A (surface "
            "reflectance); take the L2A product of the scene, or pass allow_l1c=True where there "
            "is none, knowing that blue is too bright."
        )


def _shape_hint(x: Tensor) -> str:
    """What would be right instead of this shape."""
    want = "[B, 10, H, W] digital numbers are needed"
    count = x.shape[1] if x.ndim == 4 else None
    if x.ndim == 3:
        return f"{want}; add the batch axis with x[None]"
    if count == 12:
        return f"{want}; for L2A without B10 use gairlib.preprocess.to_dn(values, layout='l2a-12')"
    if count == 13:
        return (
            f"{want}; 13 bands come in two orders, so name them, or say layout='l1c' or "
            "'eurosat-ms', in gairlib.preprocess.to_dn"
        )
    if x.ndim == 4 and count != 10 and x.shape[-1] in (10, 12, 13):
        return f"{want}; the bands are on the last axis, move them with x.permute(0, 3, 1, 2)"
    if count is not None and count < 10:
        return f"{want}; gairlib.bands.place fills the bands that a sensor lacks"
    return want


def check_range(x: Tensor, offset_known: bool = False) -> None:
    """Raise BadInput unless the values of a CPU tensor can be digital numbers, see check_dn."""
    # torch has no minimum of uint16, NumPy has a fast one
    low, high = (
        float(v)
        for v in ((x.numpy().min(), x.numpy().max()) if x.dtype == torch.uint16 else x.aminmax())
    )
    if not (low >= 0 and high <= 65535):  # also catches NaN
        raise BadInput(
            f"RS chips: values from {low:g} to {high:g}; digital numbers lie in 0..65535 with "
            "nodata 0 (normalised or offset data? give the harmonised digital numbers)."
        )
    if 0 < high <= BRIGHTEST_REFLECTANCE:
        raise BadInput(
            f"RS chips: the largest value is {high:g}, which looks like reflectance in 0..1; "
            "multiply by 10000 to get digital numbers (gairlib.preprocess.to_dn with scale=1)."
        )
    some = x.detach()[..., ::4, ::4].transpose(0, 1).reshape(len(BANDS), -1)
    scale = scale_of(some.numpy() if x.dtype == torch.uint16 else some.float().numpy())
    if high > 0 and scale is not None:
        raise BadInput(
            f"RS chips: values {scale}; digital numbers are reflectance x 10000 "
            "(gairlib.preprocess.to_dn with the scale that they have)."
        )
    # Every 16th pixel settles it for almost all chips
    if not offset_known and high >= OFFSET and _above(x[..., ::4, ::4]) and _above(x):
        warnings.warn(
            f"RS chips: every value lies above {OFFSET} DN, as if the offset of processing "
            f"baseline 04.00 were still in them; to_dn(values, offset={OFFSET}) takes it off, and "
            "offset=0 says that these places are as bright as that.",
            stacklevel=4,
        )


def _above(x: Tensor) -> bool:
    """Whether every value that is not nodata is at least OFFSET."""
    values = x.numpy() if x.dtype == torch.uint16 else x.detach()
    return bool(((values >= OFFSET) | (values == 0)).all())


def to_dn(
    values: Any,
    *,
    bands: Sequence[str] | None = None,
    layout: str | None = None,
    scale: float = 10000.0,
    offset: float = 0.0,
) -> Float[Tensor, "b 10 h w"]:
    """What RS_INPUT asks for, from what is there: float32 digital numbers [B, 10, H, W].

    values [B, C, H, W] = reflectance x scale + offset, nodata 0. bands: the C names in order ("B2",
    "B02", "B8a", "blue", ...), or layout: a name of gairlib.bands.LAYOUTS; by count alone only 10
    and 12 are taken. 0 stays 0, what falls below it becomes 0.
    """
    x = torch.as_tensor(values)
    if x.ndim != 4:
        raise BadInput(f"RS values: shape {list(x.shape)}, but [B, C, H, W] is needed.")
    if not scale > 0:
        raise BadInput(f"RS values: scale {scale!r}, but it is what reflectance 1 is stored as.")
    if bands is not None and len(bands) != x.shape[1]:
        raise BadInput(f"RS values: {x.shape[1]} bands, but {len(bands)} band names.")
    names = [None] * x.shape[1] if bands is None else list(bands)
    _, positions, _ = find(names, layout, "RS values")
    # uint16 has no subtraction in torch, and scale 1 needs the digits of float64
    x = x[:, [p - 1 for p in positions]].to(torch.float64)
    return torch.where(x == 0, 0.0, ((x - offset) * (RS_INPUT["scale"] / scale)).clamp(0)).float()


def check_rgb(rgb: Any) -> Tensor:
    """Photos [B, 3, H, W] or [B, H, W, 3], RGB, values 0..255 -> a tensor [B, 3, H, W]."""
    x = torch.as_tensor(rgb)
    if x.ndim == 4 and x.shape[1] != 3 and x.shape[-1] == 3:
        x = x.permute(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] != 3:
        raise BadInput(
            f"photos: shape {list(x.shape)}, but [B, 3, H, W] or [B, H, W, 3] is needed."
        )
    if x.dtype == torch.bool:
        raise BadInput("photos: true and false are no pixels; values in 0..255 are needed.")
    if x.dtype not in (torch.uint8, torch.uint16) and checkable(x) and x.numel():
        low, high = (float(v) for v in x.aminmax())
        fractions = x.is_floating_point() and 0 < high <= 1
        if not (low >= 0 and high <= 255) or fractions:
            raise BadInput(
                f"photos: values from {low:g} to {high:g}; pixels in 0..255 are needed (multiply "
                "photos in 0..1 by 255)."
            )
    return x


def _constants(values: Sequence[float] | np.ndarray, like: Tensor) -> Tensor:
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

    def rs(self, dn: Any, size: int, **declared: Any) -> Float[Tensor, "b 10 size size"]:
        """Digital numbers [B, 10, H, W] -> float32 [B, 10, size, size]. declared: see check_dn."""
        return self.normalise(check_dn(dn, **declared), size)

    def normalise(self, dn: Tensor, size: int) -> Float[Tensor, "b 10 size size"]:
        """`rs` without its checks, for values that have been through check_dn or to_dn."""
        x = dn.to(torch.float64)  # the truncation sees rounding of the last digit
        m, s = _constants(MEAN, x), _constants(STD, x)
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

    def rs(self, dn: Any, size: int, **declared: Any) -> Float[Tensor, "b 10 size size"]:
        """Digital numbers [B, 10, H, W] -> float32 [B, 10, size, size]. declared: see check_dn."""
        return self.normalise(check_dn(dn, **declared), size)

    def normalise(self, dn: Tensor, size: int) -> Float[Tensor, "b 10 size size"]:
        """`rs` without its checks, for values that have been through check_dn or to_dn."""
        x = dn.float()
        z = (x - _constants(MEAN, x)) / _constants(STD, x)
        z = z / (1 + (z / SOFT_LIMIT) ** 2).sqrt()
        shrink = size < min(x.shape[-2:])
        return _resize(z, size, "bilinear", antialias=shrink)

    def sv(self, rgb: Any, size: int) -> Float[Tensor, "b 3 size size"]:
        """Photos, 0..255 -> float32 [B, 3, size, size], squashed to a square."""
        x = check_rgb(rgb).float()
        x = _resize(x, size, "bicubic", antialias=True).clamp(0, 255) / 255
        return (x - _constants(IMAGENET_MEAN, x)) / _constants(IMAGENET_STD, x)


class Galileo(Ours):
    """RS values in the scale of Galileo's training, not clipped, photos as ours."""

    name = "galileo"

    def normalise(self, dn: Tensor, size: int) -> Float[Tensor, "b 10 size size"]:
        """`rs` without its checks, for values that have been through check_dn or to_dn."""
        x = dn.float()
        m, s = _constants(GALILEO_MEAN, x), _constants(GALILEO_STD, x)
        x = (x - (m - 2 * s)) / (4 * s)
        return _resize(x, size, "bilinear", antialias=size < min(x.shape[-2:]))


# Photos on 0-255 pixels by the weights that take them so: mean and standard deviation
PHOTOS = {
    "imagenet": tuple(255 * np.array(v) for v in (IMAGENET_MEAN, IMAGENET_STD)),
    "clip": tuple(255 * np.array(v) for v in (CLIP_MEAN, CLIP_STD)),
    "efficientnet-lite": (np.full(3, 127.0), np.full(3, 128.0)),
}
_OWN = {"published": (np.array(SV_MEAN), np.array(SV_STD))}  # where it is not ImageNet's


def photo_scale(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [3] that a preprocessing takes photos of 0..255 by."""
    chips, photos = parts(name)
    return PHOTOS[photos] if photos else _OWN.get(chips, PHOTOS["imagenet"])


def _photos(name: str, rgb: Any, size: int) -> Float[Tensor, "b 3 size size"]:
    """Photos, 0..255 -> float32 [B, 3, size, size] in that scale, squashed to a square."""
    x = _resize(check_rgb(rgb).float(), size, "bicubic", antialias=True).clamp(0, 255)
    mean, std = PHOTOS[name]
    return (x - _constants(mean, x)) / _constants(std, x)


_REGISTRY = {"gairlib": Ours, "published": Published, "galileo": Galileo}


def names() -> list[str]:
    """Names that `get` knows."""
    plain = sorted(_REGISTRY)
    return plain + [f"{chips}+{photos}" for chips in plain for photos in PHOTOS]


def parts(name: str) -> tuple[str, str]:
    """How a preprocessing scales chips, and photos; "" where photos have no scale of their own."""
    chips, _, photos = name.partition("+")
    return chips, photos


def get(name: str) -> Published | Ours:
    """The preprocessing of that name: `.rs(dn, size)` and `.sv(rgb, size)`. Behind a plus stands
    another scale for photos: "gairlib+efficientnet-lite"."""
    if name not in names():
        raise BadInput(f"preprocessing {name!r} is not one of {', '.join(names())}.")
    chips, photos = parts(name)
    tool = _REGISTRY[chips]()
    if photos:
        tool.name, tool.sv = name, partial(_photos, photos)
    return tool
