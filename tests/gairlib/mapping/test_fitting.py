"""fit and predict on generated ground: right classes in right places, resumable, saved, honest."""

import json

import numpy as np
import pytest
import rasterio
import torch
from builders.mapped import KINDS, Mapped
from builders.small_models import SMALL
from rasterio.enums import ColorInterp

import gairlib
from gairlib import GAIR
from gairlib.data.scene_reader import Reader
from gairlib.embed import cog
from gairlib.errors import BadInput, Missing
from gairlib.mapping.features import PIXEL, Chips, Features
from gairlib.mapping.mapper import Mapper
from gairlib.mapping.report import Report

CHIPS = dict(chip_px=32, chip_m=320.0)
pytestmark = pytest.mark.filterwarnings("ignore::gairlib.scale.OtherScale")


@pytest.fixture(scope="module")
def fitted(model, land):
    return gairlib.fit(model, land.scene, land.plots, column="use", **CHIPS)


def test_features_are_the_field_the_bands_and_their_means(model, land):
    chips = Chips("bilinear", 32, 320.0, 0.25)
    pixels = np.array([[0, 0], [159, 143], [40, 77], [41, 77]])
    with Reader(land.scene) as reader:
        whole = Features(model, reader, chips, (0, 0, 160, 144)).at(pixels)
        part = Features(model, reader, chips, (30, 60, 20, 30)).at(pixels[2:])
        values = reader.window(0, 0, 160, 144)[0].astype(float)
    np.testing.assert_allclose(part, whole[2:], atol=1e-4)
    for (column, row), found in zip(pixels, whole):
        near = values[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        np.testing.assert_allclose(found[:10], values[:, row, column])
        np.testing.assert_allclose(found[10:PIXEL], near.mean((1, 2)), rtol=1e-5)
    field = gairlib.embed.dense_field(
        model, land.scene, mode="bilinear", window=(0, 0, 160, 144), **CHIPS
    )
    np.testing.assert_allclose(whole[:, PIXEL:], field.values[*pixels.T[::-1]], atol=1e-5)


def test_a_map_is_right_where_no_label_was(fitted, model, tmp_path):
    other = Mapped(tmp_path, seed=7)
    written = fitted.predict(other.scene, tmp_path / "map.tif", progress=False)
    with rasterio.open(written.map) as file, rasterio.open(written.uncertainty) as doubt:
        classes, probability = file.read(1), 1 - doubt.read(1)
        assert file.colorinterp == (ColorInterp.palette,)
        assert file.tags()["class_2"] == "lake" and file.crs == other.scene.crs
        colours = {f"#{bytes(file.colormap(1)[i][:3]).hex()}" for i in (1, 2, 3)}
    names = np.array(["", *fitted.classes])[classes]
    assert (names == np.array(KINDS)[other.kinds]).mean() > 0.9
    assert len(colours) == 3 and colours == {colour for _, colour in fitted.palette}
    assert (probability >= 1 / 3 - 1e-6).all() and (probability <= 1).all()
    beside = written.map.with_name("map.tif.aux.xml").read_text()
    assert "<Category>field</Category><Category>lake</Category>" in beside


def test_the_report_is_of_blocks_that_were_held_out(fitted, model, land, monkeypatch):
    report = fitted.report
    value, low, high = report.scores["balanced accuracy"]
    assert low <= value <= high and value > 0.9 and report.pixels == 64 * len(land.plots)
    assert np.sum(report.table) == report.pixels and report.objects == len(land.plots)
    seen = []
    choose = gairlib.mapping.fitting.heads.choose
    monkeypatch.setattr(
        gairlib.mapping.fitting.heads,
        "choose",
        lambda *a: seen.append(set(a[4].tolist())) or choose(*a),
    )
    gairlib.fit(model, land.scene, land.plots, column="use", **CHIPS)
    every = set().union(*seen)
    assert len(seen) == 11 and seen[-1] == every  # five folds of both, and one of all
    assert sum(len(every - one) for one in seen[:5]) == len(every) == report.blocks
    assert "difference" in str(report)
    json.dumps(report.to_dict())


def test_noise_is_not_called_a_find(model, land):
    plots = land.plots.copy()
    plots["use"] = np.random.default_rng(3).permutation(plots["use"])
    report = gairlib.fit(model, land.scene, plots, column="use", **CHIPS).report
    assert report.scores["balanced accuracy"][0] < 0.5 and not report.better()
    assert abs(report.stated - report.found) < 0.15


@pytest.mark.parametrize("head", ["linear", "neighbours"])
def test_numbers_come_with_a_deviation(model, land, tmp_path, head):
    fitted = gairlib.fit(model, land.scene, land.plots, column="height", head=head, **CHIPS)
    assert fitted.report.kind == "numbers" and fitted.report.scores["R2"][0] > 0.5
    assert 0.75 < fitted.report.found <= 1
    written = fitted.predict(land.scene, tmp_path / "n.tif", window=(16, 0, 40, 30), progress=False)
    with rasterio.open(written.map) as file, rasterio.open(written.uncertainty) as doubt:
        values, deviation = file.read(1), doubt.read(1)
        assert file.dtypes == ("float32",) and file.transform.c == land.transform.c + 160
    truth = land.kinds[:30, 16:56]
    assert np.abs(values - truth).mean() < 0.6 and (deviation >= 0).all()
    assert not (tmp_path / "n.tif.aux.xml").exists()


def test_a_raster_gives_classes_names_and_colours(model, land, tmp_path):
    path = land.raster(tmp_path / "kinds.tif")
    names = {1: "lake", 3: "town"}
    fitted = gairlib.fit(model, land.scene, path, names=names, most=2000, **CHIPS)
    assert fitted.palette == [("lake", "#0000c8"), ("town", "#c80000")]
    own = gairlib.fit(
        model, land.scene, path, names=names, colours={"lake": "#123456"}, most=2000, **CHIPS
    )
    assert own.palette[0] == ("lake", "#123456")
    with pytest.raises(BadInput, match="colours"):
        gairlib.fit(model, land.scene, path, names=names, colours={"lake": "blue"}, **CHIPS)


def test_scenes_without_labels_teach_nothing_and_too_few_are_an_error(model, land, tmp_path):
    both = [land.scene, Mapped(tmp_path, seed=1).scene]
    few = land.plots.iloc[:1]
    with pytest.raises(BadInput, match="one block"):
        gairlib.fit(model, land.scene, land.plots, column="use", block_m=500_000.0, **CHIPS)
    with pytest.raises(BadInput, match="at least 30"):
        gairlib.fit(model, both, few, column="use", each=4, **CHIPS)
    with pytest.raises(BadInput, match="1 classes"):
        gairlib.fit(model, land.scene, land.plots.assign(use="lake"), column="use", **CHIPS)


def test_saved_and_loaded_it_answers_alike_and_only_for_its_weights(fitted, model, land, tmp_path):
    path = fitted.save(tmp_path / "map.safetensors")
    again = Mapper.load(path, model)
    assert again.content() == fitted.content() and isinstance(again.report, Report)
    files = [
        m.predict(land.scene, tmp_path / name, window=(0, 0, 40, 40), progress=False)
        for m, name in ((fitted, "a.tif"), (again, "b.tif"))
    ]
    a, b = (rasterio.open(f.uncertainty).read(1) for f in files)
    np.testing.assert_array_equal(a, b)
    other = GAIR(SMALL)
    with torch.no_grad():
        next(other.rs.parameters()).add_(1)
    with pytest.raises(BadInput, match="fitted with the weights"):
        Mapper.load(path, other)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(BadInput, match=r"map\.safetensors"):
        Mapper.load(path, model)
    with pytest.raises(Missing):
        Mapper.load(tmp_path / "none.safetensors", model)


def test_an_interrupted_map_goes_on_to_the_same_values(fitted, land, tmp_path, monkeypatch):
    whole = fitted.predict(land.scene, tmp_path / "whole.tif", progress=False)
    add, count = cog.Parts.add, []

    def stop(self, *args):
        count.append(1)
        if len(count) == 6:
            raise KeyboardInterrupt
        add(self, *args)

    monkeypatch.setattr("gairlib.mapping.features.CELLS", 160 * 10)
    monkeypatch.setattr(cog.Parts, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        fitted.predict(land.scene, tmp_path / "cut.tif", progress=False)
    monkeypatch.setattr(cog.Parts, "add", add)
    assert (tmp_path / "cut.tif.parts").is_dir()
    cut = fitted.predict(land.scene, tmp_path / "cut.tif", progress=False)
    for one, other in zip(whole, cut):
        np.testing.assert_allclose(
            rasterio.open(one).read(1), rasterio.open(other).read(1), atol=1e-5
        )
    assert not list(tmp_path.glob("*.parts"))


def test_gaps_of_the_scene_are_gaps_of_the_map(fitted, tmp_path):
    from builders.field_scenes import write_scene

    values = np.full((10, 64, 64), 1500)
    values[:, :20] = 0
    scene = write_scene(tmp_path / "gap.tif", values)
    written = fitted.predict(scene, tmp_path / "gap_map.tif", progress=False)
    assert ((rasterio.open(written.map).read(1) > 0) == (values[0] > 0)).all()
    assert (np.isfinite(rasterio.open(written.uncertainty).read(1)) == (values[0] > 0)).all()
