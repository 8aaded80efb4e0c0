"""Labels of points, polygons and rasters land on the right pixels."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from builders.mapped import KINDS, Mapped

from gairlib.errors import BadInput, Missing
from gairlib.mapping import labels


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    return Mapped(tmp_path_factory.mktemp("land"))


def read(land, source, column=None, each=1000, most=100_000):
    return labels.on_scene(land.scene, source, column, each=each, most=most)


def right(land, found):
    column, row = found.pixels.T
    return land.kinds[row, column]


@pytest.mark.parametrize("crs", ["EPSG:32654", "EPSG:4326", "EPSG:3857"])
def test_polygons_label_the_pixels_inside_in_any_crs(land, tmp_path, crs):
    path = tmp_path / "plots.gpkg"
    land.plots.to_crs(crs).to_file(path)
    found = read(land, path, "use")
    assert (np.array(KINDS)[right(land, found)] == found.values).all()
    assert len(found) == 12 * 12 * len(land.plots)
    assert (np.bincount(found.objects) == 144).all()


def test_points_label_the_pixel_they_lie_in_and_those_outside_are_left_out(land):
    rng = np.random.default_rng(1)
    column, row = rng.uniform(-20, 180, 500), rng.uniform(-20, 160, 500)
    x, y = land.transform @ np.stack([column, row])
    given = gpd.GeoDataFrame({"k": range(500)}, geometry=gpd.points_from_xy(x, y), crs="EPSG:32654")
    found = read(land, given.to_crs("EPSG:4326"), "k")
    inside = (column >= 0) & (column < 160) & (row >= 0) & (row < 144)
    naive = {(int(c), int(r)) for c, r in zip(column[inside], row[inside])}
    assert set(map(tuple, found.pixels.tolist())) <= naive
    assert len(found) > 0.95 * len(naive)  # pixels with two points say two things
    assert (np.floor(column[found.values.astype(int)]) == found.pixels[:, 0]).all()


def test_a_raster_labels_pixels_where_it_has_data(land, tmp_path):
    found = read(land, land.raster(tmp_path / "kinds.tif"))
    assert (found.values == right(land, found) + 1).all()
    assert len(found) == 134 * 160 and found.pixels[:, 1].min() == 10
    assert labels.palette_of(tmp_path / "kinds.tif")[2] == "#c8c800"
    assert labels.palette_of(land.scene.path) == {}


def test_a_pixel_with_two_classes_has_none_and_limits_hold(land):
    twice = land.plots.iloc[[0, 0, 1]].copy()
    twice["use"] = ["lake", "town", "lake"]
    found = read(land, twice, "use")
    assert len(found) == 144 and set(found.objects) == {2}
    assert len(read(land, land.plots, "use", each=9)) == 9 * len(land.plots)
    some = read(land, land.plots, "use", each=9, most=50)
    assert len(some) == 50
    again = read(land, land.plots, "use", each=9, most=50)
    assert (some.pixels == again.pixels).all()


def test_what_cannot_be_labels_is_named(land, tmp_path):
    line = gpd.GeoDataFrame(
        {"use": ["road"]}, geometry=[shapely.LineString([(0, 0), (1, 1)])], crs="EPSG:32654"
    )
    with pytest.raises(BadInput, match="row 0: a LineString"):
        read(land, line, "use")
    with pytest.raises(BadInput, match="column `kind`"):
        read(land, land.plots, "kind")
    for name in ("none.tif", "none.gpkg"):
        with pytest.raises(Missing, match=name):
            read(land, tmp_path / name, "use")
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    with pytest.raises(BadInput, match=r"broken\.tif"):
        read(land, tmp_path / "broken.tif")


def test_floats_are_numbers_and_all_else_classes():
    assert labels.kind_of(np.array([0.5, 1.0])) == "numbers"
    assert labels.kind_of(np.array([1, 2])) == "classes"
    assert labels.kind_of(np.array(["a", "b"])) == "classes"
    assert labels.kind_of(np.array([1, 2]), "numbers") == "numbers"
    with pytest.raises(BadInput, match="kind 'x'"):
        labels.kind_of(np.array([1]), "x")
