"""Where was this photo taken? A photo and an area in; a map of similarity and likely places out.

The field is read over the whole area in bounded memory (`gairlib.embed.walker`), and each cell's
cosine s with the photo is written as a GeoTIFF. Probabilities are a softmax over its cells,
exp(s / t) / sum, at the temperature t that pretraining fitted for photos and field
(`model.temperatures()["incl"]`) or at another one that was fitted to maps. They are those of a
photo that was taken somewhere in the area.

A field that reads headings is read in the photo's. Where that is unknown, every cell is read in all
directions, and its similarity is their soft maximum (`gairlib.cone.any_direction`): a cell counts
by the direction that fits, not by the mean of all.

The other way round, `gairlib.embed.like` orders photos by how much they look like a place.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from gairlib import devices, files
from gairlib.cone import any_direction
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.embed import dense, likely, question
from gairlib.embed.area import scene_of, window_of
from gairlib.embed.reading import AllRound, Reading
from gairlib.embed.walker import OVERLAP
from gairlib.errors import BadInput
from gairlib.geo import Box
from gairlib.model import GAIR

RADIUS = 160.0  # metres: a quarter of a chip of 640 m
FILES = {"map": "similarity.tif", "places": "places.geojson", "about": "find.json"}


@dataclass(frozen=True)
class Found:
    """places: the likeliest first; lon and lat in degrees, probability within `radius` metres of
    there, similarity there. map: the GeoTIFF of similarities, in [-1, 1], NaN without data.
    reading: how the field was read; temperature: of the probabilities."""

    places: pd.DataFrame
    map: Path
    scene: str
    reading: str
    temperature: float
    radius: float
    _held: tempfile.TemporaryDirectory | None = field(default=None, repr=False)

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write FILES into a folder: the map, the places as points, and how they were found.
        Returns their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {key: folder / name for key, name in FILES.items()}
        if not (paths["map"].exists() and paths["map"].samefile(self.map)):
            with files.atomic_write(paths["map"]) as part:
                shutil.copyfile(self.map, part)
        points = gpd.points_from_xy(self.places["lon"], self.places["lat"])
        frame = gpd.GeoDataFrame(self.places, geometry=points, crs="EPSG:4326")
        about = {k: getattr(self, k) for k in ("scene", "reading", "temperature", "radius")}
        for key, text in (("places", frame.to_json()), ("about", json.dumps(about, indent=1))):
            with files.atomic_write(paths[key]) as part:
                part.write_text(text + "\n", encoding="utf-8")
        return paths


def find(
    photo: str | Path | ArrayLike,
    area: Scene | Dataset | str | Path,
    model: GAIR | str | Path,
    *,
    heading: float | None = None,
    box: Box | None = None,
    path: str | Path | None = None,
    resolution: float = 10.0,
    chip_px: int | None = None,
    chip_m: float | None = None,
    overlap: float = OVERLAP,
    temperature: float | None = None,
    radius: float = RADIUS,
    count: int = 10,
    remote: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Found:
    """Where in an area a photo was taken, as far as `model` can tell.

    photo: a file, or its vector [D] in the shared space. area: a scene, a raster, or a dataset
    folder with one scene there; box: (west, south, east, north) in degrees, the part of it that is
    searched (across the antimeridian west is above east); remote: as in `Dataset`. heading: where
    the camera looked, degrees clockwise from the scene's upper edge, for a model that reads
    headings; None: not known. path: of the map, which goes on where an interrupted call stopped;
    None: a temporary file, kept as long as the answer is. resolution: metres a cell. chip_px,
    chip_m: a chip's side, default that of the training (gairlib.scale). temperature: default the
    model's. radius: of a place, metres; count: how many places at most.
    """
    model = question.loaded(model)
    if radius <= 0 or count < 1:
        raise BadInput(f"radius {radius} m and count {count}: above 0 and at least 1 are needed")
    vector = question.vector(photo, model, device)
    scene = scene_of(area, box, remote=remote)
    t = question.temperature(model, temperature)
    held = tempfile.TemporaryDirectory(prefix="find-") if path is None else None
    path = Path(held.name) / FILES["map"] if held else Path(path)
    reading = _write(
        model,
        vector,
        scene,
        path,
        device=device,
        heading=heading,
        temperature=t,
        resolution=resolution,
        overlap=overlap,
        window=window_of(scene, box),
        progress=progress,
        chip_px=chip_px,
        chip_m=chip_m,
    )
    places = likely.places(path, temperature=t, radius=radius, cell=resolution, count=count)
    return Found(places, path, scene.id, reading, t, radius, held)


@devices.on_device
def _write(
    model: GAIR,
    vector: np.ndarray,
    scene: Scene,
    path: Path,
    *,
    device: torch.device,
    heading: float | None,
    temperature: float,
    **how,
) -> str:
    """The map of similarities with a vector [D] of unit length; says how the field was read."""
    all_round = model.config.reads_headings and heading is None
    reading = AllRound(model.eval()) if all_round else Reading(model.eval(), heading=heading)
    photo = sha256(vector.astype("<f8").tobytes()).hexdigest()[:16]
    dense.write(
        reading,
        scene,
        path,
        names=["cosine similarity with the photo"],
        settings={"photo": photo, "temperature": temperature if all_round else None},
        tags={"photo_vector_sha256": photo, "temperature": f"{temperature:g}"},
        turn=_cosine(vector, temperature),
        **how,
    )
    return reading.label


def _cosine(vector: np.ndarray, temperature: float) -> Callable[[np.ndarray], np.ndarray]:
    """Vectors [n, w, K * D] in K directions -> cosines with one vector [D], [n, w, 1]."""
    one = torch.from_numpy(vector).float()

    def turn(values: np.ndarray) -> np.ndarray:
        each = torch.from_numpy(values).unflatten(-1, (-1, len(one)))  # [n, w, K, D]
        found = (each @ one) / each.norm(dim=-1).clamp(min=1e-12)
        return any_direction(found.double(), temperature).clamp(-1, 1).float()[..., None].numpy()

    return turn
