"""A place in, the photos that look like it out: `find` (gairlib.embed.finding) the other way round.

The place is read in the field of the chip around it, in the direction that is asked for, or in all,
where the soft maximum over them counts (`gairlib.cone.any_direction`). Without an area it is known
by its coordinates alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gairlib import scale
from gairlib.cone import any_direction
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.embed import encode, question
from gairlib.embed.area import scene_of
from gairlib.embed.field import read_chip_field
from gairlib.embed.nearest import Index
from gairlib.errors import BadInput
from gairlib.model import GAIR, model_hash


def photos_like(
    lonlat: Sequence[float],
    photos: Index | Sequence[str | Path],
    model: GAIR | str | Path,
    *,
    area: Scene | Dataset | str | Path | None = None,
    heading: float | None = None,
    count: int = 10,
    chip_px: int | None = None,
    chip_m: float | None = None,
    temperature: float | None = None,
    remote: bool = False,
    device: str = "auto",
) -> pd.DataFrame:
    """The photos that look most like a place (lon, lat), the most similar first: similarity and
    path, or the columns of an `Index` of embedded photos.

    area: where the place is read in the field, as in `find`; None: it is known by its coordinates
    alone, through the location encoder. heading: of the view that is asked for; None: any.
    """
    model = question.loaded(model)
    place = np.asarray(lonlat, np.float64)
    if isinstance(photos, Index):
        if photos.weights is not None and photos.weights != model_hash(model):
            raise BadInput(
                "photos_like: the photos were embedded by other weights than the model's"
            )
        rows = np.flatnonzero(photos.table["kind"] == "photos")
        table, vectors = photos.table.iloc[rows], photos.vectors[rows]
    else:
        table = pd.DataFrame({"path": list(map(str, photos))})
        vectors = question.encoded(table["path"], model, device)
    if not len(table):
        raise BadInput("photos_like: there are no photos to choose from")
    if area is None:
        if heading is not None:
            raise BadInput("heading: coordinates alone have no direction; give the area too")
        asked = encode.locations(model, place, device=device)
    else:
        asked = _read(
            model,
            scene_of(area, remote=remote),
            place,
            heading,
            device=device,
            chip_px=chip_px,
            chip_m=chip_m,
        )
    cosines = torch.from_numpy(question.unit(vectors) @ question.unit(asked).T)  # [n, K] float64
    similarity = any_direction(cosines, question.temperature(model, temperature)).numpy()
    best = np.argsort(-similarity, kind="stable")[:count]
    answer = table.iloc[best].reset_index(drop=True)
    answer.insert(0, "similarity", similarity[best])
    return answer


@torch.inference_mode()
def _read(
    model: GAIR,
    scene: Scene,
    place: np.ndarray,
    heading: float | None,
    *,
    chip_px: int | None,
    chip_m: float | None,
    device: str,
) -> np.ndarray:
    """The field at a place, from the chip around it: a row for each direction, [K, D]."""
    column, row = (float(v) for v in scene.to_pixels(*place))
    if not (0 <= column < scene.width and 0 <= row < scene.height):
        raise BadInput(f"lon, lat {place.tolist()}: not in scene {scene.id}")
    chip_px, chip_m = scale.of(model.config, chip_px, chip_m)
    chip, transform = scenes.read_chip(scene, column, row, size_px=chip_px, size_m=chip_m)
    inside = ~transform @ (scene.transform @ (column, row))
    x, y = (np.array([2 * v / chip_px - 1]).clip(-1, 1) for v in inside)
    all_round = model.config.reads_headings and heading is None
    looks = model.field.cone.around.tolist() if all_round else [heading]
    how = dict(side_m=chip_m, device=device)
    read = [read_chip_field(model, chip, x, y, heading=look, **how)[0, 0] for look in looks]
    return np.stack(read)
