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

from gairlib.field import Field
from gairlib.figures import style
from gairlib.scenes import Scene

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


def warp(
    picture: np.ndarray, scene: Scene, window: tuple[int, int, int, int] | None = None
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A picture over the scene (or over a window of it) -> the picture on an EPSG:3857 grid.

    picture: uint8 [h, w, 3 or 4], its edges on the window's edges. Returns uint8 RGBA [H, W, 4],
    transparent outside, and the grid's (west, south, east, north) in degrees. Each target pixel
    takes the picture's pixel that its centre lies in: nothing is blurred.
    """
    h, w = picture.shape[:2]
    c0, r0, wide, high = window or (0, 0, scene.width, scene.height)
    edge = np.linspace(0.0, 1.0, 33)
    column = np.concatenate([edge, edge, 0 * edge, 0 * edge + 1])
    row = np.concatenate([0 * edge, 0 * edge + 1, edge, edge])
    lon, lat = scene.to_lonlat(c0 + column * wide, r0 + row * high)
    x, y = mercator(np.degrees(np.unwrap(np.radians(lon))), lat)
    left, right, bottom, top = x.min(), x.max(), y.min(), y.max()
    scale = max(right - left, top - bottom) / min(SIDE, OVERSAMPLE * max(h, w))
    width, height = (max(1, math.ceil(d / scale)) for d in (right - left, top - bottom))
    right, bottom = left + width * scale, top - height * scale

    gx, gy = np.meshgrid(
        left + (np.arange(width) + 0.5) * scale, top - (np.arange(height) + 0.5) * scale
    )
    c, r = scene.to_pixels(*unmercator(gx, gy))
    i, j = np.floor((c - c0) / wide * w), np.floor((r - r0) / high * h)
    inside = (i >= 0) & (i < w) & (j >= 0) & (j < h)  # False for inf
    rgba = np.dstack([picture, np.full((h, w), 255, np.uint8)])[..., :4] if (
        picture.shape[2] == 3
    ) else picture
    out = np.zeros((height, width, 4), np.uint8)
    out[inside] = rgba[j[inside].astype(int), i[inside].astype(int)]
    (west, east), (south, north) = unmercator(np.array([left, right]), np.array([bottom, top]))
    return out, (float(west), float(south), float(east), float(north))


def data_uri(picture: np.ndarray, kind: str = "png", quality: int = 82) -> str:
    """uint8 [h, w, 3 or 4] -> "data:image/...;base64,..."."""
    file, image = io.BytesIO(), Image.fromarray(picture)
    if kind == "jpeg":
        image.convert("RGB").save(file, "JPEG", quality=quality)
    else:
        image.save(file, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def similarity_rgba(similarity: np.ndarray, low: float, high: float) -> np.ndarray:
    """Cosines [h, w] -> uint8 RGBA, transparent where NaN."""
    share = (similarity - low) / max(high - low, 1e-9)
    rgba = mpl.colormaps[style.SIMILARITY](np.nan_to_num(np.clip(share, 0, 1)), bytes=True)
    rgba[~np.isfinite(similarity)] = 0
    return rgba


class Layer(NamedTuple):
    """A picture and what its colours mean."""

    picture: np.ndarray
    legend: str


def similarity_layer(cosine: np.ndarray) -> Layer:
    """Cosines [h, w] as a picture whose colours run from the 2nd percentile to the maximum."""
    known = cosine[np.isfinite(cosine)]
    low, high = (np.percentile(known, 2), known.max()) if known.size else (0.0, 1.0)
    legend = f"cosine similarity, {low:.2f} (dark) to {high:.2f} (bright)"
    return Layer(similarity_rgba(cosine, low, high), legend)


def thumbnail(picture: np.ndarray, side: int = 200) -> np.ndarray:
    """uint8 [H, W, 3], shrunk to at most side x side pixels in its own proportions."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    return np.asarray(image)


def true_colour_of(field: Field, values: np.ndarray) -> tuple[np.ndarray, tuple]:
    """The scene's true colours in the field's window: (RGBA, window); values as `scenes.read`."""
    rgb = style.true_colour(values)
    alpha = np.where((values > 0).any(axis=0), 255, 0).astype(np.uint8)
    return np.dstack([rgb, alpha]), field.window
