"""Every reader of a user's files meets the same damage and says BadInput or Missing, no more."""

import os

import numpy as np
import pytest
import rasterio
from affine import Affine
from builders.small_files import ramp, write_scene
from PIL import Image

from gairlib.bands import BANDS, canonical, find
from gairlib.data import boundary, exif, photo_tables, photos, scene_product, table_files, tables
from gairlib.data.dataset import Dataset
from gairlib.data.scene_reader import Reader
from gairlib.data.scenes import open_scene, read
from gairlib.errors import BadInput, Missing
from gairlib.pairs.input import days

DAMAGE = {
    "empty": b"",
    "zeros": bytes(300),
    "text": b"this is no such file\n" * 9,
    "deep json": b"[" * 100_000,
    "half a tiff": b"II*\0\x08\0\0\0\xff\xff" + bytes(20),
    "half a jpeg": b"\xff\xd8\xff\xe1\x00\x10Exif\0\0II*\0\xff\xff\xff\xff",
    "half a gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\x03abc",
    "half a parquet": b"PAR1" + bytes(40) + b"\xff\xff\xff\x7fPAR1",
    "twin of a Mac": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(80),
}
READERS = {
    "photo": (".jpg", photos.load),
    "photo, checked": (".jpg", photos.check),
    "raster": (".tif", open_scene),
    "STAC item": (".json", scene_product.sidecar),
    "table": (".csv", table_files.read),
    "packed table": (".csv.gz", table_files.read),
    "Parquet": (".parquet", table_files.read),
    "GeoParquet": (".geoparquet", photo_tables.read_places),
    "photo table": (".csv", photo_tables.read_photos),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_a_sentence(tmp_path, reader, damage):
    suffix, function = READERS[reader]
    path = tmp_path / f"file{suffix}"
    path.write_bytes(DAMAGE[damage])
    try:
        function(path)
    except (BadInput, Missing) as problem:
        assert "file" in str(problem)


def test_whatever_is_raised_names_the_file():
    for problem in (RecursionError(), MemoryError(), UnicodeDecodeError("utf-8", b"", 0, 1, "x")):
        with pytest.raises(BadInput, match="a.tif.*" + type(problem).__name__):
            with boundary.reading("a.tif"):
                raise problem
    with pytest.raises(KeyboardInterrupt):
        with boundary.reading("a.tif"):
            raise KeyboardInterrupt


def test_what_a_folder_holds(tmp_path):
    for name in ("b.jpg", "A.JPG", "._b.jpg", ".DS_Store", "Thumbs.db", "x.heic", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    os.symlink("nowhere", tmp_path / "gone.jpg")
    os.symlink("nowhere", tmp_path / ".#street.csv")
    os.symlink(tmp_path, tmp_path / "deep/circle")
    os.symlink(tmp_path / "deep", tmp_path / "again")
    os.mkfifo(tmp_path / "pipe")
    found = boundary.listing(tmp_path, deep=True)
    names = [p.relative_to(tmp_path).as_posix() for p in found.files]
    assert names == ["A.JPG", "b.jpg", "deep/c.png", "x.heic"]
    assert [name for name, _ in found.odd] == ["gone.jpg", "pipe"]
    assert "HEIC" in boundary.unknown_kind("x.HEIC") and boundary.unknown_kind("x.txt") is None
    assert boundary.listing(tmp_path / "nowhere").files == []
    assert boundary.listing(tmp_path / "deep").folders == []  # the way back up is none


def test_of_two_names_of_a_file_the_one_that_is_no_link_counts(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"x")
    (tmp_path / "c.jpg").write_bytes(b"x")  # a copy is a file of its own
    os.symlink("b.jpg", tmp_path / "a.jpg")
    files = boundary.listing(tmp_path).files
    assert boundary.twins(files) == {tmp_path / "a.jpg": tmp_path / "b.jpg"}
    assert boundary.resolved("a\0.tif") == "a\0.tif"


def scene(path, values, transform=None, names=BANDS, **options):
    transform = transform or Affine(10, 0, 4e5, 0, -10, 5.3e6)
    profile = {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "crs": "EPSG:32632"}
    height, width = values.shape[1:]
    profile |= {"height": height, "width": width, "transform": transform, "nodata": 0} | options
    with rasterio.open(path, "w", **profile) as target:
        target.write(values)
        target.descriptions = names
    return path


def land(low=300):
    level = np.array([420, 660, 540, 930, 2150, 2560, 2740, 2900, 1750, 980])[:, None, None]
    noise = np.random.default_rng(0).normal(0, 60, (10, 96, 80))
    return np.clip(level + noise + low - 300, 1, 65000).astype(np.uint16)


@pytest.mark.parametrize(
    ("flip", "transform"),
    [
        (np.s_[:, ::-1], Affine(10, 0, 4e5, 0, 10, 5.3e6 - 960)),
        (np.s_[:, :, ::-1], Affine(-10, 0, 4e5 + 800, 0, -10, 5.3e6)),
        (np.s_[:, ::-1, ::-1], Affine(-10, 0, 4e5 + 800, 0, 10, 5.3e6 - 960)),
    ],
)
def test_south_up_and_mirrored_rasters_are_read_north_up(tmp_path, flip, transform):
    values = land()
    up = open_scene(scene(tmp_path / "up.tif", values))
    other = open_scene(scene(tmp_path / "other.tif", values[flip], transform))
    assert other.transform == up.transform
    np.testing.assert_array_equal(read(other), read(up))
    with Reader(up) as a, Reader(other) as b:
        chips = [r.chip(11, 23, 32, 32, 32) for r in (a, b)]
    assert chips[0].transform == chips[1].transform
    np.testing.assert_array_equal(chips[0].values, chips[1].values)


def test_a_rotated_raster_is_refused(tmp_path):
    turned = Affine(10, 0, 4e5, 0, -10, 5.3e6) @ Affine.rotation(20)
    with pytest.raises(BadInput, match="rotated"):
        open_scene(scene(tmp_path / "a.tif", land(), turned))


def test_scale_and_offset_of_the_file_come_before_any_guess(tmp_path):
    for scale, shift, expected in (
        (1e-4, 0.0, 0),
        (1e-4, -0.1, 1000),
        (2.75e-5, -0.2, None),
        (np.nan, 0.0, None),
    ):
        path = scene(tmp_path / "a.tif", land(1500))
        with rasterio.open(path, "r+") as target:
            target.scales, target.offsets = (scale,) * 10, (shift,) * 10
        if expected is None:
            with pytest.raises(BadInput, match=f"declare the scale {scale:.6g}"):
                open_scene(path)
        else:
            assert open_scene(path).offset == expected
    for number, tags in enumerate(({"scale_factor": "0.0001", "add_offset": "0.0"}, {})):
        path = scene(tmp_path / f"{number}.tif", land(1500))
        with rasterio.open(path, "r+") as target:
            target.update_tags(**tags)
        assert open_scene(path).offset == (0 if tags else 1000)


@pytest.mark.parametrize(
    "values, words",
    [
        (land() / 1e4, "look like reflectance;"),
        (land() / 100, "look like percent"),
        (land() * 0.0255, "look like percent, or reflectance x 255"),
        ((land() / 10).astype(np.int16), "x 1000"),
    ],
)
def test_other_scales_are_refused(tmp_path, values, words):
    values = values.astype(np.float32) if values.dtype.kind == "f" else values
    values[3, 5, 5] = np.inf if values.dtype.kind == "f" else 30_000
    with pytest.raises(BadInput, match=words):
        open_scene(scene(tmp_path / "a.tif", values))


def test_gaps_in_every_spelling_are_counted(tmp_path):
    def share(path):
        with Reader(open_scene(path)) as reader:
            return reader.chip(0, 0, 64, 64, 64).nodata_share

    values, gap = land(), np.s_[:, :, :32]
    high, one, masked = values.copy(), values.copy(), values.copy()
    high[gap], one[8, :, :32], masked[gap] = 65535, 0, 7
    assert share(scene(tmp_path / "high.tif", high, nodata=None)) == 0.5
    assert share(scene(tmp_path / "one.tif", one)) == 0.5
    path = scene(tmp_path / "masked.tif", masked, nodata=None)
    with rasterio.open(path, "r+") as target:
        target.write_mask(np.arange(80)[None, :].repeat(96, 0) >= 32)
    assert share(path) == 0.5


@pytest.mark.parametrize(
    "dtype, gap, nodata",
    [
        ("uint16", 65535, 0),
        ("int16", 32767, None),
        ("int16", -32768, None),
        ("uint32", 2**32 - 1, None),
        ("uint32", 65535, None),
        ("int32", 2**31 - 1, None),
        ("float32", 3.4028235e38, None),
        ("float32", -9999, None),
        ("float64", 1e20, 0),
    ],
)
def test_marks_of_gaps_that_are_not_declared(tmp_path, dtype, gap, nodata):
    values = land().astype(dtype)
    values[:, :, :32] = gap
    found = open_scene(scene(tmp_path / "a.tif", values, nodata=nodata))
    assert (read(found)[:, :, :32] == 0).all() and (read(found)[:, :, 32:] > 0).all()
    with Reader(found) as reader:
        assert reader.chip(0, 0, 64, 64, 64).nodata_share == 0.5


def test_a_bright_value_on_a_finer_scale_is_no_gap(tmp_path):
    values = land().astype(np.uint32) * 100  # reflectance x 1000000
    values[:, :, :32] = 2**32 - 1
    found = open_scene(scene(tmp_path / "a.tif", values), row={"scale": "1e-6"})
    np.testing.assert_array_equal(read(found)[:, :, 32:], land()[:, :, 32:])
    assert (read(found)[:, :, :32] == 0).all()


ALPHA, GRAY = rasterio.enums.ColorInterp.alpha, rasterio.enums.ColorInterp.gray


@pytest.mark.parametrize("name", [None, "alpha", "dataMask"])
@pytest.mark.parametrize("place", [0, 5, 10])
@pytest.mark.parametrize("dtype, full", [("uint16", 65535), ("uint16", 255), ("float32", 1)])
def test_alpha_is_a_mask_and_no_band(tmp_path, name, place, dtype, full):
    values, alpha = land(), np.full((96, 80), full)
    values[:, :, :32], alpha[:, :32] = 7, 0
    names, colours = list(BANDS), [GRAY] * 10
    names.insert(place, name)
    colours.insert(place, GRAY if name == "dataMask" else ALPHA)
    path = scene(
        tmp_path / "a.tif", np.insert(values, place, alpha, axis=0).astype(dtype), names=names
    )
    with rasterio.open(path, "r+") as target:
        target.colorinterp = colours
    found = open_scene(path)
    assert found.layout == "named" and (read(found)[:, :, :32] == 0).all()
    np.testing.assert_array_equal(read(found)[:, :, 32:], values[:, :, 32:])
    with Reader(found) as reader:
        assert reader.chip(0, 0, 64, 64, 64).nodata_share == 0.5


def test_alpha_without_names_and_at_a_band_that_is_none(tmp_path):
    for names, colours in (
        ([None] * 11, [GRAY] * 10 + [ALPHA]),
        ([None] * 10, [GRAY, ALPHA] + [GRAY] * 8),
        (BANDS, [GRAY] * 3 + [ALPHA] + [GRAY] * 6),
    ):
        values = np.concatenate([land(), np.ones((1, 96, 80), np.uint16)])[: len(names)]
        path = scene(tmp_path / "a.tif", values, names=names)
        with rasterio.open(path, "r+") as target:
            target.colorinterp = colours
        np.testing.assert_array_equal(read(open_scene(path)), values[:10])


def test_a_raster_outside_of_the_world_of_its_crs(tmp_path):
    def opened(crs, transform):
        return open_scene(scene(tmp_path / "a.tif", land(), transform, crs=crs)).footprint.bounds

    for x, y in ((2.5e7, 6e6), (-3e7, 6e6), (1e6, 3e7), (1e6, 4e8)):
        with pytest.raises(BadInput, match="world of its CRS|no place on the globe"):
            opened("EPSG:3857", Affine(10, 0, x, 0, -10, y))
    west, _, east, _ = opened("EPSG:3857", Affine(10, 0, 20037508 - 400, 0, -10, 1e6))
    assert 0 < east - west < 0.01  # across the antimeridian
    for x in (200.0, 179.999, -200.0):
        west, _, east, _ = opened("EPSG:4326", Affine(1e-4, 0, x, 0, -1e-4, -16.8))
        assert abs((west - x + 180) % 360 - 180) < 1e-9


def test_band_names_in_the_spellings_of_tools():
    for name, band in {
        "B2_median": "B02",
        "20230501T102559_T32TMT_B8A": "B8A",
        "B02_10m": "B02",
        "B2, central wavelength 490 nm": "B02",
        "nbart_red_edge_1": "B05",
        "842 nm": "B08",
        "NIR 865 nm": "B8A",
        "0.49 \u00b5m": "B02",
        "B04 (665 nm)": "B04",
        "S2_B4": "B04",
        "T33UUP_B04": "B04",
        "Red Edge 4": "B8A",
        "Vegetation Red Edge 2": "B06",
        "Red edge": None,
        "NIR narrow": "B8A",
        "Near infrared": "B08",
        "nir08": "B8A",
        "swir16": "B11",
        "SWIR 2": "B12",
        "tile_490": None,
        "B2_trend": None,
        "B4_stdDev": None,
        "B8_B4": None,
        "NDVI": None,
        "Band 1": None,
    }.items():
        assert canonical(name) == band, name
    force = "BLUE GREEN RED REDEDGE1 REDEDGE2 REDEDGE3 BROADNIR NIR SWIR1 SWIR2".split()
    assert find(force)[1] == tuple(range(1, 11))
    with pytest.raises(BadInput, match="not understood"):
        find([f"index {k}x" for k in "abcdefghij"])
    assert find([f"Band {k}" for k in range(1, 11)])[0] == "s2-10"


WAVES = (490, 560, 665, 705, 740, 783, 842, 865, 1610, 2190)
COLOURS = "Blue|Green|Red|Red Edge 1|Red Edge 2|Red Edge 3|NIR"
LISTS = {  # of band names, by who writes them
    "Esri": f"{COLOURS}|Red Edge 4|SWIR 1|SWIR 2",
    "QGIS": f"{COLOURS}|NIR narrow|SWIR 1|SWIR 2",
    "STAC 1.0": "blue|green|red|rededge1|rededge2|rededge3|nir|nir08|swir16|swir22",
    "STAC 1.1": "blue|green|red|rededge071|rededge075|rededge078|nir|nir08|swir16|swir22",
    "Digital Earth": "nbart_blue|nbart_green|nbart_red|nbart_red_edge_1|nbart_red_edge_2|"
    "nbart_red_edge_3|nbart_nir_1|nbart_nir_2|nbart_swir_2|nbart_swir_3",
    "numbers": "|".join(f"Band {b[1:].lstrip('0')}" for b in BANDS),
    "numbers alone": "|".join(b[1:].lstrip("0") for b in BANDS),
    "numbers, with a sensor": "|".join(f"S2_Band_{b[1:]}" for b in BANDS),
    "numbers, spaced": "|".join(f"B {b[1:].lstrip('0')}" for b in BANDS),
    "ESA": "Band 2 - Blue|Band 3 - Green|Band 4 - Red|Band 5 - Vegetation red edge|"
    "Band 6 - Vegetation red edge|Band 7 - Vegetation red edge|Band 8 - NIR|"
    "Band 8A - Narrow NIR|Band 11 - SWIR|Band 12 - SWIR",
    "nm": "|".join(map(str, WAVES)),
    "um": "|".join(f"{w / 1000:.3f}" for w in WAVES),
    "ENVI": "|".join(f"Band {k} ({w / 1000} Micrometers)" for k, w in enumerate(WAVES, 1)),
    "Earth Engine": "496.6 nm|560 nm|664.5 nm|703.9 nm|740.2 nm|782.5 nm|835.1 nm|864.8 nm|"
    "1613.7 nm|2202.4 nm",
    "ACOLITE": "rhos_492|rhos_560|rhos_665|rhos_704|rhos_740|rhos_783|rhos_833|rhos_865|"
    "rhos_1614|rhos_2202",
}


@pytest.mark.parametrize("names", [v.split("|") for v in LISTS.values()], ids=list(LISTS))
def test_lists_of_names_in_the_spellings_of_tools(names):
    for order in (names, names[::-1]):
        positions = find(order)[1]
        assert [order[p - 1] for p in positions] == names


@pytest.mark.parametrize(
    "names",
    [
        f"{COLOURS}|NIR|SWIR 1|SWIR 2".split("|"),
        ["NDVI"] + [None] * 9,
        ["NDVI"] * 10,
        ["B02"] * 10,
        [f"std_{w}" for w in WAVES],
        [f"tile_{k}" for k in range(488, 498)],
        "3 1 2 4 5 6 7 8 9 10".split(),
    ],
)
def test_names_that_do_not_settle_the_bands_are_refused(names):
    with pytest.raises(BadInput):
        find(names)
    assert find(["reflectance"] * 10)[0] == "s2-10"  # as xarray does: taken by count, and noted


def test_names_that_stand_in_tags(tmp_path):
    for number, tags in enumerate(
        (
            {"bands": str(tuple(BANDS[::-1]))},
            {"band_names": "{" + ", ".join(BANDS[::-1]) + "}"},
            [{"wavelength": str(w), "wavelength_units": "Nanometers"} for w in WAVES[::-1]],
            [{"CENTRAL_WAVELENGTH_UM": str(w / 1000)} for w in WAVES[::-1]],
            [{"long_name": name} for name in BANDS[::-1]],
        )
    ):
        path = scene(tmp_path / f"{number}.tif", land()[::-1], names=[None] * 10)
        with rasterio.open(path, "r+") as target:
            if isinstance(tags, dict):
                target.update_tags(**tags)
            else:
                for band, one in enumerate(tags, 1):
                    target.update_tags(band, **one)
        np.testing.assert_array_equal(read(open_scene(path)), land())


def test_headings_ids_and_times():
    import pandas as pd

    given = pd.Series([0, -90, 359.5, -1, -999, 65535, 655.35])
    wanted = [0, 270, 359.5, *[np.nan] * 4]
    np.testing.assert_array_equal(tables.headings(given), wanted)
    spelled = pd.Series(["90°", "45.5 deg", "north"], dtype="str")
    np.testing.assert_array_equal(tables.headings(spelled), [90, 45.5, np.nan])
    ids, _ = tables.ids(pd.Series(["12.0", "none", "13.0"], dtype="str"))
    assert list(ids) == ["12", "none", "13"]
    ids, _ = tables.ids(pd.Series(["12.0", "12.5"], dtype="str"))
    assert list(ids) == ["12.0", "12.5"]
    ids, reasons = tables.ids(pd.Series(["12.0", "9007199254740993.0", "1.5E+15"], dtype="str"))
    assert ids[0] == "12" and reasons[0] is None
    assert "float" in reasons[1] and "spreadsheet" in reasons[2]
    spelled = ["1620222417", "1620222417000", "1620222417000000", "2021:05:05 13:46:57"]
    spelled += ["2021_05_05_13_46_57_000", "2021-05-05 13:46:57 UTC"]
    times = tables.times(pd.Series(spelled, dtype="str"))
    assert [t[:10] + t[11:19] for t in times] == ["2021-05-0513:46:57"] * 6


def test_a_year_alone_is_a_year_and_no_day():
    import pandas as pd

    given = ["2021", "2021.0", "2021-05", "20210505", "20210505.0", "2021-05-05"]
    kept = ["2021", "2021", "2021-05", "2021-05-05", "2021-05-05", "2021-05-05"]
    times = tables.times(pd.Series(given, dtype="str"))
    assert list(times) == kept
    assert list(tables.times(pd.Series([2021.0, 20210505.0, 1620222417.0, np.nan]))[:3]) == [
        "2021",
        "2021-05-05",
        "2021-05-05T13:46:57Z",
    ]
    known = np.isfinite(days(times))
    assert list(known) == [False, False, False, True, True, True]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_two_columns_of_one_name_stop_a_table_only_where_they_are_needed(tmp_path, suffix):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table(names):
        path = tmp_path / f"t{suffix}"
        if suffix == ".csv":
            path.write_text("\n".join([",".join(names), "1,2,3,4", "5,6,7,8"]))
        else:
            pq.write_table(pa.table([pa.array([k, k + 4]) for k in range(1, 5)], names), path)
        return path

    frame, reasons = photo_tables.read_places(table(["lon", "lat", "value", "value"]))
    assert list(frame) == ["lon", "lat", "value", "value.1"] and reasons.isna().all()
    assert list(frame["value.1"]) == [4, 8]
    with pytest.raises(BadInput, match="'lat'.*more than once"):
        photo_tables.read_places(table(["lon", "lat", "value", "lat"]))


def test_names_in_mixed_unicode_forms_are_found(tmp_path):
    import unicodedata

    street, photo = "Bürkliplatz", "Zürich.jpg"
    stored = tmp_path / unicodedata.normalize("NFD", street) / photo
    stored.parent.mkdir()
    stored.write_bytes(b"x")
    asked = f"{street}\\{unicodedata.normalize('NFD', photo)}"
    assert boundary.inside(tmp_path, asked).is_file()


def test_tables_of_every_kind_lose_only_their_bad_rows(tmp_path):
    (tmp_path / "tables").mkdir()
    lines = [f"{k + 1},{k / 2},{k * 3},Town {k}" for k in range(50)]
    lines[20] += ",oops"
    for name, mark in (("a.CSV", ","), ("b.tsv", "\t"), ("c.csv", ";")):
        text = "\n".join(["lon, lat,value,place", *lines]).replace(",", mark)
        (tmp_path / "tables" / name).write_text(text)
    (tmp_path / "tables/._a.csv").write_bytes(DAMAGE["twin of a Mac"])
    (tmp_path / "tables/d.xlsx").write_bytes(b"PK")
    dataset = Dataset(tmp_path)
    assert {k: len(v) for k, v in dataset.tables().items()} == {"a": 49, "b": 49, "c": 49}
    rejected = {(r["kind"], r["item"]) for r in dataset.rejected}
    assert rejected == {("table", "d.xlsx")} | {
        ("table row", f"{name} row 22") for name in ("a.CSV", "b.tsv", "c.csv")
    }


def test_a_folder_of_pictures_of_other_kinds_says_what_to_do(tmp_path):
    (tmp_path / "street").mkdir()
    (tmp_path / "street/a.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    Image.new("RGB", (8, 8)).save(tmp_path / "street/b.jpg")
    _, reasons = exif.folder_table(tmp_path)
    assert "HEIC" in reasons[0] and "no position" in reasons[1]


def test_paths_in_another_case_or_form(tmp_path):
    """Of Windows and Mac: found where one entry alone is meant."""
    for name in ("Walk/IMG_1.JPG", "Walk/a.jpg", "Walk/A.JPG", "walks/Zu\u0308rich.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = {
        "walk/img_1.jpg": "Walk/IMG_1.JPG",
        "WALK\\Img_1.Jpg": "Walk/IMG_1.JPG",
        "Walk/a.jpg": "Walk/a.jpg",
        "walk/A.jpg": None,  # two entries are meant
        "walks/Z\u00fcrich.jpg": "walks/Zu\u0308rich.jpg",
        "Walks/Z\u00dcRICH.JPG": "walks/Zu\u0308rich.jpg",
        "walk/none.jpg": None,
    }
    for given, there in found.items():
        path = boundary.inside(tmp_path, given)
        assert path.exists() == (there is not None), given
        assert there is None or path == tmp_path / there
    (tmp_path / "Walk/late.jpg").write_bytes(b"x")
    os.utime(tmp_path / "Walk", ns=(1, 1))
    assert boundary.inside(tmp_path, "walk/LATE.jpg").exists()


@pytest.mark.parametrize("odd, share", [(11.0, 0.001), (np.inf, 0.001), (9999.0, 0.05), (0.7, 0.5)])
def test_reflectance_is_refused_whatever_else_stands_in_it(tmp_path, odd, share):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.02, 0.4, (10, 64, 64)).astype(np.float32)
    values[:, rng.random((64, 64)) < share] = odd
    with pytest.raises(BadInput, match="a.tif.*look like reflectance"):
        open_scene(write_scene(tmp_path / "a.tif", values, nodata=None))


def test_a_scene_id_that_leads_outside_has_no_land_cover(tmp_path):
    write_scene(tmp_path / "secret/lc.tif", ramp(1, 48, 48), names=None)
    write_scene(tmp_path / "data/scenes/a.tif", ramp(10, 48, 48), baseline="04.00")
    (tmp_path / "data/landcover").mkdir()
    (tmp_path / "data/landcover/classes.csv").write_text("value,name\n1,wood\n")
    (tmp_path / "data/scenes.csv").write_text("scene_id,path\n../../secret/lc,scenes/a.tif\n")
    data = Dataset(tmp_path / "data")
    assert [s.id for s in data.scenes()] == ["../../secret/lc"]
    assert data.landcover("../../secret/lc") is None


@pytest.mark.parametrize("grids", ["http://127.0.0.1:9/g.tif", "/etc/passwd"])
def test_a_reference_system_that_names_files_is_refused(tmp_path, grids):
    system = f"+proj=longlat +datum=WGS84 +nadgrids={grids}"
    path = tmp_path / "street.csv"
    path.write_text(f"photo_id,path,lon,lat,crs\na,street/a.jpg,7.4,46.9,{system}\n")
    assert "is not a known reference system" in photo_tables.read_photos(path)[1][0]


@pytest.mark.parametrize("text", ["a: [", "- 1", "text", "7", "a: !!python/name:os.system", "\x07"])
def test_a_parameter_file_that_is_none_is_a_sentence(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(BadInput, match="params.yaml"):
        boundary.settings(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("# nothing\n")
    assert boundary.settings(tmp_path / "params.yaml") == {}
    with pytest.raises(Missing):
        boundary.settings(tmp_path / "no.yaml")


def test_halves_of_characters_in_json_become_question_marks():
    found = boundary.parsed('{"a\\ud800": ["\\uDFFF b", NaN, "\\ud83d\\ude00"]}')
    assert list(found) == ["a?"] and found["a?"][::2] == ["? b", "\U0001f600"]
    found["a?"][0].encode()
