"""The order and the scale of bands, against the spectra of real ground."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from builders.small_files import write_scene

from gairlib import spectra
from gairlib.bands import BANDS, LAYOUTS
from gairlib.data.scenes import open_scene
from gairlib.errors import BadInput

SHARED = Path(__file__).resolve().parents[3] / "shared"
MEADOW = dict(zip(BANDS, (420, 660, 540, 930, 2150, 2560, 2740, 2900, 1750, 980)))
MEADOW |= {"B01": 380, "B09": 2950, "B10": 15, "SCL": 4, "AOT": 120}
DESERT = dict(zip(BANDS, (1800, 2600, 3500, 3750, 3900, 4050, 4150, 4250, 4900, 4400)))
SNOW = dict(zip(BANDS, (9500, 9300, 9200, 9100, 9000, 8900, 8700, 8500, 700, 650)))
SEA = dict(zip(BANDS, (420, 300, 130, 90, 60, 55, 40, 30, 10, 8)))
LAVA = dict(zip(BANDS, (380, 420, 450, 480, 500, 520, 540, 560, 640, 600)))
WINTER_FOREST = dict(zip(BANDS, (160, 230, 210, 400, 850, 980, 1050, 1120, 520, 260)))


def values(order, ground=MEADOW, size=40):
    """uint16 [n, size, size], noise of 3%."""
    rng = np.random.default_rng(0)
    level = np.array([ground[b] for b in order], float)[:, None, None]
    return np.maximum(level * rng.normal(1, 0.03, (len(order), size, size)), 1).astype(np.uint16)


def opened(folder, order, layout=None, **options):
    path = write_scene(folder / "a.tif", values(order, **options), names=None)
    return open_scene(path, layout=layout, row={"processing_baseline": "02.14"})


LAST = [b for b in BANDS if b != "B8A"] + ["B8A"]
TWELVE = [f"B{k:02d}" for k in range(1, 13)]
WRONG = {
    "SWIR swapped": [*BANDS[:8], "B12", "B11"],
    "B8A last": LAST,
    "10 m bands first": "B02 B03 B04 B08 B05 B06 B07 B8A B11 B12".split(),
    "as product folders list them": "B04 B03 B02 B08 B05 B06 B07 B8A B11 B12".split(),
    "sorted as text": "B11 B12 B02 B03 B04 B05 B06 B07 B08 B8A".split(),
    "12 without B8A": TWELVE,
    "12, B8A last": [*(b for b in TWELVE if b != "B10"), "B8A"],
    "backwards": BANDS[::-1],
    "10, AOT and SCL": [*BANDS, "AOT", "SCL"],
    "SCL first": ["SCL", "B01", *BANDS],
}


@pytest.mark.parametrize("order", WRONG.values(), ids=list(WRONG))
def test_an_order_that_the_spectrum_contradicts_is_refused(tmp_path, order):
    with pytest.raises(BadInput, match="which no ground shows|which B10 is|B02 is not"):
        opened(tmp_path, order)


@pytest.mark.parametrize("ground", [MEADOW, DESERT, SNOW, SEA, LAVA, WINTER_FOREST])
def test_unusual_ground_is_accepted(tmp_path, ground):
    assert opened(tmp_path, BANDS, ground=ground).layout == "s2-10"


def exchanged(a, b):
    return [{a: b, b: a}.get(band, band) for band in BANDS]


@pytest.mark.parametrize("order", [BANDS[::-1], exchanged("B08", "B11"), exchanged("B8A", "B04")])
def test_names_that_the_values_contradict_grossly_are_refused(tmp_path, order):
    for ground in (MEADOW, DESERT, SNOW, SEA, LAVA, WINTER_FOREST):
        path = write_scene(tmp_path / "a.tif", values(BANDS, ground))
        assert open_scene(path, row={"processing_baseline": "02.14"}).layout == "named"
    with pytest.raises(BadInput, match="names of its bands B"):
        open_scene(write_scene(tmp_path / "a.tif", values(order)))


def test_the_two_orders_of_13_bands_are_told_apart(tmp_path):
    orders = {"l1c": [*TWELVE[:8], "B8A", *TWELVE[8:]], "eurosat-ms": [*TWELVE, "B8A"]}
    for right, order in orders.items():
        assert opened(tmp_path, order, right).layout == right
        (other,) = set(orders) - {right}
        with pytest.raises(BadInput, match=f"{other!r} B.* but {right!r} fits"):
            opened(tmp_path, order, other)


def test_values_above_all_snow_and_decibels_are_refused(tmp_path):
    dn = values(BANDS).astype(float)
    for factor, words in ((10, "x 65535"), (6.5535, "x 65535")):
        path = write_scene(tmp_path / "a.tif", (dn * factor).clip(0, 65534).astype(np.uint16))
        with pytest.raises(BadInput, match=words):
            open_scene(path)
    for level in (dn * 100, values(BANDS, SNOW) * 10.0):
        with pytest.raises(BadInput, match="x 65535"):
            open_scene(write_scene(tmp_path / "d.tif", level.astype(np.uint32)))
    decibels = 10 * np.log10(dn / 1e4).astype(np.float32)
    with pytest.raises(BadInput, match="decibels"):
        open_scene(write_scene(tmp_path / "b.tif", decibels))
    water = (
        values(BANDS, SEA).astype(np.int16) - np.array([0] * 4 + [80] * 6, np.int16)[:, None, None]
    )
    water[:, :30] = -9999
    assert open_scene(write_scene(tmp_path / "c.tif", water, nodata=None)).offset == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared is not there")
def test_real_scenes_are_in_order_and_a_real_scene_on_another_scale_is_named():
    paths = [*SHARED.glob("real/scenes/*.tif"), *SHARED.glob("real-more/eurosat_ms/*/*.tif")]
    assert len(paths) > 100
    for path in paths:
        with rasterio.open(path) as source:
            layout = {10: "s2-10", 12: "l2a-12", 13: "eurosat-ms"}[source.count]
            sample = source.read(LAYOUTS[layout][0]).reshape(10, -1)
        assert spectra.misordered(sample) is None, path.name
        spectra.exchanged(sample, path.name)
        assert open_scene(path, layout=layout).layout == layout
    path = SHARED / "real-more/aberystwyth/mosaic_from_tiles.tif"
    with pytest.raises(BadInput, match="x 1000"):
        open_scene(path)
    assert open_scene(path, row={"scale": "0.001"}).factor == pytest.approx(10)
