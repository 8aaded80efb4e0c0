"""A tiny model, folder and pairs for the tests of tasks."""

import shutil

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from builders.small_models import SMALL
from PIL import Image

from gairlib.data.dataset import Dataset
from gairlib.embed import encode
from gairlib.pairs.pairing import pair
from tests.conftest import write_tiny


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    encode.random_init(SMALL, 9).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def directed(tmp_path_factory):
    """A model whose field reads directions, which no training has taught it."""
    options = {"channels": 4, "width": 8}
    model = encode.random_init(SMALL.replace(decoder="cone", decoder_options=options), 9)
    torch.manual_seed(9)
    torch.nn.init.normal_(model.field.cone.last.weight)
    folder = tmp_path_factory.mktemp("directed")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tiny):
    return Dataset(tiny)


@pytest.fixture(scope="session")
def pairs(tiny, tmp_path_factory):
    dataset, folder = Dataset(tiny), tmp_path_factory.mktemp("pairs")
    pair(dataset.street(), dataset.scenes(), folder=folder, progress=False)
    return folder


@pytest.fixture()
def folder(tiny, tmp_path):
    """The tiny folder with land cover, EuroSAT-like images and text labels added."""
    folder = shutil.copytree(tiny, tmp_path / "rich")
    (folder / "landcover").mkdir()
    for path in (folder / "scenes").glob("*.tif"):
        with rasterio.open(path) as source:
            profile = source.profile | {"count": 1, "dtype": "uint8", "nodata": 9}
        classes = np.ones((1, 96, 96), np.uint8)
        classes[..., 48:] = 2
        classes[0, :20, :] = 9  # nodata, has no name
        with rasterio.open(folder / "landcover" / path.name, "w", **profile) as file:
            file.write(classes)
    (folder / "landcover/classes.csv").write_text("value,name\n1,grass\n2,paved\n")
    rng = np.random.default_rng(0)
    for name, level in (("Forest", 60), ("River", 150)):
        (folder / "eurosat_rgb" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.full((64, 64, 3), level) + rng.integers(-9, 9, (64, 64, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(
                folder / f"eurosat_rgb/{name}/{name}_{i}.jpg"
            )
    return folder


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The tiny folder with a map: green land in the west is class 3, grey in the east class 5."""
    folder = write_tiny(tmp_path_factory.mktemp("mapped") / "tiny")
    (folder / "landcover").mkdir()
    for path in (folder / "scenes").glob("*.tif"):
        with rasterio.open(path) as scene:
            profile = dict(scene.profile, count=1, dtype="uint8")
        with rasterio.open(folder / "landcover" / path.name, "w", **profile) as file:
            file.write(np.where(np.arange(96) < 48, 3, 5)[None].repeat(96, 0).astype("uint8"), 1)
    pd.DataFrame({"value": [3, 5, 9], "name": ["grass", "low buildings", "water"]}).to_csv(
        folder / "landcover/classes.csv", index=False
    )
    rows = [{"scene_id": s, "path": f"scenes/{s}.tif", "site": s} for s in ("bern", "quito")]
    rows.append({"scene_id": "perth", "path": "scenes/perth.tif", "site": "perth"})
    pd.DataFrame(rows).to_csv(folder / "scenes.csv", index=False)
    splits = {"bern": "train", "quito": "val", "perth": "test"}
    pd.DataFrame({"site": splits.keys(), "split": splits.values()}).to_csv(
        folder / "sites.csv", index=False
    )
    return Dataset(folder)
