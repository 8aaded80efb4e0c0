"""What the exploration notebook looks at: which scene, which photo, and where the photos are found.

A photo's vector is compared with every cell of the scene's field; the most similar cell is the
guess, and its distance from the photo's true position the error.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from gairlib.data import scenes as scene_files
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.embed.field import Field, cell_centres, fit_colours, in_window, read_chip_field
from gairlib.embed.pca import PCA
from gairlib.errors import BadInput, Skipped
from research.evaluation import stats
from research.evaluation.finding import Finding, find

MAX_PHOTOS = 200  # of one scene are looked for; more are drawn by the seed
FEW = 10  # with fewer photos no interval is given


def choose_scene(dataset: Dataset, manifest: pd.DataFrame, wanted: str = "") -> Scene:
    """The scene of that id; else the first test scene with photos, any with photos, any at all.
    Skipped where there is none."""
    if wanted:
        return dataset.scene(wanted)
    usable = {s.id: s for s in dataset.scenes()}
    if not usable:
        raise Skipped("no usable scene in scenes/, so there is no field to look at")
    for rows in (manifest[manifest["split"] == "test"], manifest):
        found = sorted(set(rows["scene_id"]) & set(usable))
        if found:
            return usable[found[0]]
    return next(iter(usable.values()))


def scene_photos(manifest: pd.DataFrame, scene: Scene) -> pd.DataFrame:
    """One row a photo (or cut view) that was paired with a chip of this scene, by photo_id."""
    rows = manifest[manifest["scene_id"] == scene.id].drop_duplicates("photo_id")
    return rows.sort_values("photo_id").reset_index(drop=True)


def choose_photo(photos: pd.DataFrame, wanted: str = "", seed: int = 0) -> int | None:
    """Position of the photo of that id, else of one drawn by the seed; None without photos."""
    if wanted:
        found = np.flatnonzero(photos["photo_id"].astype(str) == wanted)
        if not len(found):
            raise BadInput(
                f"photo {wanted!r} is not among the {len(photos)} paired photos of this scene"
            )
        return int(found[0])
    return int(np.random.default_rng(seed).integers(len(photos))) if len(photos) else None


def some_photos(
    photos: pd.DataFrame,
    chosen: int | None,
    scene: Scene,
    window: tuple[int, int, int, int],
    most: int = MAX_PHOTOS,
    seed: int = 0,
) -> tuple[pd.DataFrame, int | None]:
    """(at most `most` of the photos, by photo_id; position of the chosen one among them).

    The chosen one stays; the others are drawn by the seed, those in the window of the scene first.
    """
    if len(photos) <= most:
        return photos, chosen
    drawn = np.random.default_rng(seed).permutation(len(photos))
    there = in_window(scene, window, photos["lon"], photos["lat"])
    rank = np.where(there, 1, 2)
    if chosen is not None:
        rank[chosen] = 0
    rows = np.sort(drawn[np.argsort(rank[drawn], kind="stable")][:most])
    place = None if chosen is None else int(np.searchsorted(rows, chosen))
    return photos.iloc[rows].reset_index(drop=True), place


def chip_at(scene: Scene, lon: float | None, lat: float | None, chip_px: int, chip_m: float):
    """(uint16 [10, px, px], ground width in m) around a position, default the scene's centre; the
    whole scene, resampled, where it is smaller than a chip."""
    if lon is None:
        column, row = scene.width / 2, scene.height / 2
    else:
        column, row = (float(v) for v in scene.to_pixels(lon, lat))
    try:
        chip, transform = scene_files.read_chip(scene, column, row, size_px=chip_px, size_m=chip_m)
    except BadInput:
        chip, transform = next(scene_files.tiles(scene, chip_px, chip_m))
    across = abs(transform.a / scene.transform.a) * chip_px  # in the scene's pixels
    return chip, across * scene.pixel_metres(column, row)[0]


def three_readings(
    model, chip: np.ndarray, cells: int, device: str = "auto"
) -> dict[str, np.ndarray]:
    """One chip as raw tokens, as tokens interpolated, and as the decoded field: name -> RGB
    [cells, cells, 3]. Colours agree as far as the two spaces do (see `field.fit_colours`)."""
    at = cell_centres(cells)

    def read(mode):
        return read_chip_field(model, chip, at, at, mode=mode, device=device)

    own = read(None)
    axes = fit_colours(own)
    tokens, between = read("nearest"), read("bilinear")
    turned = fit_colours(between, like=(own - axes.mean) @ axes.axes)
    name = model.config.query_mode
    return {
        "raw tokens": turned.rgb(tokens),
        "tokens, bilinear": turned.rgb(between),
        f"continuous field ({name})": axes.rgb(own),
    }


def scene_colours(field: Field) -> tuple[np.ndarray, PCA]:
    """(RGBA [h, w, 4] of the field's principal components, transparent without data; the axes)."""
    axes = fit_colours(field.values[field.valid] if field.valid.any() else field.values)
    alpha = np.where(field.valid, 255, 0).astype(np.uint8)
    return np.dstack([axes.rgb(field.values), alpha]), axes


def scene_tokens(tokens: Field, field: Field) -> np.ndarray:
    """RGBA [h, w, 4] of the raw tokens (the same cells, read in mode "nearest"), in colours that
    agree with `scene_colours(field)` as far as the two spaces do."""
    where = field.valid if field.valid.any() else np.ones_like(field.valid)
    axes = fit_colours(field.values[where])
    own = (field.values[where] - axes.mean) @ axes.axes
    turned = fit_colours(tokens.values[where], like=own)
    alpha = np.where(field.valid, 255, 0).astype(np.uint8)
    return np.dstack([turned.rgb(tokens.values), alpha])


def missing(field: Field, photos: pd.DataFrame, scene_photos: int | None = None) -> list[str]:
    """Sentences on what a map of this field lacks; scene_photos: photos of the scene in all."""
    notes = []
    share = 1.0 - float(field.valid.mean())
    if share == 1.0:
        notes.append("This part of the scene has no data at all.")
    elif share > 0:
        told = "less than 1%" if share < 0.01 else f"{share:.0%}"
        notes.append(f"Without data, and left clear: {told} of the area.")
    if field.valid.any():
        known = field.values[field.valid]
        if np.ptp(known, axis=0).max() < 1e-6 * max(float(np.abs(known).max()), 1e-12):
            notes.append("The field is constant: every place looks alike to the model.")
    if scene_photos is not None and scene_photos > len(photos):
        notes.append(f"{len(photos)} of this scene's {scene_photos} photos are drawn.")
    if len(photos):
        there = int(in_window(field.scene, field.window, photos["lon"], photos["lat"]).sum())
        if there < len(photos):
            notes.append(f"{there} of {len(photos)} photos stand in the part shown.")
    return notes


def find_all(field: Field, vectors: np.ndarray, photos: pd.DataFrame) -> list[Finding | None]:
    """The finding of each photo; vectors [n, D] in the order of the rows. None for a photo that
    stands outside the field's window, and where the field is constant; an empty list where the
    field has no cell with data to find a photo in."""
    if not field.valid.any() or not len(photos):
        return []
    there = in_window(field.scene, field.window, photos["lon"], photos["lat"])
    return [
        find(field, field.similarity(vector), row.lon, row.lat) if inside else None
        for vector, row, inside in zip(vectors, photos.itertuples(), there)
    ]


def summary(
    findings: list[Finding | None], field: Field, chosen: int | None, seed: int = 0
) -> dict:
    """Flat numbers for DVC; without a photo that was found only the size of the field."""
    h, w = field.valid.shape
    found = [f for f in findings if f]
    numbers = {"photos": len(found), "field_cells": h * w}
    if not found:
        return numbers
    errors = np.array([f.error_m for f in found])
    numbers["median_error_m"] = float(np.median(errors))
    each = np.arange(len(errors))
    spread = stats.cluster_bootstrap(
        [stats.median(errors, each)], len(errors), seed=seed, min_clusters=FEW
    )
    if np.isfinite(spread.low):
        numbers |= {"median_error_low_m": spread.low, "median_error_high_m": spread.high}
    numbers |= {"median_guess_m": float(np.median([f.guess_m for f in found]))}
    if chosen is not None and findings[chosen]:
        numbers |= {
            "chosen_error_m": findings[chosen].error_m,
            "chosen_cosine": findings[chosen].cosine,
        }
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in numbers.items()}


def write(
    numbers: dict, findings: list[Finding | None], photos: pd.DataFrame, out: str, metrics: str
):
    """`metrics` (JSON) and out/findings.csv: one row a photo, blank where it was not found."""
    Path(metrics).parent.mkdir(parents=True, exist_ok=True)
    Path(metrics).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    Path(out).mkdir(parents=True, exist_ok=True)
    columns = list(Finding.__dataclass_fields__)
    frame = pd.DataFrame([asdict(f) if f else {} for f in findings], columns=columns)
    frame = frame.rename(columns={"lon": "found_lon", "lat": "found_lat"})
    photos = photos[["photo_id", "lon", "lat", "split", "scene_id"]].reset_index(drop=True)
    pd.concat([photos, frame], axis=1).to_csv(Path(out) / "findings.csv", index=False)
