"""A scene's dense field as a COG: right values in the right places, no seams, resumable."""

import numpy as np
import pytest
import rasterio
import torch
from pyproj import Transformer
from rasterio.transform import from_origin

from gairlib import GAIR, GAIRConfig, preprocess
from gairlib.data import scenes
from gairlib.data.scene_reader import Reader
from gairlib.embed import cog, dense, field, pca, walker
from gairlib.embed.reading import Reading
from gairlib.errors import BadInput

BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
UTM = ("EPSG:32654", from_origin(676_000, 3_990_000, 10, 10))
DEGREES = ("EPSG:4326", from_origin(-71.5, 42.6, 1.2e-4, 9e-5))
CHIP = dict(chip_px=32, chip_m=320.0, progress=False)
SV = dict(sv_options={"img_size": 64, "patch_size": 32, "embed_dim": 8, "depth": 1, "num_heads": 1})


def write_scene(path, values=None, place=UTM, size=(80, 96)):
    if values is None:
        values = np.random.default_rng(0).integers(200, 4000, (10, *size))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=10,
        dtype="uint16",
        nodata=0,
        crs=place[0],
        transform=place[1],
        height=values.shape[1],
        width=values.shape[2],
    ) as file:
        file.write(values.astype(np.uint16))
        file.descriptions = BANDS
    return scenes.open_scene(path, row={"processing_baseline": "02.14", "datetime": "2021-07-01"})


def make(decoder="linear", **changes):
    torch.manual_seed(0)
    config = GAIRConfig(
        dim=12,
        rs_depth=1,
        rs_heads=2,
        rs_size=32,
        rs_patch=8,
        decoder=decoder,
        decoder_hidden=[16],
        **SV,
        **changes,
    )
    model = GAIR(config).eval()
    if model.field is not None and decoder == "mlp":
        torch.nn.init.normal_(model.field.last.weight, std=0.3)  # starts at zero otherwise
        torch.nn.init.normal_(model.field.last.bias)
    return model


def queried(model, scene, lonlat, mode=None):
    """Naive: the scene as one chip, one query at a place."""
    prep = preprocess.get(model.config.preprocessing)
    dn = torch.from_numpy(scenes.read(scene).astype(np.float32))[None]
    column, row = scene.to_pixels(*lonlat)
    xy = [[[2 * column / scene.width - 1, 2 * row / scene.height - 1]]]
    with torch.inference_mode():
        return model.query_rs(model.encode_rs(prep.rs(dn, 32)), xy, mode=mode)[0, 0].numpy()


# ---------------------------------------------------------------------------- values and places


@pytest.mark.parametrize("place", [UTM, DEGREES])
@pytest.mark.parametrize(
    "decoder, mode",
    [
        ("linear", None),
        ("mlp", None),
        ("mlp", "bilinear"),
        ("linear", "bicubic"),
        ("linear", "nearest"),
    ],
)
@pytest.mark.parametrize("resolution", [10.0, 1.7])
def test_a_landmark_has_the_value_of_a_query_there(tmp_path, place, decoder, mode, resolution):
    scene, model = write_scene(tmp_path / "a.tif", place=place, size=(32, 32)), make(decoder)
    path = dense.write_cog(
        model, scene, tmp_path / "f.tif", resolution=resolution, mode=mode, **CHIP
    )
    with rasterio.open(path) as file:
        values, crs = file.read(), file.crs
        to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        for row, column in ((0, 0), (3, 17), (file.height - 1, file.width - 1)):
            lonlat = to_lonlat.transform(*file.xy(row, column))
            want = queried(model, scene, lonlat, mode)
            np.testing.assert_allclose(values[:, row, column], want, atol=1e-5)


def test_axis_weights_equal_the_query_everywhere():
    """Borders, corners and the published rounding: the product form against `query_rs`."""
    x = np.array([-1, -0.99, -0.75, -0.3, 0.0, 0.2501, 0.9, 1.0])
    y = np.array([-1.0, -0.875, 0.1, 0.95, 1.0])
    xy = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(1, -1, 2))
    for options in (
        dict(),
        dict(float32_centres=True),
        dict(decoder="mlp"),
        dict(query_mode="bilinear", interpolation_padding="zeros"),
        dict(query_mode="bicubic", interpolation_padding="zeros"),
    ):
        model = make(**options).double()
        with torch.inference_mode():
            features = model.encode_rs(torch.randn(2, 10, 32, 32).double())
            want = model.query_rs(features, xy.expand(2, -1, -1))
            reading = Reading(model)
            rows = reading.rows(features.grid)
            for b in range(2):
                parts = list(reading.slabs(rows[b], features.grid[b], x, y))
                got = torch.cat([v for _, v in parts]).reshape(-1, 12)
                torch.testing.assert_close(got, want[b].float(), atol=2e-6, rtol=1e-6)


def test_slabs_change_nothing(monkeypatch):
    model, x = make("mlp"), field.cell_centres(20)
    grid = torch.randn(4, 4, 12)
    with torch.inference_mode():
        reading = Reading(model)
        rows = reading.rows(grid[None])[0]
        ((_, whole),) = reading.slabs(rows, grid, x, x)
        monkeypatch.setattr("gairlib.embed.reading.VALUES", 3 * 20 * 12)
        parts = list(reading.slabs(rows, grid, x, x))
    assert len(parts) == 7
    torch.testing.assert_close(torch.cat([v for _, v in parts]), whole)


@pytest.mark.parametrize("decoder, mode", [("linear", None), ("mlp", None), ("mlp", "bilinear")])
def test_projection_is_the_scores_of_the_field(tmp_path, decoder, mode):
    scene, model = write_scene(tmp_path / "a.tif", size=(48, 40)), make(decoder)
    full = dense.write_cog(model, scene, tmp_path / "full.tif", mode=mode, **CHIP)
    with rasterio.open(full) as file:
        values = np.moveaxis(file.read(), 0, -1)  # [h, w, D]
    axes = pca.fit(values.reshape(-1, 12), 4)
    path = dense.write_cog(model, scene, tmp_path / "p.tif", projection=axes, mode=mode, **CHIP)
    with rasterio.open(path) as file:
        got, tags = file.read(), file.tags()
        assert "principal component 1" in file.descriptions[0]
    np.testing.assert_allclose(np.moveaxis(got, 0, -1), axes.scores(values), atol=2e-5)
    assert tags["projection_sha256"] == axes.digest()
    path = dense.write_cog(
        model, scene, tmp_path / "i.tif", projection=axes, mode=mode, dtype="int8", **CHIP
    )
    with rasterio.open(path) as file:
        assert file.dtypes[0] == "int8" and file.nodata == -128
        scale, offset = (np.array(v)[:, None, None] for v in (file.scales, file.offsets))
        stored = file.read() * scale + offset
    low, high = (v[:, None, None] for v in (axes.low, axes.high))
    assert (np.abs(stored - np.clip(got, low, high)) <= scale * 0.51).all()


def test_all_channels_in_fewer_bits(tmp_path):
    """float16 is numpy's rounding; int8 lies within half a step of each channel's own scale."""
    scene, model = write_scene(tmp_path / "a.tif"), make("mlp")
    want = dense.write_cog(model, scene, tmp_path / "f.tif", **CHIP)
    half = dense.write_cog(model, scene, tmp_path / "h.tif", dtype="float16", **CHIP)
    byte = dense.write_cog(model, scene, tmp_path / "b.tif", dtype="int8", **CHIP)
    with rasterio.open(want) as f, rasterio.open(half) as h, rasterio.open(byte) as b:
        values, halves, stored = f.read(), h.read(), b.read()
        scale, offset = (np.array(v)[:, None, None] for v in (b.scales, b.offsets))
        assert h.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "16" and b.dtypes[0] == "int8"
    np.testing.assert_array_equal(halves, values.astype(np.float16).astype(np.float32))
    inside = np.abs(stored) < 127
    assert inside.mean() > 0.98 and len(scale) == 12
    assert ((np.abs(stored * scale + offset - values) <= scale * 0.51) | ~inside).all()


# ---------------------------------------------------------------------------- blending


def test_a_constant_field_stays_constant(tmp_path):
    model = make("linear")
    torch.nn.init.zeros_(model.field.linear.weight)
    torch.nn.init.normal_(model.field.linear.bias)
    scene = write_scene(tmp_path / "a.tif")
    for overlap in (0.0, 0.2, 0.5):
        path = dense.write_cog(model, scene, tmp_path / "f.tif", overlap=overlap, **CHIP)
        with rasterio.open(path) as file:
            values = file.read()
        assert np.abs(values - model.field.linear.bias.detach().numpy()[:, None, None]).max() < 1e-6


def steps(values):
    """Largest change [w - 1] from each column of cells to the next, as a share of the spread."""
    return np.abs(np.diff(values, axis=2)).max(axis=(0, 1)) / values.std()


def test_no_seams(tmp_path):
    """Chips of a smooth scene disagree, since each is encoded by itself; the file does not jump."""
    row, column = np.mgrid[:64, :160]
    values = 1500 + 900 * np.sin(column / 40) * np.cos(row / 50) + np.arange(10)[:, None, None]
    scene, model = write_scene(tmp_path / "a.tif", values), make("linear")
    found = {}
    for overlap in (0.0, 0.5):
        path = dense.write_cog(model, scene, tmp_path / "f.tif", overlap=overlap, **CHIP)
        with rasterio.open(path) as file:
            found[overlap] = steps(file.read())
    borders = np.arange(32, 160, 32) - 1  # of chips side by side
    elsewhere = np.setdiff1d(np.arange(159), borders)
    assert found[0.0][borders].max() > 2 * found[0.0][elsewhere].max()  # the wrong answer
    edges = np.arange(16, 160, 16) - 1  # where chips that overlap by half begin and end
    elsewhere = np.setdiff1d(np.arange(159), edges)
    assert found[0.5][edges].max() <= 1.05 * found[0.5][elsewhere].max()


def test_blend_is_the_weighted_mean_of_the_chips(tmp_path):
    """Naive oracle: every chip that knows a cell, read by query_rs, weighted, divided."""
    scene, model = write_scene(tmp_path / "a.tif"), make("mlp")
    path = dense.write_cog(model, scene, tmp_path / "f.tif", overlap=0.4, resolution=13.0, **CHIP)
    layout = walker.lay_out(scene, 320.0, 0.4)
    prep = preprocess.get(model.config.preprocessing)
    with rasterio.open(path) as file, Reader(scene) as reader:
        for row, column in ((0, 0), (30, 33), (20, 50), (file.height - 1, 11)):
            c, r = ~scene.transform @ file.xy(row, column)
            total = weight = 0.0
            for r0 in layout.rows:
                for c0 in layout.columns:
                    x, y = 2 * (c - c0) / layout.width - 1, 2 * (r - r0) / layout.height - 1
                    if max(abs(x), abs(y)) > 1:
                        continue
                    dn = reader.chip(c0, r0, layout.width, layout.height, 32).values
                    images = prep.rs(torch.from_numpy(dn.astype(np.float32))[None], 32)
                    with torch.inference_mode():
                        value = model.query_rs(model.encode_rs(images), [[[x, y]]])[0, 0].numpy()
                    w = np.prod([walker.ramp(np.array([v]), 0.4)[0] for v in (x, y)])
                    total, weight = total + w * value, weight + w
            got = file.read(window=((row, row + 1), (column, column + 1)))[:, 0, 0]
            np.testing.assert_allclose(got, total / weight, atol=1e-5)


def test_ramp():
    x = np.linspace(-1, 1, 2001)
    weight = walker.ramp(x, 0.25)
    assert weight[0] < 1e-5 and weight[-1] < 1e-5 and (weight[np.abs(x) < 0.5] > 1 - 1e-5).all()
    other = walker.ramp(x - 1.5, 0.25)  # the next chip, a quarter over this one
    both = (x >= 0.5) & (x <= 1)
    np.testing.assert_allclose(weight[both] + other[both], 1, atol=1e-5)
    assert (walker.ramp(x, 0.0) == 1).all()


# ---------------------------------------------------------------------------- grid


@pytest.mark.parametrize(
    "resolution, size", [(10, (80, 96)), (20, (40, 48)), (1, (800, 960)), (15, (53, 64))]
)
def test_any_resolution_on_the_scenes_own_grid(tmp_path, resolution, size):
    scene = write_scene(tmp_path / "a.tif")
    grid, _ = dense.output_grid(scene, resolution, None, 3)
    assert (grid.height, grid.width) == size and grid.crs == scene.crs
    assert grid.transform.a == resolution and grid.transform.e == -resolution
    assert grid.transform @ (0, 0) == scene.transform @ (0, 0)


def test_degrees_are_sized_on_the_ground(tmp_path):
    scene = write_scene(tmp_path / "a.tif", place=DEGREES)
    grid, _ = dense.output_grid(scene, 10.0, None, 3)
    across, down = scene.pixel_metres(48, 40)
    assert np.isclose(grid.transform.a, 1.2e-4 * 10 / across)
    assert np.isclose(-grid.transform.e, 9e-5 * 10 / down)


def test_a_window_is_a_piece_of_the_whole(tmp_path):
    scene, model = write_scene(tmp_path / "a.tif"), make("linear")
    whole = dense.write_cog(model, scene, tmp_path / "w.tif", resolution=5.0, **CHIP)
    part = dense.write_cog(
        model, scene, tmp_path / "p.tif", resolution=5.0, window=(40, 8, 30, 50), **CHIP
    )
    with rasterio.open(whole) as a, rasterio.open(part) as b:
        assert b.transform @ (0, 0) == scene.transform @ (40, 8)
        np.testing.assert_allclose(b.read(), a.read()[:, 16:116, 80:140], atol=1e-5)


def test_strips_change_nothing(tmp_path, monkeypatch):
    scene, model = write_scene(tmp_path / "a.tif"), make("linear")
    whole = dense.write_cog(model, scene, tmp_path / "w.tif", resolution=2.0, **CHIP)
    monkeypatch.setattr(walker, "BUFFER_BYTES", 0)
    parts = dense.write_cog(model, scene, tmp_path / "p.tif", resolution=2.0, **CHIP)
    with rasterio.open(whole) as a, rasterio.open(parts) as b:
        np.testing.assert_allclose(a.read(), b.read(), atol=1e-5)


def test_no_data_stays_no_data(tmp_path):
    values = np.random.default_rng(0).integers(200, 4000, (10, 80, 96))
    values[:, :, 60:] = 0
    values[:, 5, 7] = 0
    path = dense.write_cog(
        make("linear"), write_scene(tmp_path / "a.tif", values), tmp_path / "f.tif", **CHIP
    )
    with rasterio.open(path) as file:
        assert np.isnan(file.nodata)
        missing = np.isnan(file.read())
    assert (missing == (values == 0).all(axis=0)).all()


# ---------------------------------------------------------------------------- the file


def test_cog_with_overviews_and_tags(tmp_path):
    scene = write_scene(tmp_path / "a.tif")
    path = dense.write_cog(make("linear"), scene, tmp_path / "f.tif", resolution=1.6, **CHIP)
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.is_tiled and file.overviews(1) and file.crs == scene.crs
        assert file.descriptions[2] == "embedding 2"
        tags = file.tags()
        assert tags["licence"] == "contains modified Copernicus Sentinel data 2021"
        assert len(tags["model_sha256"]) == 16 and tags["query_mode"] == "nili"
        assert tags["acquired"].startswith("2021-07-01") and tags["software"].startswith("gairlib")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "f.tif"]  # nothing left over


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    scene, model = write_scene(tmp_path / "a.tif", size=(160, 96)), make("mlp")
    options = dict(resolution=7.0, overlap=0.4, **CHIP)
    whole = dense.write_cog(model, scene, tmp_path / "whole.tif", **options).read_bytes()

    path, add, calls = tmp_path / "f.tif", cog.Parts.add, []

    def stops(parts, *piece):
        calls.append(piece[0])
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(parts, *piece)

    monkeypatch.setattr(cog.Parts, "add", stops)
    with pytest.raises(KeyboardInterrupt):
        dense.write_cog(model, scene, path, **options)
    assert not path.exists()
    assert len(list((tmp_path / "f.tif.parts").glob("*_c*.tif"))) == 2
    again = []
    monkeypatch.setattr(cog.Parts, "add", lambda p, *v: (again.append(v[0]), add(p, *v)))
    dense.write_cog(model, scene, path, **options)
    assert again[0] == calls[2]  # what was finished is not made again
    assert path.read_bytes() == whole


def test_pieces_of_other_settings_are_thrown_away(tmp_path, monkeypatch):
    scene, model = write_scene(tmp_path / "a.tif"), make("linear")
    monkeypatch.setattr(cog.Parts, "finish", lambda *_: None)
    dense.write_cog(model, scene, tmp_path / "f.tif", overlap=0.5, **CHIP)
    added = []
    monkeypatch.setattr(cog.Parts, "add", lambda *v: added.append(v[1]))
    dense.write_cog(model, scene, tmp_path / "f.tif", overlap=0.2, **CHIP)
    assert added and added[0] == 0


def test_a_file_with_a_hole_is_not_finished(tmp_path):
    grid = cog.Grid(1, 40, 30, *UTM)
    with cog.Parts(tmp_path / "f.tif", grid, {}) as parts:
        parts.add(0, 0, np.ones((1, 25, 30), np.float32))
        assert parts.rows_done((0, 30)) == 25
        with pytest.raises(BadInput, match="750 of 1200"):
            parts.finish({}, ["one"])
    with cog.Parts(tmp_path / "f.tif", grid, {}) as parts:
        parts.add(25, 0, np.full((1, 15, 30), np.nan, np.float32))
        made = parts.finish({"a": "<&>"}, ["one & two"])
    with rasterio.open(made) as file:
        assert np.isnan(file.read()).sum() == 15 * 30 and file.descriptions == ("one & two",)
        assert file.tags()["a"] == "<&>"


def test_refusals(tmp_path):
    scene, model = write_scene(tmp_path / "a.tif"), make("linear")
    for change, said in (
        (dict(path=tmp_path / "f.png"), "end in .tif"),
        (dict(overlap=0.95), "overlap"),
        (dict(resolution=0), "resolution"),
        (dict(resolution=5000.0), "coarser"),
        (dict(window=(0, 0, 97, 10)), "window"),
        (dict(mode="mean"), "mean"),
        (dict(dtype="int16"), "dtype"),
        (dict(projection=pca.fit(np.random.default_rng(0).normal(size=(9, 5)), 2)), "fitted on 5"),
    ):
        with pytest.raises(BadInput, match=said):
            dense.write_cog(model, scene, **{"path": tmp_path / "f.tif", **CHIP, **change})
    with pytest.raises(BadInput, match="no decoder"):
        dense.write_cog(make(query_mode="bilinear"), scene, tmp_path / "f.tif", mode="nili", **CHIP)


def test_sample_is_the_field_at_places_with_data(tmp_path):
    values = np.random.default_rng(0).integers(200, 4000, (10, 80, 96))
    values[:, :, 40:] = 0
    scene, model = write_scene(tmp_path / "a.tif", values), make("linear")
    found = dense.sample(model, scene, chip_px=32, chip_m=320.0, chips=99, places=5)
    assert found.shape == (6 * 5, 12)  # of nine chips, three hold no data
    again = dense.sample(model, scene, chip_px=32, chip_m=320.0, chips=99, places=5)
    np.testing.assert_array_equal(found, again)
    one = write_scene(tmp_path / "b.tif", values[:, :32, :32])
    with rasterio.open(dense.write_cog(model, one, tmp_path / "f.tif", **CHIP)) as file:
        field_values = file.read().reshape(12, -1).T
    inside = dense.sample(model, one, chip_px=32, chip_m=320.0, places=5)
    distance = np.abs(field_values[None] - inside[:, None]).max(-1).min(1)
    assert distance.max() < 1e-5  # each is a cell of the dense field
    values[:] = 0
    with pytest.raises(BadInput, match="no data"):
        dense.sample(model, write_scene(tmp_path / "c.tif", values), chip_px=32, chip_m=320.0)


def test_bench_runs_small(monkeypatch):
    from research.speed import dense as measured
    from research.speed import measure

    monkeypatch.setattr(measure, "peak", lambda name, *v: measure.call(name, list(v)))  # in here
    found = measured.run(quick=True)
    assert found["pixels"] == measured.QUICK**2 and 0 < found["whole_peak_bytes"] < 4 * 2**30
    assert found["window_mlp_pixels_per_second"] > 0 and found["whole_file_bytes"] > 10**5
