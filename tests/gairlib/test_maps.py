"""Layers on leafmap maps of both back ends: pictures where the scene lies, legends, pop-ups."""

import base64
import io

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
from builders.mapped import Mapped
from builders.small_models import SMALL
from PIL import Image

import gairlib
from gairlib import GAIR, maps
from gairlib.errors import BadInput
from gairlib.maps import add_to

pytest.importorskip("leafmap")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    return Mapped(tmp_path_factory.mktemp("land"))


@pytest.fixture(scope="module")
def field(land):
    window = (16, 32, 64, 48)
    return gairlib.embed.dense_field(
        GAIR(SMALL).eval(), land.scene, chip_px=32, chip_m=320.0, window=window
    )


def folium_map():
    from leafmap.foliumap import Map

    return Map()


def ipyleaflet_map():
    from leafmap.leafmap import Map

    return Map()


def overlays(m):
    """(name, south, west, north, east, RGBA) of the pictures on a map."""
    if hasattr(m, "_children"):
        found = [c for c in m._children.values() if type(c).__name__ == "ImageOverlay"]
        found = [(c.layer_name, c.bounds, c.url) for c in found]
    else:
        found = [(c.name, c.bounds, c.url) for c in m.layers if type(c).__name__ == "ImageOverlay"]
    return [
        (
            name,
            *np.ravel(box),
            np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))),
        )
        for name, box, url in found
    ]


@pytest.mark.parametrize("make", [folium_map, ipyleaflet_map])
def test_a_field_and_a_similarity_lie_where_their_window_does(land, field, make):
    m = make()
    add_to(m, field)
    add_to(m, field, like=field.values[10, 20])
    (name, south, west, north, east, picture), (other, *box, cosine) = overlays(m)
    assert (name, other) == ("field", "similarity") and np.allclose(box, [south, west, north, east])
    lon, lat = land.scene.to_lonlat([16, 80], [80, 32])
    np.testing.assert_allclose(
        [west, south, east, north], [lon[0], lat[0], lon[1], lat[1]], atol=1e-3
    )
    assert picture.shape[2] == 4 and (picture[..., 3] == 255).mean() > 0.9
    column, row = ((20.5 / 64), (10.5 / 48))
    h, w = cosine.shape[:2]
    brightest = cosine[
        int(row * h) - 2 : int(row * h) + 3, int(column * w) - 2 : int(column * w) + 3
    ]
    assert (brightest.reshape(-1, 4)[:, :3] == (253, 231, 37)).all(1).any()


@pytest.mark.parametrize("make", [folium_map, ipyleaflet_map])
def test_a_map_of_classes_brings_its_colours_and_rows_their_pop_ups(land, tmp_path, make):
    m = make()
    add_to(m, land.raster(tmp_path / "kinds.tif"), "use")
    ((name, *_, picture),) = overlays(m)
    shown = {tuple(c) for c in picture.reshape(-1, 4) if c[3]}
    assert name == "use" and shown == {(0, 0, 200, 255), (200, 200, 0, 255), (200, 0, 0, 255)}
    rows = land.plots.head(5).assign(embedding=[np.zeros(3)] * 5)
    add_to(m, rows, "plots")
    if make is folium_map:
        (layer,) = [c for c in m._children.values() if type(c).__name__ == "GeoJson"]
        assert layer.layer_name == "plots" and "lake" in str(layer.data)
    else:
        (layer,) = [c for c in m.layers if c.name == "plots"]
    known = layer.data["features"][0]["properties"]
    assert {"use", "height"} <= set(known) and "embedding" not in known


def test_what_cannot_be_shown_is_named(land, field, tmp_path):
    m = folium_map()
    for what, words in (
        (3, "int"),
        (land.scene.path, "colour table"),
        (gpd.GeoDataFrame(), "rows"),
    ):
        with pytest.raises(BadInput, match=words):
            add_to(m, what)
    with pytest.raises(BadInput, match=r"\[16\]"):
        add_to(m, field, like=[1.0, 2.0])


def test_rows_of_an_embedding_file_have_their_cosines(embedded):
    model, _, folder = embedded
    rows = gpd.read_parquet(folder / "photos.parquet")
    vectors = np.stack(rows["embedding"])
    like = 3 * vectors[5]
    lonlat, cosine = maps._similar_rows(folder / "photos.parquet", like)
    np.testing.assert_allclose(cosine, vectors @ vectors[5], atol=1e-6)
    np.testing.assert_allclose(lonlat[:, 0], rows.geometry.x, atol=1e-5)
    np.testing.assert_allclose(lonlat[:, 1], rows.geometry.y, atol=1e-5)
    with pytest.raises(BadInput, match=r"\[16\]"):
        maps._similar_rows(folder / "photos.parquet", np.ones(3, np.float32))


def test_points_are_drawn_in_the_colours_of_their_cosines(embedded):
    pytest.importorskip("lonboard")
    _, _, folder = embedded
    rows = gpd.read_parquet(folder / "photos.parquet")
    vectors = np.stack(rows["embedding"])
    m = maps.point_map(folder / "photos.parquet", vectors[5])
    (layer,) = m.layers
    colours = pa.chunked_array(layer.get_fill_color).to_pylist()
    assert (*colours[-1],) == maps.RAMP[-1] and (*colours[0],) == maps.RAMP[0]
    cosine = pa.chunked_array(layer.table["cosine"]).to_numpy()
    assert len(cosine) == len(rows)
    assert (np.diff(cosine) >= 0).all() and cosine[-1] == pytest.approx(1, abs=1e-6)
