"""GAIR: three factorised encoders and a continuous field, in one D-dimensional space.

Section 3 of arXiv 2503.16683. `encode_rs` turns chips into token grids, `query_rs` reads a grid at
the photos' positions; the two are kept apart, so a chip is encoded once for all its photos.
Training contrasts the decoded field, not the raw tokens: a chip's vector in the shared space is
the mean of its decoded field (`chip_vector`). Reading a field in a mode that it was not trained
with is possible, except NILI without a decoder; `config.query_mode` tells.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import save, save_file
from torch import Tensor, nn

from gairlib import card, devices, geo, hub, origins, preprocess, published, references
from gairlib.cone import Cone, View
from gairlib.config import QUERY_MODES, GAIRConfig
from gairlib.errors import BadInput, Missing, NotSaved
from gairlib.files import atomic_write
from gairlib.inr import NILI, check_query, interpolate
from gairlib.location import registry
from gairlib.rs import registry as rs_registry
from gairlib.rs.base import Features
from gairlib.state_names import load_strict, named
from gairlib.sv import SVEncoder

CONFIG, WEIGHTS = "config.json", "model.safetensors"
OBJECTIVES = ("incl", "secl", "rs_location")  # each has a temperature of its own
TEMPERATURES = (0.01, 1.0)  # between these they are held


class GAIR(nn.Module):
    """The model; see the methods. Images are preprocessed: `preprocess.get(config.preprocessing)`.

    Coordinates are taken as lists, arrays or tensors, in any precision up to float64, whatever the
    model's dtype. `normalize=True` gives vectors of unit length. `bf16 = True` encodes chips and
    photos in bfloat16 (autocast); weights, places and the field's reading stay as they are.
    """

    def __init__(self, config: GAIRConfig | None = None) -> None:
        super().__init__()
        c = self.config = config or GAIRConfig()
        if c.preprocessing not in preprocess.names():
            preprocess.get(c.preprocessing)
        self.rs = rs_registry.create(
            c.rs_model,
            c.dim,
            bands=c.rs_bands,
            size=c.rs_size,
            patch=c.rs_patch,
            depth=c.rs_depth,
            heads=c.rs_heads,
            width=c.rs_width,
            final_norm=c.rs_final_norm,
            **c.rs_options,
        )
        if self.rs.preprocessing not in (None, preprocess.parts(c.preprocessing)[0]):
            raise BadInput(
                f"config: rs_model {c.rs_model!r} reads the preprocessing "
                f"{self.rs.preprocessing!r}, the config has {c.preprocessing!r}."
            )
        self.sv = SVEncoder(
            c.dim,
            model=c.sv_model,
            options=c.sv_options,
            side=c.sv_side,
            side_options=c.sv_side_options,
            side_alone=c.sv_side_alone,
            pooler=c.sv_pooler,
            norm_eps=c.sv_norm_eps,
        )
        self.location = registry.create(c.location, c.dim, **c.location_options)
        # Other modes read the raw tokens: a decoder there would be weights that nothing trains.
        self.field = None
        if c.query_mode == "nili":
            self.field = NILI(
                c.dim,
                c.decoder,
                hidden=c.decoder_hidden,
                float32_centres=c.float32_centres,
                cone={"bands": c.rs_bands, **c.decoder_options},
            )
        log = torch.full((len(OBJECTIVES),), math.log(c.temperature))
        if c.learn_temperature:
            self.log_temperature = nn.Parameter(log)
        else:
            self.register_buffer("log_temperature", log)
        self.hold_temperatures()
        self.bf16 = False
        self.origins: tuple[origins.Origin, ...] | None = None  # () none, None not known
        # assets whose tensors a file of the weights names and does not hold, see gairlib.references
        self.leaves_to: tuple[str, ...] = ()

    # ---- encode and query

    def forward(
        self,
        chips: Float[Tensor, "b c h w"],
        xy: Float[Tensor, "b q 2"],
        keep: Int[Tensor, " n"],
        photos: Float[Tensor, "n 3 s s"],
        lonlat: Float[Tensor, "k 2"],
        known: Float[Tensor, "k h"] | None = None,
        seen: Float[Tensor, "n w"] | None = None,
        heading: Float[Tensor, "b q"] | None = None,
        side_m: Any = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All that a training step asks of the encoders, in one call that DDP and FSDP can wrap.

        keep: which of the B x Q positions have a photo, N of them; lonlat: K >= N coordinates;
        known: what `location_backbone` makes of them, and seen: what `sv.base` makes of the photos,
        where that was computed before; heading and side_m: see query_rs and encode_rs.
        Returns photos [N, D], the field at their positions [N, D], places [K, D] and the
        temperatures [3] of OBJECTIVES, none of them normalised.
        """
        features = self.encode_rs(chips, side_m=side_m)
        local = self.query_rs(features, xy, heading=heading).flatten(0, 1)[keep]
        temperatures = torch.stack(list(self.temperatures().values()))
        if known is None:
            places = self.encode_location(lonlat)
        else:
            places = self.location.head(known.to(next(self.location.parameters()).dtype))
        own = self.sv(self._images(photos, "SV"), None if seen is None else seen.to(photos.dtype))
        return own, local, places, temperatures

    @property
    def _cone(self) -> Cone | None:
        field = self.field
        return field.cone if field is not None and field.decoder == "cone" else None

    def encode_rs(
        self,
        images: Any,
        normalize: bool = False,
        bands: Sequence[str] | None = None,
        side_m: Any = None,
    ) -> Features:
        """Chips [B, C, H, W], preprocessed -> .grid [B, h, w, D], .pooled [B, D] (token mean).

        `normalize` applies to .pooled; .grid stays as it is. bands: the names of those that the
        sensor has, None for all. A tower that can (`rs.leaves_out_bands`) looks at no others, any
        other tower reads what stands in their place (gairlib.bands.place). side_m: the chips' sides
        on the ground in metres, by which a field of decoder "cone" places what a camera sees: one
        for all, [B], or [B, 2] (east, south); default 10 m a pixel.
        """
        x = self._images(images, "RS")
        some = bands is not None and self.rs.leaves_out_bands
        with self._precision():
            features = self.rs(x, bands) if some else self.rs(x)
        if self.bf16:
            features = Features(*(v if v is None else v.to(x.dtype) for v in features))
        if self._cone is not None:
            sides, area = self._cone.sides(side_m, x), self._cone.map(x, features.grid)
            features = features._replace(map=area, side_m=sides)
        if normalize:
            features = features._replace(pooled=F.normalize(features.pooled, dim=-1))
        return features

    def query_rs(
        self,
        features: Features,
        xy: Any,
        mode: str | None = None,
        normalize: bool = False,
        cell: Any = None,
        heading: Any = None,
    ) -> Float[Tensor, "b q d"]:
        """Read chips at xy [B, Q, 2] in [-1, 1] (x east, y south) -> [B, Q, D].

        mode: "nili", "bilinear", "bicubic", "nearest", or "mean" (the chip's vector for every
        query; xy=None then means one); default `config.query_mode`. `cell`: see NILI. heading:
        where the cameras look, if the config `reads_headings`: degrees clockwise from the chip's
        upper edge (UTM's north is up to 3 degrees off the true one), [B, Q] or one for all; None,
        or NaN in a row: unknown, which is read as the mean of all directions.
        """
        mode = mode or self.config.query_mode
        if mode not in QUERY_MODES:
            raise BadInput(f"query mode {mode!r} is not one of {', '.join(QUERY_MODES)}.")
        grid = features.grid
        if heading is not None and not (mode == "nili" and self.config.reads_headings):
            raise BadInput(f"heading: mode {mode!r} of this model reads no direction of view.")
        if mode == "mean":
            q = 1 if xy is None else self._positions(xy, grid).shape[1]
            out = self.chip_vector(features)[:, None].expand(-1, q, -1)
        else:
            if xy is None:
                raise BadInput(f"xy: None, but mode {mode!r} needs positions [B, Q, 2].")
            out = self._read(features, self._positions(xy, grid), mode, cell, heading)
        return F.normalize(out, dim=-1) if normalize else out

    def chip_vector(self, features: Features, normalize: bool = False) -> Float[Tensor, "b d"]:
        """A chip in the shared space: mean of the decoded field, or of the tokens without NILI."""
        grid = features.grid
        if self.field is None:
            out = grid.mean((1, 2))
        else:
            out = self.field.mean(grid, view=self._view(features, None))
        return F.normalize(out, dim=-1) if normalize else out

    def encode_sv(self, images: Any, normalize: bool = False) -> Float[Tensor, "b d"]:
        """Photos [B, 3, H, W], preprocessed -> [B, D]."""
        out = self._photos(self.sv, images)
        return F.normalize(out, dim=-1) if normalize else out

    def sv_backbone(self, images: Any) -> Float[Tensor, "b width"]:
        """The SV tower's pooled features before the projection to D, for probing."""
        return self._photos(self.sv.backbone, images)

    def encode_location(self, lonlat: Any, normalize: bool = False) -> Float[Tensor, "n d"]:
        """(lon, lat) [N, 2] in degrees -> [N, D]."""
        out = self.location(lonlat)
        return F.normalize(out, dim=-1) if normalize else out

    def location_backbone(self, lonlat: Any) -> Float[Tensor, "n h"]:
        """The location encoder's own features before its last layer, for probing."""
        return self.location.backbone(lonlat)

    def temperatures(self) -> dict[str, Tensor]:
        """The temperature of each objective; `hold_temperatures` keeps them in [0.01, 1]."""
        return dict(zip(OBJECTIVES, self.log_temperature.exp()))

    @torch.no_grad()
    def hold_temperatures(self) -> None:
        """Move temperatures outside of TEMPERATURES to the nearer end, after an optimiser's step.

        The parameter is moved. A clamp in the forward pass would have no gradient outside, and a
        temperature that once left would never come back.
        """
        self.log_temperature.clamp_(*map(math.log, TEMPERATURES))

    def _read(self, features: Features, xy: Tensor, mode: str, cell: Any, heading: Any) -> Tensor:
        if mode != "nili":
            return interpolate(features.grid, xy, mode, self.config.interpolation_padding)
        if self.field is None:
            raise BadInput(
                f"query mode 'nili': this model was trained with {self.config.query_mode!r} and "
                "has no decoder; choose that mode, or another interpolation."
            )
        if heading is not None:
            heading = geo.as_float64(heading).to(xy.device)
            heading = heading if heading.ndim else heading.expand(xy.shape[:2])
        return self.field(features.grid, xy, cell, self._view(features, heading))

    def _view(self, features: Features, heading: Tensor | None) -> View | None:
        return None if self._cone is None else View(features.map, features.side_m, heading)

    def _positions(self, xy: Any, grid: Tensor) -> Tensor:
        xy = xy if isinstance(xy, Tensor) else geo.as_float64(xy)
        check_query(grid, xy)
        geo.check_xy(xy)
        return xy.to(grid.device)

    def _photos(self, encoder: Callable[[Tensor], Tensor], images: Any) -> Tensor:
        x = self._images(images, "SV")
        with self._precision():
            out = encoder(x)
        return out.to(x.dtype) if self.bf16 else out

    def _precision(self) -> AbstractContextManager:
        # nothing else where it is off: training has an autocast of its own around this
        here = self.rs.device.type
        return torch.autocast(here, torch.bfloat16) if self.bf16 else nullcontext()

    def _images(self, images: Any, name: str) -> Tensor:
        x = torch.as_tensor(images, device=self.rs.device)
        if not x.is_floating_point():
            raise BadInput(
                f"{name} images: {x.dtype} values, but preprocessed floats are needed: use "
                f"gairlib.preprocess.get({self.config.preprocessing!r})."
            )
        if geo.checkable(x) and x.numel() and not float(x.detach().abs().amax()) <= 64:
            raise BadInput(
                f"{name} images: values up to {float(x.detach().abs().amax()):g} look unprocessed; "
                f"use gairlib.preprocess.get({self.config.preprocessing!r})."
            )
        return x.to(self.rs.dtype)

    # ---- save and load

    def save_pretrained(self, folder: str | Path, whole: bool = False) -> None:
        """Write config.json, model.safetensors and, where it is known whose weights went into
        them, origins.json; an interrupted write leaves the old files.

        Tensors of the assets in `leaves_to` (those of towers that training held) are named in the
        file and not stored; `whole` stores them, for somebody who shall need no assets.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors, metadata = references.split(_tensors(self), () if whole else self.leaves_to)
        try:
            with atomic_write(folder / WEIGHTS) as part:
                config = self.config.to_dict()
                save_file(tensors, part, references.sealed(tensors, metadata, config))
            with atomic_write(folder / CONFIG) as part:
                part.write_text(json.dumps(self.config.to_dict(), indent=1) + "\n")
            origins.write(folder, self.origins)
        except (OSError, SafetensorError) as error:
            raise NotSaved(f"{folder}: the model was not saved ({error}); make room") from error

    def push_to_hub(
        self,
        repository: str,
        *,
        licence: str,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        message: str | None = None,
    ) -> str:
        """Write config, whole weights, origins and a model card to "owner/name" on the hub; the
        commit. The repository is made where there is none, a branch `revision` is not.

        licence: the hub's word ("mit", "cc-by-nc-4.0", "other"): BadInput where the weights started
        from some that allow no commercial use and it does. Missing where the hub takes nothing.
        """
        how = {"token": token, "private": private, "revision": revision, "message": message}
        return card.push(self, repository, licence, model_hash(self), **how)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        revision: str | None = None,
        *,
        device: str = "cpu",
        bf16: bool = False,
        rs_heads: int = 16,
        sv_heads: int = 12,
        **access: Unpack[hub.Access],
    ) -> GAIR:
        """A model by the name of its weights, in eval mode (forms and access: gairlib.hub).

        A folder that save_pretrained wrote, or a hub's repository of such files; or the published
        weights, a file or the repository "PingL/GAIR" (CC BY-NC 4.0), which have no config:
        rs_heads and sv_heads are theirs. device: a word of gairlib.devices; bf16: see above.
        """
        files = (WEIGHTS, hub.CHECKPOINT), (CONFIG, origins.FILE)
        place = hub.find(source, *files, revision=revision, **access)
        if place.path.name == WEIGHTS:
            model = cls._own(place.path)
            if place.commit and model.origins is None:
                model.origins = (place.origin,)
        else:
            model = cls._published(place, rs_heads, sv_heads)
        model.bf16 = bf16
        return model.to(devices.find(device)).eval()

    @classmethod
    def _published(cls, place: hub.Place, rs_heads: int, sv_heads: int) -> GAIR:
        """What the authors of GAIR published, wherever it was found."""
        model = published.load(cls, place.path, rs_heads, sv_heads)
        model.origins = tuple(replace(o, source=place.origin.source) for o in model.origins)
        return model

    @classmethod
    def _own(cls, path: Path) -> GAIR:
        """What save_pretrained wrote; path: of the weights."""
        folder = path.parent
        if not (folder / CONFIG).is_file():
            raise Missing(f"{folder} holds no {CONFIG}; save_pretrained writes it.")
        try:
            content, leaves_to = references.load(path)
            config = GAIRConfig.read(folder / CONFIG, references.config(path))
        except SafetensorError as error:
            raise BadInput(f"{path}: cannot be read: {error}") from None
        try:
            model = cls(config)
        except Exception as error:  # whatever torch and timm raise at odd sizes and options
            raise BadInput(f"{folder / CONFIG}: no model can be made of it: {error}") from error
        state, beside = named(content, model.state_dict(), str(path))
        load_strict(model, {**state, **dict.fromkeys(beside)}, str(path))
        model.hold_temperatures()
        model.origins, model.leaves_to = origins.read(folder), leaves_to
        return model


def held_tensors(model: GAIR) -> set[str]:
    """Names in the state dict of what training held: the assets in `leaves_to` have it."""
    return references.held(_tensors(model), model.leaves_to)


def model_hash(model: GAIR) -> str:
    """Which weights these are, 16 hex digits: what `weights_hash` gives once they are saved."""
    return _hash(*references.split(_tensors(model), model.leaves_to))


def weights_hash(folder: str | Path) -> str:
    """Which weights lie in a folder of `save_pretrained`, 16 hex digits."""
    return _hash(*references.stored(Path(folder) / WEIGHTS))


def _hash(tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> str:
    return hashlib.sha256(save(tensors, metadata)).hexdigest()[:16]


def _tensors(model: GAIR) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
