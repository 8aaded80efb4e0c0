"""Scenes whose bands lie in files of their own."""

import math

import numpy as np
import pytest
import rasterio
from builders.small_scenes import ORIGIN, on_10_m, write_band, write_bands

from gairlib.bands import BANDS
from gairlib.data import scene_assets, scenes
from gairlib.data.scene import outline
from gairlib.data.scene_reader import Reader
from gairlib.errors import BadInput, Missing

# ------------------------------------------------------------------ one file a band


@pytest.mark.parametrize(
    "name, driver",
    [
        ("{band}.tif", "GTiff"),
        ("T32TMT_20220201T102319_{band}_{metres}m.jp2", "JP2OpenJPEG"),
        ("R{metres}m/T32TMT_20220201T102319_{band}_{metres}m.tif", "GTiff"),
    ],
)
def test_folder_of_bands(tmp_path, name, driver):
    folder = tmp_path / "S2A_MSIL2A_20220201T102319_N0400_R065_T32TMT_20220201T133318.SAFE"
    values = write_bands(folder, name=name, driver=driver)
    write_band(folder / "T32TMT_20220201T102319_B01_60m.tif", np.ones((16, 16), np.uint16), 60)
    write_band(folder / "QI/MSK_DETFOO_B02.tif", np.ones((96, 96), np.uint8), 10)
    scene = scene_assets.open_folder(folder)
    assert (scene.width, scene.height, scene.transform.a) == (96, 96, 10.0)
    assert (scene.offset, scene.offset_source) == (1000, "tags")  # N0400 in the folder's name
    assert scene.datetime == "2022-02-01T10:23:19Z" and not scene.remote
    assert scene.footprint.equals(outline(scene.transform, scene.crs, 96, 96))
    assert [a.ratio for a in scene.assets] == [1, 1, 1, 2, 2, 2, 1, 2, 2, 2]
    expected = on_10_m(values) - 1000
    np.testing.assert_array_equal(scenes.read(scene), expected)
    with Reader(scene) as reader:  # odd corners: the first and last 20 m pixel is cut
        got, valid, scl = reader.window(13, 7, 31, 40)
        np.testing.assert_array_equal(got, expected[:, 7:47, 13:44])
        np.testing.assert_array_equal(scl, np.kron(values["SCL"], np.ones((2, 2)))[7:47, 13:44])
        assert valid.all()
        chip = reader.chip(13, 7, 32, 32, 32)
    cloud = np.isin(np.kron(values["SCL"], np.ones((2, 2)))[7:39, 13:45], (8, 9, 10))
    assert chip.cloud_share == pytest.approx(cloud.mean())
    if "{band}.tif" == name:  # 10 m bands are exact windows of the files
        with rasterio.open(folder / "B08.tif") as source:
            np.testing.assert_array_equal(chip.values[6], source.read(1)[7:39, 13:45] - 1000)


def test_level_1c_has_no_scl_and_metadata_come_from_the_product(tmp_path):
    values = write_bands(tmp_path / "l1c", low=300, scl=False)
    write_band(tmp_path / "l1c/B10.tif", np.ones((16, 16), np.uint16), 60)
    (tmp_path / "l1c/MTD_MSIL1C.xml").write_text(
        "<a><PROCESSING_BASELINE>03.01</PROCESSING_BASELINE>"
        "<PRODUCT_START_TIME>2020-01-02T03:04:05.678Z</PRODUCT_START_TIME>"
        "<Cloud_Coverage_Assessment>23.5</Cloud_Coverage_Assessment></a>"
    )
    scene = scene_assets.open_folder(tmp_path / "l1c")
    assert (scene.offset, scene.offset_source, scene.cloud_cover) == (0, "tags", 23.5)
    assert scene.datetime == "2020-01-02T03:04:05.678Z" and scene.scl_asset is None
    np.testing.assert_array_equal(scenes.read(scene), on_10_m(values))
    with Reader(scene) as reader:
        assert math.isnan(reader.chip(0, 0, 32, 32, 32).cloud_share)


def test_metadata_from_an_item_and_from_a_row(tmp_path):
    write_bands(tmp_path / "a", low=300)
    assert scene_assets.open_folder(tmp_path / "a").offset_source == "guessed from pixels"
    row = {"processing_baseline": "05.00", "datetime": "2024-01-01", "cloud_cover": "7"}
    scene = scene_assets.open_folder(tmp_path / "a", id="x", row=row)
    assert (scene.id, scene.offset, scene.cloud_cover) == ("x", 1000, 7.0)
    (tmp_path / "a.json").write_text('{"properties": {"s2:processing_baseline": "02.00"}}')
    assert scene_assets.open_folder(tmp_path / "a", row=row).offset == 0
    (tmp_path / "a/item.json").write_text('{"properties": {"s2:processing_baseline": "04.00"}}')
    assert scene_assets.open_folder(tmp_path / "a", row=row).offset == 1000


def test_nodata_of_each_file(tmp_path):
    write_bands(tmp_path / "a", low=300)
    b03 = np.full((96, 96), 500, np.uint16)
    b03[:48] = 65535
    write_band(tmp_path / "a/B03.tif", b03, 10, nodata=65535)
    got = scenes.read(
        scene_assets.open_folder(tmp_path / "a", row={"processing_baseline": "03.00"})
    )
    assert (got[1, :48] == 0).all() and (got[1, 48:] == 500).all() and (got[0] > 0).all()


def test_masks_of_band_files_count_before_the_offset_is_guessed(tmp_path):
    write_bands(tmp_path / "a", low=1500, scl=False, nodata=None)
    for path in sorted((tmp_path / "a").glob("*.tif")):
        with rasterio.open(path, "r+") as target:
            values = target.read(1)
            values[: len(values) // 2] = 7
            target.write(values, 1)
            target.write_mask(
                np.arange(len(values))[:, None].repeat(len(values), 1) * 2 >= len(values)
            )
    scene = scene_assets.open_folder(tmp_path / "a")
    assert (scene.offset, scene.offset_source) == (1000, "guessed from pixels")
    got = scenes.read(scene)
    assert (got[:, :48] == 0).all() and (got[:, 48:] >= 500).all()


def test_bad_folders_are_refused(tmp_path):
    def refused(name, match, change, error=BadInput):
        write_bands(tmp_path / name, low=300)
        change(tmp_path / name)
        with pytest.raises(error, match=match):
            scene_assets.open_folder(tmp_path / name)

    def without(*bands):
        return lambda folder: [(folder / f"{b}.tif").unlink() for b in bands]

    half = np.ones((48, 48), np.uint16)
    refused("a", r"scene a \(a/\): lacks bands B8A B12; the ten", without("B8A", "B12"))
    refused(
        "b",
        "B11.tif and x_B11.tif are both band B11",
        lambda f: (f / "x_B11.tif").write_bytes((f / "B11.tif").read_bytes()),
    )
    refused(
        "c",
        "band B05: its pixels .* are no whole multiple",
        lambda f: write_band(f / "B05.tif", half, 15),
    )
    refused(
        "d",
        "band B05: its pixels",
        lambda f: write_band(f / "B05.tif", half, 20, origin=(ORIGIN[0] + 10, ORIGIN[1])),
    )
    refused(
        "e",
        "band B05: lies in EPSG:32633",
        lambda f: write_band(f / "B05.tif", half, 20, crs="EPSG:32633"),
    )
    refused(
        "f", "band B05: 24 px of 2 times", lambda f: write_band(f / "B05.tif", half[:24, :24], 20)
    )
    refused(
        "g",
        r"band B06 \(B06.tif\): not readable as a raster",
        lambda f: (f / "B06.tif").write_bytes(b"II*"),
    )
    refused("h", "no CRS", lambda f: write_band(f / "B05.tif", half, 20, crs=None))
    refused(
        "i",
        "look like reflectance",
        lambda f: [
            write_band(f / f"{b}.tif", np.full((96, 96), 0.3, np.float32), 10) for b in BANDS
        ],
    )
    reflectance = np.full((96, 96), 0.3, np.float32)
    refused("j", "band B04 holds reflectance", lambda f: write_band(f / "B04.tif", reflectance, 10))
    picture = np.full((96, 96), 90, np.uint8)
    refused("k", "band B04 holds .* 8 bits", lambda f: write_band(f / "B04.tif", picture, 10))
    dark = np.full((96, 96), 300, np.uint16)

    def with_dates(folder):
        with rasterio.open(folder / "B08.tif") as source:
            values, profile = source.read(1), source.profile | {"count": 3}
        with rasterio.open(folder / "B08.tif", "w", **profile) as target:
            target.write(np.stack([values] * 3))

    refused("m", "B08.tif holds 3 bands", with_dates)
    refused("l", "on another scale", lambda f: write_band(f / "B08.tif", dark, 10))
    write_bands(tmp_path / "sea", low=300)
    write_band(tmp_path / "sea/B12.tif", np.ones((48, 48), np.float32), 20)
    assert scene_assets.open_folder(tmp_path / "sea").layout == "named"
    with pytest.raises(Missing, match="folder"):
        scene_assets.open_folder(tmp_path / "absent")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("T32TMT_20220101T102319_B8A_20m", ("B8A", 20.0)),
        ("B02", ("B02", None)),
        ("b2", ("B02", None)),
        ("SCL_20m", ("SCL", 20.0)),
        ("blue", ("B02", None)),
        ("B02_10m", ("B02", 10.0)),
        ("MSK_DETFOO_B02", (None, None)),
        ("TCI_10m", (None, None)),
        ("AOT", (None, None)),
        ("B11-20m", ("B11", 20.0)),
    ],
)
def test_band_of_a_name(name, expected):
    assert scene_assets.band_of(name) == expected
