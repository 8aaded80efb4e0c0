"""STAC sources against a static catalogue, ItemCollection files and a server on localhost."""

import copy
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from builders.listening import listening
from builders.small_scenes import (
    EARTH_SEARCH,
    ORIGIN,
    UTM,
    geometry,
    item,
    on_10_m,
    write_band,
    write_bands,
)
from shapely.geometry import Point, Polygon, box, mapping

from gairlib.bands import BANDS
from gairlib.data import scenes, stac, stac_item
from gairlib.data.dataset import Dataset
from gairlib.data.scene import outline
from gairlib.data.scene_reader import Reader
from gairlib.errors import BadInput, Missing


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two folders of tiled bands, a and b, and the values of a."""
    folder = tmp_path_factory.mktemp("stac")
    values = write_bands(folder / "a", block=16)
    write_bands(folder / "b", block=16, seed=1)
    return folder, values


class Api(BaseHTTPRequestHandler):
    """A STAC API of one page per item, and the files below `root` with byte ranges."""

    root: Path
    items: list[dict]
    trouble: list[int]  # answers to give before the right ones
    broken_page: int | None = None
    asked: list

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(body)

    def do_GET(self):
        self.answer({})

    do_HEAD = do_GET

    def answer(self, body):
        address = f"http://127.0.0.1:{self.server.server_port}"
        path = self.path.split("?")[0]
        self.asked.append((path, body))
        if self.trouble:
            status = self.trouble.pop(0)
            return self.send(status, b"not now", {"Retry-After": "0"} if status == 429 else {})
        if path == "/":
            conforms = ["core", "item-search", "item-search#query", "collections"]
            return self.send(
                200,
                {
                    "type": "Catalog",
                    "id": "api",
                    "description": "x",
                    "stac_version": "1.0.0",
                    "conformsTo": [f"https://api.stacspec.org/v1.0.0/{c}" for c in conforms],
                    "links": [
                        {"rel": "self", "href": address, "type": "application/json"},
                        {
                            "rel": "search",
                            "href": f"{address}/search",
                            "method": "POST",
                            "type": "application/geo+json",
                        },
                    ],
                },
            )
        if path == "/search":
            number = int(body.get("token", 0))
            if number == self.broken_page:
                return self.send(500, b"broken")
            following = {
                "rel": "next",
                "href": f"{address}/search",
                "method": "POST",
                "body": {**body, "token": number + 1},
            }
            more = number + 1 < len(self.items)
            return self.send(
                200,
                {
                    "type": "FeatureCollection",
                    "links": [following] * more,
                    "features": self.items[number : number + 1],
                },
            )
        file = self.root / path.lstrip("/")
        if not file.is_file():
            return self.send(404, b"")
        content = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not wanted:
            return self.send(200, content)
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        self.send(
            206,
            content[first : last + 1],
            {"Content-Range": f"bytes {first}-{last}/{len(content)}"},
        )

    def send(self, status, content, headers=()):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            "Accept-Ranges": "bytes",
            "Content-Length": len(content),
            **dict(headers),
        }.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def api(world):
    handler = type("Handler", (Api,), {"root": world[0], "items": [], "trouble": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


# ------------------------------------------------------------------ items


@pytest.mark.parametrize("style", ["earth-search", "planetary"])
@pytest.mark.parametrize("projection", [True, False])
def test_item_becomes_a_scene(world, style, projection):
    folder, values = world
    scene = stac_item.from_item(item("a", "a", style=style, projection=projection), folder)
    assert (scene.id, scene.crs, scene.width, scene.height) == ("a", UTM, 96, 96)
    assert scene.transform == Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
    assert (scene.offset, scene.offset_source, scene.cloud_cover) == (1000, "stac", 12.5)
    assert scene.datetime == "2023-05-01T10:00:00Z" and not scene.remote
    assert [a.ratio for a in scene.assets] == [1, 1, 1, 2, 2, 2, 1, 2, 2, 2]
    np.testing.assert_array_equal(scenes.read(scene), on_10_m(values) - 1000)
    with Reader(scene) as reader:
        scl = reader.window(0, 0, 96, 96)[2]
    np.testing.assert_array_equal(scl, np.kron(values["SCL"], np.ones((2, 2))))


def test_no_file_is_opened_where_the_item_says_all(world, monkeypatch):
    def closed(*_, **__):
        raise AssertionError("a file was opened")

    monkeypatch.setattr("rasterio.open", closed)
    far = "https://127.0.0.1:9/a"
    assert stac_item.from_item(item("x", far), world[0]).width == 96
    for described in (item("x", far, projection=False), item("a", "a")):  # a local one is looked at
        with pytest.raises(BadInput, match="a file was opened"):
            stac_item.from_item(described, world[0])


@pytest.mark.parametrize("change", ["cut", "no raster", "size", "crs", "place", "gone"])
def test_a_local_file_is_not_what_its_item_says(tmp_path, change):
    values = write_bands(tmp_path / "a", size=512, block=64)
    path, blue = tmp_path / "a/B02.tif", values["B02"]
    with rasterio.open(tmp_path / "a/B03.tif", "r+") as target:
        target.build_overviews([2, 4])
    if change == "cut":  # the end of the picture itself, which the overviews do not need
        path.unlink()
        profile = {"crs": UTM, "transform": Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])}
        profile |= {"height": 512, "width": 512, "count": 1, "dtype": "uint16"}
        with rasterio.open(path, "w", driver="COG", blocksize=128, **profile) as target:
            target.write(blue, 1)
        path.write_bytes(path.read_bytes()[:-200])
    elif change == "no raster":
        path.write_text("<html>expired</html>")
    elif change == "size":
        write_band(path, blue[:-1], 10)
    elif change == "crs":
        write_band(path, blue, 10, crs="EPSG:32633")
    elif change == "place":
        write_band(path, blue, 10, origin=(ORIGIN[0] + 10, ORIGIN[1]))
    else:
        path.unlink()
    write_bands(tmp_path / "b", size=64)
    found, rejected = stac.from_items([item("a", "a", 512), item("b", "b", 64)], tmp_path)
    assert [s.id for s in found] == ["b"] and [r["item"] for r in rejected] == ["a"]
    assert "B02" in rejected[0]["reason"]


def test_a_folder_is_not_read_against_what_its_item_says(tmp_path):
    """All bands lie elsewhere than the item says: of another tile, or warped. So in a file of items
    of any name among the scenes, with a byte order mark."""
    write_bands(tmp_path / "scenes/a", size=64, origin=(ORIGIN[0] + 5000, ORIGIN[1]))
    write_bands(tmp_path / "scenes/b", size=64)
    features = [item(id, id, size=64) for id in "ab"]
    content = json.dumps({"type": "FeatureCollection", "features": features})
    (tmp_path / "scenes/found.geojson").write_text(content, encoding="utf-8-sig")
    dataset = Dataset(tmp_path)
    assert [(s.id, s.offset_source) for s in dataset.scenes()] == [("b", "stac")]
    assert [r["item"] for r in dataset.rejected] == ["a"]
    assert "not where its item says" in dataset.rejected[0]["reason"]


@pytest.mark.parametrize(
    "where", ["/home/jo/s2/a", "C:\\s2\\a", "file:///home/jo/s2/a", "/vsis3/x/a"]
)
def test_items_of_another_computer(tmp_path, where):
    written = write_bands(tmp_path / "scenes/a", size=64)
    (tmp_path / "items.json").write_text(json.dumps(item("a", where, size=64)))
    dataset = Dataset(tmp_path)
    (scene,) = dataset.scenes()
    assert dataset.rejected == [] and scene.offset_source == "stac" and not scene.remote
    np.testing.assert_array_equal(scenes.read(scene), on_10_m(written) - 1000)


@pytest.mark.parametrize("place", ["scenes/{id}", "{id}", "scenes/{id}.SAFE/R10m", "s2/{id}"])
@pytest.mark.parametrize("name", ["{band}.tif", "{key}.tif", "T32TMT_{band}_10m.tif"])
def test_local_copies_of_what_a_collection_has_on_its_server(tmp_path, place, name):
    """Two items whose files have the same names; a third has no copies."""
    written, features = {}, []
    for seed, id in enumerate("abc"):
        described = item(id, f"https://127.0.0.1:9/{id}", size=64) | {"collection": "s2"}
        for band, key in EARTH_SEARCH.items():
            file = name.format(band=band, key=key)
            described["assets"][key]["href"] = f"https://127.0.0.1:9/{id}/{file}?sv=2026&sig=x"
            if id != "c":
                folder = tmp_path / place.format(id=id)
                written[id] = write_bands(tmp_path / f"made/{id}", size=64, seed=seed)
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(tmp_path / f"made/{id}/{band}.tif", folder / file)
        features.append(described)
    shutil.rmtree(tmp_path / "made")
    collection = {"type": "FeatureCollection", "features": features}
    (tmp_path / "items.json").write_text(json.dumps(collection))
    dataset = Dataset(tmp_path)
    found = dataset.scenes()
    assert [s.id for s in found] == ["a", "b"] and not any(s.remote for s in found)
    assert [r["item"] for r in dataset.rejected] == ["c"]
    assert "is remote" in dataset.rejected[0]["reason"]
    for scene in found:
        assert (scene.offset_source, scene.cloud_cover) == ("stac", 12.5)
        np.testing.assert_array_equal(scenes.read(scene), on_10_m(written[scene.id]) - 1000)


def test_files_of_the_same_name_beside_a_collection_are_nobodys(tmp_path):
    write_bands(tmp_path, size=64)
    features = [item(id, f"https://127.0.0.1:9/{id}", size=64) for id in "ab"]
    found, rejected = stac.from_items(features, tmp_path, remote=False)
    assert found == [] and all("is remote" in r["reason"] for r in rejected)
    (alone,), _ = stac.from_items(features[:1], tmp_path, remote=False)
    assert not alone.remote


def test_windows_are_those_of_odc_stac(world):
    import odc.stac
    from odc.geo.geobox import GeoBox

    described = pystac.Item.from_dict(item("a", str(world[0] / "a"), style="planetary"))
    scene = stac_item.from_item(described)
    with Reader(scene) as reader:
        for c, r, w, h in [(0, 0, 96, 96), (13, 7, 31, 40), (50, 61, 46, 35)]:
            grid = GeoBox((h, w), scene.transform @ Affine.translation(c, r), scene.crs)
            loaded = odc.stac.load([described], bands=[*BANDS, "SCL"], geobox=grid)
            values, _, scl = reader.window(c, r, w, h)
            theirs = np.stack([loaded[b].values[0] for b in BANDS]).astype(np.uint16)
            np.testing.assert_array_equal(values, theirs - 1000)
            np.testing.assert_array_equal(scl, np.nan_to_num(loaded["SCL"].values[0]))


def test_finest_band_and_the_right_asset_are_taken(world):
    folder, values = world
    described = item("a", "a", style="planetary")
    assets = described["assets"]
    for band in BANDS:  # as Copernicus names them; a 20 m version of each stands first
        fine = assets.pop(band)
        n = 48
        coarse = fine | {
            "href": "a/none.tif",
            "proj:shape": [n, n],
            "proj:transform": [20, 0, ORIGIN[0], 0, -20, ORIGIN[1]],
        }
        if band in ("B02", "B03", "B04", "B08"):
            assets[f"{band}_20m"] = coarse
        assets[f"{band}_{10 if band in ('B02', 'B03', 'B04', 'B08') else 20}m"] = fine
        assets[f"{band.lower()}-jp2"] = fine | {"href": f"a/{band}.jp2"}
    scene = stac_item.from_item(described, folder)
    assert [Path(a.href).name for a in scene.assets] == [f"{b}.tif" for b in BANDS]
    assert scene.transform.a == 10.0


def test_one_asset_with_all_bands(tmp_path):
    from builders.small_files import ramp, write_scene

    values = ramp(10, 40, 50, low=2000)
    write_scene(tmp_path / "x.tif", values[::-1].copy(), names=None)
    described = item("x", "x")
    described["geometry"] = geometry(50, (388_000.0, 3_950_000.0), "EPSG:32654")
    described["assets"] = {
        "data": {
            "href": "x.tif",
            "type": "image/tiff",
            "roles": ["data"],
            "eo:bands": [{"name": b} for b in BANDS[::-1]],
            "raster:bands": [{}] * 10,
        }
    }
    scene = stac_item.from_item(described, tmp_path)
    assert {a.href for a in scene.assets} == {str(tmp_path / "x.tif")}
    np.testing.assert_array_equal(scenes.read(scene), values - 1000)


NAMED = "S2A_MSIL2A_20200601T113331_N{}_R080_T30UVG_20200601T123416"


@pytest.mark.parametrize(
    "properties, low, expected",
    [
        ({"earthsearch:boa_offset_applied": True}, 50, (0, "stac (offset already removed)")),
        ({"earthsearch:boa_offset_applied": False}, 1200, (1000, "stac")),
        (
            {"earthsearch:boa_offset_applied": False},
            50,
            (0, "stac (offset already removed, as the pixels show)"),
        ),
        ({"s2:processing_baseline": "03.01"}, 1200, (0, "stac")),
        ({"s2:processing_baseline": None, "processing:version": "05.11"}, 50, (1000, "stac")),
        ({"s2:processing_baseline": None}, 50, (0, "guessed from pixels")),
        *(
            ({"s2:processing_baseline": None, key: NAMED.format(baseline) + end}, low, offset)
            for key in ("s2:product_uri", "s2:product_id", "sentinel:product_id", "title")
            for baseline, low, offset in (
                ("0214", 1200, (0, "stac")),
                ("0400", 700, (1000, "stac")),
                ("9999", 50, (0, "guessed from pixels")),
            )
            for end in ("", ".SAFE")
        ),
        ({"s2:processing_baseline": None, "scale": -0.1}, 50, (1000, "stac")),
        ({"s2:processing_baseline": None, "scale": 0}, 1200, (0, "stac")),
    ],
)
def test_offset_of_items(tmp_path, properties, low, expected):
    write_bands(tmp_path / "a", size=32, low=low)
    scale = properties.pop("scale", None)
    described = item("a", "a", size=32, **properties)
    if scale is not None:
        for asset in described["assets"].values():
            asset["raster:bands"] = [{"nodata": 0, "scale": 0.0001, "offset": scale}]
    scene = stac_item.from_item(described, tmp_path)
    assert (scene.offset, scene.offset_source) == expected


@pytest.mark.parametrize("where", ["raster:bands", "bands", "asset", "file", "file, not item"])
def test_scale_and_offset_in_both_generations_of_names(tmp_path, where):
    def opened(scale, shift, low=1200, **properties):
        write_bands(tmp_path / "a", size=32, low=low, scl=False)
        described = item("a", "a", size=32, **{"s2:processing_baseline": None} | properties)
        del described["assets"]["scl"]
        for key, asset in described["assets"].items():
            if where == "raster:bands":
                asset[where] = [{"nodata": 0, "scale": scale, "offset": shift}]
            elif where == "bands":
                asset["bands"] = [{"name": key, "raster:scale": scale, "raster:offset": shift}]
                asset.pop("eo:bands", None)
            elif where == "asset":
                asset |= {"raster:scale": scale, "bands": [{"name": key, "raster:offset": shift}]}
                asset.pop("eo:bands", None)
        for path in sorted((tmp_path / "a").glob("*.tif")) if "file" in where else ():
            with rasterio.open(path, "r+") as target:
                target.scales, target.offsets = (scale,), (shift,)
        if where == "file, not item":
            for asset in described["assets"].values():
                asset.pop("proj:shape", None)
        return stac_item.from_item(described, tmp_path).offset

    assert opened(1e-4, -0.1, low=50) == 1000  # the pixels would say 0
    assert opened(1e-4, 0.0) == 0  # the pixels would say 1000
    with pytest.raises(BadInput, match="2.75e-05"):
        opened(2.75e-5, -0.2)
    if "file" not in where:  # a baseline of before 2022 excuses no other scale
        with pytest.raises(BadInput, match="2.75e-05"):
            opened(2.75e-5, -0.2, **{"s2:processing_baseline": "02.14"})
        late = {"s2:processing_baseline": "05.09"}
        assert opened(1e-4, 0.0, low=50, **late) == 0  # both cannot be; the pixels are dark
        assert opened(1e-4, 0.0, low=1200, **late) == 1000


def test_bad_items_are_rows_and_good_ones_stay(world):
    folder, _ = world
    good, rows = item("good", "a"), {}

    def bad(id, match, change):
        described = item(id, "a")
        change(described)
        rows[id] = (match, described)

    bad(
        "bands",
        "lacks bands B05 B12",
        lambda i: [i["assets"].pop(k) for k in ("rededge1", "swir22")],
    )
    bad("nowhere", "has no geometry", lambda i: i.update(geometry=None))
    bad("far", "does not touch the grid", lambda i: i.update(geometry=mapping(box(40, 4, 41, 5))))
    bad("odd", "geometry or its assets", lambda i: i.update(geometry={"type": "Polygon"}))
    bad("gone", "asset .*c/B03.tif is", lambda i: i["assets"]["green"].update(href="c/B03.tif"))
    bad(
        "grid",
        "band B11: its pixels",
        lambda i: i["assets"]["swir16"].update(
            {"proj:transform": [20, 0, ORIGIN[0] + 7, 0, -20, ORIGIN[1]]}
        ),
    )
    bad("text", "not a valid item", lambda i: i.update(assets="none"))
    bad(
        "baseline",
        "baseline 'new'",
        lambda i: i["properties"].update({"s2:processing_baseline": "new"}),
    )
    bad("date", "not a valid item", lambda i: i["properties"].update(datetime="yesterday"))
    bad("good", "more than once", lambda i: None)
    found, rejected = stac.from_items(
        [good, *(described for _, described in rows.values()), 7], folder
    )
    assert [s.id for s in found] == ["good"]
    reasons = {r["item"]: r["reason"] for r in rejected}
    assert {r["kind"] for r in rejected} == {"scene"} and len(rejected) == len(rows) + 1
    for id, (match, _) in rows.items():
        assert re.search(match, reasons[id]), (id, reasons[id])
    assert "not a valid item" in reasons["item 12"]


@pytest.mark.parametrize("id", [None, "", 7, [], {}])
def test_an_item_without_an_id_of_text_is_a_row(world, id):
    folder, _ = world
    odd = item("odd", "a") | {"id": id}
    found, rejected = stac.from_items([odd, item("good", "a"), odd], folder)
    assert [s.id for s in found] == ["good"]
    assert [r["item"] for r in rejected] == ["item 1", "item 3"]
    assert all("id" in r["reason"] for r in rejected)


# ------------------------------------------------------------------ footprints


def grid_of(crs, x, y, size=10980):
    from gairlib.data.band_file import Grid

    return Grid(crs, Affine(10, 0, x, 0, -10, y), size, size)


def test_four_corners_give_the_tiles_true_outline():
    grid = grid_of("EPSG:32633", 399_960, 7_800_000)
    drawn = geometry(10980, (399_960, 7_800_000), "EPSG:32633")
    got = stac_item.footprint(drawn, grid)
    assert got.equals(outline(grid.transform, grid.crs, 10980, 10980))
    north = max(lat for _, lat in drawn["coordinates"][0])
    assert got.bounds[3] > north  # the upper edge is an arc that the corners' polygon cuts off


def test_part_of_a_tile():
    grid = grid_of(UTM, 399_960, 5_300_040)
    corners = geometry(10980)["coordinates"][0]
    half = {"type": "Polygon", "coordinates": [[*corners[:3], corners[0]]]}  # lower left half
    got = stac_item.footprint(half, grid)
    whole = stac_item.footprint(geometry(10980), grid)
    assert got.area == pytest.approx(whole.area / 2, rel=0.01)
    to = stac_item.transformer(UTM, "EPSG:4326")
    inside, outside = to.transform(409_960, 5_200_000), to.transform(499_960, 5_290_000)
    assert got.contains(Point(inside)) and not got.contains(Point(outside))


@pytest.mark.parametrize("crs, x", [("EPSG:32660", 770_000), ("EPSG:32701", 130_000)])
def test_across_the_antimeridian_however_it_is_drawn(crs, x):
    y = 1_100_000 if crs == "EPSG:32660" else 8_200_000
    grid = grid_of(crs, x, y)
    whole = outline(grid.transform, grid.crs, 10980, 10980)
    ring = np.array(geometry(10980, (x, y), crs)["coordinates"][0])
    assert np.ptp(ring[:, 0]) > 300  # longitudes of both signs
    lon = np.where(ring[:, 0] < 0, ring[:, 0] + 360, ring[:, 0])
    continuous = Polygon(np.column_stack([lon, ring[:, 1]]))
    east = shapely.intersection(continuous, box(0, -90, 180, 90))
    west = shapely.transform(
        shapely.intersection(continuous, box(180, -90, 360, 90)), lambda p: p - [360, 0]
    )
    cut = mapping(shapely.MultiPolygon([east, west]))  # RFC 7946
    for drawn in (mapping(Polygon(ring)), mapping(continuous), cut):
        got = stac_item.footprint(drawn, grid)
        assert shapely.symmetric_difference(got, whole).area < 0.002 * whole.area


# ------------------------------------------------------------------ files and catalogues


def test_files(world, tmp_path):
    folder, _ = world
    collection = {
        "type": "FeatureCollection",
        "features": [item("a", "./a"), item("b", "b"), item("c", "c")],
    }
    path = folder / "items.json"
    path.write_text(json.dumps(collection))
    found, rejected = stac.from_file(path)
    assert [s.id for s in found] == ["a", "b"]
    assert [r["item"] for r in rejected] == ["c"] and "is gone (11 of 11" in rejected[0]["reason"]
    assert found[0].assets[0].href == str(folder / "a/B02.tif")
    here, reasons = stac.from_file(path, inside=folder / "a")
    assert [s.id for s in here] == ["a"]
    assert reasons[0]["reason"].endswith("its asset B02.tif leaves the folder a/")
    far = copy.deepcopy(collection["features"][:1])
    far[0]["id"] = "far"
    far[0]["assets"]["nir"]["href"] = "https://127.0.0.1:9/B08.tif?key=secret"
    here, reasons = stac.from_items(far, folder, remote=False)
    assert not here and "B08.tif is remote" in reasons[0]["reason"]
    assert [s.remote for s in stac.from_items(far, folder)[0]] == [True]
    (folder / "one.json").write_text(json.dumps(item("a", "a")))
    assert [s.id for s in stac.from_file(folder / "one.json")[0]] == ["a"]
    for text, match in [
        ("{", "not readable"),
        ('{"type": "X"}', "type is 'X'"),
        ("[]", "not readable"),
        ('{"type": "Catalog"}', "not a valid"),
    ]:
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(BadInput, match=match):
            stac.from_file(tmp_path / "x.json")
    with pytest.raises(Missing, match="no such file"):
        stac.from_file(tmp_path / "none.json")


def test_static_catalogue(world):
    folder, values = world
    catalogue = pystac.Catalog("top", "test")
    child = pystac.Catalog("child", "test")
    catalogue.add_child(child)
    for id, parent in (("a", catalogue), ("b", child)):
        parent.add_item(pystac.Item.from_dict(item(id, str(folder / id))))
    catalogue.normalize_hrefs(str(folder / "catalogue"))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    path = folder / "catalogue/catalog.json"
    written = json.loads(path.read_text())
    written["links"].append({"rel": "item", "href": "./none/none.json"})
    written["links"].append({"rel": "child", "href": "./catalog.json"})  # a circle
    path.write_text(json.dumps(written))
    found, rejected = stac.from_file(path)
    assert sorted(s.id for s in found) == ["a", "b"]
    assert [r["item"] for r in rejected] == ["./none/none.json"]
    assert "leads nowhere" in rejected[0]["reason"]
    a = next(s for s in found if s.id == "a")
    np.testing.assert_array_equal(scenes.read(a), on_10_m(values) - 1000)


# ------------------------------------------------------------------ the API


def test_search_pages_retries_and_reads_over_http(api, world):
    api.items = [
        item("a", f"{api.url}/a"),
        item("bad", f"{api.url}/a", size=95),
        item("cloudy", f"{api.url}/b", **{"eo:cloud_cover": 80.0}),
        item("b", f"{api.url}/b", projection=False),
    ]
    api.trouble = [429, 500, 503]
    found, rejected = stac.search(
        api.url,
        collections=["sentinel-2-l2a"],
        bbox=(7, 47, 8, 48),
        datetime="2023",
        max_cloud=20,
        pause=0.01,
    )
    assert [s.id for s in found] == ["a", "b"] and found[0].remote
    assert [r["item"] for r in rejected] == ["bad"]
    first = next(body for path, body in api.asked if path == "/search" and body)
    assert first["collections"] == ["sentinel-2-l2a"] and first["bbox"] == [7, 47, 8, 48]
    assert first["query"] == {"eo:cloud_cover": {"lte": 20}}
    before = len(api.asked)
    api.trouble = [503, 429]  # met by GDAL, which tries again
    with Reader(found[0]) as reader:
        values = reader.window(5, 6, 40, 30)[0]
    np.testing.assert_array_equal(values, on_10_m(world[1])[:, 6:36, 5:45] - 1000)
    assert len(api.asked) > before + 11
    assert len(stac.search(api.url, limit=1)[0]) == 1


def test_search_keeps_what_it_has_when_a_page_fails(api):
    api.items = [item(id, f"{api.url}/a") for id in "abc"]
    api.broken_page = 2
    found, rejected = stac.search(api.url, retries=1, pause=0.01)
    assert [s.id for s in found] == ["a", "b"]
    assert [r["item"] for r in rejected] == [api.url]
    assert "page 3" in rejected[0]["reason"]
    api.broken_page = 0
    with pytest.raises(BadInput, match="127.0.0.1"):
        stac.search(api.url, retries=0)


def test_no_network_and_no_api_are_said_in_a_sentence(api):
    with pytest.raises(BadInput, match="127.0.0.1:9"):
        stac.search("http://127.0.0.1:9", retries=0, timeout=2)
    api.trouble = [500] * 9
    with pytest.raises(BadInput, match="127.0.0.1"):
        stac.search(api.url, retries=2, pause=0.01)


def test_remote_asset_that_is_gone_names_scene_and_asset(api):
    described = item("a", f"{api.url}/a")
    described["assets"]["nir"]["href"] = f"{api.url}/a/gone.tif?sig=secret"
    scene = stac_item.from_item(described)
    with pytest.raises(BadInput, match=r"scene a \(gone.tif\)") as caught:
        scenes.read(scene)
    assert "secret" not in str(caught.value)
    unknown = copy.deepcopy(described)
    for asset in unknown["assets"].values():
        asset.pop("proj:shape", None)
    with pytest.raises(BadInput, match=r"scene a \(STAC item\), band B08 \(gone.tif\).*gone"):
        stac_item.from_item(unknown)


def test_nodata_of_an_item_comes_before_the_files(world, tmp_path):
    folder, _ = world
    described = item("a", str(folder / "a"))
    values = np.full((96, 96), 3000, np.uint16)
    values[:10] = 9
    path = write_band(tmp_path / "B02.tif", values, 10, nodata=3000)
    described["assets"]["blue"] |= {"href": str(path), "raster:bands": [{"nodata": 9}]}
    got = scenes.read(stac_item.from_item(described))
    assert (got[0, :10] == 0).all() and (got[0, 10:] == 2000).all()


@pytest.mark.parametrize("rel", ["item", "child"])
@pytest.mark.parametrize("kind", ["server", "absolute", "relative"])
def test_links_of_a_catalogue_lead_to_no_server_and_out_of_no_folder(tmp_path, rel, kind):
    (tmp_path / "data").mkdir()
    (tmp_path / "out.json").write_text(json.dumps(item("a", "a")))
    about = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "d"}
    with listening(tmp_path / "server") as server:
        href = {"server": f"{server.url}/a.json", "relative": "../out.json"}
        links = [{"rel": rel, "href": href.get(kind, str(tmp_path / "out.json"))}]
        links += [{"rel": "root", "href": f"{server.url}/root.json"}]
        (tmp_path / "data/catalog.json").write_text(json.dumps(about | {"links": links}))
        data = Dataset(tmp_path / "data")
        assert data.scenes() == [] and server.asked() == []
    words = "lies on a server" if kind == "server" else "leaves the folder data/"
    assert words in data.rejected[0]["reason"]


def test_assets_that_a_server_names_lie_in_no_private_network():
    far = item("a", "http://169.254.169.254/latest")
    found, rejected = stac.from_items([far], server="https://8.8.8.8/stac")
    assert found == [] and "private network" in rejected[0]["reason"]
    assert len(stac.from_items([far], server="http://127.0.0.1/stac")[0]) == 1
