"""Folders of scenes as providers and tools leave them, read without a table that explains them."""

import json
import re
import warnings

import numpy as np
import pytest
from builders.small_files import write_scene
from builders.small_products import EARTH_ENGINE, write_export, write_item, write_safe
from builders.small_scenes import item, on_10_m, write_band, write_bands

from gairlib.bands import BANDS
from gairlib.data import scenes
from gairlib.data.dataset import Dataset


def read(folder, count=1):
    """The scenes of a folder, none of its entries rejected, and their pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset = Dataset(folder)
        found = dataset.scenes()
    assert dataset.rejected == [] and len(found) == count
    return found, [scenes.read(scene) for scene in found]


def rejected_of(dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset.scenes()
    return dataset.rejected


def land(size=64, low=0):
    level = np.array([420, 660, 540, 930, 2150, 2560, 2740, 2900, 1750, 980])[:, None, None]
    noise = np.random.default_rng(0).normal(0, 60, (10, size, size))
    return np.clip(level + noise + low, 1, 65000).astype(np.uint16)


@pytest.mark.parametrize("home", ["scenes", ".", "itself", "scenes/twice"])
@pytest.mark.parametrize(
    ("level", "baseline", "listed", "offset"),
    [
        ("L2A", "0510", True, 1000),
        ("L1C", "0400", True, 1000),
        ("L2A", "0301", False, 0),
        ("L1C", "0209", False, 0),
        ("L2A", "9999", False, 0),
        ("L2A", "9999", True, 1000),
    ],
)
def test_an_unpacked_safe(tmp_path, level, baseline, listed, offset, home):
    safe = write_safe(tmp_path / home if home != "itself" else tmp_path, level, baseline, listed)
    (scene,), (values,) = read(safe if home == "itself" else tmp_path)
    assert scene.id == ("twice" if home == "scenes/twice" else safe.stem)
    assert (scene.offset, scene.offset_source) == (offset, "tags")
    assert scene.datetime == "2022-05-01T10:20:31.024Z" and scene.cloud_cover == 23.5
    assert (scene.scl_asset is not None) == (level == "L2A")
    written = write_bands(tmp_path / "same", low=1200)
    np.testing.assert_array_equal(values, on_10_m(written) - offset)


@pytest.mark.parametrize("home", ["scenes/{id}", "{id}", "scenes", "."])
@pytest.mark.parametrize("name", ["{band}", "{key}", "S2A_32TMT_20230501_0_L2A_{band}"])
def test_cogs_of_earth_search(tmp_path, home, name):
    id = "S2A_32TMT_20230501_0_L2A"
    folder = tmp_path / home.format(id=id)
    gone = {"earthsearch:boa_offset_applied": True}
    values = write_item(folder, id, "earth-search", name=name, **gone)
    (folder / "tileInfo.json").write_text('{"path": "tiles/32/T/MT"}')
    (scene,), (got,) = read(tmp_path)
    assert (scene.offset, scene.offset_source) == (0, "stac (offset already removed)")
    assert scene.cloud_cover == 12.5 and scene.datetime == "2023-05-01T10:00:00Z"
    np.testing.assert_array_equal(got, on_10_m(values))
    (folder / f"{id}.json").unlink()  # bare band files
    (scene,), (got,) = read(tmp_path)
    assert (scene.offset, scene.offset_source) == (1000, "guessed from pixels")
    np.testing.assert_array_equal(got, on_10_m(values) - 1000)
    if "{id}" in home or "S2A" in name:
        assert scene.datetime == "2023-05-01"


@pytest.mark.parametrize("home", ["scenes/{id}", "{id}", "scenes", "."])
def test_items_of_the_planetary_computer(tmp_path, home):
    written = {}
    for tile in ("T32TMT", "T32TMS"):
        id = f"S2A_MSIL2A_20230501T102031_R065_{tile}_20230501T140000"
        name = f"{tile}_20230501T102031_" + "{band}_{metres}m"
        folder = tmp_path / home.format(id=id)
        written[id] = write_item(folder, id, "planetary", name=name, flat=tile)
    found, got = read(tmp_path, 2)
    assert [s.id for s in found] == sorted(written)
    for scene, values in zip(found, got):
        assert (scene.offset, scene.offset_source) == (1000, "stac")
        np.testing.assert_array_equal(values, on_10_m(written[scene.id]) - 1000)


def test_an_item_without_its_files_takes_no_neighbour_along(tmp_path):
    write_item(tmp_path / "scenes", "a", "planetary", name="a_{band}")
    (tmp_path / "scenes/b.json").write_text(json.dumps(item("b", "https://x.invalid/b")))
    dataset = Dataset(tmp_path)
    assert [s.id for s in dataset.scenes()] == ["a"]
    ((item_, reason),) = [(r["item"], r["reason"]) for r in dataset.rejected]
    assert item_ == "b" and "is remote" in reason


def test_exports_of_earth_engine(tmp_path):
    values = land(low=1000)
    path = tmp_path / "scenes/20230501T102031_20230501T102600_T32TMT.tif"
    write_export(path, EARTH_ENGINE, values, PROCESSING_BASELINE="05.09")
    harmonised = tmp_path / "scenes/harmonised.tif"
    collection = "COPERNICUS/S2_SR_HARMONIZED"
    write_export(harmonised, EARTH_ENGINE, land(), PROCESSING_BASELINE="05.09", id=collection)
    names = [f"{n}_median" for n in EARTH_ENGINE[:12]]
    write_export(tmp_path / "scenes/median.tif", names, land().astype(np.float64), nodata=np.nan)
    (first, other, median), (got, *rest) = read(tmp_path, 3)
    assert (first.offset, first.offset_source) == (1000, "tags")
    assert first.datetime == "2023-05-01T10:20:31Z" and first.scl_index == 15
    np.testing.assert_array_equal(got, np.maximum(values, 1000) - 1000)
    assert other.offset == median.offset == 0
    for one in rest:
        np.testing.assert_array_equal(one, land())


def test_reflectance_of_earth_engine_is_refused_until_somebody_says_what_it_is(tmp_path):
    path = tmp_path / "scenes/reflectance.tif"
    write_export(path, EARTH_ENGINE[:12], (land() / 1e4).astype(np.float32))
    dataset = Dataset(tmp_path)
    assert dataset.scenes() == []
    assert "column `scale` of scenes.csv" in dataset.rejected[0]["reason"]
    table = "scene_id,path,scale,processing_baseline\nr,scenes/reflectance.tif,1,03.00\n"
    (tmp_path / "scenes.csv").write_text(table)
    np.testing.assert_array_equal(read(tmp_path)[1][0], land())


@pytest.mark.parametrize("together", [True, False])
def test_exports_of_openeo(tmp_path, together):
    values, folder = land().astype(np.int16), tmp_path / "scenes"
    values[:, :10] = -32768
    if together:
        write_export(folder / "openEO_2023-05-01Z.tif", [*BANDS, "SCL"], values, nodata=-32768)
        (folder / "openEO_2023-05-01Z.tif.json").write_text(
            '{"type": "Feature", "assets": {}, "properties": {"eo:cloud_cover": 7}}'
        )
    else:
        for i, band in enumerate(BANDS):
            one = np.repeat(values[i : i + 1], 10, 0)
            write_export(folder / f"openEO_2023-05-01Z_{band}.tif", [band], one, nodata=-32768)
    (folder / "job-results.json").write_text('{"type": "Collection", "assets": {"x.tif": {}}}')
    (scene,), (got,) = read(tmp_path)
    assert scene.id == "openEO_2023-05-01Z" and scene.datetime == "2023-05-01"
    assert scene.cloud_cover == 7 or not together
    np.testing.assert_array_equal(got, np.where(values == -32768, 0, values))


def test_an_item_of_several_dates_is_metadata_of_the_rasters_beside_it(tmp_path):
    values, dates = land(), ("2023-05-01", "2023-05-11")
    asset = {"type": "image/tiff; application=geotiff", "eo:bands": [{"name": b} for b in BANDS]}
    result = item("job", "", **{"s2:processing_baseline": "03.00"}) | {"assets": {}}
    for date in dates:
        write_export(tmp_path / f"openEO_{date}Z.tif", BANDS, values)
        href = f"https://example.com/results/openEO_{date}Z.tif"
        result["assets"][f"openEO_{date}Z.tif"] = asset | {"href": href}
    (tmp_path / "job-results.json").write_text(json.dumps(result))
    with pytest.warns(UserWarning, match="baseline"):
        dataset = Dataset(tmp_path)
        assert [s.datetime for s in dataset.scenes()] == list(dates)
    (row,) = dataset.rejected
    assert (row["kind"], row["item"]) == ("metadata", "job-results.json")
    (tmp_path / f"openEO_{dates[0]}Z.tif").unlink()
    assert {r["kind"] for r in rejected_of(Dataset(tmp_path))} == {"scene"}
    del result["assets"][f"openEO_{dates[0]}Z.tif"]
    result["properties"]["datetime"] = "2023-05-11T10:20:31Z"
    (tmp_path / "job-results.json").write_text(json.dumps(result))
    (scene,), (got,) = read(tmp_path)  # of one date it is that scene
    assert scene.id == "job" and scene.datetime == "2023-05-11T10:20:31Z"
    np.testing.assert_array_equal(got, values)


def test_rasters_with_all_bands_in_folders_of_any_depth(tmp_path):
    values, folder = land(), tmp_path / "scenes"
    for name in ("bern/a.tif", "bern/b.tif", "x/y/z/c.tif", "x/y/2022.tif", "x/w/2022.tif"):
        write_export(folder / name, BANDS, values)
    write_bands(folder / "x/product", name="T32TMT_20220501T102031_{band}.tif")
    found, _ = read(tmp_path, 6)
    assert [s.id for s in found] == ["a", "b", "c", "product", "w_2022", "y_2022"]
    assert [s.assets != () for s in found] == [s.id == "product" for s in found]


@pytest.mark.parametrize("home", ["scenes/product", "scenes", "."])
@pytest.mark.parametrize(
    "inner", ["", "IMG_DATA/", "GRANULE/L2A_T32TMT_A035_20220501T102031/IMG_DATA/"]
)
def test_folders_by_resolution_are_one_scene(tmp_path, home, inner):
    """Of Sen2Cor and of a product of which only a part was kept; the tile's metadata name it."""
    folder = tmp_path / home
    name = inner + "R{metres}m/T32TMT_20220501T102031_{band}_{metres}m.jp2"
    written = write_bands(folder, name=name, low=700, nodata=None, driver="JP2OpenJPEG")
    tile = (folder / inner).parent if inner else folder
    (tile / "MTD_TL.xml").write_text(
        '<TILE_ID metadataLevel="Brief">S2A_OPER_MSI_L2A_TL_VGS2_20220501T1_A035_T32TMT_N04.00'
        "</TILE_ID>"
    )
    (scene,), (values,) = read(tmp_path)
    assert (scene.offset, scene.offset_source) == (1000, "tags")
    assert scene.datetime == "2022-05-01T10:20:31Z" and scene.scl_asset is not None
    np.testing.assert_array_equal(values, np.maximum(on_10_m(written), 1000) - 1000)


@pytest.mark.parametrize("home", ["scenes", "."])
def test_requests_of_sentinelhub(tmp_path, home):
    for name in ("1a2b", "3c4d"):
        write_export(tmp_path / home / name / "response.tiff", BANDS, land())
        (tmp_path / home / name / "request.json").write_text('{"request": {}}')
    assert [s.id for s in read(tmp_path, 2)[0]] == ["1a2b", "3c4d"]


SETUP = 'function setup() { return { input: [{bands: ["B02"], units: "%s"}], '
SETUP += 'output: { bands: %d, sampleType: "%s" } } }'
SHUFFLED = ("B12", "B11", "B8A", "B08", "B07", "B06", "B05", "B04", "B03", "B02")


def answer(folder, returned, values, names=SHUFFLED, units="REFLECTANCE", kind="UINT16", **more):
    """What sentinelhub-py keeps of a request for `names`, whose bands have no names in the file."""
    at = {"crs": "EPSG:32632", "origin": (399_960, 5_300_040), "names": None}
    write_scene(folder / "response.tiff", values, **at)
    script = f"//VERSION=3\n{SETUP % (units, len(names), kind)}\n"
    script += f"function evaluatePixel(s) {{ // all bands\n  return {returned};\n}}"
    source = {"type": "sentinel-2-l2a", "dataFilter": {}, **more}
    source["dataFilter"]["timeRange"] = {"from": "2022-05-01T00:00:00Z", "to": "2022-05-01T23:59"}
    payload = {"input": {"data": [source]}, "evalscript": script}
    (folder / "request.json").write_text(json.dumps({"request": {"payload": payload}}))


@pytest.mark.parametrize(
    ("form", "units", "scale"),
    [
        ("s.%s", "DN", 1),
        ("10000 * s.%s", "REFLECTANCE", 1),
        ("s.%s * 10000", "REFLECTANCE", 1),
        ("s[0].%s", "DN", 1),
        ("s.%s", "REFLECTANCE", 1e4),
        ("s.%s / 10000", "DN", 1e4),
    ],
)
@pytest.mark.parametrize("around", ["[%s]", "{default: [%s]}", "[%s,\n]"])
def test_answers_of_sentinelhub_are_read_by_their_evalscript(tmp_path, form, units, scale, around):
    values = land() + 800  # which looks like the offset of late baselines
    there = values[[BANDS.index(name) for name in SHUFFLED]]
    there = there if scale == 1 else (there / scale).astype(np.float32)
    returned = around % ", ".join(form % name for name in SHUFFLED)
    answer(tmp_path / "scenes/1a2b", returned, there, units=units)
    (scene,), (read_values,) = read(tmp_path)
    assert (scene.id, scene.layout, scene.offset) == ("1a2b", "named", 0)
    assert scene.datetime == "2022-05-01" and scene.offset_source.startswith("stac")
    np.testing.assert_array_equal(read_values, values)


def test_an_answer_of_sentinelhub_may_hold_masks_and_its_own_offset(tmp_path):
    names = (*SHUFFLED, "SCL", "dataMask")
    there = land()[[BANDS.index(name) for name in SHUFFLED]] + 1000
    values = np.concatenate([there, np.full((2, *there.shape[1:]), 4, there.dtype)])
    raw = {"processing": {"harmonizeValues": False}}
    returned = "[" + ", ".join(f"s.{name}" for name in names) + "]"
    answer(tmp_path / "scenes/a", returned, values, names, units="DN", **raw)
    (scene,), _ = read(tmp_path)
    assert scene.scl_index == 11 and scene.offset == 1000 and "guessed" in scene.offset_source


@pytest.mark.parametrize(
    ("returned", "more", "reason"),
    [
        ("[2.5 * s.B02, 2.5 * s.B03]", {}, "names 2 band.* has 10"),
        (f"[{', '.join(f'gain * s.{b}' for b in SHUFFLED)}]", {}, "output 1 of the evalscript"),
        (f"[{', '.join(f's.{b} * 1000' for b in SHUFFLED)}]", {}, "output 1 of the evalscript"),
        ("bands.map(b => s[b])", {}, "output 1 of the evalscript"),
        (f"[{', '.join(f's.{b}' for b in SHUFFLED)}]", {"type": "landsat-ot-l2"}, "landsat-ot-l2"),
    ],
)
def test_answers_of_sentinelhub_that_cannot_be_told_are_refused(tmp_path, returned, more, reason):
    answer(tmp_path / "scenes/a", returned, land(), **more)
    dataset = Dataset(tmp_path)
    assert dataset.scenes() == []
    (row,) = dataset.rejected
    assert row["item"] == "a" and re.search(reason, row["reason"]), row


def test_a_declared_layout_comes_before_an_evalscript_that_is_not_understood(tmp_path):
    answer(tmp_path / "scenes/a", "bands.map(b => s[b])", land())
    dataset = Dataset(tmp_path, layouts={"a": "s2-10"})
    assert [s.layout for s in dataset.scenes()] == ["s2-10"]


def test_parts_of_an_export_of_earth_engine(tmp_path):
    for part in ("0000000000-0000000000", "0000000000-0000010240"):
        write_export(tmp_path / f"scenes/city/city-{part}.tif", EARTH_ENGINE, land())
    assert len(read(tmp_path, 2)[0]) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("S2A_MSIL2A_20220501T102031_N0400_R065_T32TMT_20220501T140000.SAFE.zip", "unpack it"),
        ("S2A_MSIL1C_20220501T102031_N0400_R065_T32TMT_20220501T140000.zip", "unpack it"),
        ("openEO.nc", "GeoTIFF"),
        ("S2A_MSIL2A_20220501T102031_N0511_R065_T32TMT_20220501T140000.zarr/.zattrs", "GeoTIFF"),
    ],
)
@pytest.mark.parametrize("home", ["scenes", "scenes/job", "."])
def test_what_is_to_be_unpacked_or_exported_anew_is_named(tmp_path, home, name, reason):
    if "zarr" in name and home == ".":
        return  # a folder beside others is nobody's business
    (tmp_path / home / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / home / name).write_bytes(b"PK")
    dataset = Dataset(tmp_path)
    assert dataset.scenes() == []
    (row,) = dataset.rejected
    assert row["item"].endswith(name.split("/")[0]) and reason in row["reason"]


def test_a_vrt_without_rasters_beside_it_is_named(tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes/all.vrt").write_text("<VRTDataset/>")
    dataset = Dataset(tmp_path)
    assert dataset.scenes() == []
    assert [(row["item"], "GeoTIFF" in row["reason"]) for row in dataset.rejected] == [
        ("all.vrt", True)
    ]
    write_export(tmp_path / "scenes/a.tif", EARTH_ENGINE, land())
    beside = Dataset(tmp_path)
    assert [s.id for s in beside.scenes()] == ["a"]
    assert [row["item"] for row in beside.rejected] == ["all.vrt"]


@pytest.mark.parametrize("home", ["scenes", "scenes/product"])
def test_of_majas_two_reflectances_the_flat_one_is_read_and_never_a_mix(tmp_path, home):
    start = "SENTINEL2A_20230501-104031-123_L2A_T32TMT_C_V3-0"
    (tmp_path / home).mkdir(parents=True)
    for kind, brighter in (("SRE", 500), ("FRE", 0)):
        for band in BANDS:
            path = tmp_path / home / f"{start}_{kind}_{band.replace('B0', 'B')}.tif"
            write_export(path, [band], land() + brighter)
    (tmp_path / home / "stack.vrt").write_text("<VRTDataset/>")
    dataset = Dataset(tmp_path)
    (scene,) = dataset.scenes()
    assert all("_FRE_" in asset.href for asset in scene.assets)
    shown = {row["item"].rpartition("/")[2]: row["reason"] for row in dataset.rejected}
    assert set(shown) == {f"{start}_SRE", "stack.vrt"} and "FRE" in shown[f"{start}_SRE"]
    (tmp_path / home / f"{start}_FRE_B5.tif").unlink()
    lacking = Dataset(tmp_path)
    assert lacking.scenes() == [] and any("B05" in row["reason"] for row in lacking.rejected)


def test_scenes_that_differ_by_suffix_or_by_city_alone_keep_ids_of_their_own(tmp_path):
    names = ("a.tif", "a.tiff", "x/2020/b.tif", "y/2020/b.tif")
    for i, name in enumerate(names):
        write_scene(tmp_path / "scenes" / name, land(low=40 * i), baseline="03.00")
    found, pixels = read(tmp_path, 4)
    assert [s.id for s in found] == ["a.tif", "a.tiff", "x_2020_b", "y_2020_b"]
    for i, values in enumerate(pixels):
        np.testing.assert_array_equal(values, land(low=40 * i))


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("gap", [0, -9999, -32768, np.nan])
def test_a_scene_without_any_data_is_rejected_and_its_neighbour_read(tmp_path, gap, declared):
    write_scene(tmp_path / "scenes/good.tif", land(), baseline="03.00")
    empty = np.full((10, 64, 64), gap, np.float32)
    write_scene(
        tmp_path / "scenes/empty.tif", empty, nodata=gap if declared else None, baseline="03.00"
    )
    for band in BANDS:
        write_band(tmp_path / f"scenes/bands/{band}.tif", np.zeros((64, 64), np.uint16), 10)
    dataset = Dataset(tmp_path)
    assert [s.id for s in dataset.scenes()] == ["good"]
    assert {r["item"] for r in dataset.rejected} == {"empty", "bands"}
    assert all("no data" in r["reason"] for r in dataset.rejected)
