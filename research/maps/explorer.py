"""One scene and the world, held ready so that a click is answered at once. No widgets in here.

Three questions, each answered from arrays that are in memory when the explorer is built:
- `at(lon, lat)`: which photos look like this spot of the scene (the field's cell against photos);
- `where(photo)`: where in the scene this photo could be, and how far off the best cell is;
- `world(lon, lat)`: which places on Earth the location encoder takes for like this one.

Answers are data (rows, pictures as data URIs with their bounds); `explorer_widgets` shows them in
JupyterLab. A click costs one product with the vectors held, and a picture to encode;
`research.speed.exploration` measures it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from gairlib import geo, ranks
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.embed import encode as features
from gairlib.embed.field import Field, in_window
from gairlib.errors import BadInput
from research.evaluation.finding import Finding, find, flat_note, similarity_limits
from research.figures.style import thumbnail
from research.maps.overlays import (
    CLEAR,
    Warp,
    data_uri,
    indexed_uri,
    mercator,
    similarity_index,
    unmercator,
)

WORLD_COLUMNS = 180  # 2 degrees at the equator
WORLD_LAT = 75.0  # degrees: the world's picture ends there, north and south
THUMBNAIL = 120  # pixels


class Near(NamedTuple):
    """One photo of an answer: row of the gallery, cosine, metres from the place asked about."""

    row: int
    photo_id: str
    cosine: float
    metres: float
    picture: str  # data URI


class Spot(NamedTuple):
    """What is known of a spot of the scene. near: the most similar photos, the best first; problem:
    why there are none ("" where there are)."""

    lon: float
    lat: float
    near: list[Near]
    problem: str = ""


class Picture(NamedTuple):
    """A picture for a map: data URI, (west, south, east, north), values of its darkest and its
    brightest colour."""

    uri: str
    bounds: tuple[float, float, float, float]
    limits: tuple[float, float]


class Place(NamedTuple):
    """Where a photo could be. finding: None where there is nothing to find it in; problem: why."""

    photo_id: str
    lon: float
    lat: float
    picture: Picture | None
    finding: Finding | None
    problem: str = ""


class World(NamedTuple):
    """A place on Earth: cosine of its location embedding with the world's, and its photos."""

    lon: float
    lat: float
    picture: Picture
    near: list[Near]


class Explorer:
    """field: of one scene; photos: photo_id, lon, lat; vectors [n, D]; pictures: data URIs, one a
    photo; encode: (lon, lat) [m, 2] -> [m, D], the location encoder. Raises BadInput where the
    three tables of photos disagree in length."""

    def __init__(
        self,
        field: Field,
        photos: pd.DataFrame,
        vectors: np.ndarray,
        pictures: list[str],
        encode: Callable[[np.ndarray], np.ndarray],
    ):
        if not len(photos) == len(vectors) == len(pictures):
            raise BadInput(
                f"{len(photos)} photos, {len(vectors)} vectors, {len(pictures)} pictures: one each"
            )
        self.scene = field.scene
        self.photos, self.pictures = photos.reset_index(drop=True), pictures
        self.vectors = ranks.unit(np.reshape(vectors, (len(photos), field.values.shape[-1])))
        self.lonlat = self.photos[["lon", "lat"]].to_numpy(np.float64)
        self.show(field)
        self._warp = Warp(field.valid.shape, field.scene, field.window)
        self._centres = np.stack(field.centres(), axis=-1)  # float64 [h, w, 2]
        self._encode = encode
        self._world, self._world_shape, self.world_bounds = world_grid()
        self._places = ranks.unit(encode(self._world))  # float32 [m, D]

    def show(self, field: Field) -> None:
        """Answer from another reading of the same cells, such as that of another heading."""
        self.field = field
        self._cells = ranks.unit(field.values.reshape(-1, field.values.shape[-1]))  # [hw, D]
        self._valid = field.valid.reshape(-1)

    # ------------------------------------------------------------------ the three questions

    def at(self, lon: float, lat: float, k: int = 6) -> Spot:
        """The k photos that are most like the field's cell at (lon, lat), in degrees."""
        lonlat = np.array([[lon, lat]], dtype=np.float64)
        geo.check_lonlat(lonlat)
        row, inside = self.cell(lon, lat)
        if not inside:
            return Spot(lon, lat, [], "outside the part of the scene that is shown")
        if not self._valid[row]:
            return Spot(lon, lat, [], "no satellite data here")
        if not len(self.photos):
            return Spot(lon, lat, [], "there is no photo to compare with")
        return Spot(lon, lat, self._near(self._cells[row], lonlat[0], k))

    def where(self, photo: int | str, alpha: float = 0.85) -> Place:
        """Where the photo of that row or id could be in the scene; alpha: opacity in [0, 1]."""
        i = photo if isinstance(photo, int) else self._row(photo)
        lon, lat = self.lonlat[i]
        name = str(self.photos.loc[i, "photo_id"])
        if not self._valid.any():
            return Place(name, lon, lat, None, None, "this part of the scene has no data")
        cosine = (self._cells @ self.vectors[i]).reshape(self.field.valid.shape)
        cosine = np.where(self.field.valid, cosine, np.nan)
        low, high = similarity_limits(cosine)
        index = self._warp.values(similarity_index(cosine, low, high), CLEAR)
        picture = Picture(indexed_uri(index, alpha), self._warp.bounds, (low, high))
        if not self.cell(lon, lat)[1]:
            return Place(name, lon, lat, picture, None, "taken outside the part that is shown")
        found = find(self.field, cosine, lon, lat, centres=self._centres)
        return Place(name, lon, lat, picture, found, "" if found else flat_note(high))

    def world(self, lon: float, lat: float, k: int = 6, alpha: float = 0.85) -> World:
        """Cosines of the location embedding at (lon, lat) with those of the world's grid."""
        lonlat = np.array([[lon, lat]], dtype=np.float64)
        geo.check_lonlat(lonlat)
        vector = ranks.unit(self._encode(lonlat))[0]
        cosine = (self._places @ vector).reshape(self._world_shape)
        low, high = similarity_limits(cosine)
        index = similarity_index(cosine, low, high)
        picture = Picture(indexed_uri(index, alpha), self.world_bounds, (low, high))
        return World(lon, lat, picture, self._near(vector, lonlat[0], k))

    # ------------------------------------------------------------------ parts of the answers

    def cell(self, lon: float, lat: float) -> tuple[int, bool]:
        """(row of the field's cell at that place, or 0; whether the place is in the field)."""
        column, row = (float(v) for v in self.scene.to_pixels(lon, lat))
        c0, r0, wide, high = self.field.window
        h, w = self.field.valid.shape
        x, y = (column - c0) / wide * w, (row - r0) / high * h
        if not (0 <= x < w and 0 <= y < h):  # False for inf and NaN
            return 0, False
        return int(y) * w + int(x), True

    def _near(self, vector: np.ndarray, lonlat: np.ndarray, k: int) -> list[Near]:
        cosine = self.vectors @ vector
        order = np.argsort(-cosine, kind="stable")[:k]
        metres = np.atleast_1d(geo.haversine(self.lonlat[order], lonlat))
        return [
            Near(
                int(i),
                str(self.photos["photo_id"].iat[i]),
                float(cosine[i]),
                float(d),
                self.pictures[i],
            )
            for i, d in zip(order, metres)
        ]

    def _row(self, photo_id: str) -> int:
        rows = np.flatnonzero(self.photos["photo_id"].astype(str) == str(photo_id))
        if not len(rows):
            raise BadInput(f"photo {photo_id!r} is not among the {len(self.photos)} held here")
        return int(rows[0])

    def inside(self) -> list[int]:
        """Rows of the photos that stand in the shown part of the scene."""
        there = in_window(self.scene, self.field.window, *self.lonlat.T)
        return np.flatnonzero(there).tolist()

    def ground(self, picture: np.ndarray) -> Picture:
        """A picture over the field's window, uint8 [h, w, 3 or 4], for the map."""
        warp = Warp(picture.shape[:2], self.scene, self.field.window)
        return Picture(data_uri(warp(picture), fast=True), warp.bounds, (0.0, 1.0))


def world_grid(columns: int = WORLD_COLUMNS) -> tuple[np.ndarray, tuple[int, int], tuple]:
    """Centres of square EPSG:3857 pixels over the world: (lon, lat) [h * w, 2], row by row from the
    north-west; (h, w); (west, south, east, north). So their values need no warping for a map."""
    right, top = (float(v) for v in mercator(180.0, WORLD_LAT))
    step = 2 * right / columns
    rows = int(np.ceil(2 * top / step))
    top = rows * step / 2
    x = -right + (np.arange(columns) + 0.5) * step
    y = top - (np.arange(rows) + 0.5) * step
    gx, gy = np.meshgrid(x, y)
    lon, lat = unmercator(gx, gy)
    north = float(unmercator(0.0, top)[1])
    places = np.stack([lon.ravel(), lat.ravel()], axis=1)
    return places, (rows, columns), (-180.0, -north, 180.0, north)


# ---------------------------------------------------------------------------- from a dataset


def gallery(manifest: pd.DataFrame, scene: Scene, most: int, seed: int = 0) -> pd.DataFrame:
    """The photos to compare with: this scene's, then others drawn by the seed, at most `most`."""
    rows = manifest.drop_duplicates("photo_id")
    own = rows[rows["scene_id"] == scene.id]
    own = own.sample(min(len(own), most), random_state=seed).sort_values("photo_id")
    rest = rows[rows["scene_id"] != scene.id]
    rest = rest.sample(min(len(rest), most - len(own)), random_state=seed)
    return pd.concat([own, rest]).reset_index(drop=True)


def build(
    model, dataset: Dataset, field: Field, photos: pd.DataFrame, device: str = "auto"
) -> Explorer:
    """An explorer of a field and of the photos in the rows (see `gallery`), all embedded here."""
    vectors = np.zeros((0, model.config.dim), np.float32)
    if len(photos):
        vectors = features.photos(model, dataset, photos, device=device)
    pictures = [
        data_uri(thumbnail(dataset.photo(row), THUMBNAIL), "jpeg", 75)
        for row in photos.to_dict("records")
    ]

    return Explorer(field, photos, vectors, pictures, location_encoder(model))


def location_encoder(model) -> Callable[[np.ndarray], np.ndarray]:
    """(lon, lat) float64 [m, 2] -> float32 [m, D]; `features.locations` without a progress bar."""

    def encode(lonlat: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            parts = torch.from_numpy(np.asarray(lonlat, np.float64)).split(4096)
            return torch.cat([model.encode_location(p).float() for p in parts]).numpy()

    return encode


def backdrop(dataset: Dataset, photos: pd.DataFrame) -> np.ndarray:
    """(lon, lat) [n, 2] that show where land is: the places of the folder's tables, else the
    photos'. A folder need not have an outline of the continents."""
    places = [t[["lon", "lat"]].to_numpy(np.float64) for t in dataset.tables().values()]
    places = places or [photos[["lon", "lat"]].to_numpy(np.float64)]
    return np.concatenate(places).reshape(-1, 2)
