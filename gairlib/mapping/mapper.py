"""A fitted map: what answers, how the scene is read for it, and what it is worth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from gairlib import files
from gairlib.data.boundary import reading
from gairlib.data.scene import Scene
from gairlib.errors import BadInput, Missing
from gairlib.mapping.features import Chips
from gairlib.mapping.heads import Head
from gairlib.mapping.network import Trained
from gairlib.mapping.report import Report
from gairlib.mapping.writing import Written, write_map
from gairlib.model import model_hash

ABOUT = "gairlib-map"  # the key of all that is no tensor


@dataclass(frozen=True)
class Mapper:
    """What `gairlib.fit` gives. palette: name and colour of each class, empty for numbers;
    factor: temperature of the classes' probabilities, or factor of the numbers' deviations."""

    model: torch.nn.Module
    chips: Chips
    head: Head | Trained
    factor: float
    palette: list[tuple[str, str]]
    report: Report

    @property
    def classes(self) -> list[str]:
        return [name for name, _ in self.palette]

    def predict(
        self,
        scene: Scene | str | Path,
        path: str | Path,
        *,
        window: tuple[int, int, int, int] | None = None,
        device: str = "auto",
        licence: str | None = None,
        progress: bool = True,
    ) -> Written:
        """Map a scene, or its window (column, row, width, height) in pixels, on its own grid.

        path: ends in .tif; the uncertainty goes beside it. licence: for the files' tags, default
        the notice that Copernicus asks for.
        """
        return write_map(
            self.model,
            self,
            scene,
            path,
            window=window,
            device=device,
            licence=licence,
            progress=progress,
        )

    def save(self, path: str | Path) -> Path:
        """Write the map (not the encoder) into one .safetensors file, for `load`."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(path) as part:
            part.write_bytes(self.content())
        return path

    @classmethod
    def load(cls, path: str | Path, model) -> Mapper:
        """A map that `save` wrote, for the encoder that it was fitted with."""
        path = Path(path)
        if not path.is_file():
            raise Missing(f"{path}: there is no such file; Mapper.save writes it")
        with reading(path, "no map that can be read; fit it anew"):
            with safe_open(path, "pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}
                about = json.loads(file.metadata()[ABOUT])
            kind = Trained if "tower" in about["head"] else Head
            head = kind(**about["head"], state=state)
            report, chips = Report.from_dict(about["report"]), Chips(**about["chips"])
            palette = [tuple(entry) for entry in about["palette"]]
            known, factor = about["model"], float(about["factor"])
        if known != (given := model_hash(model)):
            raise BadInput(
                f"{path}: fitted with the weights {known}, these are {given}; load that model"
            )
        return cls(model, chips, head, factor, palette, report)

    def content(self) -> bytes:
        about = {
            "model": model_hash(self.model),
            "chips": asdict(self.chips),
            "head": self.head.about,
            "factor": self.factor,
            "palette": self.palette,
            "report": self.report.to_dict(),
        }
        state = {key: tensor.cpu().contiguous() for key, tensor in self.head.state.items()}
        return save(state, {ABOUT: json.dumps(about)})
