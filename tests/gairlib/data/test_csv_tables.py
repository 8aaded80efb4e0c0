"""CSV files as spreadsheets, old computers and downloads leave them: read, or one sentence."""

import gzip
import io
import time
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gairlib.data import csv_head, photo_tables
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput

ROWS = [(7.66 + k / 100, 47.84, 10.5 + k, f"Ort {k}") for k in range(5)]
PLAIN = "lon,lat,rent,name\n" + "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in ROWS)
COMMAS = PLAIN.replace(",", ";").replace(".", ",")
TABS = PLAIN.replace(",", "\t")


def read(tmp_path, content: bytes, name: str = "t.csv"):
    (tmp_path / name).write_bytes(content)
    frame, reasons = photo_tables.read_places(tmp_path / name)
    return frame[reasons.isna()], list(reasons.dropna())


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        ("\ufeff" + PLAIN).encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        TABS.replace("\n", "\r\n").encode("utf-16"),  # Excel's "Unicode text"
        TABS.replace(".", ",").encode("utf-16"),  # the same in Germany
        COMMAS.encode(),
        ("sep=;\r\n" + COMMAS.replace("\n", "\r\n")).encode("utf-8-sig"),
        ("sep=,\n" + PLAIN).encode(),
        ('"sep=\t"\n' + TABS).encode(),
        PLAIN.replace(",", "|").encode(),
        PLAIN.replace("\n", "\r").encode(),  # Macs before 2001
        ("\n \r\n\n" + PLAIN).encode(),
        ("# a survey, 2021; lon and lat in degrees\n#\n" + PLAIN).encode(),
        ("#" + PLAIN).encode(),
        ("# " + PLAIN).encode("utf-16"),
        PLAIN.replace("lon,lat,rent,name", '"lon","lat","rent","name"').encode(),
        PLAIN.replace(",", ", ").encode(),
        PLAIN.replace("\n", ",,\n").encode(),
        "".join(
            ",".join(f'"{v}"' for v in line.replace(".", "*").split(",")).replace("*", ",") + "\n"
            for line in PLAIN.splitlines()
        ).encode(),  # decimal commas between quotation marks
    ],
)
def test_a_table_in_any_dress_is_the_same_table(tmp_path, content):
    frame, reasons = read(tmp_path, content)
    assert not reasons and list(frame["name"]) == [row[3] for row in ROWS]
    found = frame[["lon", "lat", "rent"]].astype(float).to_numpy()
    np.testing.assert_allclose(found, [row[:3] for row in ROWS])


@pytest.mark.parametrize(
    ("places", "cells", "values"),
    [
        ("11,5;48,137", ["1.234", "12.345", "987"], [1234, 12345, 987]),
        ("11.5;48.137", ["1.234,5", "1.234", "2,5"], [1234.5, 1234, 2.5]),
        ("11.5;48.137", ["1.234.567", "-1.234", ""], [1234567, -1234, np.nan]),
        ("11,5;48,137", ["1.234", "1.5", "0.125"], [1.234, 1.5, 0.125]),
        ("11.5;48.137", ["1.234", "1.25", "2"], [1.234, 1.25, 2]),
    ],
)
def test_dots_group_thousands_where_the_column_or_the_positions_show_it(
    tmp_path, places, cells, values
):
    text = "lon;lat;rent\n" + "".join(f"{places};{cell}\n" for cell in cells)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame, reasons = read(tmp_path, text.encode())
    assert not reasons and frame["lat"].astype(float).tolist() == [48.137] * 3
    np.testing.assert_array_equal(frame["rent"].to_numpy(float), values)


@pytest.mark.parametrize(
    ("values", "read_as"),
    [
        (['"1,234.50"', "987", '"12,345,678"'], [1234.5, 987, 12345678]),
        (['"1,234"', '"-1,234"', ""], [1234, -1234, np.nan]),
        (['"1,234"', '"12,34"', "5"], ["1,234", "12,34", "5"]),
        (['"1,234"', "Paris", "5"], ["1,234", "Paris", "5"]),
    ],
)
def test_commas_group_thousands_beside_decimal_points(tmp_path, values, read_as):
    rows = "".join(f"11.5,48.137,{value}\n" for value in values)
    frame, reasons = read(tmp_path, b"lon,lat,rent\n" + rows.encode())
    np.testing.assert_array_equal(frame["rent"], read_as)
    assert not reasons


def test_a_dot_of_which_nothing_tells_what_it_is_stays_a_point_and_is_named(tmp_path):
    with pytest.warns(UserWarning, match="rent .*thousands"):
        frame, _ = read(tmp_path, b"lon;lat;rent\n11.5;48.137;1.234\n11.5;48.137;987\n")
    assert frame["rent"].tolist() == [1.234, 987]


@pytest.mark.parametrize("header", ["lon,lat,größe,straße", "lon,lat,rent €,müll", "lon,lat,año,ñ"])
def test_a_western_header_is_read_in_its_encoding(tmp_path, header):
    text = header + "\n" + PLAIN.split("\n", 1)[1].replace("Ort 3", "Bühl")
    frame, reasons = read(tmp_path, text.encode("cp1252"))
    assert not reasons and ",".join(frame.columns) == header and frame.iloc[3, 3] == "Bühl"


@pytest.mark.parametrize(
    "header, encoding",
    [("lon,lat,аренда", "cp1251"), ("lon,lat,家賃", "shift-jis"), ("lon,lat,租金", "gbk")],
)
def test_a_header_in_an_unknown_encoding_is_one_sentence(tmp_path, header, encoding):
    with pytest.raises(BadInput, match="t.csv: .*save it as CSV UTF-8"):
        read(tmp_path, (header + "\n7,47,1\n").encode(encoding))


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("xl/workbook.xml", "<x/>")
    return file.getvalue()


FOREIGN = [
    (picture(), "JPEG"),
    (archive(), r"spreadsheet \(.xlsx"),
    (gzip.compress(PLAIN.encode(), mtime=0), "csv.gz"),
    (b"PAR1\x15\x04\x15", "Parquet"),
    (b'{"type": "FeatureCollection"}', "JSON"),
    (b'[{"lon": 1}]', "JSON"),
    (b"<!DOCTYPE html><html>", "HTML"),
    (b"SQLite format 3\0abc", "GeoPackage"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"\x00\x01\x02\x03\n\x00", "no text"),
    (b"lon,l\x00at,rent\n1,2,3\n", "no text"),
    (b"\xff\xfe\x00\xd8\x00", "not readable"),
    (b"", "no header"),
    (b"\n\n# only remarks\n", "no header"),
    (b"7.6,47.8,12\n", "no header"),
]


@pytest.mark.parametrize("content, match", FOREIGN)
def test_what_is_no_table_is_one_rejected_file_that_says_what_it_is(tmp_path, content, match):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/a.csv").write_bytes(content)
    (tmp_path / "tables/b.csv").write_text(PLAIN)
    (tmp_path / "street.csv").write_bytes(content)
    with pytest.raises(BadInput, match=match):
        csv_head.head(tmp_path / "street.csv")
    dataset = Dataset(tmp_path, tolerant=True)
    assert len(dataset.street()) == 0 and list(dataset.tables()) == ["b"]
    assert [row["item"] for row in dataset.rejected] == ["street.csv", "a.csv"]


def test_zero_bytes_and_damaged_text_cost_their_own_lines(tmp_path):
    lines = PLAIN.encode().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"Ort", b"O\0t")
    lines[4] = lines[4].replace(b"Ort", b"\xd6rt")
    frame, reasons = read(tmp_path, b"".join(lines))
    assert len(frame) == 3 and "zero bytes" in reasons[0] and "UTF-8" in reasons[1]
    text = PLAIN.encode("utf-16-le")
    cut = text.index("Ort 2".encode("utf-16-le"))
    broken = b"\xff\xfe" + text[:cut] + b"\x00\xdc" + text[cut:]  # half of a pair
    frame, reasons = read(tmp_path, broken)
    assert len(frame) == 4 and "UTF-8" in reasons[0]


def test_a_gzip_file_that_breaks_off_keeps_what_came_before(tmp_path):
    rows = "".join(f"{k % 90},{k % 80},{k * 7919 % 1000}\n" for k in range(40_000))
    packed = gzip.compress(("lon,lat,rent\n" + rows).encode())
    frame, reasons = read(tmp_path, packed[: len(packed) // 2], "t.csv.gz")
    assert 5_000 < len(frame) < 35_000 and "from here on" in reasons[-1]


@pytest.mark.parametrize(
    "given, read",
    [
        (["Longitude", "LATITUDE", "v"], ["lon", "lat", "v"]),
        (["lng", "lat"], ["lon", "lat"]),
        (["lon", "lat", "longitude"], ["lon", "lat", "longitude"]),
        (["Lon", "Long", "lat"], ["Lon", "Long", "lat"]),  # which one? not guessed
        (["x", "y"], ["x", "y"]),  # metres or degrees? not guessed
    ],
)
def test_positions_are_read_in_the_spellings_that_tools_write(given, read):
    assert csv_head.told_apart(given)[0] == read


@pytest.mark.parametrize(
    "given, read",
    [
        (["Photo_ID", "PATH", "Lon", "Lat"], ["photo_id", "path", "lon", "lat"]),
        (["Heading", "CAPTURED_AT", "Is_Spherical"], ["heading", "captured_at", "is_spherical"]),
        (["Scene_ID", "Processing_Baseline"], ["scene_id", "processing_baseline"]),
        (["Path", "path", "Green_View"], ["Path", "path", "Green_View"]),
        (["Path", "PATH"], ["Path", "PATH"]),  # which one? not guessed
    ],
)
def test_columns_with_a_meaning_are_read_in_any_case(given, read):
    assert csv_head.told_apart(given)[0] == read


def test_names_that_stand_twice_are_told_apart_in_time():
    names, double = csv_head.told_apart(["a", "a.1", "a", "b", "a"])
    assert names == ["a", "a.1", "a.2", "b", "a.3"] and double == ["a"]
    start = time.process_time()
    names, double = csv_head.told_apart(["x"] * 50_000 + [f"c{k}" for k in range(50_000)])
    assert len(set(names)) == 100_000 and time.process_time() - start < 2


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ten_thousand_columns_cost_ten_times_as_much_as_a_thousand(tmp_path, suffix):
    """The square of their number would be 20 s of processor time."""
    names = ["photo_id", "path", "lon", "lat", *(f"c{k}" for k in range(10_000))]
    frame = pd.DataFrame([["a", "b.jpg", 5.0, 50.0, *[1] * 10_000]], columns=names)
    path = tmp_path / f"street.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    start = time.process_time()
    photos, _ = photo_tables.read_photos(path)
    assert photos.shape[0] == 1 and set(names) <= set(photos)
    assert time.process_time() - start < 8


def test_lines_that_are_not_utf8_are_named_without_a_noise(tmp_path, capfd):
    path = tmp_path / "street.csv"
    path.write_bytes(
        b"photo_id,path,lon,lat\na,b.jpg,5,50\nx,\xff,1\nb,\xff.jpg,5,50,9\nc,d,5,50\n"
    )
    _, reasons = photo_tables.read_photos(path)
    assert reasons.notna().tolist() == [False, True, True, False]
    assert all("not UTF-8" in reason for reason in reasons.dropna())
    assert capfd.readouterr().err == ""


def test_a_stray_quote_on_every_line_costs_no_more_than_its_lines(tmp_path):
    path = tmp_path / "street.csv"
    lines = 'a"b"",b.jpg,5,50\n"a,b.jpg,5,50\nc,d.jpg,6,51\n' * 5000
    path.write_text("photo_id,path,lon,lat\n" + lines)
    start = time.process_time()
    _, reasons = photo_tables.read_photos(path)
    assert len(reasons) == 15_000 and reasons.notna().sum() == 5000
    assert time.process_time() - start < 4


@pytest.mark.parametrize(
    "name, match",
    [
        ("t.xlsx", "CSV UTF-8"),
        ("t.ods", "CSV UTF-8"),
        ("t.geojson", "GeoParquet or CSV"),
        ("t.GPKG", "GeoParquet or CSV"),
        ("t.shp", "GeoParquet or CSV"),
        ("t.feather", "Parquet or CSV"),
        ("t.json", "Parquet or CSV"),
        ("t.dta", "Parquet or CSV"),
    ],
)
def test_tables_of_other_kinds_are_listed_with_a_hint(tmp_path, name, match):
    (tmp_path / "tables").mkdir()
    for path in (tmp_path / "tables" / name, tmp_path / name.replace("t.", "street.")):
        path.write_bytes(b"...")
    for beside in ("t.dbf", "t.prj", "README.md"):
        (tmp_path / "tables" / beside).write_bytes(b"...")
    dataset = Dataset(tmp_path)
    assert dataset.tables() == {} and len(dataset.street()) == 0
    found = {row["item"]: row["reason"] for row in dataset.rejected}
    assert set(found) == {name, name.replace("t.", "street.")}
    assert all(match in reason for reason in found.values())
