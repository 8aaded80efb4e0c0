"""Global Streetscapes tables: the published columns, joins by uuid in any order, derived tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gairlib.data import photo_tables, streetscapes
from gairlib.errors import BadInput, Missing

REAL = Path(__file__).resolve().parents[4] / "shared/real/tables/gs_labels.csv"
COLUMNS = (
    "uuid,source,orig_id,lat,lon,datetime_local,year,heading,projection_type,hFoV,sequence_id"
).split(",")


def common(count: int = 5) -> pd.DataFrame:
    """Rows as in metadata_common_attributes.csv, invented."""
    k = np.arange(count)
    return pd.DataFrame(
        {
            "uuid": [f"{i:08d}-aaaa" for i in k],
            "source": np.where(k % 2, "KartaView", "Mapillary"),
            "orig_id": 1_666_317_524_185_300 + k,
            "lat": 48.7 + k / 100,
            "lon": 9.1 + k / 100,
            "datetime_local": "2024-07-09 03:24:18.913000+02:00",
            "year": 2024,
            "heading": 29.9 + k,
            "projection_type": np.where(k % 3, "perspective", "spherical"),
            "hFoV": np.nan,
            "sequence_id": "aE5o7bTMH0UtscOYxhVwID",
        }
    )[COLUMNS]


def whole(path, **more) -> tuple[pd.DataFrame, pd.Series]:
    pieces = list(streetscapes.read(path, **more))
    return pd.concat([p for p, _ in pieces]), pd.concat([r for _, r in pieces])


def test_published_columns_become_a_photo_table(tmp_path):
    table = common()
    table.loc[4, "lat"] = 100
    table.to_csv(tmp_path / "metadata_common_attributes.csv", index=False)
    photos, reasons = whole(tmp_path / "metadata_common_attributes.csv", rows=2)
    assert list(photos["photo_id"]) == list(table["uuid"])
    assert photos["path"][1] == "street/00000001-aaaa.jpeg"
    assert list(photos["photo_source"][:2]) == ["Mapillary", "KartaView"]
    assert (photos["licence"] == "CC BY-SA 4.0").all()
    assert photos["captured_at"][0] == "2024-07-09T03:24:18.913000+02:00"
    assert list(photos["is_spherical"]) == [True, False, False, True, False]
    assert photos["orig_id"][0] == "1666317524185300" and photos["year"].dtype.kind == "i"
    assert list(reasons.isna()) == [True] * 4 + [False] and "swapped" in reasons[4]


def test_photo_tables_know_the_schema_by_its_columns(tmp_path):
    common().to_csv(tmp_path / "street.csv", index=False)
    by_name, _ = whole(tmp_path / "street.csv")
    ((by_columns, reasons),) = photo_tables.chunks(tmp_path / "street.csv")
    pd.testing.assert_frame_equal(by_name, by_columns)
    assert reasons.isna().all()
    assert streetscapes.recognise(COLUMNS)
    assert streetscapes.recognise(["image_id", "source", "lon", "lat"])
    assert not streetscapes.recognise(["photo_id", "path", *COLUMNS])
    assert not streetscapes.recognise(["photo_id", "path", "lon", "lat", "source"])
    assert not streetscapes.recognise(["uuid", "source", "city"])


@pytest.mark.parametrize("order", ["same", "shuffled", "a few", "none", "late"])
def test_side_tables_join_as_pandas_does(tmp_path, order):
    base = common(11)
    rng = np.random.default_rng(0)
    side = pd.DataFrame(
        {
            "uuid": base["uuid"],
            "source": base["source"],
            "orig_id": 1,
            "city": rng.choice(["Ulm", "Bonn"], 11),
            "count": np.arange(11),
            "score": rng.random(11),
            "flag": rng.random(11) > 0.5,
        }
    )
    side = {
        "same": side,
        "shuffled": side.iloc[rng.permutation(11)],
        "a few": side[3:6],
        "none": side[:0],
        "late": side.drop(index=8),
    }[order]
    base.to_csv(tmp_path / "02_metadata.csv", index=False)
    side.to_csv(tmp_path / "01_side.csv", index=False)
    pd.DataFrame({"uuid": base["uuid"], "weather": "clear"}).to_parquet(tmp_path / "w.parquet")
    photos, reasons = whole(tmp_path, rows=3)
    expected = base[["uuid"]].merge(side, on="uuid", how="left")
    assert list(photos["photo_id"]) == list(base["uuid"]) and reasons.isna().all()
    assert (photos["weather"] == "clear").all()
    for name in ("city", "count", "score", "flag"):
        for a, b in zip(photos[name], expected[name]):
            assert pd.isna(a) and pd.isna(b) or str(a) == str(b) or float(a) == float(b), name
    kinds = {
        tuple(p[["count", "city"]].dtypes.astype(str))
        for p, _ in streetscapes.read(tmp_path, rows=3)
    }
    assert len(kinds) == 1 or order == "none"


def test_where_the_pictures_lie_can_be_said(tmp_path):
    base = common(2)
    base.to_csv(tmp_path / "a.csv", index=False)
    photos, _ = whole(tmp_path / "a.csv", path_template="img/{source}/{orig_id}.jpg")
    assert photos["path"][0] == "img/Mapillary/1666317524185300.jpg"
    for template in ("{name}.jpg", "{uuid.jpg"):
        with pytest.raises(BadInput, match="path_template"):
            whole(tmp_path / "a.csv", path_template=template)
    with pytest.raises(BadInput, match="path"):
        whole(tmp_path / "a.csv", path_template=None)
    base.assign(path=["x/1.jpg", "../2.jpg"]).to_csv(tmp_path / "a.csv", index=False)
    photos, reasons = whole(tmp_path / "a.csv", path_template=None)
    assert photos["path"][0] == "x/1.jpg" and "leaves the dataset folder" in reasons[1]


def test_other_tables_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("uuid,city\n1,Ulm\n")
    with pytest.raises(BadInput, match="uuid, source, lon and lat"):
        whole(tmp_path / "a.csv")
    with pytest.raises(Missing, match="no Global Streetscapes table"):
        whole(tmp_path)


def test_damaged_rows_keep_their_neighbours(tmp_path):
    lines = common().to_csv(index=False).splitlines()
    lines.insert(3, "broken,row")
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    photos, reasons = whole(tmp_path / "a.csv")
    assert len(photos) == 6 and list(reasons.index[reasons.notna()]) == [2]
    assert "2 fields where the header has 11" in reasons[2]


@pytest.mark.skipif(not REAL.is_file(), reason="shared/real is not there")
def test_the_real_rows_come_whole():
    given = pd.read_csv(REAL, dtype={"sequence_id": str})
    ((photos, reasons),) = photo_tables.chunks(REAL)
    assert len(photos) == len(given) == 4630 and reasons.isna().all()
    assert photos["photo_id"].is_unique and set(photos["photo_source"]) == set(given["source"])
    np.testing.assert_array_equal(photos["lon"], given["lon"])
    np.testing.assert_array_equal(photos["lat"], given["lat"])
    assert (photos["weather"] == given["weather"]).all()
    gaps = photos["sequence_id"].isna() == given["sequence_id"].isna()
    assert gaps.all()
