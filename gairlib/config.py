"""One frozen dataclass that says everything needed to rebuild a model; stored beside its weights.

The default is the "small" preset, sized for two CPU cores; "base" has the published sizes (two
ViT-B towers, D = 768). Training settings (batch, queue, schedule) are not the model's and live in
params.yaml.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gairlib.errors import BadInput

QUERY_MODES = ("nili", "bilinear", "bicubic", "nearest", "mean")
_CHOICES = {
    "query_mode": QUERY_MODES,
    "decoder": ("linear", "mlp", "cone"),
    "sv_pooler": ("tanh", "linear"),
    "interpolation_padding": ("border", "zeros"),
}


def _small_sv() -> dict[str, Any]:
    return {"img_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}


@dataclass(frozen=True)
class GAIRConfig:
    """Architecture of the three encoders and of the field; every value is JSON."""

    dim: int = 128  # D, the shared space
    # Remote sensing: "vit" is a pre-norm ViT with 2D-ALiBi, no class token (the CROMA optical
    # encoder); others are names of gairlib.rs.names()
    rs_model: str = "vit"
    rs_options: dict[str, Any] = field(default_factory=dict)  # what else that tower takes
    rs_bands: int = 10  # in this order: B02 B03 B04 B05 B06 B07 B08 B8A B11 B12
    rs_size: int = 64  # pixels a side the chips are resized to; 10 m each in our own pairs
    # 8 x 8 tokens, of 80 m at 10 m a pixel. 4 resolves more and costs five times the time
    rs_patch: int = 8
    rs_depth: int = 4
    rs_heads: int = 4
    rs_width: int | None = None  # None: dim, then there is no projection (published)
    rs_final_norm: bool = True  # the published encoder ends without a norm
    # Street view: any timm model
    sv_model: str = "vit_tiny_patch16_224"
    sv_options: dict[str, Any] = field(default_factory=_small_sv)  # for timm.create_model
    sv_side: str = ""  # a second model beside it, see gairlib.sv; "" = none
    sv_side_options: dict[str, Any] = field(default_factory=dict)
    sv_side_alone: float = 0.5  # share of a step's photos that it sees alone, in training
    sv_size: int = 64  # pixels a side
    sv_pooler: str = "linear"  # "tanh" as published keeps every value within +-1
    sv_norm_eps: float | None = None  # None: timm's own; published 1e-12
    # Location
    location: str = "rff-xyz"  # a name of gairlib.location.names()
    location_options: dict[str, Any] = field(default_factory=dict)
    # The field over a chip: the mode it is trained in, and its decoder (modes other than "nili"
    # have none)
    query_mode: str = "nili"
    decoder: str = "mlp"
    decoder_hidden: tuple[int, ...] = (256, 256)  # for decoder "mlp"
    decoder_options: dict[str, Any] = field(default_factory=dict)  # for "cone": gairlib.cone.Cone
    interpolation_padding: str = "border"  # published "zeros" fade within half a token of the edge
    float32_centres: bool = False  # the published rounding of token centres, see inr.taps
    # Objective and input scale that belong to the weights
    temperature: float = 0.07
    learn_temperature: bool = True
    preprocessing: str = "gairlib"  # a name of gairlib.preprocess.names()
    # A chip's side in the training, in pixels and in metres on the ground; None: nobody knows
    chip_px: int | None = None
    chip_m: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder_hidden", tuple(self.decoder_hidden))
        for key, allowed in _CHOICES.items():
            if getattr(self, key) not in allowed:
                raise BadInput(
                    f"config: {key} is {getattr(self, key)!r}, choose one of {', '.join(allowed)}."
                )
        for key in ("dim", "rs_bands", "rs_size", "rs_patch", "rs_depth", "rs_heads", "sv_size"):
            if not isinstance(getattr(self, key), int) or getattr(self, key) < 1:
                raise BadInput(
                    f"config: {key} is {getattr(self, key)!r}, a positive whole number is needed."
                )
        if self.width % self.rs_heads:
            raise BadInput(
                f"config: rs width {self.width} does not divide into rs_heads = {self.rs_heads}."
            )
        if self.rs_size % self.rs_patch:
            raise BadInput(
                f"config: rs_size {self.rs_size} is no multiple of rs_patch {self.rs_patch}."
            )
        if not self.decoder_hidden or min(self.decoder_hidden) < 1:
            raise BadInput("config: decoder_hidden needs at least one positive layer width.")
        if self.decoder_options and self.decoder != "cone":
            raise BadInput(
                f"config: decoder_options are of decoder 'cone', the decoder is {self.decoder!r}."
            )
        if not 0 <= self.sv_side_alone < 1:
            raise BadInput(
                f"config: sv_side_alone is {self.sv_side_alone}, a share in [0, 1) is needed."
            )
        if (self.chip_px is None) != (self.chip_m is None) or not (
            self.chip_px is None or (self.chip_px >= 1 and self.chip_m > 0)
        ):
            raise BadInput(
                f"config: chip_px is {self.chip_px} and chip_m {self.chip_m}; both are positive, "
                "or neither is known."
            )
        if not self.temperature > 0:
            raise BadInput(f"config: temperature is {self.temperature}, it must be above 0.")

    @property
    def reads_headings(self) -> bool:
        """Whether the field depends on the direction of view."""
        directed = self.query_mode == "nili" and self.decoder == "cone"
        return directed and self.decoder_options.get("compass", True)

    @property
    def width(self) -> int:
        """Channels of the RS encoder's tokens."""
        return self.rs_width or self.dim

    @classmethod
    def preset(cls, name: str = "small", **changes: Any) -> GAIRConfig:
        """`"small"` (the default, for a CPU) or `"base"` (published), with `changes` applied."""
        if name not in _PRESETS:
            raise BadInput(f"config: no preset {name!r}, choose one of {', '.join(_PRESETS)}.")
        return cls.from_dict({**_PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GAIRConfig:
        """Inverse of to_dict; absent keys take their defaults, unknown ones are an error."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise BadInput(
                f"config: unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}."
            )
        return cls(**values)

    @classmethod
    def read(cls, path: str | Path, written: Any = None) -> GAIRConfig:
        """What a file holds as JSON; BadInput names it. written: what `to_dict` gave when the
        weights beside it were saved, where they say so: another config would make another model of
        them without a word."""
        try:
            config = cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
            saved = config if written is None else cls.from_dict(written)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"{path}: no config can be read ({error}); fetch it again") from None
        for key, value in asdict(saved).items():
            if (found := getattr(config, key)) != value:
                raise BadInput(
                    f"{path}: {key} is {found!r}, but the weights beside it were saved with "
                    f"{value!r}; put that back. If the change is meant, load the weights into "
                    "GAIR(config) and save that by save_pretrained."
                )
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = {**asdict(self), "decoder_hidden": list(self.decoder_hidden)}
        # so a model without them is described as it always was
        for key in ("decoder_options", "chip_px", "chip_m"):
            if not values[key]:
                del values[key]
        return values

    def replace(self, **changes: Any) -> GAIRConfig:
        """A copy with `changes` applied."""
        return replace(self, **changes)


_PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "base": {
        "dim": 768,
        "rs_size": 96,
        "rs_patch": 8,
        "rs_depth": 12,
        "rs_heads": 16,
        "rs_final_norm": False,
        "sv_model": "vit_base_patch16_224",
        "sv_options": {},
        "sv_size": 224,
        "sv_pooler": "tanh",
        "sv_norm_eps": 1e-12,
        "location": "rff",
        "decoder": "linear",
        "learn_temperature": False,
        "preprocessing": "published",
    },
}
