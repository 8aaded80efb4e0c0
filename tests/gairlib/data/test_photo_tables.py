"""Photo tables in pieces: nothing lost, nothing swallowed, the same whatever the piece's size."""

import csv
import io
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import Transformer

from gairlib.data import csv_tables, photo_rows, photo_tables, table_files, tables
from gairlib.errors import BadInput, Missing

HEADER = "photo_id,path,lon,lat,heading,captured_at"


REAL = Path(__file__).resolve().parents[4] / "shared/real/street.csv"


def write(path: Path, *lines: str, header: str = HEADER, end: str = "\n") -> Path:
    path.write_bytes(end.join([header, *lines, ""]).encode())
    return path


def whole(path, rows=500_000) -> tuple[pd.DataFrame, pd.Series]:
    pieces = list(photo_tables.chunks(path, rows))
    return pd.concat([p for p, _ in pieces]), pd.concat([r for _, r in pieces])


def good(name: str) -> str:
    return f"{name},street/{name}.jpg,10.5,20.25,370,2023-05-01T10:00:00Z"


def test_columns_come_in_order_and_as_meant(tmp_path):
    path = write(
        tmp_path / "a.csv",
        "007,s/a.jpg,190.5,-35,-10,,TRUE,NA,3,1.5,x,me",
        "8,s/b.jpg,1,2,,1717924792000,0,,4,,,you",
        header=HEADER + ",is_spherical,country,levels,share,note,source",
    )
    photos, reasons = whole(path)
    assert tuple(photos.columns[:9]) == photo_rows.NORMAL and reasons.isna().all()
    assert all(reason is None for reason in reasons)
    assert list(photos["photo_id"]) == ["007", "8"] and list(photos["lon"]) == [-169.5, 1]
    assert photos["heading"][0] == 350 and np.isnan(photos["heading"][1])
    assert photos["captured_at"].isna()[0] and photos["captured_at"][1] == "2024-06-09T09:19:52Z"
    assert list(photos["is_spherical"]) == [True, False] and photos["licence"].isna().all()
    assert photos["country"][0] == "NA" and photos["country"].isna()[1]
    assert photos["levels"].dtype == np.int64 and photos["share"].dtype == np.float64
    assert list(photos["photo_source"]) == ["me", "you"] == list(photos["source"])


def test_every_bad_row_has_its_reason_and_its_place(tmp_path):
    lines = [
        good("a"),
        "b,street/b.jpg,10,20",
        good("c") + ",extra",
        "",
        "d,../d.jpg,1,2,,",
        "e,/etc/passwd,1,2,,",
        "f,street/f.jpg,139.7,east,,",
        "g,street/g.jpg,35,139,,",
        "h,street/h.jpg,500,0,,",
        ",street/i.jpg,1,2,,",
        "j,,1,2,,",
        "k,street/k.jpg,,2,,",
        'l,street/l.jpg,1,2,3,"never closed',
        "m,C:/m.jpg,1,2,,",
        "   ",
        good("n"),
        'o,street/o.jpg,1,2,3,"two\nlines"',
        'p,street/5" pipe.jpg,1,2,3,',
        good("q"),
        "r,..\\r.jpg,1,2,,",
        "s,street/s.jpg,inf,2,,",
    ]
    photos, reasons = whole(write(tmp_path / "a.csv", *lines))
    assert list(photos.index) == list(range(19)) and list(photos.index) == list(reasons.index)
    expected = {
        1: "4 fields where the header has 6: 'b,street/b.jpg,10,20'",
        2: "7 fields",
        3: "leaves the dataset folder",
        4: "leaves the dataset folder",
        5: "lon 139.7, lat east: both must be numbers",
        6: "lon and lat may be swapped",
        7: "not a position",
        8: "no photo_id",
        9: "no path",
        10: "must be numbers",
        11: "cannot be parsed",
        12: "leaves the dataset folder",
        17: "leaves the dataset folder",
        18: "must be numbers",
    }
    assert set(reasons.index[reasons.notna()]) == set(expected)
    for row, part in expected.items():
        assert part in reasons[row], (row, reasons[row])
    assert list(photos["photo_id"][reasons.isna()]) == ["a", "n", "o", "p", "q"]
    assert photos["captured_at"][14] == "two\nlines" and photos["path"][15].endswith('5" pipe.jpg')


def oracle(text: str, names: int) -> list[list[str] | None]:
    """Line by line with Python's csv module; None for a line with another number of fields."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    return [row if len(row) == names else None for row in rows]


@pytest.mark.parametrize("seed", range(4))
def test_pieces_and_blocks_of_any_size_give_what_a_loop_gives(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    kinds = [
        good,
        lambda n: f'{n},"street/{n}, x.jpg",1,2,3,"say ""so"""',
        lambda n: f"{n},short",
        lambda n: "",
        lambda n: f"{n},a,1,2,3,4,5,6,7",
        lambda n: f"{n},b.jpg,,nan,x,",
        lambda n: f'{n},"q.jpg",1.5e1,-2.25,,"a\nb"',
    ]
    lines = [kinds[rng.integers(7)](f"{k:03d}") for k in range(30)]
    end = ["\n", "\r\n"][seed % 2]
    path = write(tmp_path / "a.csv", *(line.replace("\n", end) for line in lines), end=end)
    if seed == 3:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().rstrip())  # a mark, no last line end
    monkeypatch.setattr(csv_tables, "BLOCK", 10_000)
    photos, reasons = whole(path)
    expected = oracle("\n".join(lines), 6)
    assert len(photos) == len(expected)
    for row, wanted in enumerate(expected):
        if wanted is None:
            assert "fields where" in reasons[row] and pd.isna(photos["photo_id"][row])
        else:
            assert photos["photo_id"][row] == wanted[0] and photos["path"][row] == wanted[1]
            assert (reasons[row] is None) == (wanted[2] != "")
            if reasons[row] is None:
                assert photos["lon"][row] == float(wanted[2])
            assert str(photos["captured_at"][row] or "").replace("\r", "") in (wanted[5], "nan")
    for block, rows in ((1, 9), (300, 7)):
        monkeypatch.setattr(csv_tables, "BLOCK", block)
        for a, b in zip((photos, reasons), whole(path, rows)):
            (pd.testing.assert_frame_equal if a is photos else pd.testing.assert_series_equal)(a, b)
        assert max(len(p) for p, _ in photo_tables.chunks(path, rows)) <= rows


def test_stray_quotes_swallow_no_neighbours(tmp_path):
    lines = [good(f"{k:03d}") for k in range(200)]
    lines[20] = '020,"street/020.jpg,1,2,3,'
    photos, reasons = whole(write(tmp_path / "one.csv", *lines))
    assert list(reasons.index[reasons.notna()]) == [20] and len(photos) == 200
    lines[150] = '150,"street/150.jpg,1,2,3,'  # an even number of quotes now
    photos, reasons = whole(write(tmp_path / "two.csv", *lines))
    assert list(reasons.index[reasons.notna()]) == [20, 150] and len(photos) == 200


def test_a_line_that_is_not_utf8_is_that_lines_reason(tmp_path):
    path = write(tmp_path / "a.csv", good("a"), good("ü"), good("c"))
    path.write_bytes(path.read_bytes() + "z,street/ü.jpg,1,2,3,\n".encode("latin-1"))
    photos, reasons = whole(path)
    assert list(photos["photo_id"][:3]) == ["a", "ü", "c"]
    assert reasons[:3].isna().all() and reasons[3] == "the line is not UTF-8 text"


def test_kinds_of_extra_columns_agree_between_pieces(tmp_path):
    extra = [f"{k},{k},{k},{2**60 + k},true,x" for k in range(9)]
    extra += [f",1.5,late,,,{2**60}"]
    path = write(
        tmp_path / "a.csv",
        *(good(f"p{k}") + "," + e for k, e in enumerate(extra)),
        header=HEADER + ",gap,share,word,long,truth,text",
    )
    for piece, _ in photo_tables.chunks(path, 3):
        kinds = [str(kind) for kind in piece.dtypes.iloc[-6:]]
        assert kinds == ["float64", "float64", "str", "str", "str", "str"]
    frame, _ = whole(path)
    assert frame["long"][8] == str(2**60 + 8)  # float64 would lose its last digits


def test_parquet_of_any_kind_of_column(tmp_path):
    n = 10
    table = pa.table(
        {
            "photo_id": pa.array([None if k == 4 else 2**60 + k for k in range(n)]),
            "path": pa.array([f"s/{k}.jpg" for k in range(n)]).dictionary_encode(),
            "lon": pa.array([str(k) for k in range(n)]),
            "lat": pa.array(range(1, n + 1), pa.int32()),
            "captured_at": pa.array(
                [k * 10**6 for k in range(n)], pa.timestamp("us", tz="Asia/Tokyo")
            ),
            "is_spherical": pa.array([k % 2 == 0 for k in range(n)]),
            "levels": pa.array([None, *range(1, n)]),
            "price": pa.array([Decimal(k) / 4 for k in range(n)], pa.decimal128(12, 4)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    photos, reasons = whole(tmp_path / "a.parquet", rows=3)
    assert photos["photo_id"][3] == str(2**60 + 3) and reasons[4] == "no photo_id"
    assert reasons.notna().sum() == 1 and list(photos["lon"]) == list(range(n))
    assert photos["captured_at"][9] == "1970-01-01T00:00:09Z"
    assert list(photos["is_spherical"]) == [k % 2 == 0 for k in range(n)]
    for piece, _ in photo_tables.chunks(tmp_path / "a.parquet", 3):
        assert piece["levels"].dtype == np.float64 and len(piece) <= 3
        assert piece["price"].dtype == np.float64
    assert list(photos["price"]) == [k / 4 for k in range(n)]


def test_parquet_gives_what_csv_gives(tmp_path):
    path = write(tmp_path / "a.csv", good("a"), "b,../b.jpg,1,2,,", "c,c.jpg,100.5,100.5,,")
    pd.read_csv(path).to_parquet(tmp_path / "a.parquet")
    for a, b in zip(whole(path), whole(tmp_path / "a.parquet")):
        (pd.testing.assert_frame_equal if a.ndim == 2 else pd.testing.assert_series_equal)(a, b)


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path):
    path = tmp_path / "a.parquet"
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "photo_id": [f"{k}" for k in range(3000)],
            "path": "a.jpg",
            "lon": rng.random(3000),
            "lat": rng.random(3000),
        }
    )
    frame.to_parquet(path, row_group_size=1000)
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[start : start + 60] = b"\xff" * 60
    path.write_bytes(content)
    photos, reasons = whole(path)
    assert len(photos) == 3000 and set(reasons.index[reasons.notna()]) == set(range(1000, 2000))
    assert "row group 1 of a.parquet" in reasons[1500]
    path.write_bytes(content[:500])
    with pytest.raises(BadInput, match="a.parquet"):
        whole(path)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:2056", "EPSG:3857", "EPSG:4326"])
@pytest.mark.parametrize("suffix", ["parquet", "geoparquet"])
def test_geoparquet_points_of_any_crs(tmp_path, crs, suffix):
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(7, 9, 40), rng.uniform(46, 48, 40)
    frame = gpd.GeoDataFrame(
        {"photo_id": range(40), "path": "a.jpg"}, crs=4326, geometry=gpd.points_from_xy(lon, lat)
    )
    frame = frame.to_crs(crs)
    frame.loc[3, "geometry"] = None
    frame.loc[5, "geometry"] = shapely.box(0, 0, 1, 1)
    frame.loc[7, "geometry"] = shapely.Point()
    frame.to_parquet(tmp_path / f"a.{suffix}")
    photos, reasons = whole(tmp_path / f"a.{suffix}", rows=7)
    assert reasons[3] == reasons[7] == "no point in the geometry column"
    assert "Polygon" in reasons[5]
    rest = np.setdiff1d(np.arange(40), [3, 5, 7])
    assert reasons.notna().sum() == 3 and "geometry" not in photos
    assert abs(photos["lon"].to_numpy() - lon)[rest].max() < 1e-7
    assert abs(photos["lat"].to_numpy() - lat)[rest].max() < 1e-7


def test_geoparquet_without_a_crs_and_with_native_points(tmp_path):
    points = gpd.points_from_xy([1.5, 2.5], [3, 4])
    frame = gpd.GeoDataFrame({"photo_id": ["a", "b"], "path": "a.jpg"}, geometry=points)
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="'geometry'"):
        whole(tmp_path / "a.parquet")
    frame.set_crs(4326).to_parquet(tmp_path / "a.parquet", geometry_encoding="geoarrow")
    assert list(whole(tmp_path / "a.parquet")[0]["lon"]) == [1.5, 2.5]


def test_rows_of_mixed_reference_systems(tmp_path):
    x, y = Transformer.from_crs(4326, 32633, always_xy=True).transform(15.5, 48.2)
    rows = [
        f"a,a.jpg,{x!r},{y!r},EPSG:32633,",
        f"b,a.jpg,{x!r},{y!r},,32633",
        "c,a.jpg,15.5,48.2,,",
        "d,a.jpg,15.5,48.2,EPSG:4326,",
        "e,a.jpg,1,2,Mars,",
        "f,a.jpg,1,2,,99999",
        "g,a.jpg,east,48.2,EPSG:4326,",
        "h,a.jpg,35,139,,",
        "i,a.jpg,1e30,1e30,EPSG:32633,",
        f"j,a.jpg,{x!r},,EPSG:32633,",
    ]
    path = write(tmp_path / "a.csv", *rows, header="photo_id,path,lon,lat,crs,epsg")
    photos, reasons = whole(path, rows=4)
    assert reasons[:4].isna().all() and reasons[4:].notna().all()
    assert abs(photos["lon"][:4] - 15.5).max() < 1e-9 and abs(photos["lat"][:4] - 48.2).max() < 1e-9
    assert "'Mars'" in reasons[4] and "EPSG:99999" in reasons[5]
    assert "lon east" in reasons[6] and "swapped" in reasons[7]
    assert "EPSG:32633" in reasons[8] and "numbers" in reasons[9]
    assert list(photos["given_crs"][:2]) == ["EPSG:32633"] * 2 and "crs" not in photos


@pytest.mark.parametrize("column", ["crs", "epsg"])
def test_codes_that_went_through_floats_and_systems_of_no_map(tmp_path, column):
    head = f"photo_id,path,lon,lat,{column}"
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(8.5, 47.25)
    lines = (f"a,a.jpg,{x},{y},32632.0", f"b,a.jpg,{x},{y}, 32632 ", "c,a.jpg,8.5,47.25,")
    none = ("d,a.jpg,8.5,47.25,5773", "e,a.jpg,8.5,47.25,4978", f"f,a.jpg,{y},{x},32632")
    photos, reasons = whole(write(tmp_path / "a.csv", *lines, *none, header=head))
    np.testing.assert_allclose(photos.loc[:2, ["lon", "lat"]], [[8.5, 47.25]] * 3)
    assert reasons[:3].isna().all() and "EPSG:5773" in reasons[3] and "EPSG:4978" in reasons[4]
    assert "outside the reference system" in reasons[5]


def test_unusable_tables_are_one_clear_error(tmp_path):
    with pytest.raises(Missing, match="nowhere.csv"):
        whole(tmp_path / "nowhere.csv")
    for content, match in (
        (b"", "no header"),
        (b"\xff\xfe\x00a", "not readable as a table"),
        (b"id,x\n1,2\n", "lacks the columns photo_id, path, lon, lat"),
        (b"photo_id,path,lon,lon\n", "'lon' stands more than once"),
    ):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(BadInput, match=f"a.csv: .*{match}"):
            whole(tmp_path / "a.csv")
    with pytest.raises(BadInput, match="rows: 0"):
        whole(write(tmp_path / "b.csv", good("a")), rows=0)


def test_a_table_without_rows_gives_one_empty_piece(tmp_path):
    pieces = list(photo_tables.chunks(write(tmp_path / "a.csv")))
    assert len(pieces) == 1 and len(pieces[0][0]) == 0 and "is_spherical" in pieces[0][0]
    pieces[0][0].to_parquet(tmp_path / "a.parquet")
    assert len(list(photo_tables.chunks(tmp_path / "a.parquet"))) == 1


def test_id_hashes_are_the_same_in_another_process():
    ids = pd.Series(["a", "007", "ü", None, "a"])
    hashes = photo_tables.id_hashes(ids)
    assert hashes.dtype == np.uint64 and hashes[0] == hashes[4] and len(set(hashes)) == 4
    code = (
        "import pandas as pd; from gairlib.data.photo_tables import id_hashes;"
        "print(*id_hashes(pd.Series(['a','007','ü',None,'a'], dtype=object)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [int(v) for v in done.stdout.split()] == hashes.tolist()


def test_memory_does_not_grow_with_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_tables, "BLOCK", 1 << 16)
    sizes = {}
    for count in (5_000, 50_000):
        path = write(tmp_path / "a.csv", *(good(f"{k:06d}") for k in range(count)))
        before, most = pa.total_allocated_bytes(), 0
        for _ in table_files.pieces(path, 2_000, photo_rows.NORMAL):
            most = max(most, pa.total_allocated_bytes() - before)
        sizes[count] = most
    assert sizes[50_000] < 2 * sizes[5_000] + 100_000


@pytest.mark.skipif(not REAL.is_file(), reason="shared/real is not there")
def test_the_real_table_comes_as_before():
    photos, reasons = whole(REAL, rows=20)
    text = {"photo_id": str, "path": str}
    gaps = ["", "nan", "NaN", "null", "NULL"]
    before = pd.read_csv(
        REAL, dtype=text, keep_default_na=False, na_values=gaps
    )  # by pandas, without our own reading
    tables.positions(before)
    before["is_spherical"] = tables.truths(before["is_spherical"])
    before["heading"] = tables.headings(before.get("heading", pd.Series(np.nan, before.index)))
    before["captured_at"] = before.get("captured_at")
    assert len(photos) == 57 and reasons.isna().all()
    for name in before.columns:
        ours, theirs = photos[name], before[name]
        assert ((ours == theirs) | (ours.isna() & theirs.isna())).all(), name
