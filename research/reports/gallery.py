"""Pictures of the data for the report: pairs with the photo's place in its chip, scenes, photos.

Drawn from the dataset folder itself, so that a run on real data shows the real chips and photos.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.embed.field import window_around
from gairlib.errors import BadInput, Missing
from gairlib.pairs import store
from research.figures import style
from research.maps.overlays import data_uri

SIDE = 240  # pixels of a chip's picture
QUALITY = 55  # of WebP
SOURCES = ("photo_source", "source")  # the loaders' column, or a table's own
PAIRS, OTHERS = 12, 18  # how many of each at most


@dataclass(frozen=True)
class Picture:
    """One tile of the gallery: kind "pair", "scene" or "photo"; images as data URIs."""

    kind: str
    images: tuple[str, ...]
    caption: str
    detail: str = ""


def pictures(dataset: Dataset, pairs: Path, seed: int = 0) -> list[Picture]:
    """Some pairs, then scenes and photos that are in none of them; [] where there is nothing."""
    rng = np.random.default_rng(seed)
    shown, found = set(), []
    try:
        paired = store.load(pairs)
    except Missing:
        manifest = pd.DataFrame()
    else:
        manifest = paired.manifest.drop_duplicates("photo_id")
    for i in _spread(manifest, "scene_id", PAIRS, rng):
        row = manifest.iloc[i]
        try:
            found.append(_pair(dataset, paired, row))
        except (BadInput, Missing):
            continue  # the file went away since: the inventory tells
        shown |= {row["scene_id"], row["source_photo_id"], row["photo_id"]}
    others = [s for s in dataset.scenes() if s.id not in shown]
    for i in np.sort(rng.permutation(len(others))[:OTHERS]):
        found.append(_scene(others[i]))
    street = dataset.street()
    street = street[~street["photo_id"].isin(shown)].reset_index(drop=True)
    named = (c for c in ("site", *SOURCES) if c in street and street[c].notna().any())
    group = next(named, "photo_id")
    for i in _spread(street, group, OTHERS, rng):
        row = street.iloc[i].to_dict()
        image = data_uri(style.thumbnail(dataset.photo(row), SIDE), "webp", QUALITY)
        found.append(Picture("photo", (image,), str(row["photo_id"]), _about(row)))
    return found


def _spread(frame: pd.DataFrame, column: str, count: int, rng) -> list[int]:
    """Positions of at most `count` rows: one of each value of the column, then a second, ..."""
    if not len(frame):
        return []
    order = rng.permutation(len(frame))
    turn = frame[column].astype(str).iloc[order].groupby(frame[column].astype(str)).cumcount()
    return sorted(order[np.argsort(turn.to_numpy(), kind="stable")][:count].tolist())


def _pair(dataset: Dataset, paired, row) -> Picture:
    chip = style.true_colour(paired.chips["chips"][int(row["chip"])].to_numpy())
    picture = np.asarray(Image.fromarray(chip).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    marked = Image.fromarray(picture)
    x, y = ((row[k] + 1) / 2 * SIDE for k in ("x", "y"))
    draw = ImageDraw.Draw(marked)
    for radius, colour in ((9, "white"), (6, style.VERMILION)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    photo = style.thumbnail(dataset.photo(row.to_dict()), SIDE)
    metres = paired.chips.attrs.get("chip_m")
    size = f"chip of {metres:g} m" if metres else "chip"
    return Picture(
        "pair",
        (data_uri(np.asarray(marked), "webp", QUALITY), data_uri(photo, "webp", QUALITY)),
        f"{row['photo_id']} in {row['scene_id']}",
        ", ".join(filter(None, [size, str(row["split"]), _about(row.to_dict())])),
    )


def _scene(scene: Scene) -> Picture:
    rgb = style.true_colour(scenes.read(scene, scenes.Window(*window_around(scene))))
    across, _ = scene.pixel_metres(scene.width / 2, scene.height / 2)
    size = f"{scene.width} × {scene.height} px of {across:.0f} m"
    when = (scene.datetime or "")[:10]
    return Picture(
        "scene",
        (data_uri(style.thumbnail(rgb, SIDE), "webp", QUALITY),),
        scene.id,
        ", ".join(filter(None, [size, scene.layout, when])),
    )


def _about(row: dict) -> str:
    """Place and source of a photo, as far as the table tells."""
    place = f"{row['lat']:.4f}, {row['lon']:.4f}"
    source = next((row[k] for k in SOURCES if isinstance(row.get(k), str)), None)
    licence = next((row[k] for k in ("licence", "license") if isinstance(row.get(k), str)), None)
    return ", ".join(filter(None, [place, source, licence]))
