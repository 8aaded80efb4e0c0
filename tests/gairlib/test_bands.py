from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gairlib import bands
from gairlib.errors import BadInput

REAL = Path(__file__).resolve().parents[3] / "shared/real"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("B2", "B02"),
        ("b02", "B02"),
        ("B8A", "B8A"),
        ("B08a", "B8A"),
        ("B12", "B12"),
        ("nir", "B08"),
        ("Red", "B04"),
        ("SCL", "SCL"),
        ("B13", None),
        ("B2A", None),
        ("stackstac-1", None),
        ("", None),
        (None, None),
    ],
)
def test_canonical_names(name, expected):
    assert bands.canonical(name) == expected


# The band order of each product as its makers document it: an oracle independent of LAYOUTS.
L2A = "B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B11 B12".split()
L1C = "B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12".split()
EUROSAT = "B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12 B8A".split()


@pytest.mark.parametrize("layout, order", [("l2a-12", L2A), ("l1c", L1C), ("eurosat-ms", EUROSAT)])
def test_layouts_agree_with_the_names(layout, order):
    by_name = bands.find(order)
    declared = bands.find([None] * len(order), layout)
    assert by_name[0] == "named" and declared[0] == layout
    assert by_name[1] == declared[1]
    assert bands.find(order, layout)[1] == by_name[1]  # both, agreeing


def test_only_10_and_12_bands_are_taken_by_count():
    assert bands.find([None] * 10)[0] == "s2-10"
    assert bands.find([None] * 12)[0] == "l2a-12"
    for count in (3, 4, 6, 9, 11, 13, 14):
        with pytest.raises(BadInput, match=f"x: {count} bands without band names"):
            bands.find([None] * count, what="x")
    with pytest.raises(BadInput, match="x: one band.*landcover/"):  # a map of classes, most often
        bands.find([None], what="x")


@given(st.permutations([*bands.BANDS, "B01", "SCL"]))
def test_named_bands_are_found_in_any_order(order):
    layout, positions, scl = bands.find(order)
    assert [order[p - 1] for p in positions] == list(bands.BANDS)
    assert order[scl - 1] == "SCL"


def test_refusals_name_what_is_wrong():
    with pytest.raises(BadInput, match="lacks bands B11 B12"):
        bands.find(["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A"])
    with pytest.raises(BadInput, match="B02 stands at more than one band"):
        bands.find(["B02", "blue"])
    with pytest.raises(BadInput, match="unknown band layout 'landsat'"):
        bands.find([None] * 10, "landsat")
    with pytest.raises(BadInput, match="layout 'l1c' has 13 bands, but the file has 12"):
        bands.find([None] * 12, "l1c")
    with pytest.raises(BadInput, match="contradicts the file's own band names"):
        bands.find(L1C, "eurosat-ms")


def test_place_fills_and_reports():
    values = np.stack([np.full((2, 2), 7.0), np.full((2, 2), 9.0)])[None]  # [1, 2, 2, 2]
    chips, present = bands.place(values, ("B8", "blue"))
    assert chips.shape == (1, 10, 2, 2) and present == ("B02", "B08")
    assert (chips[0, 0] == 9).all() and (chips[0, 6] == 7).all()
    np.testing.assert_allclose(chips[0, 9], bands.MEAN[9], rtol=1e-6)
    assert (bands.place(values, ("B8", "B2"), fill="zero")[0][0, 9] == 0).all()
    with pytest.raises(BadInput, match=r"must be \[B, 3, H, W\]"):
        bands.place(values, ("B02", "B03", "B04"))
    with pytest.raises(BadInput, match="each must be one of"):
        bands.place(values, ("B02", "B01"))


def test_from_rgb_places_red_green_blue():
    rgb = np.zeros((1, 2, 2, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = 255, 51, 0
    chips, present = bands.from_rgb(rgb)
    assert present == ("B02", "B03", "B04")
    np.testing.assert_allclose(chips[0, :3, 0, 0], [0, 550, 2750])
    with pytest.raises(BadInput, match="uint8"):
        bands.from_rgb(rgb.astype(float))


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real is not there")
@pytest.mark.parametrize("name", ["AnnualCrop", "Forest"])
def test_eurosat_scale_on_tiles_that_exist_in_both_forms(name):
    with rasterio.open(REAL / f"scenes/eurosatms_{name.lower()}_1.tif") as source:
        dn = source.read([2, 3, 4]).astype(float)
    rgb = np.asarray(Image.open(REAL / f"eurosat_rgb/{name}/{name}_1.jpg"))
    chips, _ = bands.from_rgb(rgb[None])
    slope = np.polyfit(chips[0, :3].ravel(), dn.ravel(), 1)[0]
    assert abs(slope - 1) < 0.01
    assert np.abs(chips[0, :3] - dn).mean() < 40


def test_the_published_statistics():
    mean = "1172.9397 1378.0846 1509.3327 1750.0275 2073.2758 2207.3283 2245.1629 2284.6384"
    std = "706.6250 720.1862 783.1424 707.1962 714.2782 748.1827 852.3585 762.0849"
    mean, std = f"{mean} 2231.7283 1899.1932", f"{std} 690.0165 669.9036"
    assert bands.MEAN.tolist() == [float(v) for v in mean.split()]
    assert bands.STD.tolist() == [float(v) for v in std.split()]
    assert bands.MEAN.dtype == bands.STD.dtype == np.float64


@pytest.mark.parametrize("form", ["{}-B04", "{}/B04", "log({})", "{}_db"])
def test_names_of_what_is_computed_from_bands_are_no_names_of_bands(form):
    with pytest.raises(BadInput):
        bands.find([form.format(b) for b in bands.BANDS])


def test_a_number_and_a_colour_that_contradict_each_other_are_refused():
    red, blue = "B2 (Red)", "B4 (Blue)"
    names = [red, "B3", blue, "B5 red edge", "B6", "B7", "B8 near infra red", "B8A", "B11", "B12"]
    with pytest.raises(BadInput, match="lacks bands B02 B04"):
        bands.find(names)
    names[0], names[2] = blue.replace("4", "2"), red.replace("2", "4")
    assert bands.find(names)[:2] == ("named", tuple(range(1, 11)))
