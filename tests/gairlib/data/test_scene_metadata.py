"""A scene's baseline offset, by order of trust."""

import numpy as np
import pytest

from gairlib.data import scene_metadata, scene_product
from gairlib.errors import BadInput


def sample_of(low):
    return np.full((10, 50), low, float)


@pytest.mark.parametrize(
    "item, tags, declared, layout, low, expected",
    [
        ({"s2:processing_baseline": "05.09"}, {}, None, "named", 100, (1000, "stac")),
        ({"s2:processing_baseline": "03.01"}, {}, "05.00", "named", 2000, (0, "stac")),
        (
            {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True},
            {},
            None,
            "named",
            2000,
            (0, "stac (offset already removed)"),
        ),
        ({}, {"PROCESSING_BASELINE": "05.11"}, "02.00", "named", 100, (1000, "tags")),
        (
            {},
            {"PROCESSING_BASELINE": "05.11", "LICENSE": "x/COPERNICUS_S2_SR_HARMONIZED#terms"},
            None,
            "named",
            100,
            (0, "tags (harmonised collection)"),
        ),
        ({}, {}, "04.00", "l2a-12", 100, (1000, "scenes.csv")),
        ({}, {}, "N0301", "l2a-12", 2000, (0, "scenes.csv")),
        ({}, {}, None, "eurosat-ms", 2000, (0, "layout")),
        ({}, {}, None, "l2a-12", 950, (1000, "guessed from pixels")),
        ({}, {}, None, "l2a-12", 600, (0, "guessed from pixels")),
        ({}, {}, None, "l2a-12", 0, (0, "guessed from pixels")),
    ],
)
def test_offset_by_order_of_trust(item, tags, declared, layout, low, expected):
    item = {"properties": item}
    assert scene_metadata.offset(item, tags, declared, layout, sample_of(low)) == expected


@pytest.mark.parametrize(
    "text, number",
    [
        ("05.09", 5.09),
        ("N0509", 5.09),
        ("4.00", 4.0),
        (3.01, 3.01),
        ("5", 5.0),
        ("0400", 4.0),
        (4.0, 4.0),
        ("5.1", 5.1),  # 05.10 and the two below, saved by a table program
        ("210", 2.1),
        ("300", 3.0),
        ("04.000", 4.0),
    ],
)
def test_baseline_number(text, number):
    assert scene_product.baseline_number(text) == pytest.approx(number)


def test_bad_baseline_is_named():
    with pytest.raises(BadInput, match="'new'"):
        scene_product.baseline_number("new")


@pytest.mark.parametrize(
    ("name", "baseline"),
    [
        ("S2A_MSIL2A_20200601T113331_N0214_R080_T30UVG_20200601T123416.SAFE", "02.14"),
        ("S2B_MSIL1C_20220301T113319_N0400_R080_T30UVG_20220301T134459", "04.00"),
        ("S2A_OPER_MSI_L2A_TL_VGS2_20220126T140000_A034479_T32TMT_N04.00", "04.00"),
        ("gs://bucket/L2/T/S2B_MSIL2A_20260914T023529_N0512_R089_X.SAFE/B02.jp2", "05.12"),
        ("C:\\data\\S2B_MSIL2A_20260914T023529_N0512_R089_X.SAFE\\B02.jp2", "05.12"),
        ("S2A_MSIL2A_20170126T105321_N0001_R051_T31TCH_20190506T054611", "00.01"),
        ("S2A_MSIL2A_20220301T113331_N9999_R080_T30UVG_20220301T123416", None),
        ("tile_N0400_E0800.tif", None),
        ("dem_E008_N0400", None),
        ("ZN0400", None),
        ("S2A_MSIL2A_20230501T102031_R065_T32TMT_20230501T140000", None),
    ],
)
def test_baseline_in_a_products_name(name, baseline):
    assert scene_product.baseline_of_name(None, name) == baseline


def test_where_a_products_name_stands():
    """In an item before the file's tags, of a file after scenes.csv and against its pixels."""
    late, early = (f"S2A_MSIL2A_20220601T113331_{n}_R080_T30UVG" for n in ("N0400", "N0214"))
    dark, bright = np.full((10, 9), 700), np.full((10, 9), 1500)

    def offset(item=None, tags=(), row=None, names=(), pixels=dark):
        return scene_metadata.offset(item or {}, dict(tags), row, "named", pixels, names=names)

    assert offset({"id": late}) == (1000, "stac")
    assert offset({"id": late, "properties": {"s2:product_uri": early}}) == (0, "stac")
    assert offset({"assets": {"B02": {"href": f"x/{late}.SAFE/B02.jp2"}}}) == (1000, "stac")
    gone = {"earthsearch:boa_offset_applied": True}
    assert offset({"id": late, "properties": gone})[0] == 0
    assert offset(names=[late]) == offset(tags={"PRODUCT_ID": late}) == (1000, "name")
    assert offset(names=["x", early], pixels=bright) == (0, "name")
    assert offset(names=[late], row="02.14") == (0, "scenes.csv")
    assert offset(names=[late], tags={"processing_baseline": "02.14"}) == (0, "tags")
    assert offset(names=[late], pixels=dark // 7) == (0, "name")  # a tool has taken it out


def test_offsets_of_a_product_in_the_tags_of_a_file():
    """As tools copy them, also where they have taken the offset out: each band's, or one of all."""
    bright = np.full((10, 9), 1500.0)

    def offset(pixels=bright, **tags):
        return scene_metadata.offset({}, tags, None, "named", pixels)

    assert offset(BOA_ADD_OFFSET="-1000") == (1000, "tags")
    assert offset(RADIO_ADD_OFFSET_B2="-1000", RADIO_ADD_OFFSET_B3="-1000") == (1000, "tags")
    assert offset(boa_add_offset_band_0="0") == (0, "tags")
    assert offset(bright / 10, BOA_ADD_OFFSET="-1000") == (0, "tags")
    for odd in ("-500", "none"):
        with pytest.raises(BadInput, match="500|tags of offsets"):
            offset(BOA_ADD_OFFSET=odd)


def said(properties=(), **assets):
    """What `offset` takes from an item of these assets; the pixels would say 0."""
    item = {"properties": dict(properties), "assets": assets}
    return scene_metadata.offset(item, {}, None, "named", np.full((10, 9), 600.0))


LATE, EARLY = ({"scale": 1e-4, "offset": shift} for shift in (-0.1, 0))


def test_scale_and_offset_of_an_item_as_text_and_for_all_assets():
    text = {"raster:bands": [{"scale": "0.0001", "offset": "-0.1"}]}
    assert said(B02=text) == (1000, "stac")
    whole = {"raster:scale": 1e-4, "raster:offset": -0.1}
    assert said(whole, B02={}, B03={"bands": [{"name": "B03"}]}) == (1000, "stac")
    for unsaid in ({"scale": None, "offset": None}, {"scale": "ten thousand"}):
        assert said(B02={"raster:bands": [unsaid]}) == (0, scene_metadata.GUESSED)


def test_offsets_of_an_item_that_differ_from_band_to_band_are_refused():
    with pytest.raises(BadInput, match="differ from band to band"):
        said(B02={"raster:bands": [LATE]}, B03={"raster:bands": [EARLY]})
    copies = {"nir": {"raster:bands": [LATE]}, "nir-jp2": {"raster:bands": [EARLY]}}
    assert said(**copies) == (1000, "stac")


@pytest.mark.parametrize("gone", [True, 1, "1", "TRUE", "true"])
def test_spellings_of_an_offset_that_is_gone(gone):
    properties = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": gone}
    assert said(properties) == (0, scene_metadata.GONE)
    assert said({"s2:processing_baseline": ""}) == (0, scene_metadata.GUESSED)


def test_a_band_without_any_value_does_not_hide_the_offset():
    sample = np.random.default_rng(0).uniform(1100, 4000, (10, 900))
    sample[3] = 0
    assert scene_metadata.offset({}, {}, None, "named", sample) == (1000, "guessed from pixels")


@pytest.mark.parametrize("odd", [5, {"a": 1}, ["2021"], True, ""])
def test_a_date_that_is_no_text_is_none(odd):
    assert scene_product.date_and_cloud({"properties": {"datetime": odd}}, {}, {})[0] is None
    known = {"properties": {"datetime": odd, "start_datetime": "2021-05-06"}}
    assert scene_product.date_and_cloud(known, {}, {})[0] == "2021-05-06"
