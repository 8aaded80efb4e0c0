import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from builders.small_files import ORIGIN, ramp, write_photo, write_scene
from builders.small_photos import SMALL, table
from builders.small_scenes import item, on_10_m, write_bands
from PIL import Image, PngImagePlugin

from gairlib.data import scenes, tables
from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput, Missing
from gairlib.pairs.pairing import pair

REAL = Path(__file__).resolve().parents[4] / "shared/real"


def write_street(folder: Path, rows: list[tuple], columns="photo_id,path,lon,lat") -> None:
    lines = [columns, *(",".join(str(v) for v in row) for row in rows)]
    (folder / "street.csv").write_text("\n".join(lines) + "\n")


def reasons(dataset: Dataset) -> dict[str, str]:
    return {r["item"]: r["reason"] for r in dataset.rejected}


def test_missing_folder_and_empty_folder(tmp_path):
    with pytest.raises(Missing, match="nowhere"):
        Dataset(tmp_path / "nowhere")
    dataset = Dataset(tmp_path)
    assert dataset.scenes() == [] and dataset.tables() == {} and dataset.benchmarks() == {}
    assert len(dataset.street()) == 0 and "is_spherical" in dataset.street()


def test_name_and_synthetic_come_from_dataset_json(tmp_path):
    assert Dataset(tmp_path).name == tmp_path.name and not Dataset(tmp_path).synthetic
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "sample", "synthetic": True}))
    assert Dataset(tmp_path).name == "sample" and Dataset(tmp_path).synthetic
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(BadInput, match="dataset.json"):
        Dataset(tmp_path)


def test_good_scenes_survive_bad_ones(tmp_path):
    values = ramp(10, 32, 32)
    write_scene(tmp_path / "scenes/b.tif", values, baseline="3.0")
    write_scene(tmp_path / "scenes/a.tif", values)
    write_scene(tmp_path / "scenes/nocrs.tif", values, crs=None)
    write_scene(tmp_path / "scenes/t1.tif", ramp(13, 32, 32), names=None)
    write_scene(tmp_path / "scenes/u1.tif", ramp(13, 32, 32), names=None)
    (tmp_path / "scenes/empty.tif").write_bytes(b"")
    write_scene(tmp_path.parent / "outside.tif", values)
    (tmp_path / "scenes.csv").write_text(
        "scene_id,path,processing_baseline,layout\n"
        "a,scenes/a.tif,05.09,\nu,scenes/u1.tif,,l1c\ngone,scenes/gone.tif,,\n"
        "a,scenes/b.tif,,\nout,../outside.tif,,\nabs,/etc/passwd,,\nsneaky,scenes/../../x.tif,,\n"
    )
    with pytest.warns(UserWarning, match=r"1 scene.*processing_baseline"):
        dataset = Dataset(tmp_path, layouts={"t*": "eurosat-ms", "u": "l1c"})
        found = dataset.scenes()
    # scenes/b.tif is listed as a second "a"; it is not taken again under its stem.
    assert [s.id for s in found] == ["a", "t1", "u"]
    assert [s.offset_source for s in found] == ["scenes.csv", "layout", "guessed from pixels"]
    why = reasons(dataset)
    assert "has no CRS" in why["nocrs"] and "no such file" in why["gone"]
    assert "more than once" in why["a"] and "not readable" in why["empty"]
    assert all("leaves the dataset folder" in why[k] for k in ("out", "abs", "sneaky"))
    with pytest.raises(BadInput, match="'nocrs'.*CRS"):
        dataset.scene("nocrs")


def test_every_bad_photo_row_is_listed_and_no_good_row_lost(tmp_path):
    for name in ("a", "b", "c"):
        write_photo(tmp_path / f"street/{name}.jpg")
    (tmp_path / "street/empty.jpg").write_bytes(b"")
    content = (tmp_path / "street/a.jpg").read_bytes()
    (tmp_path / "street/cut.jpg").write_bytes(content[: len(content) // 2])
    write_photo(tmp_path.parent / "elsewhere.jpg")
    rows = [
        ("a", "street/a.jpg", 139.7, 35.6),
        ("swap", "street/a.jpg", 35.6, 139.7),
        ("gap", "street/a.jpg", "", 35.6),
        ("text", "street/a.jpg", "east", 35.6),
        ("far", "street/a.jpg", 500, 35.6),
        ("a", "street/b.jpg", 139.7, 35.6),
        ("gone", "street/gone.jpg", 139.7, 35.6),
        ("empty", "street/empty.jpg", 139.7, 35.6),
        ("cut", "street/cut.jpg", 139.7, 35.6),
        ("out", "../elsewhere.jpg", 139.7, 35.6),
        ("none", "", 139.7, 35.6),
        ("", "street/a.jpg", 139.7, 35.6),
        ("007", "street/b.jpg", 190.5, -35.6),
        ("c", "street/c.jpg", -10, 90),
    ]
    write_street(tmp_path, rows)
    dataset = Dataset(tmp_path)
    street = dataset.street()
    assert list(street["photo_id"]) == ["a", "007", "c"]  # the zeros of an id are kept
    assert street["lon"].iloc[1] == -169.5
    assert not street["is_spherical"].any() and street["heading"].isna().all()
    why = reasons(dataset)
    assert len(dataset.rejected) == len(rows) - 3
    assert "swapped" in why["swap"]
    assert "must be numbers" in why["gap"] and "lon east" in why["text"]
    assert "not a position" in why["far"] and "more than once" in why["a"]
    assert why["gone"] == "street/gone.jpg: there is no such photo"
    assert "empty" in why["empty"] and "cut short" in why["cut"]
    assert "leaves" in why["out"] and why["none"] == "no path"
    assert why["row 13"] == "no photo_id"  # as numbered in the file, the header being row 1
    assert dataset.photo(street.iloc[0]).shape == (32, 48, 3)
    assert dataset.photo(street.iloc[0].to_dict(), size=16).shape == (16, 16, 3)
    with pytest.raises(BadInput, match="\\.\\./elsewhere.jpg"):
        dataset.photo({"path": "../elsewhere.jpg"})


def test_columns_are_kept_and_read_as_meant(tmp_path):
    write_photo(tmp_path / "street/a.jpg", (64, 32))
    write_street(
        tmp_path,
        [
            ("a", "street/a.jpg", 1, 2, "TRUE", -10, "NA", 3),
            ("b", "street/a.jpg", 1, 2, "", "", "", 4),
        ],
        "photo_id,path,lon,lat,is_spherical,heading,country,levels",
    )
    street = Dataset(tmp_path).street()
    assert list(street["is_spherical"]) == [True, False]
    assert street["heading"].iloc[0] == 350 and np.isnan(street["heading"].iloc[1])
    assert street["country"].iloc[0] == "NA"  # Namibia, not a gap
    assert street["levels"].dtype.kind == "i"


def test_parquet_gives_what_csv_gives(tmp_path):
    write_photo(tmp_path / "street/a.jpg")
    row = ("a", "street/a.jpg", 1.25, 2.5, 30.0)
    write_street(tmp_path, [row], "photo_id,path,lon,lat,heading")
    from_csv = Dataset(tmp_path).street()
    pd.read_csv(tmp_path / "street.csv").to_parquet(tmp_path / "street.parquet")
    os.remove(tmp_path / "street.csv")
    pd.testing.assert_frame_equal(Dataset(tmp_path).street(), from_csv, check_dtype=False)


def test_a_table_without_the_needed_columns_is_named(tmp_path):
    (tmp_path / "street.csv").write_text("id,y,x\n1,2,3\n")
    with pytest.raises(BadInput, match="street.csv: .*photo_id, path, lon, lat"):
        Dataset(tmp_path).street()
    (tmp_path / "street.csv").write_bytes(b"\xff\xfe\x00broken\x00")
    with pytest.raises(BadInput, match="street.csv"):
        Dataset(tmp_path).street()
    (tmp_path / "street.csv").write_text("")
    with pytest.raises(BadInput, match="street.csv"):
        Dataset(tmp_path).street()


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("street.csv", b"id,latitude,longitude\n1,2,3\n", "lacks the columns photo_id"),
        ("street.csv", b"", "no header"),
        ("street.csv.gz", b"\x1f\x8b\x08\x00 cut", "not readable"),
        ("street.parquet", b"PAR1", "not readable"),
        ("mly_pids.csv", b"a,b\n1,2\n", "lacks the columns lon, lat"),
        ("street/mapillary_image_description.json", b"[1", "mapillary_tools"),
        ("streetscapes/a.csv", b"a,b\n1,2\n", "no Global Streetscapes table"),
        ("dataset.json", b"[1", "not valid JSON"),
    ],
)
def test_a_tolerant_dataset_lists_what_it_cannot_read(
    tmp_path, monkeypatch, name, content, fact, how
):
    """Its neighbours are used; asking again lists nothing twice."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/t.csv").write_text("lon,lat,v\n1,2,3\n")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    if how == "environment":
        monkeypatch.setenv("GAIRLIB_TOLERANT", "1")
    dataset = Dataset(tmp_path, tolerant=True if how == "argument" else None)
    for _ in range(2):
        assert len(dataset.street()) == 0 and len(dataset.tables()["t"]) == 1
        if name != "dataset.json":
            photos, reasons = dataset.photo_table()
            assert len(photos) == len(reasons) == 0
    (row,) = dataset.rejected
    assert fact in row["reason"] and row["kind"] in ("photo table", "description")
    with pytest.raises((BadInput, Missing)):
        Dataset(tmp_path, tolerant=False).street()


def test_tables_reject_by_file_and_row(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "t.csv").write_text("lon,lat,v,country\n10,20,1,NA\n20,100,2,DE\n,5,3,FR\n200,5,4,\n")
    (folder / "bad.csv").write_text("x,y\n1,2\n")
    (folder / "bare.csv").write_text("lon,lat\n1,2\n")
    dataset = Dataset(tmp_path)
    assert list(dataset.tables()) == ["t"]
    table = dataset.tables()["t"]
    assert table["lon"].tolist() == [10, -160] and table["country"].iloc[0] == "NA"
    why = reasons(dataset)
    assert "swapped" in why["t.csv row 3"] and "must be numbers" in why["t.csv row 4"]
    assert "lon, lat" in why["bad.csv"]
    assert "target column" in why["bare.csv"]


def test_benchmarks_are_folders_of_class_folders(tmp_path):
    write_photo(tmp_path / "eurosat_rgb/Forest/1.jpg")
    write_photo(tmp_path / "street/day/1.jpg")
    (tmp_path / "notes/a").mkdir(parents=True)
    dataset = Dataset(tmp_path)
    assert list(dataset.benchmarks()) == ["eurosat_rgb"]


@pytest.mark.parametrize("below", ["", "2750/", "EuroSAT/2750/"])
def test_class_folders_are_found_as_archives_unpack(tmp_path, below):
    write_photo(tmp_path / f"EuroSAT_RGB/{below}Forest/1.jpg")
    write_photo(tmp_path / f"EuroSAT_RGB/{below}River/1.jpg")
    dataset = Dataset(tmp_path)
    assert dataset.benchmarks() == {"eurosat_rgb": tmp_path / "EuroSAT_RGB" / below}
    alone = Dataset(tmp_path / "EuroSAT_RGB")  # the folder itself
    assert alone.benchmarks() == {"eurosat_rgb": tmp_path / "EuroSAT_RGB" / below}
    assert dataset.rejected == alone.rejected == [] and dataset.scenes() == alone.scenes() == []


def test_class_folders_of_a_split_lie_too_deep(tmp_path):
    for part in ("test", "train"):
        write_photo(tmp_path / f"eurosat_rgb/{part}/Forest/1.jpg")
    write_photo(tmp_path / "drive/2021/may/1.jpg")  # pictures that no task asks for
    dataset = Dataset(tmp_path)
    assert dataset.benchmarks() == dataset.benchmarks() == {}
    (why,) = reasons(dataset).values()
    assert "eurosat_rgb/test/Forest/; move it to eurosat_rgb/Forest/" in why


def test_a_scene_under_two_names_is_read_once(tmp_path):
    write_scene(tmp_path / "scenes/b.tif", ramp(10, 32, 32), baseline="03.00")
    write_bands(tmp_path / "scenes/town/product", nodata=0)
    for link, target in (("a.tif", "b.tif"), ("up", ".."), ("late", "town/product")):
        (tmp_path / "scenes" / link).symlink_to(target)
    dataset = Dataset(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [scene.id for scene in dataset.scenes()] == ["b", "town"]
    assert reasons(dataset) == {
        "a": "the same files as scene b",
        "late": "the same files as scene town",
    }
    (tmp_path / "scenes.csv").write_text("scene_id,path\nnewest,scenes/a.tif\nnul,scenes/a\0.tif\n")
    listed = Dataset(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [scene.id for scene in listed.scenes()] == ["newest", "town"]
    assert reasons(listed)["b"] == "the same files as scene newest"


def test_landcover_must_be_on_the_scenes_grid(tmp_path):
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 32, 32), baseline="3.0")
    write_scene(tmp_path / "scenes/b.tif", ramp(10, 32, 32), baseline="3.0")
    for name, size in (("a", 32), ("b", 16)):
        write_scene(
            tmp_path / f"landcover/{name}.tif", np.full((1, size, size), 3, np.uint8), names=None
        )
    (tmp_path / "landcover/classes.csv").write_text("value,name\n3,forest\n")
    dataset = Dataset(tmp_path)
    values, classes = dataset.landcover("a")
    assert values.shape == (32, 32) and classes == {3: "forest"}
    assert dataset.landcover("c") is None
    with pytest.raises(BadInput, match="b.tif: 16 x 16 px.* 32 x 32"):
        dataset.landcover("b")
    elsewhere = Affine(10.0, 0.0, 0.0, 0.0, -10.0, 5_000_000.0)
    with rasterio.open(tmp_path / "landcover/a.tif", "r+") as file:
        file.transform = elsewhere
    with pytest.raises(BadInput, match="a.tif: .* from 0, 5e\\+06.* same grid"):
        dataset.landcover("a")
    shutil.copy(tmp_path / "scenes/a.tif", tmp_path / "scenes/d.tif")
    write_scene(tmp_path / "landcover/d.tif", np.full((1, 32, 32), 3, np.uint8), names=None)
    whole = Dataset(tmp_path)
    assert whole.landcover_scenes() == ["d"]
    assert [r["item"] for r in whole.rejected if r["kind"] == "land cover"] == ["a.tif", "b.tif"]


def test_small_tables_have_their_names_in_any_case(tmp_path):
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 32, 32))
    write_scene(tmp_path / "landcover/a.tif", np.ones((1, 32, 32), np.uint8), names=None)
    (tmp_path / "scenes.csv").write_text(
        "Scene_ID;Path;Processing_Baseline;DateTime\na;scenes/a.tif;5.1;2023-05-01\n"
    )
    (tmp_path / "landcover/classes.csv").write_text("Value;Name\n1.0;Forest\n")
    dataset = Dataset(tmp_path)
    (scene,) = dataset.scenes()
    assert (scene.offset, scene.datetime) == (1000, "2023-05-01")
    assert dataset.landcover("a")[1] == {1: "Forest"}


def test_positions_agree_with_a_loop():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"lon": rng.uniform(-400, 400, 300), "lat": rng.uniform(-200, 200, 300)})
    given = frame.copy()
    reasons = tables.positions(frame)
    for i, (lon, lat) in enumerate(given.to_numpy()):
        good = -180 <= lon <= 360 and -90 <= lat <= 90
        assert pd.isna(reasons[i]) == good
        if not good:
            swapped = abs(lat) > 90 and abs(lat) <= 180 and abs(lon) <= 90
            assert ("swapped" in reasons[i]) == swapped
        elif lon > 180:
            assert frame["lon"][i] == lon - 360


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real is not there")
def test_the_real_folder_is_read_whole():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = Dataset(REAL, layouts={"eurosatms_*": "eurosat-ms"})
        scenes = dataset.scenes()
        dataset.scenes()
    assert len(scenes) == 24 and len(dataset.street()) == 57 and dataset.rejected == []
    guesses = [w for w in caught if "processing baseline" in str(w.message)]
    assert len(guesses) == 1 and "15 scene(s)" in str(guesses[0].message)  # once, for all
    offsets = {s.id for s in scenes if s.offset}
    known = {"satclip_57755", "satclip_74721", "satclip_75123", "satclip_766272"}
    assert known <= offsets  # even their least DN is near or above 1000
    assert not any(s.startswith(("gair", "eurosat")) for s in offsets)
    tables = dataset.tables()
    assert len(tables) == 7 and len(tables["elevation"]) == 7289
    assert list(dataset.benchmarks()) == ["eurosat_rgb"]


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real is not there")
def test_13_bands_without_a_layout_are_rejected_not_guessed():
    dataset = Dataset(REAL)
    with pytest.warns(UserWarning):
        assert len(dataset.scenes()) == 18
    assert all("13 bands without band names" in r["reason"] for r in dataset.rejected)


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
            item("whole", "listed", origin=FAR),
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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("column", [None, "is_spherical"])
def test_a_photos_own_metadata_say_what_its_table_does_not(tmp_path, suffix, column):
    """GPano in XMP counts where the table is silent; where it is not, the table does."""
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 96, 96), baseline="3.0")
    fields = {
        "sphere": b'GPano:ProjectionType="equirectangular"',
        "part": b'GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="128" '
        b'GPano:CroppedAreaImageWidthPixels="64"',
        "cylinder": b'GPano:ProjectionType="cylindrical"',
        "plain": b"",
        "denied": b'GPano:ProjectionType="equirectangular"',
    }
    street = table([30, 40, 50, 60, 35], [30, 40, 50, 60, 35]).assign(photo_id=list(fields))
    street["path"] = [f"street/{name}{suffix}" for name in fields]
    if column:
        street[column] = [None, "", None, None, "false"]
    (tmp_path / "street").mkdir()
    for name, xmp in fields.items():
        packet = b"<x:xmpmeta><a " + xmp + b"/></x:xmpmeta>"
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        more = {"pnginfo": text} if suffix == ".png" else {"xmp": packet}
        Image.new("RGB", (128, 64)).save(tmp_path / f"street/{name}{suffix}", **more)
    street.to_csv(tmp_path / "street.csv", index=False)
    dataset = Dataset(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = dataset.street().set_index("photo_id")["is_spherical"]
    noted = [str(w.message) for w in told if "disagree" in str(w.message)]
    right = {"sphere": True, "cylinder": False, "plain": False, "denied": column is None}
    assert found.to_dict() == right
    assert [r["item"] for r in dataset.rejected] == ["part"]
    assert [f"denied{suffix}" in text for text in noted] == [True] * (column is not None)
    assert dataset.photo_table() == tmp_path / "street.csv"  # read in pieces, never collected
    unchecked = Dataset(tmp_path, check_photos=False).street().set_index("photo_id")
    assert unchecked["is_spherical"].to_dict() == right | {"part": True}
    pairs = pair(dataset.photo_table(), dataset.scenes(), photos_root=tmp_path, **SMALL)
    assert pairs.manifest["is_spherical"].dtype == bool
    views = pairs.manifest.groupby("source_photo_id").size()
    assert views.to_dict() == {name: 4 if sphere else 1 for name, sphere in right.items()}
    flat = pair(
        dataset.photo_table(), dataset.scenes(), photos_root=tmp_path, spherical="skip", **SMALL
    )
    assert set(flat.manifest["photo_id"]) == {name for name in right if not right[name]}
    assert flat.rejected["reason"].str.contains("skipped by option").sum() == sum(right.values())


@pytest.mark.parametrize(
    "path", ["Scenes/A.TIF", "scenes\\a.tif", "./scenes//a.tif", "SCENES\\a.tif"]
)
def test_a_scene_whose_row_spells_its_path_in_another_way_is_one_scene(tmp_path, path):
    write_scene(tmp_path / "scenes/a.tif", ramp(10, 32, 32))
    table = f"scene_id,path,processing_baseline\nx,{path},04.00\n"
    (tmp_path / "scenes.csv").write_text(table)
    dataset = Dataset(tmp_path)
    assert [(s.id, s.offset) for s in dataset.scenes()] == [("x", 1000)] and not dataset.rejected


def test_a_pipe_named_as_a_photo_is_one_rejected_row(tmp_path):
    write_photo(tmp_path / "street/a.jpg")
    os.mkfifo(tmp_path / "street/b.jpg")  # whoever opens it waits for ever
    rows = [{"photo_id": n, "path": f"street/{n}.jpg", "lon": 8.5, "lat": 47.3} for n in "ab"]
    pd.DataFrame(rows).to_csv(tmp_path / "street.csv", index=False)
    data = Dataset(tmp_path)
    assert list(data.street()["photo_id"]) == ["a"]
    assert [row["item"] for row in data.rejected] == ["b"]


def test_locks_of_an_office_program_are_no_tables(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/~$rents.csv").write_bytes(b"\x04user")
    data = Dataset(tmp_path)
    assert data.tables() == {} and data.rejected == []


def test_a_photo_table_that_is_a_lost_link_or_a_folder_is_named(tmp_path):
    (tmp_path / "street.csv").symlink_to("gone.csv")
    (tmp_path / "street.parquet").mkdir()
    (tmp_path / "tables/rents.parquet").mkdir(parents=True)
    data = Dataset(tmp_path)
    assert data.street().empty and data.tables() == {}
    assert set(reasons(data)) == {"street.csv", "street.parquet", "rents.parquet"}


@pytest.mark.parametrize("said, synthetic", [("true", True), ('"no"', False), ('"yes"', True)])
def test_whether_data_are_synthetic_may_be_said_in_words(tmp_path, said, synthetic):
    (tmp_path / "dataset.json").write_text(f'{{"synthetic": {said}}}')
    assert Dataset(tmp_path).synthetic is synthetic


@pytest.mark.parametrize("written", ["20230501.0", "20230501", "'20230501"])
def test_a_scene_whose_id_went_through_a_float_keeps_its_land_cover(tmp_path, written):
    write_scene(tmp_path / "scenes/20230501.tif", ramp(10, 32, 32))
    write_scene(
        tmp_path / "landcover/20230501.TIF", np.ones((1, 32, 32), np.uint8), names=None, nodata=0
    )
    (tmp_path / "landcover/classes.csv").write_text("value,name\n1,forest\n")
    (tmp_path / "scenes.csv").write_text(
        f"scene_id,path,processing_baseline\n{written},scenes/20230501.tif,03.00\n"
        "1.23457E+15,scenes/b.tif,03.00\n"
    )
    dataset = Dataset(tmp_path)
    assert [scene.id for scene in dataset.scenes()] == ["20230501"]
    assert dataset.landcover("20230501")[1] == {1: "forest"}
    assert "spreadsheet" in reasons(dataset)["1.23457E+15"]


def test_parts_are_found_in_any_case(tmp_path):
    write_scene(tmp_path / "Scenes/a.tif", ramp(10, 64, 64), baseline="03.00")
    write_scene(tmp_path / "LandCover/a.tif", np.ones((1, 64, 64), np.uint8), names=None)
    (tmp_path / "LandCover/Classes.csv").write_text("value,name\n1,forest\n")
    for k in range(3):
        write_photo(tmp_path / f"Street/walk/{k}.jpg", seed=k)
    rows = [(k, f"street/walk/{k}.jpg", 139.7 + k / 1000, 35.6) for k in range(3)]
    write_street(tmp_path, rows)
    (tmp_path / "TABLES").mkdir()
    (tmp_path / "TABLES/rents.csv").write_text("lon,lat,rent\n1,2,3\n")
    dataset = Dataset(tmp_path)
    assert [scene.id for scene in dataset.scenes()] == ["a"] and len(dataset.street()) == 3
    assert dataset.landcover("a")[1] == {1: "forest"} and list(dataset.tables()) == ["rents"]
    assert dataset.benchmarks() == {} and dataset.rejected == []
    (tmp_path / "street.csv").unlink()  # without positions in EXIF each is one rejected photo
    assert len(Dataset(tmp_path).street()) == 0 and Dataset(tmp_path).benchmarks() == {}
