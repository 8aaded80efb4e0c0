"""Embeddings that leave the notebook: chips, photos and places as GeoParquet, one shared space.

Each row holds a vector of unit length in the shared space, so rows of the three files compare by
dot product. A chip's vector is the mean of its decoded field (`query_rs(mode="mean")`). File-level
metadata say which weights made them, under which licence and whether the data are synthetic.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from pyproj import Transformer
from shapely import Polygon
from tqdm.auto import tqdm

from gairlib import features, pairing, preprocess, scenes
from gairlib.dataset import Dataset
from gairlib.model import GAIR


def weights_hash(checkpoint: str | Path) -> str:
    """First 16 hex digits of the SHA-256 of a model folder's weights."""
    return hashlib.sha256((Path(checkpoint) / "model.safetensors").read_bytes()).hexdigest()[:16]


def chip_outline(transform, crs, size_px: int) -> Polygon:
    """A chip's footprint in lon/lat: its four corners, straight lines between them."""
    corners = [transform @ c for c in ((0, 0), (size_px, 0), (size_px, size_px), (0, size_px))]
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return Polygon([to_lonlat.transform(x, y) for x, y in corners])


@torch.inference_mode()
def chips(model: GAIR, dataset: Dataset, *, chip_px: int, chip_m: float,
          device: str = "cpu") -> gpd.GeoDataFrame:
    """Every scene, cut into chips side by side: one row a chip, footprint as geometry."""
    model = model.to(device).eval()
    prep = preprocess.get(model.config.preprocessing)
    rows = []
    for scene in tqdm(dataset.scenes(), desc="scenes", unit="scene", mininterval=1):
        tiles = list(scenes.tiles(scene, chip_px, chip_m, chip_px))
        dn = torch.from_numpy(np.stack([t[0] for t in tiles]).astype(np.float32))
        field = model.encode_rs(prep.rs(dn, model.config.rs_size).to(device))
        centre = torch.zeros(len(tiles), 1, 2, dtype=torch.float64, device=device)
        vectors = model.query_rs(field, centre, mode="mean", normalize=True)[:, 0]
        for i, ((_, transform), vector) in enumerate(zip(tiles, vectors.float().cpu().numpy())):
            rows.append({"chip_id": f"{scene.id}/{i}", "scene_id": scene.id,
                         "embedding": vector,
                         "geometry": chip_outline(transform, scene.crs, chip_px)})
    return gpd.GeoDataFrame(rows, columns=["chip_id", "scene_id", "embedding", "geometry"],
                            geometry="geometry", crs="EPSG:4326")


def photos(model: GAIR, dataset: Dataset, *, device: str = "cpu") -> gpd.GeoDataFrame:
    """Every photo (spherical ones as their four views): one row a view, position as geometry."""
    street = pairing.expand_views(dataset.street())
    vectors = features.photos(model, dataset, street, device=device)
    kept = "photo_id path view_yaw heading captured_at split licence".split()
    keep = [c for c in kept if c in street]
    frame = street[keep].assign(embedding=list(vectors))
    return gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy(street["lon"], street["lat"]),
                            crs="EPSG:4326")


def places(model: GAIR, street: pd.DataFrame, *, device: str = "cpu") -> gpd.GeoDataFrame:
    """Every photo's place by its coordinates alone."""
    lonlat = street[["lon", "lat"]].to_numpy(np.float64).reshape(-1, 2)
    vectors = features.locations(model, lonlat, device=device) if len(lonlat) else []
    frame = street[["photo_id"]].assign(embedding=list(vectors))
    return gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy(lonlat[:, 0], lonlat[:, 1]),
                            crs="EPSG:4326")


def write(frame: gpd.GeoDataFrame, path: Path, *, checkpoint: str | Path, dataset: Dataset,
          preprocessing: str) -> None:
    """GeoParquet with provenance in the file's metadata under `gairlib`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    table = pq.read_table(path)
    about = {"weights_sha256": weights_hash(checkpoint), "preprocessing": preprocessing,
             "dataset": dataset.name, "synthetic": dataset.synthetic,
             "licence_of_weights": "MIT; data keep their own licences",
             "date": datetime.now(UTC).strftime("%Y-%m-%d"), "unit_length": True}
    metadata = dict(table.schema.metadata) | {b"gairlib": json.dumps(about).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
