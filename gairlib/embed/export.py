"""Embeddings that leave the notebook: chips, photos and places as GeoParquet, one shared space.

Column `embedding` holds a vector of unit length in the shared space, so rows of the three files
compare by dot product. A chip's vector is the mean of its decoded field (`query_rs(mode="mean")`).

With `features=True` a column `features` stands beside it: the tower's own features before its
projection, as they are, which probes and models on top do better to read. They are of the tower's
own width (GeoCLIP's 512 values of a place), and compare with rows of the same kind alone. The
file's metadata name both spaces (`spaces`).

Every row says which weights made it (`model`, a hash), under which licence its source is, and when
it was taken (`captured_at`) and embedded (`embedded_on`), since rows of several files end up in one
table; the file's own metadata say the same once (key `gairlib`), with the kind of its rows,
whether the data are synthetic, and the licences of what the weights started from.
`gairlib.embed.nearest` searches such files.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from shapely import Polygon
from tqdm.auto import tqdm

from gairlib import files, origins, scale
from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.data.scene import outline, sentinel_notice
from gairlib.embed import encode
from gairlib.errors import BadInput
from gairlib.model import GAIR, model_hash, weights_hash
from gairlib.pairs.cut import expand_views

UNKNOWN = "unknown: the dataset states none"
SCALE = ("chip_px", "chip_m", "trained_on_chips_of")  # of chips, in a frame's attrs
SPACES = {  # column -> what it holds
    "embedding": "shared space of chips, photos and places, unit length",
    "features": "the tower's own features before its projection, as they are",
}


def chip_outline(transform, crs, size_px: int) -> Polygon:
    """A chip's footprint in lon/lat: its four corners, straight lines between them. Across the
    antimeridian it stays in one piece and runs past 180 degrees, as a scene's footprint does."""
    return outline(transform, crs, size_px, size_px, "chip", steps=1)


def chips(
    model: GAIR,
    dataset: Dataset,
    *,
    chip_px: int | None = None,
    chip_m: float | None = None,
    features: bool = False,
    device: str = "auto",
) -> gpd.GeoDataFrame:
    """Every scene, cut into chips side by side: one row a chip, footprint as geometry. chip_px,
    chip_m: a chip's side, default that of the model's training."""
    chip_px, chip_m = scale.of(model.config, chip_px, chip_m)
    rows = []
    columns = ["chip_id", "scene_id", "embedding", "captured_at", "licence", "geometry"]
    if features:
        columns.insert(3, "features")
    for scene in tqdm(dataset.scenes(), desc="scenes", unit="scene", mininterval=1):
        tiles = list(scenes.tiles(scene, chip_px, chip_m, chip_px))
        dn = np.stack([chip for chip, _ in tiles])
        vectors = encode.chips(model, dn, kind="shared", device=device)
        if features:
            own = encode.chips(model, dn, kind="backbone", device=device)
        for i, ((_, transform), vector) in enumerate(zip(tiles, vectors)):
            rows.append(
                {
                    "chip_id": f"{scene.id}/{i}",
                    "scene_id": scene.id,
                    "embedding": vector,
                    **({"features": own[i]} if features else {}),
                    "captured_at": scene.datetime,
                    "licence": _licence(dataset) or sentinel_notice(scene.datetime),
                    "geometry": chip_outline(transform, scene.crs, chip_px),
                }
            )
    frame = gpd.GeoDataFrame(rows, columns=columns, geometry="geometry", crs="EPSG:4326")
    frame.attrs |= {"chip_px": chip_px, "chip_m": chip_m}
    frame.attrs["trained_on_chips_of"] = scale.trained(model.config)
    return frame


def photos(
    model: GAIR, dataset: Dataset, *, features: bool = False, device: str = "auto"
) -> gpd.GeoDataFrame:
    """Every photo (spherical ones as their four views): one row a view, position as geometry."""
    street = expand_views(dataset.street())
    images = encode.read_photos(dataset, street, model.config.sv_size)
    read = partial(encode.encode_photos, model, images, device=device)
    kept = "photo_id path site view_yaw heading captured_at split licence".split()
    keep = [c for c in kept if c in street]
    vectors = {"embedding": list(read())}
    if features:
        vectors["features"] = list(read(backbone=True))
    frame = street[keep].assign(**vectors, licence=_licences(dataset, street))
    return gpd.GeoDataFrame(
        frame, geometry=gpd.points_from_xy(street["lon"], street["lat"]), crs="EPSG:4326"
    )


def places(
    model: GAIR, street: pd.DataFrame, *, features: bool = False, device: str = "auto"
) -> gpd.GeoDataFrame:
    """Every photo's place by its coordinates alone."""
    lonlat = street[["lon", "lat"]].to_numpy(np.float64).reshape(-1, 2)
    read = partial(encode.locations, model, lonlat, device=device)
    vectors = {"embedding": list(read())}
    if features:
        vectors["features"] = list(read(backbone=True))
    keep = [c for c in ("photo_id", "captured_at", "licence") if c in street]
    frame = street[keep].assign(**vectors)
    return gpd.GeoDataFrame(
        frame, geometry=gpd.points_from_xy(lonlat[:, 0], lonlat[:, 1]), crs="EPSG:4326"
    )


def _licence(dataset: Dataset) -> str | None:
    """What dataset.json says, or that nothing was photographed."""
    stated = dataset.about.get("licence") or dataset.about.get("license")
    return str(stated) if stated else "synthetic data" if dataset.synthetic else None


def _licences(dataset: Dataset, street: pd.DataFrame) -> pd.Series:
    """Of each photo: the table's column, else the dataset's."""
    column = next((c for c in ("licence", "license") if c in street), None)
    default = _licence(dataset) or UNKNOWN
    if column is None:
        return pd.Series(default, index=street.index, dtype=object)
    return street[column].astype(object).where(street[column].notna(), default)


def write(
    frame: gpd.GeoDataFrame,
    path: Path,
    *,
    checkpoint: str | Path | GAIR,
    dataset: Dataset,
    preprocessing: str,
) -> None:
    """GeoParquet with provenance in columns and in the file's metadata under `gairlib`.

    checkpoint: the model, or the folder of its weights. The frame is one of `chips`, `photos` or
    `places`; BadInput if its vectors are not of unit
    length. `spaces` of the metadata says of each column of vectors what it holds, and its width.
    An interrupted write leaves the old file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = np.stack(frame["embedding"].to_list()) if len(frame) else np.zeros((0, 1))
    if not (np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3).all():
        raise BadInput(f"{path.name}: embeddings must be of unit length (normalize=True)")
    read_at = {k: frame.attrs[k] for k in SCALE if k in frame.attrs}
    if isinstance(checkpoint, GAIR):
        started, weights = checkpoint.origins, model_hash(checkpoint)
        checkpoint = weights
    else:
        started, weights = origins.read(checkpoint), weights_hash(checkpoint)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    frame = frame.assign(model=weights, embedded_on=day)
    frame["licence"] = _licences(dataset, frame)
    with files.atomic_write(path) as part:
        frame.to_parquet(part, index=False)
        table = pq.read_table(part)
        facts = {
            "kind": kind_of(frame),
            "weights_sha256": weights,
            "preprocessing": preprocessing,
            "dim": int(vectors.shape[1]) if len(frame) else None,
            "dataset": dataset.name,
            "synthetic": dataset.synthetic,
            "licence_of_weights": origins.licence(started, checkpoint),
            "weights_started_from": [asdict(origin) for origin in started or ()],
            "licence_of_data": sorted(set(map(str, frame["licence"]))),
            "date": day,
            **read_at,
            "unit_length": True,
            "spaces": {
                column: {"space": space, "dim": len(frame[column].iloc[0]) if len(frame) else None}
                for column, space in SPACES.items()
                if column in frame
            },
        }
        metadata = dict(table.schema.metadata) | {b"gairlib": json.dumps(facts).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), part)


def kind_of(frame: pd.DataFrame) -> str:
    """ "chips", "photos" or "places", by the columns."""
    return "chips" if "chip_id" in frame else "photos" if "path" in frame else "places"


def about(path: str | Path) -> dict:
    """The provenance that `write` put into a file; BadInput if it has none."""
    found = (pq.read_schema(path).metadata or {}).get(b"gairlib")
    if found is None:
        raise BadInput(f"{path}: no provenance of gairlib in it; embed.write makes such files")
    return json.loads(found)
