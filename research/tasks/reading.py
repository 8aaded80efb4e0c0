"""One encoder's answers to the pairs that retrieval asks about: vectors, and maps over chips."""

from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from gairlib import devices, preprocess, ranks
from gairlib.embed import encode
from gairlib.model import GAIR
from research.evaluation import features, localisation, probes
from research.tasks.directions import Views, look_around, nearest, reads
from research.tasks.query import Query, photo_colours, place_colours

# a guess of a place from a map of similarities; the first where nothing can choose
ESTIMATORS = {
    "disc": "likeliest disc",
    "expected": "least expected error",
    "best": "most similar cell",
}


@dataclass
class Reading:
    """One encoder's answers: embeddings of photos and places [n, D], each photo's similarity with
    the P cells of its chip [n, P] and the cells [P, 2] in [-1, 1] (None without positions). Where
    the photos' directions were read: `local` is the view that each photo has, `maps` are of cells
    seen in its direction, and `views` has every place in every direction."""

    photos: np.ndarray
    local: np.ndarray
    maps: np.ndarray | None = None
    grid: np.ndarray | None = None
    shown: np.ndarray | None = None  # positions [n, 2] for the figure of an example
    views: Views | None = None

    def ranks(self, rows: np.ndarray, groups=None, back: bool = False) -> ranks.Ranks:
        """Of the places of some photos (bool [n]) among these, in groups [n]; back: of photos."""
        if self.views is not None:
            return self.views.ranks(rows, groups, back)
        photos, local = self.photos[rows], self.local[rows]
        return ranks.match_ranks(*((local, photos) if back else (photos, local)), groups)

    def guesses(self, temperature: float) -> dict[str, np.ndarray]:
        """Positions [n, 2] by each of ESTIMATORS."""
        if self.maps is None:
            return {}
        return {
            "disc": localisation.likeliest_disc(self.maps, self.grid, temperature),
            "expected": localisation.least_expected_error(self.maps, self.grid, temperature),
            "best": localisation.best_cell(self.maps, self.grid),
        }

    def calibrate(self, query: Query) -> tuple[float, str]:
        """(temperature, estimator) for maps of other places, by the true positions of this query:
        how far similarities are to be trusted, and which guess is off by least in the median.

        To be asked of photos that are not judged.
        """
        cells = localisation.cell_of(query.xy, query.cells)
        temperature = localisation.fit_temperature(self.maps, cells)
        errors = {
            name: float(np.median(localisation.errors_m(at, query.xy, query.size_m)))
            for name, at in self.guesses(temperature).items()
        }
        return temperature, min(errors, key=errors.get)


@devices.on_device
@torch.inference_mode()
def read(
    model: GAIR,
    query: Query,
    *,
    mode: str | None = None,
    compass: bool = True,
    device: str = "auto",
    batch: int = 8,
) -> Reading:
    """Embeddings of photos and of the places where they stand, and maps of similarity.

    compass: whether a model that reads directions of view is told those of the photos. Chips are
    encoded once; their dense fields are held `batch` at a time.
    """
    model = model.to(device).eval()
    directed, heading = compass and reads(model, mode), query.heading
    prep = preprocess.get(model.config.preprocessing)
    photos = encode.encode_photos(model, query.images, device=device)
    local = np.zeros_like(photos)
    grid = localisation.cell_centres(query.cells)  # [P, 2]
    slide = mode != "mean"  # a chip's mean has no position
    maps = np.zeros((len(photos), len(grid)), np.float32) if slide else None
    for start in tqdm(range(0, len(query.chips), batch), desc="fields", mininterval=1, leave=False):
        dn = torch.from_numpy(query.chips[start : start + batch].astype(np.float32))
        sides = query.sides_m[start : start + batch]
        encoded = model.encode_rs(prep.rs(dn, model.config.rs_size).to(device), side_m=sides)
        members = [np.flatnonzero(query.chip_of == start + i) for i in range(len(dn))]
        slots = max(map(len, members))
        xy = np.zeros((len(dn), slots, 2))  # an empty slot reads the middle and is dropped
        look = np.zeros((len(dn), slots))
        for i, rows in enumerate(members):
            xy[i, : len(rows)], look[i, : len(rows)] = query.xy[rows], heading[rows]
        how = dict(mode=mode, normalize=True)
        at = model.query_rs(
            encoded, torch.from_numpy(xy).to(device), heading=look if directed else None, **how
        )
        for i, rows in enumerate(members):
            local[rows] = at[i, : len(rows)].float().cpu().numpy()
        if not slide:
            continue
        dense = torch.from_numpy(grid)[None].expand(len(dn), -1, -1).to(device)
        if directed:  # each photo its own field
            for i, row in ((i, row) for i, rows in enumerate(members) for row in rows):
                field = model.query_rs(encoded.of([i]), dense[:1], heading=heading[row], **how)
                maps[row] = photos[row] @ field[0].float().cpu().numpy().T
            continue
        fields = model.query_rs(encoded, dense, **how).float().cpu().numpy()
        for i, rows in enumerate(members):
            maps[rows] = photos[rows] @ fields[i].T  # [k, P]
    found = Reading(photos, local, maps, grid if slide else None)
    if directed:
        found.views = Views(look_around(model, query, device), photos, nearest(heading))
    return found


def colour_reading(train: Query, query: Query) -> Reading:
    """Colour statistics of photos and local RS windows, aligned on the training pairs by CCA."""
    to_photo, to_place = probes.canonical_pairs(photo_colours(train), place_colours(train))
    photos, local = to_photo(photo_colours(query)), to_place(place_colours(query))
    grid = localisation.cell_centres(query.cells)
    maps = np.zeros((len(photos), len(grid)), np.float32)
    for chip in range(len(query.chips)):
        rows = np.flatnonzero(query.chip_of == chip)
        dense = features.local_statistics(query.chips[chip][None], np.zeros(len(grid), int), grid)
        maps[rows] = ranks.unit(photos[rows]) @ ranks.unit(to_place(dense)).T
    return Reading(photos, local, maps, grid)
