"""A tiny dataset folder, generated: three UTM scenes, 36 photos, a table, some bad rows."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin

pytest_plugins = ["builders.finished_run"]
BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
SITES = {
    "bern": (32632, 382000.0, 5200000.0),
    "quito": (32717, 778000.0, 9976000.0),
    "perth": (32750, 391000.0, 6464000.0),
}
SPLITS = {"bern": "train", "quito": "val", "perth": "test"}


def write_tiny(folder: Path, photos_per_site: int = 12) -> Path:
    """Scenes of 96 px whose land is green in the west and grey in the east; photos show which."""
    rng = np.random.default_rng(7)
    for part in ("scenes", "street", "tables"):
        (folder / part).mkdir(parents=True)
    rows = []
    for site, (epsg, left, top) in SITES.items():
        green = (np.arange(96) < 48)[None, :] * np.ones((96, 1))
        levels = np.array([400, 700, 500, 900, 2200, 2600, 2800, 3000, 1800, 1000])
        scene = levels[:, None, None] * green + 1500 * (1 - green) + rng.normal(0, 40, (10, 96, 96))
        with rasterio.open(
            folder / f"scenes/{site}.tif",
            "w",
            driver="GTiff",
            width=96,
            height=96,
            count=10,
            dtype="uint16",
            crs=f"EPSG:{epsg}",
            nodata=0,
            transform=from_origin(left, top, 10, 10),
        ) as file:
            file.write(np.clip(scene, 1, None).astype("uint16"))
            file.descriptions = BANDS
        to_lonlat = Transformer.from_crs(epsg, 4326, always_xy=True)
        for k in range(photos_per_site):
            x, y = rng.uniform(80, 880, 2)
            share = float(x < 480)
            colour = (60, 60 + 120 * share, 60)
            photo = np.full((48, 48, 3), colour) + rng.normal(0, 8, (48, 48, 3))
            name = f"{site}-{k:02d}"
            Image.fromarray(photo.clip(0, 255).astype("uint8")).save(folder / f"street/{name}.jpg")
            lon, lat = to_lonlat.transform(left + x, top - y)
            rows.append(
                {
                    "photo_id": name,
                    "path": f"street/{name}.jpg",
                    "lon": lon,
                    "lat": lat,
                    "heading": 45.0 * (k % 8),
                    "split": SPLITS[site],
                    "site": site,
                    "green_view": round(0.8 * share + 0.1 * rng.random(), 3),
                }
            )
    (folder / "street/broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    rows += [
        {**rows[0], "photo_id": "far-away", "lon": 1.0, "lat": 1.0},
        {**rows[0], "photo_id": "swapped", "lon": rows[0]["lat"], "lat": 139.0},
        {**rows[0], "photo_id": "broken", "path": "street/broken.jpg"},
        {**rows[0], "photo_id": "gone", "path": "street/gone.jpg"},
    ]
    pd.DataFrame(rows).to_csv(folder / "street.csv", index=False)
    lon, lat = rng.uniform(-180, 180, 300), rng.uniform(-60, 70, 300)
    pd.DataFrame(
        {"lon": lon, "lat": lat, "warmth": 30 - abs(lat) / 2 + rng.normal(0, 1, 300)}
    ).to_csv(folder / "tables/warmth.csv", index=False)
    (folder / "dataset.json").write_text(json.dumps({"name": "tiny", "synthetic": True}))
    return folder


@pytest.fixture(autouse=True)
def seeded():
    """Each test draws the same numbers, alone or after others."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  what libraries draw from
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_threads():
    """A test that sets PyTorch's threads leaves them as they were for the next one."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if before is not None and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def features_elsewhere(tmp_path_factory):
    """Features that tests compute are kept outside of the project."""
    from research.evaluation import features

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "FOLDER", str(tmp_path_factory.mktemp("features")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The tiny dataset folder; tests must not change it."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def embedded(tiny, tmp_path_factory):
    """(model, dataset, folder): a small model and its chips, photos and places of `tiny` on disk.

    folder has model/, chips.parquet, photos.parquet and places.parquet; tests must not change it.
    """
    import torch

    from gairlib import GAIR, GAIRConfig
    from gairlib.data.dataset import Dataset
    from gairlib.embed import export

    torch.manual_seed(0)
    sv = {"img_size": 64, "patch_size": 32, "embed_dim": 8, "depth": 1, "num_heads": 1}
    config = GAIRConfig(dim=16, rs_depth=1, rs_size=32, decoder_hidden=[8], sv_options=sv)
    model, folder = GAIR(config).eval(), tmp_path_factory.mktemp("embed")
    model.save_pretrained(folder / "model")
    dataset = Dataset(tiny)
    for kind, frame in (
        ("chips", export.chips(model, dataset, chip_px=32, chip_m=320.0)),
        ("photos", export.photos(model, dataset)),
        ("places", export.places(model, dataset.street())),
    ):
        export.write(
            frame,
            folder / f"{kind}.parquet",
            checkpoint=folder / "model",
            dataset=dataset,
            preprocessing="gairlib",
        )
    return model, dataset, folder
