"""Places read in many directions, and photos that say in which one they look.

A field of place and direction (`decoder: cone`) has no one vector for a place. A photo with a
compass looks at every place in its own direction, to the nearest of DIRECTIONS; a photo without one
looks in all of them, as the model reads a place whose direction is unknown.
"""

from dataclasses import dataclass

import numpy as np

from gairlib import ranks
from gairlib.embed import encode
from gairlib.model import GAIR
from gairlib.ranks import Ranks, ranks_within
from research.evaluation import features, probes
from research.evaluation.table import OURS, RANDOM, UNKNOWN
from research.tasks.query import Query, photo_colours

DIRECTIONS = np.arange(36) * 10.0  # degrees clockwise from north
AHEAD_M = (25.0, 80.0)  # where a plain rival with a compass looks
AHEAD = "colour statistics, ahead"  # its name


def reads(model: GAIR, mode: str | None = None) -> bool:
    """Whether the model reads directions of view, in this query mode."""
    return model.config.reads_headings and mode in (None, model.config.query_mode)


def told(query: Query) -> str:
    """A sentence for the notes: what the rows of a model that reads directions stand for."""
    known, n = int(np.isfinite(query.heading).sum()), len(query.rows)
    return (
        f"{known:,} of {n:,} photos ({query.label}) have a compass: `{OURS}` and `{RANDOM}` read "
        f"the field in each photo's direction, `{UNKNOWN}` in all; the other rows know no direction"
    )


def nearest(heading) -> np.ndarray:
    """Which of DIRECTIONS headings [n] are nearest to; their number for an unknown one."""
    heading, k = np.asarray(heading, np.float64), len(DIRECTIONS)
    known = np.isfinite(heading)
    steps = np.round(np.where(known, heading, 0) / 360 * k).astype(int) % k
    return np.where(known, steps, k)


def look_around(model: GAIR, query: Query, device: str = "auto") -> np.ndarray:
    """Where each photo stands, in each of K DIRECTIONS, then in all: unit vectors [n, K + 1, D]."""
    looks = np.append(DIRECTIONS, np.nan)
    each, n = len(looks), len(query.rows)
    found = encode.local(
        model,
        query.chips,
        np.repeat(query.chip_of, each),
        np.repeat(query.xy, each, 0),
        heading=np.tile(looks, n),
        side_m=query.sides_m,
        device=device,
    )
    return ranks.unit(found).reshape(n, each, -1)


@dataclass(frozen=True)
class Views:
    """Places [n, K + 1, D] of `look_around`, photos [n, D] there, and the direction of each [n]."""

    places: np.ndarray
    photos: np.ndarray
    direction: np.ndarray

    def similarity(self, photos: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Of numbers [c] and [m]: cosines [c, m], every place as the photo looks at it."""
        found = np.empty((len(photos), len(places)), np.float32)
        for k in np.unique(self.direction[photos]):
            look = self.direction[photos] == k
            found[look] = self.photos[photos[look]] @ self.places[places, k].T
        return found

    def ranks(self, rows: np.ndarray, groups=None, back: bool = False) -> Ranks:
        """Of the places of some photos (bool [n]) among these; back: of the photos."""
        of = np.flatnonzero(rows)
        if back:
            return ranks_within(len(of), lambda p, m: self.similarity(of[m], of[p]).T, groups)
        return ranks_within(len(of), lambda p, m: self.similarity(of[p], of[m]), groups)


def _ahead(chips, chip_of, xy, heading, size_m) -> np.ndarray:
    """Band statistics of RS windows AHEAD_M in front of cameras at xy [n, 2] of chips [c, ...], or
    of the place itself where heading [n] is NaN; beyond the chip's edge, at its edge: [n, F]."""
    turn = np.deg2rad(np.nan_to_num(heading))
    way = np.stack([np.sin(turn), -np.cos(turn)], 1)  # x to the east, y to the south
    way = way * np.isfinite(heading)[:, None] * 2 / size_m
    places = [np.clip(xy + metres * way, -1, 1) for metres in AHEAD_M]
    return np.concatenate([features.local_statistics(chips, chip_of, at) for at in places], 1)


class ColoursAhead:
    """The plain rival with a compass: colours of photos and of what lies ahead of the cameras,
    aligned on training pairs by canonical correlation."""

    def __init__(self, train: Query) -> None:
        t = train
        known = _ahead(t.chips, t.chip_of, t.xy, t.heading, t.size_m)
        self._photo, self._place = probes.canonical_pairs(photo_colours(t), known)

    def around(self, query: Query) -> np.ndarray:
        """Similarity of each photo with its place in each of DIRECTIONS: [n, K]."""
        q, photos = query, ranks.unit(self._photo(photo_colours(query)))
        found = [
            _ahead(q.chips, q.chip_of, q.xy, np.full(len(photos), d), q.size_m) for d in DIRECTIONS
        ]
        return np.stack([(photos * ranks.unit(self._place(x))).sum(1) for x in found], 1)

    def maps(self, query: Query, grid: np.ndarray) -> np.ndarray:
        """Similarity of each photo with the cells [P, 2] of its chip, seen in its direction."""
        photos, chip = ranks.unit(self._photo(photo_colours(query))), np.zeros(len(grid), int)
        found = np.zeros((len(photos), len(grid)), np.float32)
        for i, (c, heading) in enumerate(zip(query.chip_of, query.heading)):
            looks = np.full(len(grid), heading)
            seen = _ahead(query.chips[c : c + 1], chip, grid, looks, query.size_m[i])
            found[i] = ranks.unit(self._place(seen)) @ photos[i]
        return found
