"""Dense reading of a field that reads headings: what queries say, in one or all directions."""

import numpy as np
import pytest
import rasterio
import torch
from builders.small_models import SMALL

from gairlib import GAIR, preprocess
from gairlib.data import scenes
from gairlib.embed import dense, encode, field, pca, reading
from gairlib.embed.reading import Reading
from gairlib.errors import BadInput

CHIP = dict(chip_px=32, chip_m=320.0)
BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    options = {"channels": 4, "width": 8}
    made = GAIR(SMALL.replace(decoder="cone", decoder_options=options)).eval()
    torch.nn.init.normal_(made.field.cone.last.weight)  # starts at zero otherwise
    return made


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "a.tif"
    values = np.random.default_rng(0).integers(200, 4000, (10, 32, 32)).astype(np.uint16)
    place = rasterio.transform.from_origin(676_000, 3_990_000, 10, 10)
    about = dict(driver="GTiff", count=10, dtype="uint16", nodata=0, crs="EPSG:32654")
    with rasterio.open(path, "w", height=32, width=32, transform=place, **about) as file:
        file.write(values)
        file.descriptions = BANDS
    return scenes.open_scene(path, row={"processing_baseline": "02.14", "datetime": "2021-07-01"})


def queried(model, scene, n, heading):
    """Naive: the scene as one chip of 320 m, a query at each of n x n cells."""
    dn = torch.from_numpy(scenes.read(scene).astype(np.float32))[None]
    at = field.cell_centres(n)
    xy = torch.from_numpy(np.stack(np.meshgrid(at, at), -1).reshape(1, -1, 2))
    images = preprocess.get(model.config.preprocessing).rs(dn, 32)
    with torch.inference_mode():
        read = model.query_rs(model.encode_rs(images, side_m=320.0), xy, heading=heading)
    return read[0].reshape(n, n, -1).numpy()


@pytest.mark.parametrize("heading", [None, 0.0, 250.0])
def test_the_map_and_the_geotiff_hold_what_a_query_says(model, scene, tmp_path, heading):
    got = field.dense_field(model, scene, resolution=20.0, heading=heading, **CHIP)
    want = queried(model, scene, 16, heading)
    np.testing.assert_allclose(got.values, want, atol=2e-3 * np.abs(want).max())
    assert got.mode == ("nili, all headings" if heading is None else f"nili, heading {heading:g}")
    path = dense.write_cog(
        model, scene, tmp_path / "f.tif", resolution=20.0, heading=heading, progress=False, **CHIP
    )
    with rasterio.open(path) as file:
        np.testing.assert_allclose(file.read().transpose(1, 2, 0), got.values, atol=1e-5)
        assert file.tags()["query_mode"] == got.mode


def test_headings_differ_and_their_mean_is_the_field_without(model, scene):
    each = [queried(model, scene, 8, 30.0 * k) for k in range(12)]
    np.testing.assert_allclose(np.mean(each, 0), queried(model, scene, 8, None), atol=1e-4)
    assert np.abs(each[0] - each[6]).max() > 0.1


@pytest.mark.parametrize("heading", [None, 75.0])
def test_slabs_and_projections_change_nothing(model, scene, heading, monkeypatch):
    dn = torch.from_numpy(scenes.read(scene).astype(np.float32))[None]
    at = field.cell_centres(10)
    whole = field.read_chip_field(model, dn[0].numpy(), at, at, heading=heading, side_m=320.0)
    monkeypatch.setattr(reading, "QUERIES", 30)
    parts = field.read_chip_field(model, dn[0].numpy(), at, at, heading=heading, side_m=320.0)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    axes = pca.fit(whole.reshape(-1, 16).astype(np.float64), 3)
    images = preprocess.get(model.config.preprocessing).rs(dn, 32)
    with torch.inference_mode():
        features = model.encode_rs(images, side_m=320.0)
        read = Reading(model, None, axes, heading)
        rows = read.rows(features.grid)[0]
        found = torch.cat([v for _, v in read.slabs(rows, features.grid[0], at, at, features)])
    scores = (whole - axes.mean) @ axes.axes
    np.testing.assert_allclose(found.numpy() - read.shift, scores, atol=1e-4)


def test_places_are_read_with_their_own_headings(model, scene):
    dn = scenes.read(scene)[None]
    xy, heading = np.array([[0.1, 0.2], [0.1, 0.2], [-0.3, 0.9]]), np.array([10.0, np.nan, 200.0])
    got = encode.local(model, dn, [0, 0, 0], xy, heading=heading, side_m=320.0)
    images = preprocess.get(model.config.preprocessing).rs(torch.from_numpy(dn).float(), 32)
    with torch.inference_mode():
        features = model.encode_rs(images, side_m=320.0)
        want = model.query_rs(features, xy[None], heading=heading[None])[0]
    np.testing.assert_allclose(got, want.numpy(), atol=1e-5)


def test_a_heading_needs_a_field_that_reads_one(model, scene):
    with pytest.raises(BadInput, match="heading 90.*'bilinear'"):
        field.dense_field(model, scene, heading=90.0, mode="bilinear", **CHIP)
    with pytest.raises(BadInput, match="heading nan"):
        Reading(model, heading=float("nan"))
    with pytest.raises(BadInput, match="heading 90"):
        Reading(GAIR(SMALL), heading=90.0)
