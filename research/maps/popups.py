"""The photos of a map: what their pop-ups show, within a budget of bytes.

A pop-up has the photo, what is known of it, and the photos whose embeddings are nearest to its own.
Each picture stands in the page once, however many pop-ups show it. A map must stay small enough to
mail: with many photos the pictures get smaller, then fewer.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gairlib import geo
from gairlib.embed import nearest
from research.figures.style import thumbnail
from research.maps.overlays import data_uri

PICTURE_BYTES = 2_200_000  # of all photos together, as they stand in the page
SIDES = (200, 140, 96, 64)  # pixels: the first with which all photos fit is taken
NEIGHBOURS = 4
COLUMNS = "photo_id lon lat split heading captured_at weather view_direction photo_source licence"
LABELS = {"captured_at": "captured", "view_direction": "looking", "photo_source": "source"}


@dataclass(frozen=True)
class Photos:
    """rows: one dict a photo, for map.js; notes: sentences on what was left out."""

    rows: list[dict]
    notes: list[str]


def photo_table(
    photos: pd.DataFrame,
    thumbnails: list[np.ndarray] | None,
    vectors: np.ndarray | None,
    chosen: int | None,
    centre: float,
) -> Photos:
    """photos: photo_id, lon, lat and what to list; thumbnails: uint8 pictures; vectors [n, D].

    centre: the longitude around which the scene is drawn (the antimeridian lies in some scenes).
    """
    near, notes = [[] for _ in range(len(photos))], []
    if vectors is not None and len(photos) > 1:
        near = neighbours(vectors, photos[["lon", "lat"]].to_numpy(np.float64))
    elif vectors is not None:
        notes.append("Only one photo here: there is no other to compare it with.")
    pictures = [None] * len(photos)
    if thumbnails is not None:
        pictures = fit(thumbnails, chosen, PICTURE_BYTES)
        kept = sum(p is not None for p in pictures)
        if kept < len(photos):
            notes.append(f"{kept} of {len(photos)} photos have their picture in this file.")
    rows = []
    for i, row in enumerate(photos.to_dict("records")):
        lon = row["lon"] + 360.0 * round((centre - row["lon"]) / 360.0)
        rows.append(
            {
                "id": str(row["photo_id"]),
                "at": [row["lat"], lon],
                "place": f"{row['lat']:.5f}, {row['lon']:.5f} (lat, lon)",
                "facts": _facts(row),
                "near": near[i],
                "chosen": i == chosen,
                **(pictures[i] or {}),
            }
        )
    return Photos(rows, notes)


def _facts(row: dict) -> list[list[str]]:
    shown = [(k, v) for k, v in row.items() if k not in ("photo_id", "lon", "lat")]
    shown = [(k, v) for k, v in shown if v is not None and v == v]
    return [[LABELS.get(k, str(k).replace("_", " ")), _value(k, v)] for k, v in shown]


def _value(name: str, value) -> str:
    if name == "heading":
        return f"{float(value):.0f}\u00b0"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def neighbours(vectors: np.ndarray, lonlat: np.ndarray, k: int = NEIGHBOURS) -> list[list]:
    """For each of the vectors [n, D]: its k nearest others as [row, cosine, metres on the ground].

    The photo itself is left out by its row, so that a copy of it is still found.
    """
    found = nearest.search(vectors, vectors, k + 1)
    answers = []
    for i, (rows, cosines) in enumerate(zip(found.rows, found.similarity)):
        others = [(int(j), float(c)) for j, c in zip(rows, cosines) if j != i][:k]
        metres = geo.haversine(lonlat[[j for j, _ in others]], lonlat[i])
        answers.append(
            [[j, round(c, 3), round(float(d))] for (j, c), d in zip(others, np.atleast_1d(metres))]
        )
    return answers


def fit(
    thumbnails: list[np.ndarray], chosen: int | None = None, budget: int = PICTURE_BYTES
) -> list[dict | None]:
    """Pictures as {src, width, height}, the largest of SIDES with which all fit into `budget`
    bytes; where none does, the smallest, and None for photos evenly among the rest (never for the
    chosen one)."""
    n = len(thumbnails)
    sample = [thumbnails[i] for i in np.linspace(0, n - 1, min(n, 24)).astype(int)]
    for side in SIDES:
        mean = np.mean([len(_picture(t, side)["src"]) for t in sample])
        if mean * n <= 0.95 * budget:
            break
    order = np.arange(n)
    keep = int(min(n, 0.95 * budget // mean))
    if keep < n:
        first = np.unique(np.linspace(0, n - 1, max(keep, 1)).astype(int))
        order = first if chosen is None else np.unique(np.append(first, chosen))
    pictures, used = [None] * n, 0
    for i in sorted(order, key=lambda i: (i != chosen, i)):
        picture = _picture(thumbnails[i], side)
        if used + len(picture["src"]) <= budget or i == chosen:
            pictures[i] = picture
            used += len(picture["src"])
    return pictures


def _picture(picture: np.ndarray, side: int) -> dict:
    small = thumbnail(picture, side)
    height, width = small.shape[:2]
    return {"src": data_uri(small, "jpeg", 75), "width": width, "height": height}


def popup_columns(photos: pd.DataFrame) -> pd.DataFrame:
    """The columns of a manifest that a pop-up should list, as far as there are any."""
    return photos[[c for c in COLUMNS.split() if c in photos]]
