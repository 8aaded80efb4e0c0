"""Our encoders as torchgeo and torchgeo-bench expect theirs; neither is needed to import this.

Three views of a GAIR model:

- `CoordBenchEncoder`, a location encoder for CoordBench, the coordinate track of torchgeo-bench.
  It hands over `encode(lon, lat, year=None)`: two arrays [N] in degrees, **lon first**, which is
  our order too, and takes float32 [N, D]. `year` is passed on by the bench and not used here: our
  encoder knows no time.
- `BenchImageEncoder`, an image model for torchgeo-bench's `run`: built once a data set from its
  list of BandSpec, called as `forward_patch_features(images [B, C, H, W])` -> [B, K].
- `SceneEncoder`, an nn.Module for torchgeo's own loops: samples and batches are dicts with "image"
  [B, C, H, W]; `meta` has the keys of a torchgeo weights enum.

Interfaces followed (read, not copied): torchgeo/torchgeo-bench, coordbench/models.py of commit
0b26fe2 and run.py of 0096e58 for CoordBench (in no release yet); models/interface.py of 1894ad4,
bands.py of 241b178 and release 0.4.0 for images; torchgeo/torchgeo, models/resnet.py of 6100eb4 for
`meta` and band names. Where torchgeo-bench is installed our classes derive from its own, since its
runners ask isinstance; else from stand-ins of the same signatures.

    # coord.yaml, then: torchgeo-bench coord --config coord.yaml
    model:
      name: gair
      target: gairlib.torchgeo_adapter.CoordBenchEncoder
      kwargs: {checkpoint: outputs/pretrain/model}

Feed raw digital numbers (unit "dn") or torchgeo's divided by 10,000 (unit "reflectance"), never
standardised values. Bands are found by name (`torchgeo_inputs`); those that a data set lacks (its
RGB subset, say) hold the training mean, and `present` lists the others.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gairlib import devices
from gairlib import torchgeo_inputs as inputs
from gairlib.cone import View
from gairlib.errors import BadInput
from gairlib.model import GAIR

FEATURES = ("backbone", "field")


def _bench(module: str, name: str, stand_in: type) -> type:
    """torchgeo-bench's class; the stand-in without it, or with a release that lacks the class."""
    try:
        return getattr(importlib.import_module(f"torchgeo_bench.{module}"), name)
    except (ImportError, AttributeError):
        return stand_in


class LocationEncoderLike(ABC):
    """CoordBench's LocationEncoder: chunks of `batch_size` points go to `_encode`."""

    name = "location_encoder"

    def __init__(self, device: str = "auto", batch_size: int = 8192) -> None:
        self.device, self.batch_size = device, int(batch_size)

    @abstractmethod
    def _encode(self, lon: np.ndarray, lat: np.ndarray, year: np.ndarray | None) -> np.ndarray:
        """One chunk: lon, lat [B] in degrees -> [B, D]."""

    def encode(self, lon: Any, lat: Any, year: Any = None) -> Float[np.ndarray, "n d"]:
        """All points: lon, lat [N] in degrees -> float32 [N, D]."""
        lon, lat = (np.asarray(v, dtype=np.float64) for v in (lon, lat))
        parts = []
        for start in range(0, len(lon), self.batch_size):
            part = slice(start, start + self.batch_size)
            chunk = None if year is None else np.asarray(year)[part]
            parts.append(np.asarray(self._encode(lon[part], lat[part], chunk), np.float32))
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


class BenchModelLike(nn.Module, ABC):
    """torchgeo-bench's BenchModel: `normalize_inputs`, then the subclass's features."""

    def __init__(self, bands: list, normalization: str = "bandspec_zscore", **_: object) -> None:
        super().__init__()
        self.bands, self.num_channels = list(bands), len(bands)
        self.normalization = normalization

    @abstractmethod
    def normalize_inputs(self, images: Tensor) -> Tensor:
        """Raw [B, C, H, W] -> what the backbone takes."""

    @abstractmethod
    def _forward_patch_features(self, images: Tensor) -> Tensor:
        """Normalised images -> [B, K]."""

    def forward_patch_features(self, images: Tensor) -> Tensor:
        """Raw images [B, C, H, W] -> embeddings [B, K]."""
        return self._forward_patch_features(self.normalize_inputs(images))

    def forward(self, images: Tensor) -> Tensor:
        """The same."""
        return self.forward_patch_features(images)


def _model(model: GAIR | str | Path) -> GAIR:
    model = model if isinstance(model, GAIR) else GAIR.from_pretrained(model)
    return model.eval()


# --------------------------------------------------------------------------------- coordinates


class CoordBenchEncoder(_bench("coordbench.models", "LocationEncoder", LocationEncoderLike)):
    """The location encoder of a GAIR model for CoordBench: encode(lon, lat) -> float32 [N, D].

    checkpoint: a GAIR, a folder of save_pretrained or a hub id. normalize: vectors of unit length
    (off: a linear probe may use the length). Coordinates stay float64 until the encoder casts.
    """

    name = "gair"

    def __init__(
        self,
        checkpoint: GAIR | str | Path,
        normalize: bool = False,
        device: str = "auto",
        batch_size: int = 8192,
    ) -> None:
        super().__init__(device=str(devices.find(device)), batch_size=batch_size)
        self.model, self.normalize = _model(checkpoint), bool(normalize)

    def _encode(self, lon: np.ndarray, lat: np.ndarray, _year: Any) -> np.ndarray:
        if np.shape(lon) != np.shape(lat) or np.ndim(lon) != 1:
            raise BadInput(
                f"coordinates: lon {list(np.shape(lon))} and lat {list(np.shape(lat))}, but two "
                "arrays [N] of degrees are needed."
            )
        lonlat = torch.from_numpy(np.stack([lon, lat], 1))  # [N, 2] float64
        with torch.inference_mode():
            vectors = self.model.to(self.device).encode_location(
                lonlat.to(self.device), normalize=self.normalize
            )
        return vectors.float().cpu().numpy()


# --------------------------------------------------------------------------------------- images


class _Backbone(nn.Module):
    """The RS encoder and, for features "field", the decoder; the rest of a GAIR stays behind."""

    def __init__(self, model: GAIR, features: str) -> None:
        super().__init__()
        if features not in FEATURES:
            raise BadInput(f"features {features!r} is not one of {', '.join(FEATURES)}.")
        self.rs, self.features = model.rs, features
        self.field = model.field if features == "field" else None
        self.num_prefix_tokens = 0  # timm's word: all tokens are patches
        self.num_features = model.config.width if features == "backbone" else model.config.dim

    def forward(self, chips: Tensor) -> Float[Tensor, "b k"]:
        """Preprocessed chips -> the mean of the tokens, or the unit vector of the shared space."""
        features = self.rs(chips.to(self.rs.dtype))
        if self.features == "backbone":
            return features.backbone
        grid = features.grid
        if self.field is None:
            mean = grid.mean((1, 2))
        else:
            mean = self.field.mean(grid, view=self._view(chips, grid))
        return nn.functional.normalize(mean, dim=-1)

    def _view(self, chips: Tensor, grid: Tensor) -> View | None:
        if self.field.decoder != "cone":
            return None
        cone = self.field.cone
        return View(cone.map(chips.to(grid.dtype), grid), cone.sides(None, chips), None)


class SceneEncoder(nn.Module):
    """The RS encoder of a GAIR model as torchgeo's models are: raw images in, features out.

    images: [B, C, H, W], or a torchgeo batch, a dict with "image". checkpoint: as in
    CoordBenchEncoder. features: "backbone" (mean of the tokens, for probes) or "field" (the chip's
    unit vector in the space that photos and places share). bands and the rest: see torchgeo_inputs.
    """

    def __init__(
        self,
        checkpoint: GAIR | str | Path,
        bands: Sequence[str | None] = inputs.SENTINEL2_TOA,
        *,
        features: str = "backbone",
        **about: Any,
    ) -> None:
        super().__init__()
        model = _model(checkpoint)
        config = model.config
        self.transforms = inputs.Transforms(
            bands, preprocessing=config.preprocessing, size=config.rs_size, **about
        )
        self.backbone = _Backbone(model, features)
        self.num_features = self.backbone.num_features
        self.meta = {
            "dataset": "Sentinel-2 chips paired with street-level photos",
            "in_chans": len(bands),
            "model": "gair_rs",
            "publication": "https://arxiv.org/abs/2503.16683",
            "ssl_method": "gair",
            "bands": list(bands),
        }

    def forward(self, images: Tensor | Mapping[str, Any]) -> Float[Tensor, "b k"]:
        """Raw images, or a batch with "image" -> [B, num_features]."""
        return self.backbone(self.transforms(_image(images)))

    def forward_features(self, images: Tensor | Mapping[str, Any]) -> Float[Tensor, "b d h w"]:
        """Raw images -> the tokens in the shared width as a map, channels first."""
        chips = self.transforms(_image(images))
        grid = self.backbone.rs(chips.to(self.backbone.rs.dtype)).grid
        return grid.permute(0, 3, 1, 2)


def _image(batch: Tensor | Mapping[str, Any]) -> Tensor:
    if not isinstance(batch, Mapping):
        return batch
    if "image" not in batch:
        raise BadInput(f"batch: no 'image' among {', '.join(map(str, batch))}.")
    return batch["image"]


class BenchImageEncoder(_bench("models.interface", "BenchModel", BenchModelLike)):
    """The RS encoder of a GAIR model for torchgeo-bench's `run`: frozen features [B, K] of images.

    bands: the data set's BandSpec list (sensor, name, mean, min, max), handed over by the runner;
    those of other sensors are left out, unit and offset are judged by their statistics. layout: a
    name of gairlib.bands.LAYOUTS that overrules the names, for data sets whose names and channels
    are out of step. The specs do not tell the level: EuroSAT, for one, is L1C. normalization: the
    runner's word; run with `dataset.normalization=model_native` (`--normalization model` in what
    is not released yet), since the model brings its own. name: of the runner's table. Layers for
    the segmentation probe: "rs.blocks.0" and so on.
    """

    handles_own_normalization = True

    def __init__(
        self,
        bands: list,
        *,
        checkpoint: GAIR | str | Path,
        features: str = "backbone",
        layout: str | None = None,
        offset: float | None = None,
        fill: str = "mean",
        normalization: str = "model_native",
        name: str = "gair",
    ) -> None:
        if str(normalization) not in ("model_native", "identity"):
            raise BadInput(
                f"normalization {normalization!s}: the model brings its own, which any other would "
                "spoil; run with --normalization model."
            )
        super().__init__(bands=bands, normalization="identity")
        names = inputs.names_of(bands, layout)
        optical = [b for b, name in zip(bands, names) if name is not None]
        unit = inputs.unit_of(optical)
        inputs.check_statistics(bands, names, unit, offset)
        model = _model(checkpoint)
        # The runner's probes feed random numbers to learn shapes: values were judged above.
        self.transforms = inputs.Transforms(
            names,
            preprocessing=model.config.preprocessing,
            size=model.config.rs_size,
            unit=unit,
            offset=offset,
            fill=fill,
            check=False,
        )
        self.present = self.transforms.present
        self.backbone = _Backbone(model, features)

    def normalize_inputs(self, images: Tensor) -> Tensor:
        """Raw [B, C, H, W] -> the model's own preprocessing."""
        return self.transforms(images)

    @torch.no_grad()
    def _forward_patch_features(self, images: Tensor, _bboxes: Any = None) -> Tensor:
        """Preprocessed chips -> [B, K]; older releases add boxes, which say nothing here."""
        return self.backbone(images)
