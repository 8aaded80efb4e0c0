"""Labels that are labels, and classes that a split lacks."""

import numpy as np
import pandas as pd
import pytest

from gairlib.errors import BadInput
from research.tasks import labels as columns


@pytest.mark.parametrize(
    "values, kind, why",
    [
        (np.linspace(0, 1, 30), "regression", ""),
        (["a"] * 25 + ["b"] * 25, "classification", ""),
        ([True, False] * 25, "classification", ""),
        ([1.0] * 30, "", "equal"),
        ([1.0] * 10, "", "fewer than 20"),
        (["a"] * 30, "", "two classes"),
        ([f"https://x/{i}" for i in range(60)] + ["a"] * 20 + ["b"] * 20, "", "no classes"),
    ],
)
def test_label_kinds(values, kind, why):
    found, reason = columns.label_kind(pd.Series(values))
    assert found == kind and why in reason and bool(kind) != bool(reason)


@pytest.mark.parametrize(
    "mark, rest, unknown",
    [
        (-9999.0, np.linspace(0, 1, 40), True),
        (-999.0, np.linspace(-40, 45, 40), True),  # degrees Celsius
        (np.float64(np.float32(-3.4028235e38)), np.linspace(0, 1, 40), True),
        (-9999.0, np.linspace(-11_000, 8_800, 40), False),  # heights: a value among others
        (-999.0, np.linspace(-2000, 1500, 40), False),
        (-998.0, np.linspace(0, 1, 40), False),  # far off, but nobody's mark
        (0.0, np.linspace(5, 6, 40), False),
    ],
)
def test_marks_of_what_is_not_known_are_no_labels(mark, rest, unknown):
    values = np.append(rest, [mark] * 3)
    assert columns.marked(values).tolist() == [False] * 40 + [unknown] * 3
    notes = []
    rows, found = columns.labelled(table(43, v=values), "v", "regression", "rows", notes)
    assert len(rows) == len(found) == (40 if unknown else 43)
    assert bool(notes) == unknown and all("3 rows" in n and "unknown" in n for n in notes)
    few = pd.Series([mark] * 40 + [0.1, 0.2, 0.3])
    if unknown:
        assert "fewer than 20" in columns.label_kind(few)[1]


def test_one_text_among_numbers_is_named(folder):
    values = pd.Series([*map(str, range(40)), "n/a"])
    kind, why = columns.label_kind(values)
    assert kind == "" and "row 40 holds 'n/a'" in why
    assert columns.label_kind(values[:40])[1]  # texts all the same: numbers come as numbers


def table(n: int = 60, **columns) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    places = {"lon": 7 + rng.random(n), "lat": 47 + rng.random(n)}
    return pd.DataFrame(places | columns)


@pytest.mark.parametrize(
    "name",
    [
        *("photo_id", "Image ID", "imageId", "OBJECTID_1", "osm_id", "user_id.1", "Unnamed: 0", ""),
        *("fid", "FID_2", "system:index", "thumb_1024_url"),
        *("easting", "Northing", "utm_x", "X_UTM32", "POINT_X", "lat_wgs84", "longitude_2"),
        *("lon.1", "lat_left", "x_coord", "gps_latitude", "the_geom", ".geo", "centroid_x"),
        *("Shape_Area", "Shape_Length", "Shape_Leng", "hFoV", "heading_1", "is_pano"),
        *("year", "capture_month", "hour_utc", "day_of_week"),
    ],
)
def test_names_in_any_spelling_that_are_no_labels(name):
    rng = np.random.default_rng(1)
    values = rng.integers(1, 12, 60)
    given = table(**{name: values, "of": values})
    if name == "day_of_week":  # "of" alone says nothing
        assert columns.why_left_out(given, "of") is None
    assert "name" in columns.why_left_out(given, name)


@pytest.mark.parametrize(
    "name",
    [
        *("y", "green_view", "pm2_5", "land_use", "year_built", "population_2020", "lat_class"),
        *("class_id", "quality", "shape", "travel_time", "walkability_index", "緑視率", "%", "z"),
        *("x", "distance_to_centre", "elevation", "slope", "time_of_day", "bike_path"),
    ],
)
def test_labels_stay_labels(name):
    values = np.random.default_rng(1).normal(size=60).round(3)
    given = table(**{name: ["day", "night"] * 30 if name == "time_of_day" else values})
    assert columns.why_left_out(given, name) is None


def test_columns_that_are_no_labels_by_what_they_hold():
    n, rng = 60, np.random.default_rng(2)
    kept = np.flatnonzero(rng.random(80) > 0.2)[:n].astype(float)
    given = table(n)
    given = given.assign(
        rows=np.arange(n, dtype=float),
        rest=kept,
        east=71_000 * given["lon"] - 900 * given["lat"],
        across=given["lon"].round(4) + 360,
        when=pd.date_range("2021-01-01", periods=n),
        day=["2021-05-05T10:00:00Z"] * n,
        spot=["POINT (7 47)"] * n,
        tags=[["a"], ["b"]] * (n // 2),
        raw=[b"a"] * n,
        warmth=30 - 0.5 * given["lat"] + rng.normal(size=n) * 0.05,
        size=np.sort(rng.choice(10**6, n, replace=False)),
        x=rng.normal(size=n),
    )
    words = "numbers numbers position position dates dates geometries list bytes".split()
    for name, word in zip("rows rest east across when day spot tags raw".split(), words):
        assert word in columns.why_left_out(given, name), name
    assert columns.label_columns(given) == ["warmth", "size", "x"]
    assert columns.label_columns(given.assign(y=1.0 * rng.normal(size=n))) == ["warmth", "size"]


@pytest.mark.parametrize(
    "values, why",
    [
        ([0.0] * 29 + [1e300], "rescale"),
        (list(np.linspace(-1, 1, 30) * 1e-200), "rescale"),
        ([5.0] * 29 + [5.0 + 1e-15], "equal"),
        ([np.inf] * 15 + [-np.inf] * 15, "fewer than"),
        ([np.inf] * 10 + [1.0] * 20, "equal"),
        ([[1, 2], [3]] * 15, "two classes"),
        ([None] * 30, "fewer than"),
    ],
)
def test_hostile_columns_have_a_reason(values, why):
    kind, reason = columns.label_kind(pd.Series(values))
    assert kind == "" and why in reason


def test_infinite_labels_are_left_out_and_counted():
    notes = []
    table = pd.DataFrame({"x": [1.0, np.inf, 2.0, np.nan]})
    rows, labels = columns.labelled(table, "x", "regression", "rows", notes)
    assert labels.tolist() == [1.0, 2.0] and len(rows) == 2 and notes[0].startswith("1 rows")


@pytest.mark.parametrize("part, labels", [("test", "aaabbbaaa"), ("training", "aaaaaabba")])
def test_a_class_that_a_split_lacks_is_an_error_that_names_it(part, labels):
    split = pd.Series(["train"] * 6 + ["test"] * 3)
    with pytest.raises(BadInput, match=f"street.csv.*class 'b' has no {part} rows"):
        columns.check_split(np.array(list(labels)), split, "street.csv, column `x`")
    columns.check_split(np.array(list("aabbabaab")), split, "street.csv")
    columns.check_split(np.array(list(labels)), None, "street.csv")
