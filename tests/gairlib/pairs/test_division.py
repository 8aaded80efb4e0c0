"""Photos without a column `split`: of the world, of a city, of a quarter."""

import numpy as np
import pandas as pd
import pytest

from gairlib.pairs.division import divide


def chunks(lon, lat, rows=500):
    frame = pd.DataFrame({"lon": lon, "lat": lat})
    reasons = pd.Series(None, index=frame.index, dtype=object)
    return [(frame[i : i + rows], reasons[i : i + rows]) for i in range(0, len(frame), rows)]


def city(km: float, photos: int = 2000, lon: float = 8.5, lat: float = 47.3):
    rng, degrees = np.random.default_rng(0), km / 111.0
    east = rng.uniform(0, degrees / np.cos(np.radians(lat)), photos)
    return (lon + east + 180) % 360 - 180, lat + rng.uniform(0, degrees / 2, photos)


def division(lon, lat, **more):
    return divide(chunks(lon, lat, **more), 0.05, 0, 640.0, 500.0)


def test_photos_of_many_places_are_divided_by_blocks_as_soon_as_that_is_clear():
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-170, 170, 4000), rng.uniform(-60, 60, 4000)
    assert division(lon, lat).block_deg == 0.05 and not division(lon, lat).sentence

    def read():
        yield from chunks(lon, lat)[:1]
        raise AssertionError("the second chunk is not needed")

    assert divide(read(), 0.05, 0, 640.0, 500.0).block_deg == 0.05


def test_a_city_trains_between_its_ends_whatever_the_order_and_the_meridian():
    for west in (8.5, 179.95):
        lon, lat = city(10, lon=west)
        found = division(lon, lat)
        split = found.of(lon, lat)
        shares = pd.Series(split).value_counts(normalize=True)
        assert 0.1 <= shares["test"] < 0.2 and 0.1 <= shares["val"] < 0.2 and shares["train"] > 0.6
        east = (lon - west + 180) % 360 - 180
        assert east[split == "test"].max() < east[split == "train"].min()
        assert east[split == "train"].max() < east[split == "val"].min()
        assert "nothing about other cities" in found.sentence
        back = division(lon[::-1], lat[::-1], rows=300)
        assert back == found


@pytest.mark.parametrize("west", [8.5, 9.1, -0.1, 179.9, -73.95])
@pytest.mark.parametrize("off", [0.0, 1e-12, -1e-12])
def test_positions_on_the_borders_of_columns_are_divided_as_they_were_counted(west, off):
    """Tables rounded to three decimals put every photo on a border: 40 columns of 50 photos."""
    column = np.repeat(np.arange(40), 50)
    lon = (west + column / 200 + off + 180) % 360 - 180
    lat = np.full(2000, 47.31) + np.tile(np.arange(50), 40) * 1e-4
    split = division(lon, lat).of(lon, lat)
    assert set(column[split == "test"]) == set(range(4))
    assert set(column[split == "val"]) == set(range(36, 40))


def test_in_a_quarter_nothing_is_held_out_and_the_report_says_so():
    lon, lat = city(0.6, photos=60)
    found = division(lon, lat)
    assert set(found.of(lon, lat)) == {"train"} and "nothing is held out" in found.sentence
    same = division(np.full(5, 8.5), np.full(5, 47.3))
    assert set(same.of(np.full(5, 8.5), np.full(5, 47.3))) == {"train"}


def test_photos_of_a_few_places_far_apart_are_not_said_to_be_of_one_city():
    """Three cities are up to 17,000 km apart, which is not what their longitudes are apart."""
    lon, lat = np.array([-122.401, 8.541, 151.201]), np.array([37.801, 47.401, -33.901])
    found = division(lon, lat)
    assert sorted(found.of(lon, lat)) == ["test", "train", "val"]
    two = division(lon[1:], lat[1:])
    assert set(two.of(lon[1:], lat[1:])) == {"train"} and "nothing is held out" in two.sentence
    for sentence in (found.sentence, two.sentence):
        assert "few places up to about 16,5" in sentence, sentence
        assert "city" not in sentence and "streets" not in sentence and "all photos" not in sentence


def test_a_table_with_a_split_of_its_own_or_no_photo_is_left_alone():
    frame = pd.DataFrame({"lon": [1.0], "lat": [2.0], "split": ["test"]})
    reasons = pd.Series([None], dtype=object)
    assert not divide([(frame, reasons)], 0.05, 0, 640.0, 500.0).sentence
    empty = (frame.drop(columns="split")[:0], reasons[:0])
    assert not divide([empty], 0.05, 0, 640.0, 500.0).sentence
