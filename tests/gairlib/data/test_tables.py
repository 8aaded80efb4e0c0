"""Columns of tables: numbers and paths, judged row by row."""

import numpy as np
import pandas as pd
import pytest

from gairlib.data import tables
from gairlib.pairs.input import days


def test_numbers_do_not_depend_on_their_company():
    rng = np.random.default_rng(0)
    texts = pd.Series([repr(float(v)) for v in rng.uniform(-180, 180, 500)], dtype="str")
    alone = tables.numbers(texts)
    odd = ["east", " 12.5 ", "+3", "1_000", None, "0x10", "1e3", "-.5", "7."]
    odd = pd.Series(odd, dtype="str")
    mixed = tables.numbers(pd.concat([texts, odd], ignore_index=True))
    assert (alone == texts.map(float)).all() and (mixed[:500] == alone).all()
    np.testing.assert_array_equal(mixed[500:], [np.nan, 12.5, 3, *[np.nan] * 3, 1000, -0.5, 7])


@pytest.mark.parametrize(
    "path",
    [
        "a.jpg",
        "street/a.jpg",
        "../a.jpg",
        "x/../../a.jpg",
        "x/../a.jpg",
        "/a.jpg",
        "~/a.jpg",
        "./~/a",
        "~a/b.jpg",
        "C:\\a.jpg",
        "./C:/a.jpg",
        "\\\\host\\a.jpg",
        "x\\..\\..\\a.jpg",
        "a..b/c.jpg",
        "a\0.jpg",
        "x/./../..",
        "photo:1.jpg",
        "ab:c.jpg",
        ".hidden/a.jpg",
        "..",
        ".",
    ],
)
def test_many_paths_are_judged_as_one_is(path):
    many = tables.path_reasons(pd.Series(["ok.jpg", path, None], dtype="str"))
    assert many[0] is None and many[2] is None and many[1] == tables.path_reason(path)


@pytest.mark.parametrize(
    "path, right",
    [
        ("/home/jo/Bern/street/walk/1.jpg", "street/walk/1.jpg"),
        ("C:\\data\\photos\\1.jpg", "photos/1.jpg"),
        ("../1.jpg", "1.jpg"),
    ],
)
def test_a_path_that_leads_out_gets_the_one_that_would_be_right(path, right):
    reason = tables.path_reason(path)
    assert reason.endswith(f"write it relative to the folder, such as {right!r}")


@pytest.mark.parametrize(
    "given, wanted",
    [
        ("20210505154657", "2021-05-05T15:46:57"),
        ("20210505154657.0", "2021-05-05T15:46:57.0"),
        ("20210505154657123", "2021-05-05T15:46:57"),
        ("202105051546", "2021-05-05T15:46"),
        ("20210505", "2021-05-05"),
        ("1620222417", "2021-05-05T13:46:57Z"),
        ("1620222417000000000", "2021-05-05T13:46:57Z"),
        ("1.620222417E+12", "2021-05-05T13:46:57Z"),
        ("20210505T154657Z", "2021-05-05T15:46:57Z"),
        ("20210505_154657", "2021-05-05T15:46:57"),
        ("2021-05-05_15-46-57", "2021-05-05T15:46:57"),
        ("2021-05-05 15:46:57,123", "2021-05-05T15:46:57.123"),
        ("2021/5/5 9:07", "2021-05-05T09:07"),
        ("05.05.2021 15:46", "2021-05-05T15:46"),
        ("2021-05-05 15:46:57 +0200", "2021-05-05T15:46:57+0200"),
    ],
)
def test_spellings_of_a_moment(given, wanted):
    assert tables.times(pd.Series([given, "2020-01-01"], dtype="str"))[0] == wanted


@pytest.mark.parametrize("kind", ["str", "float64", "object"])
def test_a_time_that_cannot_be_read_is_kept_and_counted(kind):
    given = [16202224170, 12345678901, 20211305154657, 44321, 0, 1620222417000]
    values = pd.Series(given).astype(kind)
    found = tables.times(values)
    assert list(found[:5]) == [str(v) for v in given[:5]] and found[5] == "2021-05-05T13:46:57Z"
    assert np.isnan(days(values)[:5]).all() and not np.isnan(days(values)[5])
    # five digits of a mantissa leave the hour open; with slashes day and month may be swapped
    for text in ("1.62022E+12", "05/06/2021 15:46", "44321.657", "soon"):
        assert tables.times(pd.Series([text], dtype="str"))[0] == text


@pytest.mark.parametrize("word", ["now", "today", "N/A", "None", "NaT"])
def test_a_word_is_no_date(word):
    assert np.isnan(days(pd.Series([word], dtype="str"))).all()


def test_seconds_with_a_fraction_are_a_moment():
    found = tables.times(pd.Series(["1620222417.25"], dtype="str"))
    assert found[0] == "2021-05-05T13:46:57Z"


def test_headings_in_the_spellings_of_tables():
    given = [
        "N",
        "nne",
        " SW ",
        "NNW",
        "12,5",
        "90º",
        "7 degrees",
        "north",
        "E5",
        "-1e-20",
        "1,2,3",
    ]
    wanted = [0, 22.5, 225, 337.5, 12.5, 90, 7, np.nan, np.nan, 0, np.nan]
    np.testing.assert_array_equal(tables.headings(pd.Series(given, dtype="str")), wanted)
    assert tables.headings(pd.Series([-1e-20]))[0] == 0


def test_a_day_that_went_through_a_number_keeps_its_time():
    found = tables.times(pd.Series([20210505154657, 20210505, 202105051546]))
    assert list(found) == ["2021-05-05T15:46:57", "2021-05-05", "2021-05-05T15:46"]


def test_ids_as_spreadsheets_write_them():
    given = ["4e71", "12e5", "'00123", '="00124"', " ab ", "  ", "'tis", "a=b"]
    found, reasons = tables.ids(pd.Series(given, dtype="str"))
    assert reasons.isna().all() and pd.isna(found[5])
    assert list(found.drop(5)) == ["4e71", "12e5", "00123", "00124", "ab", "'tis", "a=b"]
    short = ["1.23457E+15", "1,23457E+15", "1E+15", "1.23457E15", "1e+16"]
    _, reasons = tables.ids(pd.Series(short, dtype="str"))
    assert all("spreadsheet" in reason for reason in reasons)
    _, reasons = tables.ids(pd.Series([16777217, 5, np.nan], dtype="float32"))
    assert "float" in reasons[0] and reasons[1:].isna().all()
    assert list(tables.ids(pd.Series([b"ab", b"c "]))[0]) == ["ab", "c"]


def test_what_says_neither_yes_nor_no_of_a_sphere_is_a_gap():
    given = [True, "YES", "equirectangular", 1.0, "Spherical", 0, "perspective", "No", "fisheye"]
    known = tables.stated(pd.Series(given, dtype=object))
    assert known.dtype == bool and known.tolist() == [True] * 5 + [False] * 4
    asked = tables.stated(pd.Series(["true", "pano", "360", "", None, "0"], dtype=object))
    assert asked.isna().tolist() == [False, True, True, True, True, False]
    assert asked[0] and not asked[5]


def test_truths_in_the_spellings_of_tables():
    given = ["true", " TRUE", "yes", "t", "1", "1.0", "WAHR", "false", "no", "f", "0", None, "n"]
    assert list(tables.truths(pd.Series(given))) == [True] * 7 + [False] * 6


@pytest.mark.parametrize(
    "lon, lat, lost",
    [
        ([7.5, 0.0, 7.6], [46.9, 0.0, 46.8], [1]),
        (["7.5", "0", "0.0"], ["46.9", "0", "-0.0"], [1, 2]),
        ([-1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], []),  # a grid with the equator in it
        ([0.0, 5.0], [51.5, 40.0], []),  # Greenwich
    ],
)
def test_zero_zero_is_no_position_but_on_a_grid(lon, lat, lost):
    reasons = tables.positions(pd.DataFrame({"lon": lon, "lat": lat}), grid=True)
    assert reasons.index[reasons.notna()].tolist() == lost
    assert all("unknown position" in reasons[row] for row in lost)


def test_where_a_photo_table_is_cut_says_nothing_of_its_positions():
    """A photo at Greenwich makes no grid of a table, of which pieces alone are seen."""
    frame = pd.DataFrame({"lon": [0.0, 0.0, 7.5, 0.0], "lat": [51.5, 0.0, 46.9, 0.0]})
    whole = tables.positions(frame.copy())
    pieces = [tables.positions(frame[i : i + 1].copy()) for i in range(4)]
    assert whole.notna().tolist() == [False, True, False, True]
    assert pd.concat(pieces).tolist() == whole.tolist()


@pytest.mark.parametrize(
    "text, iso",
    [
        ("5 May 2021", "2021-05-05"),
        ("05-Sep-2021 15:46", "2021-09-05T15:46"),
        ("Wed, 05 May 2021 15:46:57 GMT", "2021-05-05T15:46:57Z"),
        ("December 24, 2021", "2021-12-24"),
        ("Jan. 3 2021 03:04:05", "2021-01-03T03:04:05"),
        ("2021-Mar-15", "2021-03-15"),
        ("2021-05-05T15:46:57+02:00[Europe/Berlin]", "2021-05-05T15:46:57+02:00"),
    ],
)
def test_months_may_have_names(text, iso):
    assert tables.times(pd.Series([text])).tolist() == [iso]
    assert np.isfinite(days(pd.Series([text]))).all()


@pytest.mark.parametrize(
    "text", ["5 Mai 2021", "May", "now", "5 May 21", "May 2021", "31 Feb 2021"]
)
def test_other_words_are_no_dates(text):
    assert np.isnan(days(pd.Series([text]))).all()
