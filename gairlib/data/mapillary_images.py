"""What the Mapillary API v4 is asked and answers, as pure functions: tiles, fields, table rows."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from gairlib.data import tables
from gairlib.errors import BadInput

TILE = 0.05  # degrees; 0.0025 square degrees, where the API allows 0.01
THUMBS = {1024: "thumb_1024_url", 2048: "thumb_2048_url", "original": "thumb_original_url"}
FIELDS = (
    "id",
    "computed_geometry",
    "geometry",
    "compass_angle",
    "computed_compass_angle",
    "captured_at",
    "is_pano",
    "camera_type",
    "sequence",
    "creator",
)
LICENCE = "CC BY-SA 4.0"

Tile = tuple[float, float, float, float]


def tiles_of(bbox: Sequence[float]) -> list[Tile]:
    """The box cut along a grid of TILE degrees, south to north, then west to east.

    west > east: the box crosses the antimeridian. The same place gives the same tiles whatever box
    it is asked in, but for those that the box itself cuts.
    """
    west, south, east, north = (float(v) for v in bbox)
    good = all(math.isfinite(v) for v in (west, south, east, north)) and west != east
    if not (good and -90 <= south < north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        raise BadInput(f"bbox: {tuple(bbox)}; (west, south, east, north) in degrees is needed")
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    return [
        (x0, y0, x1, y1)
        for y0, y1 in _steps(south, north)
        for span in spans
        for x0, x1 in _steps(*span)
    ]


def _steps(low: float, high: float) -> list[tuple[float, float]]:
    first, last = math.floor(low / TILE), math.ceil(high / TILE)
    edges = [low, *(round(k * TILE, 9) for k in range(first + 1, last)), high]
    edges = sorted({e for e in edges if low <= e <= high})
    return list(zip(edges, edges[1:]))


def row_of(image: dict) -> dict:
    """An image of the API as a row of a photo table, with a reason where it cannot be one.

    Positions and headings that Mapillary computed from the pictures go before those of the device.
    """
    name = name_of(image)
    places = [_point(image.get(key)) for key in ("computed_geometry", "geometry")]
    lon, lat = next((place for place in places if place), (math.nan, math.nan))
    angles = [tables.number(str(image.get(k))) for k in ("computed_compass_angle", "compass_angle")]
    angle = next((a for a in angles if 0 <= a <= 360), math.nan)
    time_ms, creator, camera = (image.get(k) for k in ("captured_at", "creator", "camera_type"))
    row = {
        "photo_id": name,
        "path": f"street/{name}.jpg",
        "lon": lon,
        "lat": lat,
        "heading": angle % 360.0,
        "captured_at": _moment(time_ms),
        "is_spherical": tables.truth(image.get("is_pano"))
        or camera in ("spherical", "equirectangular"),
        "photo_source": "Mapillary",
        "licence": LICENCE,
        "camera_type": camera,
        "position_computed": places[0] is not None,
        "sequence": image.get("sequence"),
        "creator": creator.get("username") if isinstance(creator, dict) else None,
    }
    if not name:
        row["reason"] = "Mapillary gives no id"
    elif not re.fullmatch(r"\w{1,64}", name):
        row["reason"] = f"{name[:80]!r} is no image id"
    elif not math.isfinite(lon):
        row["reason"] = "Mapillary gives no position"
    elif abs(lat) > 90 or abs(lon) > 180:
        row["reason"] = f"lon {lon:g}, lat {lat:g}: not a position"
    return row


def name_of(image: dict) -> str:
    """The id of an image; "" where the answer has none."""
    given = image.get("id")
    name = str(given).strip() if isinstance(given, str | int) else ""
    return "" if name.lower() in ("none", "null", "nan", "true", "false") else name


def _point(geometry) -> tuple[float, float] | None:
    try:
        lon, lat = (float(v) for v in geometry["coordinates"][:2])
    except (TypeError, KeyError, ValueError):
        return None
    known = math.isfinite(lon) and math.isfinite(lat) and (lon or lat)  # 0, 0: no fix
    return (lon, lat) if known else None


def _moment(given) -> str | None:
    """A moment after 2000, before which there were no such pictures; 0 and seconds are none. Text
    may spell it in any way that `tables.times` knows."""
    try:
        if isinstance(given, str) and not math.isfinite(tables.number(given)):
            text = tables.times(pd.Series([given], dtype="str"))[0]
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        else:
            moment = datetime.fromtimestamp(float(given) / 1000, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.year >= 2000 else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None
