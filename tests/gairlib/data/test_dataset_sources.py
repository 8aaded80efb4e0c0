"""Everything that a dataset folder may hold in place of a table and single files."""

import json
import shutil

import numpy as np
import pytest
from builders.small_files import ORIGIN, ramp, write_photo, write_scene
from builders.small_photos import SMALL, table
from builders.small_scenes import item, on_10_m, write_bands
from PIL import Image

from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from gairlib.pairs.pairing import pair

FAR = (ORIGIN[0] + 30_000, ORIGIN[1])


def test_scenes_of_all_three_kinds_side_by_side(tmp_path):
    write_scene(tmp_path / "scenes/whole.tif", ramp(10, 96, 96), baseline="3.0")
    bands = write_bands(tmp_path / "scenes/parts", low=1200)
    (tmp_path / "scenes/parts/item.json").write_text(json.dumps(item("parts", ".")))
    write_bands(tmp_path / "listed", origin=FAR)
    collection = {
        "type": "FeatureCollection",
        "features": [
            item("listed", "listed", origin=FAR),
            item("gone", "nowhere"),
            item("whole", "listed"),
        ],
    }
    (tmp_path / "scenes.json").write_text(json.dumps(collection))
    (tmp_path / "scenes/empty").mkdir()
    dataset = Dataset(tmp_path)
    found = {s.id: s for s in dataset.scenes()}
    assert set(found) == {"whole", "parts", "listed"}
    why = {r["item"]: r["reason"] for r in dataset.rejected}
    assert set(why) == {"empty", "gone", "whole"} and "more than once" in why["whole"]
    assert "nowhere" in why["gone"] and "B02" in why["empty"]
    expected = on_10_m(bands).astype(int)
    expected = np.where(expected == 0, 0, np.maximum(expected - found["parts"].offset, 0))
    np.testing.assert_array_equal(scenes.read(found["parts"]), expected)


def test_a_list_of_scenes_on_a_server_contacts_nobody_unless_asked(tmp_path):
    remote = item("far", "http://127.0.0.1:9/nothing")
    (tmp_path / "scenes.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": [remote]})
    )
    dataset = Dataset(tmp_path)
    assert dataset.scenes() == []
    assert "remote" in dataset.rejected[0]["reason"]
    assert [s.id for s in Dataset(tmp_path, remote=True).scenes()] == ["far"]


def test_photos_without_a_table_are_paired_by_their_exif_positions(tmp_path):
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 96, 96), baseline="3.0")
    place = table([40], [40]).iloc[0]
    exif = Image.Exif()

    def parts(value):
        degrees, rest = divmod(abs(value), 1)
        minutes, rest = divmod(rest * 60, 1)
        return (degrees, minutes, rest * 60)

    exif.get_ifd(0x8825).update(
        {1: "N", 2: parts(place["lat"]), 3: "E", 4: parts(place["lon"]), 16: "T", 17: 45.0}
    )
    write_photo(tmp_path / "street/plain.jpg")
    Image.open(tmp_path / "street/plain.jpg").save(tmp_path / "street/placed.jpg", exif=exif)
    dataset = Dataset(tmp_path)
    assert dataset.street()["photo_id"].tolist() == ["placed"]
    pairs = pair(dataset.photo_table(), dataset.scenes(), photos_root=tmp_path, **SMALL)
    assert pairs.report["photos_in"] == 2 and pairs.report["paired"] == 1
    assert pairs.manifest["heading"].tolist() == [45.0]
    assert pairs.rejected["photo_id"].tolist() == ["plain"]


@pytest.mark.parametrize("kind", ["streetscapes", "geoparquet"])
def test_other_tables_serve_as_the_photo_table(tmp_path, kind):
    import geopandas

    street = table([30, 50], [30, 50])
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 96, 96), baseline="3.0")
    write_photo(tmp_path / "one.jpg")
    for name in ("u0", "u1"):
        (tmp_path / "street").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "one.jpg", tmp_path / f"street/{name}.jpeg")
    if kind == "streetscapes":
        (tmp_path / "streetscapes").mkdir()
        rows = street.assign(uuid=["u0", "u1"], source="Mapillary", orig_id=["1", "2"])
        rows[["uuid", "source", "orig_id", "lat", "lon"]].to_csv(
            tmp_path / "streetscapes/simplemaps.csv", index=False
        )
    else:
        points = geopandas.points_from_xy(street["lon"], street["lat"], crs=4326)
        frame = street[["photo_id"]].assign(path=["street/u0.jpeg", "street/u1.jpeg"])
        frame = geopandas.GeoDataFrame(frame, geometry=points).to_crs(32654)
        frame.to_parquet(tmp_path / "street.geoparquet")
    dataset = Dataset(tmp_path)
    assert len(dataset.street()) == 2
    pairs = pair(dataset.photo_table(), dataset.scenes(), photos_root=tmp_path, **SMALL)
    assert pairs.report["paired"] == 2, pairs.report
    if kind == "streetscapes":
        assert pairs.manifest["photo_source"].tolist() == ["Mapillary"] * 2
        assert set(pairs.manifest["licence"]) == {"CC BY-SA 4.0"}
