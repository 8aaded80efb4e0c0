"""Damaged files of every kind that users bring: each is read or refused by an error of our own.

`make test` tries a few of each kind; `make fuzz COUNT=10000` tries that many in all.
"""

import json
import os
import resource
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders.damage import attempt, damaged
from builders.small_files import ramp, write_scene
from PIL import ExifTags, Image
from safetensors.torch import save_file

from gairlib import tensor_files as weights
from gairlib.bands import BANDS
from gairlib.data import (
    photo_folders,
    photo_tables,
    photos,
    scene_product,
    scenes,
    sentinelhub,
    stac,
)
from gairlib.data.dataset import Dataset
from gairlib.data.exif import folder_table
from research.tasks import class_folders

COUNT = int(os.environ.get("GAIRLIB_FUZZ", "240"))
SHARE = 500  # files of a kind in one test
MEMORY = 1_000_000_000  # of this process at its largest, all imports included


def photo(path: Path) -> None:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    place = tags.get_ifd(ExifTags.IFD.GPSInfo)
    place.update({1: "N", 2: (46.0, 56.0, 52.5), 3: "E", 4: (7.0, 26.0, 40.5), 17: 123.5})
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:05:05 13:46:57"
    values = np.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=np.uint8)
    xmp = b'<x GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="128"/>'
    more = {"xmp": xmp} if path.suffix == ".jpg" else {}
    Image.fromarray(values).save(path, exif=tags, **more)


def street() -> pd.DataFrame:
    k = np.arange(12)
    return pd.DataFrame(
        {
            "photo_id": [f"{9007199254740990 + i}" for i in k],
            "path": [f"street/Zürich {i}.jpg" for i in k],
            "lon": 7.4 + k / 100,
            "lat": 46.9 + k / 100,
            "heading": k * 30.0,
            "captured_at": "2021-05-05T13:46:57Z",
            "is_spherical": k % 2 == 0,
            "crs": "EPSG:4326",
            "green": k / 12,
        }
    )


def described() -> bytes:
    image = {"filename": "/home/jo/a.jpg", "MAPLongitude": 7.4, "MAPLatitude": 46.9}
    image |= {"MAPCompassHeading": {"TrueHeading": 9.0}, "filetype": "image"}
    return json.dumps([image | {"MAPCaptureTime": "2021_05_05_13_46_57_000"}] * 3).encode()


def item() -> dict:
    band = {"href": "./a.tif", "eo:bands": [{"name": "red"}], "proj:shape": [48, 48]}
    band |= {"raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}]}
    corners = [[139.7, 35.6], [139.8, 35.6], [139.8, 35.7], [139.7, 35.6]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "a",
        "bbox": [139.7, 35.6, 139.8, 35.7],
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": {
            "datetime": "2021-05-06T10:20:21Z",
            "proj:epsg": 32654,
            "eo:cloud_cover": 12.5,
            "s2:processing_baseline": "04.00",
            "earthsearch:boa_offset_applied": True,
        },
        "links": [],
        "assets": {"red": band, "green": band | {"eo:bands": [{"name": "green"}]}},
    }


def request() -> dict:
    source = {"type": "sentinel-2-l2a", "processing": {"harmonizeValues": True}}
    source["dataFilter"] = {"timeRange": {"from": "2021-05-06T00:00Z", "to": "2021-05-06T23:59Z"}}
    returned = ", ".join(f"10000 * s.{band}" for band in BANDS)
    script = 'function setup() { return {input: ["B02"], output: {bands: 10}} } // all bands\n'
    script += f"function evaluatePixel(s) {{ /* plain */ return [{returned}]; }}"
    return {"input": {"data": [source]}, "evalscript": script}


XML = b"""<?xml version="1.0"?><n1:Level-2A_User_Product xmlns:n1="https://x"><General_Info>
<PRODUCT_START_TIME>2021-05-06T10:20:21.024Z</PRODUCT_START_TIME>
<PROCESSING_BASELINE>04.00</PROCESSING_BASELINE><BOA_ADD_OFFSET band_id="0">-1000</BOA_ADD_OFFSET>
<Cloud_Coverage_Assessment>12.5</Cloud_Coverage_Assessment></General_Info>
</n1:Level-2A_User_Product>"""


def dataset(folder: Path) -> None:
    """All that a folder holds, its benchmark of class folders included."""
    whole = Dataset(folder)
    whole.scenes(), whole.street(), whole.tables(), whole.benchmarks()
    whole.landcover_names() if (folder / "landcover/classes.csv").exists() else None
    class_folders.read(folder / "eurosat_rgb", photos.load)


def scene(path: Path) -> None:
    scenes.read_chip(scenes.open_scene(path), 24, 24, size_px=32, size_m=320.0)


READERS = {  # what a damaged file is called -> readers of it (of its folder, where they say so)
    "a.jpg": (photos.load, photos.check, lambda p: photos.load(p, view_yaw=90.0)),
    "a.png": (photos.load, photos.check),
    "a.webp": (photos.load,),
    "street/a.jpg": (lambda p: folder_table(p.parents[1]),),
    "street.csv": (photo_tables.read_photos, photo_tables.read_places),
    "street.tsv": (photo_tables.read_photos,),
    "street.csv.gz": (photo_tables.read_places,),
    "street.parquet": (photo_tables.read_photos, photo_tables.read_places),
    "mly_pids.csv": (lambda p: photo_folders.read(p.parent),),
    "points.csv": (lambda p: photo_folders.read(p.parent),),
    "mapillary_image_description.json": (lambda p: photo_folders.read(p.parent),),
    "scene.tif": (scene,),
    "scene.json": (scene_product.sidecar,),
    "request.json": (lambda p: sentinelhub.item(p.with_name("response.tiff")),),
    "items.json": (stac.from_file, lambda p: dataset(p.parent)),
    "MTD_MSIL2A.xml": (lambda p: scene_product.product_tags(p.parent),),
    "scenes.csv": (lambda p: dataset(p.parent),),
    "landcover/classes.csv": (lambda p: dataset(p.parents[1]),),
    "tables/rents.csv": (lambda p: dataset(p.parents[1]),),
    "dataset.json": (lambda p: dataset(p.parent),),
    "eurosat_rgb/Forest/a.jpg": (lambda p: dataset(p.parents[2]),),
    "model.safetensors": (lambda p: weights.unwrap(*weights.read(p), "", ["a.weight"]),),
    "model.pt": (lambda p: weights.unwrap(*weights.read(p), "", ["a.weight"]),),
}


def write(path: Path) -> None:
    """A sound file of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, table = path.name, street()
    if path.suffix in (".jpg", ".png", ".webp"):
        photo(path)
    elif name == "points.csv":
        more = {"uuid": [f"u{k}" for k in range(12)], "orig_id": 7, "source": "Mapillary"}
        table.drop(columns=["photo_id", "path"]).assign(**more).to_csv(path, index=False)
    elif name == "mly_pids.csv":
        table.rename(columns={"photo_id": "id", "heading": "compass_angle"}).to_csv(path)
    elif name == "scenes.csv":
        table.rename(columns={"photo_id": "scene_id"}).to_csv(path, index=False)
    elif name == "classes.csv":
        path.write_text("value,name\n1,wood\n2,grass\n")
    elif path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix in (".csv", ".gz", ".tsv"):
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    elif name == "scene.tif":
        write_scene(path, ramp(10, 48, 48), baseline="04.00")
    elif path.suffix == ".xml":
        path.write_bytes(XML)
    elif name.startswith("mapillary"):
        path.write_bytes(described())
    elif name == "items.json":
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [item(), item()]}))
    elif name == "request.json":
        path.write_text(json.dumps({"request": {"payload": request()}}))
    elif name == "dataset.json":
        path.write_text(json.dumps({"name": "a", "synthetic": False, "real_tables": ["rents"]}))
    elif path.suffix == ".json":
        path.write_text(json.dumps(item()))
    else:
        tensors = {"a.weight": torch.zeros(8, 8), "a.bias": torch.zeros(8)}
        save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)


@pytest.fixture(scope="session", autouse=True)
def features_elsewhere():
    """None are computed here, and importing what computes them takes a quarter of the memory."""


@pytest.fixture
def bounded(request):
    """The peak of this process; where other test files have run in it, of what it is is unknown."""
    yield
    if sys.platform == "linux" and {i.path for i in request.session.items} == {request.path}:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"peak {peak / 1e6:.0f} MB")
        assert peak < MEMORY


def shares() -> list[tuple[str, int, int]]:
    """(name, first seed, end): a kind in shares, so that they spread over the cores."""
    each = -(-COUNT // len(READERS))
    return [
        (name, first, min(first + SHARE, each))
        for first in range(0, each, SHARE)
        for name in READERS
    ]


@pytest.mark.parametrize("name, first, end", shares())
def test_a_damaged_file_never_ends_in_another_error(tmp_path, bounded, name, first, end):
    write(tmp_path / name)
    path = tmp_path / name
    sound, wrong = path.read_bytes(), []
    for seed in range(first, end):
        path.write_bytes(damaged(sound, np.random.default_rng(seed)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong += [(seed, what) for f in READERS[name] if (what := attempt(f, path))]
        for left in tmp_path.glob("*.aux.xml"):
            left.unlink()
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"


def test_the_sound_files_are_read(tmp_path):
    """Else the damaged ones would prove nothing."""
    for name in ("a.jpg", "street.csv", "street.parquet", "scene.tif", "model.pt", "mly_pids.csv"):
        write(tmp_path / name)
        for function in READERS[name]:
            function(tmp_path / name)
        shutil.rmtree(tmp_path), tmp_path.mkdir()
