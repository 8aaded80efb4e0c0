"""Pictures for the map: warped to EPSG:3857, coloured, encoded as data URIs.

Leaflet stretches an image linearly between the projected corners of its bounds; an unwarped UTM
raster would sit askew by several pixels. Longitudes may run past 180 degrees, so that a scene
across the antimeridian stays in one piece.
"""

import base64
import io
import math
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from PIL import Image

from gairlib.data.scene import Scene, sentinel_notice
from gairlib.embed.field import Field
from research.evaluation.finding import FLAT, flat_note, similarity_limits
from research.figures import style

RADIUS = 6378137.0  # metres: the sphere of EPSG:3857
SIDE = 1400  # pixels of an overlay's longer side, at most
OVERSAMPLE = 4  # overlay pixels to one of the picture's, where SIDE allows


def mercator(lon, lat) -> tuple[np.ndarray, np.ndarray]:
    """lon, lat in degrees -> x, y of EPSG:3857 in metres; longitudes may run past 180."""
    lat = np.radians(np.asarray(lat, dtype=np.float64))
    return RADIUS * np.radians(lon), RADIUS * np.arcsinh(np.tan(lat))


def unmercator(x, y) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `mercator`."""
    lat = np.degrees(np.arctan(np.sinh(np.asarray(y, dtype=np.float64) / RADIUS)))
    return np.degrees(np.asarray(x) / RADIUS), lat


class Warp:
    """Where each pixel of an EPSG:3857 grid over a scene's window takes its value from.

    shape: (rows, columns) of the pictures, whose edges lie on the window's edges. Made once, it
    warps any number of pictures by look-up alone. `bounds` is the grid's (west, south, east,
    north) in degrees, `shape` its (rows, columns); `step` is the edge of its square pixels, in
    metres of EPSG:3857.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        scene: Scene,
        window: tuple[int, int, int, int] | None = None,
        side: int = SIDE,
    ):
        h, w = shape
        c0, r0, wide, high = window or (0, 0, scene.width, scene.height)
        edge = np.linspace(0.0, 1.0, 33)
        column = np.concatenate([edge, edge, 0 * edge, 0 * edge + 1])
        row = np.concatenate([0 * edge, 0 * edge + 1, edge, edge])
        lon, lat = scene.to_lonlat(c0 + column * wide, r0 + row * high)
        x, y = mercator(np.degrees(np.unwrap(np.radians(lon))), lat)
        left, right, bottom, top = x.min(), x.max(), y.min(), y.max()
        self.step = max(right - left, top - bottom) / min(side, OVERSAMPLE * max(h, w))
        width, height = (max(1, math.ceil(d / self.step)) for d in (right - left, top - bottom))
        right, bottom = left + width * self.step, top - height * self.step

        gx, gy = np.meshgrid(
            left + (np.arange(width) + 0.5) * self.step, top - (np.arange(height) + 0.5) * self.step
        )
        c, r = scene.to_pixels(*unmercator(gx, gy))
        i, j = np.floor((c - c0) / wide * w), np.floor((r - r0) / high * h)
        inside = (i >= 0) & (i < w) & (j >= 0) & (j < h)  # False for inf
        self.source, self.shape = (h, w), (height, width)
        # pictures are looked up with one transparent pixel behind their last
        self._take = np.full(self.shape, h * w)
        self._take[inside] = j[inside].astype(int) * w + i[inside].astype(int)
        (west, east), (south, north) = unmercator(np.array([left, right]), np.array([bottom, top]))
        self.bounds = (float(west), float(south), float(east), float(north))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3 or 4] -> uint8 RGBA [H, W, 4], transparent outside; nothing is blurred."""
        h, w = self.source
        flat = np.zeros((h * w + 1, 4), np.uint8)
        flat[:-1, 3] = 255
        flat[:-1, : picture.shape[2]] = picture.reshape(h * w, -1)
        return flat[self._take]

    def values(self, values: np.ndarray, outside: int) -> np.ndarray:
        """uint8 [h, w] -> uint8 [H, W]; `outside` where the window is not."""
        return np.append(values.reshape(-1), np.uint8(outside))[self._take]


def warp(
    picture: np.ndarray,
    scene: Scene,
    window: tuple[int, int, int, int] | None = None,
    side: int = SIDE,
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A picture over the scene (or over a window of it) -> the picture on an EPSG:3857 grid.

    picture: uint8 [h, w, 3 or 4], its edges on the window's edges. Returns uint8 RGBA [H, W, 4],
    transparent outside, and the grid's (west, south, east, north) in degrees. Each target pixel
    takes the picture's pixel that its centre lies in. side: pixels of the longer side, at most.
    """
    grid = Warp(picture.shape[:2], scene, window, side)
    return grid(picture), grid.bounds


LOSSLESS = 100


def data_uri(picture: np.ndarray, kind: str = "png", quality: int = 82, fast: bool = False) -> str:
    """uint8 [h, w, 3 or 4] -> "data:image/...;base64,...".

    quality: of JPEG and WebP; LOSSLESS keeps every pixel of a WebP.
    fast: a PNG that is made in a fraction of the time and is somewhat larger.
    """
    file, image = io.BytesIO(), Image.fromarray(picture)
    if kind == "jpeg":
        image.convert("RGB").save(file, "JPEG", quality=quality)
    elif kind == "webp":
        image.save(file, "WEBP", quality=quality, lossless=quality == LOSSLESS, method=6)
    elif fast:
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "PNG")
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def similarity_rgba(similarity: np.ndarray, low: float, high: float) -> np.ndarray:
    """Cosines [h, w] -> uint8 RGBA, transparent where NaN."""
    share = (similarity - low) / max(high - low, FLAT)
    rgba = mpl.colormaps[style.SIMILARITY](np.nan_to_num(np.clip(share, 0, 1)), bytes=True)
    rgba[~np.isfinite(similarity)] = 0
    return rgba


CLEAR = 255  # index of a picture's cells without a value; 0 to 254 are the similarity colours


def similarity_index(similarity: np.ndarray, low: float, high: float) -> np.ndarray:
    """Cosines [h, w] -> uint8 [h, w] of the colours of `indexed_uri`, CLEAR where NaN."""
    share = np.clip((similarity - low) / max(high - low, FLAT), 0, 1)
    index = np.round(np.nan_to_num(share) * 254).astype(np.uint8)
    index[~np.isfinite(share)] = CLEAR
    return index


def indexed_uri(index: np.ndarray, alpha: float = 1.0) -> str:
    """uint8 [h, w] of `similarity_index` -> data URI of a PNG with a palette: a quarter of the
    bytes, and of the time, of one in RGBA. alpha: opacity in [0, 1]."""
    image, file = Image.fromarray(index, "P"), io.BytesIO()
    colours = mpl.colormaps[style.SIMILARITY](np.linspace(0, 1, 255), bytes=True)[:, :3]
    image.putpalette(colours.tobytes() + bytes(3))
    opaque = round(255 * min(max(alpha, 0.0), 1.0))
    image.save(file, "PNG", transparency=bytes([opaque] * 255 + [0]), compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


class Layer(NamedTuple):
    """A picture, the part of the scene that it covers, and what its colours mean.

    picture: uint8 [h, w, 3 or 4]; window: (column, row, width, height) in the scene's pixels, None
    for the whole scene; note: a line for the legend; limits: the values at the dark and the bright
    end of the similarity colours, None for a picture that has no such scale.
    """

    picture: np.ndarray
    window: tuple[int, int, int, int] | None = None
    note: str = ""
    limits: tuple[float, float] | None = None


def similarity_layer(cosine: np.ndarray, window: tuple[int, int, int, int] | None = None) -> Layer:
    """Cosines [h, w] as a picture whose colours run from the 2nd percentile to the maximum."""
    low, high = similarity_limits(cosine)
    note = "cosine similarity to the chosen photo"
    if not np.isfinite(cosine).any():
        note = "no similarity: no place here has data"
    elif high - low < FLAT:
        note = flat_note(high)
    return Layer(similarity_rgba(cosine, low, high), window, note, (low, high))


def credit(scene: Scene, synthetic: bool) -> str:
    """What has to stand under a picture of this scene."""
    return "synthetic scene" if synthetic else sentinel_notice(scene.datetime)


def true_colour_of(field: Field, values: np.ndarray) -> tuple[np.ndarray, tuple]:
    """The scene's true colours in the field's window: (RGBA, window); values as `scenes.read`."""
    rgb = style.true_colour(values)
    alpha = np.where((values > 0).any(axis=0), 255, 0).astype(np.uint8)
    return np.dstack([rgb, alpha]), field.window
