"""Windows and chips: the same values whatever is cached, each block read once."""

import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from builders.small_files import write_scene
from builders.small_scenes import write_band, write_bands
from hypothesis import given, settings
from hypothesis import strategies as st

from gairlib.bands import BANDS
from gairlib.data import scene_assets, scene_reader, scenes
from gairlib.data.scene_reader import Reader
from gairlib.data.scene_values import nodata_to_zero
from gairlib.errors import BadInput


def tiled(path, values, block=32, nodata=0, **options):
    blocks = dict(tiled=True, blockxsize=block, blockysize=block, compress="deflate")
    return write_scene(
        path,
        values,
        crs="EPSG:32632",
        origin=(399_960, 5_300_040),
        names=[*BANDS, "SCL"][: len(values)],
        nodata=nodata,
        baseline="05.00",
        **blocks,
        **options,
    )


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """200 x 170 px in tiles of 32, with an SCL band and some pixels without data."""
    rng = np.random.default_rng(0)
    values = rng.integers(900, 9000, (11, 170, 200)).astype(np.uint16)
    values[10] = rng.integers(0, 12, (170, 200))
    values[:10, :20, :30] = 0
    return scenes.open_scene(tiled(tmp_path_factory.mktemp("s") / "a.tif", values)), values


def naive(values, offset, c, r, w, h):
    """The window as the specification says it, number by number."""
    raw = values[:10, r : r + h, c : c + w].astype(np.int64)
    harmonised = np.where(raw > 0, np.clip(raw - offset, 0, 65535), 0)
    return harmonised.astype(np.uint16), (raw > 0).any(axis=0), values[10, r : r + h, c : c + w]


@pytest.mark.parametrize("cache_bytes", [2**29, 2_000_000, 1])
def test_windows_do_not_depend_on_the_cache(scene, monkeypatch, cache_bytes):
    monkeypatch.setattr(scene_reader, "BLOCK", 32)
    scene, values = scene
    rng = np.random.default_rng(1)
    with Reader(scene, cache_bytes=cache_bytes) as reader:
        assert reader.block == (32, 32)
        for _ in range(60):
            w, h = rng.integers(1, 90, 2)
            c, r = rng.integers(0, 200 - w + 1), rng.integers(0, 170 - h + 1)
            for a, b in zip(reader.window(c, r, w, h), naive(values, 1000, c, r, w, h)):
                np.testing.assert_array_equal(a, b)
        assert reader._bytes <= max(cache_bytes, 11 * 32 * 32 * 2)
        assert reader._bytes == sum(a.nbytes for block in reader._cache.values() for a in block)
        for bad in [(-1, 0, 5, 5), (0, 166, 5, 5), (196, 0, 5, 5), (0, 0, 0, 5)]:
            with pytest.raises(BadInput, match="outside"):
                reader.window(*bad)


def test_chips_come_block_by_block_and_each_block_is_read_once(scene, monkeypatch):
    monkeypatch.setattr(scene_reader, "BLOCK", 32)
    scene, _ = scene
    rng = np.random.default_rng(2)
    boxes = [(float(c), float(r), 16.0, 16.0) for c, r in rng.integers(0, 154, (80, 2))]
    boxes[7] = (10.25, 20.5, 16.0, 16.0)  # one that is resampled
    touched = {
        (y // 32, x // 32)
        for c, r, w, h in boxes
        for y in range(int(r), math.ceil(r + h))
        for x in range(int(c), math.ceil(c + w))
    }
    with Reader(scene) as one_by_one:
        expected = [one_by_one.chip(*b, 16) for b in boxes]
    row_of_blocks = 2 * 7 * 11 * 32 * 32 * 2  # two rows of seven blocks are enough
    with Reader(scene, cache_bytes=row_of_blocks) as reader:
        got = dict(reader.chips(boxes, 16))
        assert reader.blocks_read == len(touched)
    assert sorted(got) == list(range(80))
    for i, chip in got.items():
        np.testing.assert_array_equal(chip.values, expected[i].values)
        assert chip.transform == expected[i].transform
        assert (chip.nodata_share, chip.cloud_share) == (
            expected[i].nodata_share,
            expected[i].cloud_share,
        )
        assert list(reader.chips([], 16)) == []


def test_small_strips_are_read_as_larger_blocks(tmp_path):
    values = np.random.default_rng(0).integers(1, 4000, (10, 600, 90)).astype(np.uint16)
    path = tmp_path / "a.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=10,
        height=600,
        width=90,
        dtype="uint16",
        crs="EPSG:32632",
        blockysize=8,
        transform=Affine(10, 0, 4e5, 0, -10, 5e6),
    ) as target:
        target.write(values)
    scene = scenes.open_scene(path)
    with Reader(scene) as reader:
        assert reader.block == (256, 90)  # 32 strips of the whole width
        np.testing.assert_array_equal(reader.window(5, 250, 80, 20)[0], values[:, 250:270, 5:85])
        assert reader.blocks_read == 2


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]),
    st.sampled_from([0, 1000]),
    st.sampled_from([0.0, 255.0, -9999.0, 7.0]),
    st.integers(0, 99),
)
def test_harmonised_numbers_against_plain_arithmetic(dtype, offset, nodata, seed):
    rng = np.random.default_rng(seed)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if "int" in dtype else (-1e4, 9e4)
    raw = rng.uniform(max(low, -2e4), min(high, 9e4), (10, 4, 5)).astype(dtype)
    raw[:, 0, 0] = 0
    if low <= nodata <= high:
        raw[:, 1, 1] = nodata
    if "float" in dtype:
        raw[:, 2, 2] = np.nan
    values, valid = scene_reader.harmonised(nodata_to_zero(raw, nodata), offset)
    assert values.dtype == np.uint16
    for index in np.ndindex(4, 5):
        some, every, brightest = False, True, 0.0
        for band in range(10):
            dn = float(raw[band][index])
            there = dn == dn and dn != nodata and dn > 0
            some, every = some or there, every and there
            brightest = max(brightest, dn if there else 0.0)
            expected = min(max(int(dn - offset), 0), 65535) if there else 0
            assert values[band][index] == expected
        # A band that lacks a value where others are bright is a gap; in the dark it fell to 0.
        assert valid[index] == (some and (every or brightest < scene_reader.LIT + offset))


def test_asset_that_goes_while_a_run_goes_on_is_named(tmp_path):
    write_bands(tmp_path / "a", low=300)
    scene = scene_assets.open_folder(tmp_path / "a")
    good = (tmp_path / "a/B11.tif").read_bytes()
    (tmp_path / "a/B11.tif").write_bytes(good[: len(good) // 2])
    with pytest.raises(BadInput, match=r"scene a \(B11.tif\)"):
        scenes.read(scene)
    write_band(tmp_path / "a/B11.tif", np.ones((24, 24), np.uint16), 20)
    with pytest.raises(BadInput, match=r"scene a \(B11.tif\).*replaced"):
        scenes.read(scene)
    (tmp_path / "a/B11.tif").unlink()
    with pytest.raises(BadInput, match=r"scene a \(B11.tif\).*opened"):
        scenes.read(scene)


def test_benchmark_checks_that_the_values_are_equal(tmp_path, monkeypatch):
    from research.speed import scene_reading

    scene_reading.write(tmp_path / "a.tif", 600)
    scene = scenes.open_scene(tmp_path / "a.tif")
    assert scene.offset == 1000
    for spread in ("city", "even"):
        boxes = scene_reading.places(spread, 600, 45)
        assert all(0 <= c <= 504 and 0 <= r <= 504 for c, r, _, _ in boxes)
        found = scene_reading.compare(scene, boxes)
        assert found["chips_blocks"] <= 4 and found["chips_times_open"] > 0
        assert 45 / 8 <= found["pairing_chips"] < 45
    wrong = scene_reader.harmonised
    monkeypatch.setattr(scene_reader, "harmonised", lambda raw, offset: wrong(raw, 999))
    with pytest.raises(AssertionError, match="other values"):
        scene_reading.compare(scene, boxes)
