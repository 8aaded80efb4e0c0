"""Stand-ins of the assets that a run falls back on: random values under the published names."""

from pathlib import Path

import timm
import torch
from builders.small_weights import geoclip_state

from gairlib import assets
from gairlib.assets import Asset
from gairlib.errors import Missing
from gairlib.train import fallback

LICENCES = {"geoclip": "MIT", "efficientnet-lite0": "Apache-2.0"}


def stand_ins(folder: Path) -> dict[str, Path]:
    """Files by the names of the assets; a small GeoCLIP."""
    torch.manual_seed(3)
    lite = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    torch.save(lite.state_dict(), folder / "lite0.pth")
    torch.save(geoclip_state(8, 16, 24), folder / "geoclip.pth")
    return {"efficientnet-lite0": folder / "lite0.pth", "geoclip": folder / "geoclip.pth"}


def take(monkeypatch, files: dict[str, Path], there: dict, asked: list) -> None:
    """No network: of the assets those in `there` are at hand; `asked` gets what is sought."""
    options = {"width": 24, "hidden": 16, "features": 8}
    small = {"location": "geoclip", "location_options": options}
    lite, where = fallback.OPEN["sv"]
    opened = {"sv": (lite, where | {"sv_size": 32}), "location": ("asset:geoclip", small)}
    monkeypatch.setattr(fallback, "OPEN", opened)

    def find(name, fetch=False):
        asked.append(f"asset:{name}")
        if name not in there:
            raise Missing(f"asset {name}: the index does not answer.")
        file = files[name]
        return Asset(name, "", file.parent, (file,), "0", name, "1", LICENCES[name], "C.")

    monkeypatch.setattr(assets, "find", find)
