"""Where in a scene's field is a photo? The most similar cell, and what guessing would give."""

from dataclasses import dataclass

import numpy as np

from gairlib import geo
from gairlib.embed.field import Field
from gairlib.errors import BadInput

FEW_CELLS = 10_000  # at least so many of a large field say what a random guess is worth
FLAT = 1e-6  # cosines that differ by less are rounding, not similarity


@dataclass(frozen=True)
class Finding:
    """The most similar cell for a photo: where, how far off, and what guessing would give (m)."""

    lon: float
    lat: float
    cosine: float
    error_m: float
    guess_m: float  # median distance of a random cell from the truth


def similarity_limits(cosine: np.ndarray) -> tuple[float, float]:
    """The 2nd percentile and the maximum of the cosines that are known; (0, 1) without any."""
    known = cosine[np.isfinite(cosine)]
    return (float(np.percentile(known, 2)), float(known.max())) if known.size else (0.0, 1.0)


def flat_note(high: float) -> str:
    """What is said of similarities that are all `high`."""
    return f"similarity is {high:.2f} everywhere: the field is constant"


def find(
    field: Field,
    similarity: np.ndarray,
    lon: float,
    lat: float,
    *,
    centres: np.ndarray | None = None,
) -> Finding | None:
    """Take the cell of the highest similarity [h, w]; the true position is (lon, lat). centres:
    the cells' (lon, lat) [h, w, 2], for whoever asks often. None where the similarities are the
    same everywhere, give or take FLAT: any cell would do. BadInput where none is known."""
    if not np.isfinite(similarity).any():
        raise BadInput(f"scene {field.scene.id}: no cell with data to look for the photo in")
    low, high = similarity_limits(similarity)
    if high - low < FLAT:
        return None
    if centres is None:
        centres = np.stack(field.centres(), axis=-1)
    here = np.array([lon, lat])
    best = np.unravel_index(np.nanargmax(similarity), similarity.shape)
    # chance is a median over some thousand cells: a quarter of a million would tell no more of it
    step = max(1, int((similarity.size / FEW_CELLS) ** 0.5))
    some = centres[::step, ::step][field.valid[::step, ::step]]
    some = some if len(some) else centres[field.valid]
    return Finding(
        float(centres[best][0]),
        float(centres[best][1]),
        float(similarity[best]),
        float(geo.haversine(centres[best], here)),
        float(np.median(geo.haversine(some, here))),
    )
