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
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from shapely import Polygon
from tqdm.auto import tqdm

from gairlib import devices, origins, scale
from gairlib.data import scenes, tables
from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene, outline, sentinel_notice
from gairlib.data.scene_reader import Reader
from gairlib.embed import encode, geoparquet
from gairlib.embed.ahead import ahead
from gairlib.embed.geoparquet import SPACES, kind_of
from gairlib.errors import BadInput
from gairlib.model import GAIR, model_hash, weights_hash
from gairlib.pairs.cut import expand_views

UNKNOWN = "unknown: the dataset states none"
SCALE = ("chip_px", "chip_m", "trained_on_chips_of", "field")  # of chips, in a frame's attrs
ROWS = 2048  # of a part: what is held of a long list
BATCH = 64  # pictures that are encoded together


def chip_outline(transform, crs, size_px: int) -> Polygon:
    """A chip's footprint in lon/lat: its four corners, straight lines between them. Across the
    antimeridian it stays in one piece and runs past 180 degrees, as a scene's footprint does."""
    return outline(transform, crs, size_px, size_px, "chip", steps=1)


@devices.on_device
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
    how = dict(chip_px=chip_px, chip_m=chip_m, features=features, device=device)
    frames = []
    for scene in tqdm(dataset.scenes(), desc="scenes", unit="scene", mininterval=1):
        frames += chip_rows(model, scene, licence=licence_of(dataset), **how)
    frame = pd.concat(frames, ignore_index=True) if frames else no_chips(features)
    frame.attrs |= read_at(model, chip_px, chip_m)
    return frame


def read_at(model: GAIR, chip_px: int, chip_m: float) -> dict:
    """What a file's metadata say of the chips' scale, and how their field was read."""
    looks = ", all headings" * model.config.reads_headings
    how = f"mean over the chip, {model.config.query_mode}{looks}"
    return dict(zip(SCALE, (chip_px, chip_m, scale.trained(model.config), how)))


def no_chips(features: bool = False) -> gpd.GeoDataFrame:
    """The columns of `chips` without a row."""
    columns = ["chip_id", "scene_id", "embedding", "captured_at", "licence", "geometry"]
    if features:
        columns.insert(3, "features")
    return gpd.GeoDataFrame(columns=columns, geometry="geometry", crs="EPSG:4326")


def chip_rows(
    model: GAIR,
    scene: Scene,
    *,
    chip_px: int,
    chip_m: float,
    features: bool = False,
    device: str | torch.device = "auto",
    licence: str | None = None,
    first: int = 0,
) -> Iterator[gpd.GeoDataFrame]:
    """The rows of a scene's chips from number `first` on, ROWS at a time, in bounded memory.
    licence: None, the notice that Copernicus asks for."""
    boxes = scenes.tile_boxes(scene, chip_px, chip_m)
    numbers = range(first, len(boxes))
    batches = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]

    def read():
        with Reader(scene) as reader:
            for batch in batches:
                found = [reader.chip(*boxes[i], chip_px) for i in batch]
                yield np.stack([c.values for c in found]), [c.transform for c in found]

    vectors = {"embedding": []} | ({"features": []} if features else {})
    transforms = []
    for dn, some in ahead(read()):
        transforms += some
        for name, found in vectors.items():
            kind = "backbone" if name == "features" else "shared"
            found += list(encode.chips(model, dn, kind=kind, device=device))
        if len(transforms) == ROWS or first + len(transforms) == len(boxes):
            yield gpd.GeoDataFrame(
                {
                    "chip_id": [f"{scene.id}/{first + i}" for i in range(len(transforms))],
                    "scene_id": scene.id,
                    **vectors,
                    "captured_at": scene.datetime,
                    "licence": licence or sentinel_notice(scene.datetime),
                },
                geometry=[chip_outline(t, scene.crs, chip_px) for t in transforms],
                crs="EPSG:4326",
            )
            first, transforms = first + len(transforms), []
            vectors = {name: [] for name in vectors}


@devices.on_device
def photos(
    model: GAIR, dataset: Dataset, *, features: bool = False, device: str = "auto"
) -> gpd.GeoDataFrame:
    """Every photo (spherical ones as their four views): one row a view, position as geometry."""
    return photo_rows(
        model, dataset, expand_views(dataset.street()), features=features, device=device
    )


@devices.on_device
def photo_rows(
    model: GAIR,
    dataset: Dataset,
    street: pd.DataFrame,
    *,
    features: bool = False,
    device: str = "auto",
) -> gpd.GeoDataFrame:
    """The rows of some photos, as `expand_views` gives them; pixels of two batches are held."""
    kept = "photo_id path site view_yaw heading captured_at split licence".split()
    vectors = {"embedding": []} | ({"features": []} if features else {})
    reader = encode.photo_reader(dataset, street, model.config.sv_size)
    for images in ahead(reader.batches(BATCH)):
        for name, found in vectors.items():
            found += list(
                encode.encode_photos(model, images, backbone=name == "features", device=device)
            )
    frame = street[[c for c in kept if c in street]].assign(**vectors)
    frame["licence"] = licences_of(dataset, street)
    return gpd.GeoDataFrame(
        frame, geometry=gpd.points_from_xy(street["lon"], street["lat"]), crs="EPSG:4326"
    )


def places(
    model: GAIR, street: pd.DataFrame, *, features: bool = False, device: str = "auto"
) -> gpd.GeoDataFrame:
    """Every photo's place by its coordinates alone: columns lon and lat, or a GeoDataFrame."""
    street = tables.placed(street)
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


def place_rows(
    model: GAIR, dataset: Dataset, street: pd.DataFrame, *, features: bool, device: torch.device
) -> gpd.GeoDataFrame:
    """The rows of some photos' places, with their licences."""
    frame = places(model, street, features=features, device=device)
    return frame.assign(licence=licences_of(dataset, frame))


def licence_of(dataset: Dataset) -> str | None:
    """What dataset.json says, or that nothing was photographed."""
    stated = dataset.about.get("licence") or dataset.about.get("license")
    return str(stated) if stated else "synthetic data" if dataset.synthetic else None


def licences_of(dataset: Dataset, street: pd.DataFrame) -> pd.Series:
    """Of each photo: the table's column, else the dataset's."""
    column = next((c for c in ("licence", "license") if c in street), None)
    default = licence_of(dataset) or UNKNOWN
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
    """GeoParquet with provenance in columns and in the file's metadata under `gairlib`, its rows
    along a Hilbert curve (`gairlib.embed.geoparquet`).

    checkpoint: the model, or the folder of its weights. The frame is one of `chips`, `photos` or
    `places`; BadInput if its vectors are not of unit length. `spaces` of the metadata says of each
    column of vectors what it holds, and its width. An interrupted write leaves the old file.
    """
    if isinstance(checkpoint, GAIR):
        started, weights = checkpoint.origins, model_hash(checkpoint)
        checkpoint = weights
    else:
        started, weights = origins.read(checkpoint), weights_hash(checkpoint)
    made = Maker(
        weights,
        preprocessing,
        origins.licence(started, checkpoint),
        [asdict(origin) for origin in started or ()],
        dataset.name,
        dataset.synthetic,
        today(),
    )
    frame = frame.assign(licence=licences_of(dataset, frame))
    table = made.table(frame, path)
    read_at = {k: frame.attrs[k] for k in SCALE if k in frame.attrs}
    about = made.about(kind_of(frame), table.schema, len(frame), frame["licence"], **read_at)
    with geoparquet.writing(path, [table.schema], about) as file:
        file.add(table.take(geoparquet.order(table)))


@dataclass(frozen=True)
class Maker:
    """Whose vectors a file holds: the weights, what they started from, the data set, the day."""

    weights: str
    preprocessing: str
    licence: str  # of the weights
    started_from: list[dict]
    dataset: str
    synthetic: bool
    day: str

    def table(self, frame: gpd.GeoDataFrame, path: str | Path) -> pa.Table:
        """Rows that say who made them; BadInput where vectors are not of unit length."""
        vectors = np.stack(frame["embedding"].to_list()) if len(frame) else np.zeros((0, 1))
        if not (np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3).all():
            name = Path(path).name
            raise BadInput(f"{name}: embeddings must be of unit length (normalize=True)")
        return geoparquet.table_of(frame.assign(model=self.weights, embedded_on=self.day))

    def about(
        self, kind: str, schema: pa.Schema, rows: int, licences: Iterable[str], **read_at
    ) -> dict:
        """The metadata `gairlib` and `emb` of a file of so many rows; read_at: SCALE."""
        dims = {
            c: schema.field(c).type.list_size if rows else None for c in SPACES if c in schema.names
        }
        facts = {
            "kind": kind,
            "weights_sha256": self.weights,
            "preprocessing": self.preprocessing,
            "dim": dims["embedding"],
            "dataset": self.dataset,
            "synthetic": self.synthetic,
            "licence_of_weights": self.licence,
            "weights_started_from": self.started_from,
            "licence_of_data": sorted(set(map(str, licences))),
            "date": self.day,
            **read_at,
            "unit_length": True,
            "spaces": {c: {"space": SPACES[c], "dim": dim} for c, dim in dims.items()},
        }
        return {"gairlib": facts, "emb": geoparquet.product(facts)}


def today() -> str:
    """The day, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def about(path: str | Path) -> dict:
    """The provenance that `write` put into a file; BadInput if it has none."""
    found = (pq.read_schema(path).metadata or {}).get(b"gairlib")
    if found is None:
        raise BadInput(f"{path}: no provenance of gairlib in it; embed.write makes such files")
    return json.loads(found)
