"""Any model of timm's with weights that others trained, as a frozen tower: photos -> features."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import timm
import torch
from timm.data import resolve_data_config
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from gairlib import devices
from gairlib.errors import BadInput, Missing
from gairlib.hub import Where
from gairlib.tensor_files import check, file_of, read

FILES = ("model.safetensors", "pytorch_model.bin")  # in a folder of timm's hub
DOWNLOAD = "timm:"  # before a model's name: fetch its weights


class TimmTower(nn.Module):
    """Photos uint8 [B, 3, size, size] -> the model's pooled features [B, width], in the scale that
    the weights were trained with. size: pixels; name: timm's."""

    def __init__(self, name: str, model: nn.Module, about: dict) -> None:
        super().__init__()
        found = resolve_data_config(about, model=model)
        self.name, self.model, self.size = name, model, int(found["input_size"][-1])
        self.register_buffer("mean", 255 * torch.tensor(found["mean"])[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(found["std"])[:, None, None])

    def forward(self, photos: Tensor) -> Tensor:
        return self.model((photos.to(self.mean) - self.mean) / self.std)


def load_timm(weights: str | Path, *, device: str = "cpu", **where: Unpack[Where]) -> TimmTower:
    """A model of timm's in eval mode, without its classifier.

    Source: huggingface/pytorch-image-models (code under Apache 2.0; each model's weights have a
    licence of their own, on its hub page). weights: a source (gairlib.hub), that is a folder of
    timm's hub with model.safetensors and config.json, there ("timm/resnet50.a1_in1k") or here; or a
    file that bears the model's name (resnet50.a1_in1k.safetensors; tf_efficientnet_lite0.pth of the
    asset efficientnet-lite0, in its own names). Or "timm:resnet50.a1_in1k": timm's own download.
    Every tensor but the classifier's must be there.
    """
    if str(weights).startswith(DOWNLOAD):
        name = str(weights).removeprefix(DOWNLOAD)
        return TimmTower(name, _downloaded(name), {}).eval().to(devices.find(device))
    path = Path(
        file_of(weights, "model.safetensors", "pytorch_model.bin", beside=["config.json"], **where)
    )
    content, source = read(path)
    name, about = _named(path)
    model = timm.create_model(name, pretrained=False, num_classes=0)
    content = efficientnet_names(content, model)
    state = content.get("state_dict", content.get("model", content))
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    state = {
        k: v
        for k, v in state.items()
        if not k.startswith(tuple(f"{head}." for head in heads)) and not _counts(k)
    }
    own = {k: v for k, v in model.state_dict().items() if not _counts(k)}
    check(state, {k: tuple(v.shape) for k, v in own.items()}, source, f"timm's {name}")
    model.load_state_dict(state, strict=False)
    return TimmTower(name, model, about).eval().to(devices.find(device))


def efficientnet_names(content: Mapping[str, Any], tower: nn.Module) -> Mapping[str, Any]:
    """A state dict in EfficientNet-PyTorch's names (`_blocks.3._bn1.weight`) under timm's, for the
    EfficientNet `tower`; any other one as it is."""
    if "_conv_stem.weight" not in content or not isinstance(tower, EfficientNet):
        return content
    names = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    names["_fc"] = "classifier"
    theirs = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    blocks = [f"blocks.{s}.{k}" for s, stage in enumerate(tower.blocks) for k in range(len(stage))]
    for i, block in enumerate(blocks):
        if f"_blocks.{i}._expand_conv.weight" in content:
            pairs = zip(theirs, ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"))
        else:  # of the first stage
            pairs = zip(theirs[2:], ("conv_dw", "bn1", "conv_pw", "bn2"))
        names |= {f"_blocks.{i}.{a}": f"{block}.{b}" for a, b in pairs}
    parts = {name: name.rpartition(".") for name in content}
    return {f"{names.get(p[0], p[0])}.{p[2]}": content[name] for name, p in parts.items()}


def _counts(name: str) -> bool:
    """Whether a tensor counts batch norm's batches, which some files leave out."""
    return name.endswith("num_batches_tracked")


def photo_scale(
    sv_model: str, options: Mapping[str, Any], path: Path, source: str = ""
) -> tuple[str, np.ndarray, np.ndarray] | None:
    """Whose weights a file for that tower holds, and the mean and standard deviation [3] that they
    take photos of 0..255 by; None where nothing says so.

    What says so, first to last: the config.json beside the file; the file's name; the hub's id in
    `source`; sv_model, unless `options` make it another network than timm's. A name without the
    tag of its weights says so where all that timm has for it were trained in one scale.
    """
    architecture = sv_model.split(".")[0]
    named, about = _about(path)
    if named == architecture and {"mean", "std"} <= about.keys():
        return named, 255 * np.array(about["mean"]), 255 * np.array(about["std"])
    hub = re.match(r"hub:[^/]+/([^/@]+)", source)
    for name in (named, hub[1] if hub else "", "" if options else sv_model):
        if name.split(".")[0] != architecture:
            continue
        known = timm.list_pretrained(f"{architecture}.*")
        configs = [timm.get_pretrained_cfg(k) for k in known if name in (architecture, k)]
        if len(scales := {(c.mean, c.std) for c in configs}) == 1:
            mean, std = scales.pop()
            return name, 255 * np.array(mean), 255 * np.array(std)
    return None


def _about(path: Path) -> tuple[str, dict]:
    """What may be the name of a file's model, and what its config.json says of the inputs."""
    config = path.with_name("config.json")
    if config.is_file():
        about = json.loads(config.read_text(encoding="utf-8"))
        if timm.is_model(str(about.get("architecture"))):
            inputs = about.get("pretrained_cfg", {})
            return about["architecture"], {
                k: tuple(inputs[k]) for k in ("input_size", "mean", "std") if k in inputs
            }
    return path.name.removesuffix(path.suffix), {}


def _named(path: Path) -> tuple[str, dict]:
    """The model of a file, and what its config.json says of the inputs."""
    name, about = _about(path)
    if timm.is_model(name.split(".")[0]):
        return name, about
    raise BadInput(
        f"{path}: no model of timm's is called {name!r}, and no config.json beside it names one in "
        "`architecture`; give the file the model's name, as in resnet50.a1_in1k.safetensors"
    )


def _downloaded(name: str) -> nn.Module:
    """timm's model with the weights of its hub."""
    if not timm.is_model(name.split(".")[0]):
        raise BadInput(f"{DOWNLOAD}{name}: timm has no model {name.split('.')[0]!r}")
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # whatever the network, the hub or its client raises
        raise Missing(
            f"{DOWNLOAD}{name}: the weights could not be downloaded ({type(error).__name__}); "
            "where there is no network, name a file that holds them"
        ) from error
