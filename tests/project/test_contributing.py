"""The examples of CONTRIBUTING work as they stand."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gairlib import GAIR, GAIRConfig, preprocess
from gairlib.data.dataset import Dataset
from gairlib.location import base, registry
from gairlib.pairs.pairing import pair
from research.evaluation import supervised
from research.tasks import registry as tasks
from research.tasks.task import Options

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """example(title): the code below that heading, as an imported module."""

    def load(title: str):
        section = (ROOT / "CONTRIBUTING.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
        (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.S)
        path = tmp_path / "example.py"
        path.write_text(code)
        spec = importlib.util.spec_from_file_location("example", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "example", module)
        spec.loader.exec_module(module)
        return module

    return load


def test_a_benchmark(example, tiny, tmp_path, monkeypatch):
    Northward = example("Add a benchmark").Northward
    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, Northward))
    monkeypatch.setattr(supervised, "SCRATCH", supervised.Schedule(steps=2))
    dataset = Dataset(tiny)
    assert tasks.available(dataset)["sv-northward"] is None
    data = tasks.get("sv-northward", dataset).load(dataset)
    assert len(data.labels) == 37 and set(np.round(data.labels, 3)) == {1, 0.707, 0, -0.707, -1}
    GAIR(GAIRConfig()).save_pretrained(tmp_path / "model")
    result = tasks.run("sv-northward", dataset, Options(tmp_path / "model", seeds=1, bootstrap=10))
    assert result.question == Northward.question
    assert result.splits["held-out sites"].held_out == "site"


def test_a_location_encoder(example, monkeypatch):
    registry.names()  # fills ENCODERS
    monkeypatch.setattr(base.ENCODERS, "classes", dict(base.ENCODERS.classes))
    example("Add a location encoder")
    cells = registry.create("cells", 16)
    inside, same, other = cells([[7.44, 46.95], [2.35, 48.86], [-78.5, -0.2]])
    assert torch.equal(inside, same) and not torch.equal(inside, other)
    assert GAIR(GAIRConfig(location="cells")).encode_location([[180.0, 90.0]]).shape == (1, 128)


def test_a_tower(example):
    example("Add a tower")
    model = GAIR(GAIRConfig(sv_model="thumbnail", sv_options={}))
    photos = preprocess.get(model.config.preprocessing).sv(np.zeros((2, 48, 64, 3), np.uint8), 64)
    assert model.encode_sv(photos).shape == (2, 128)
    assert model.sv.backbone(photos).shape == (2, 192)


def test_a_data_source(example, tiny, tmp_path):
    import geopandas as gpd

    read = example("Add a data source").read_geojson
    dataset = Dataset(tiny)
    street = dataset.street()[["photo_id", "path", "lon", "lat"]]
    points = gpd.points_from_xy(street["lon"], street["lat"], crs="OGC:CRS84")
    gpd.GeoDataFrame(street[["photo_id", "path"]], geometry=points).to_file(tmp_path / "p.geojson")
    photos, reasons = read(tmp_path / "p.geojson")
    assert reasons.isna().all()
    np.testing.assert_allclose(photos[["lon", "lat"]], street[["lon", "lat"]], atol=1e-9)
    pairs = pair((photos, reasons), dataset.scenes(), chip_px=32, chip_m=320.0, progress=False)
    assert set(pairs.manifest["photo_id"]) <= set(street["photo_id"])
    assert len(pairs.manifest)
