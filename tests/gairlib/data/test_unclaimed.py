"""What lies in a dataset folder and is read by nobody is told, with the way out."""

import pytest
from builders.small_files import write_photo

from gairlib.data.dataset import Dataset
from research.tasks import inventory


def told(folder) -> dict[str, str]:
    dataset = Dataset(folder)
    dataset.scenes(), dataset.street(), dataset.tables()
    return {r["item"]: r["reason"] for r in dataset.rejected}


@pytest.mark.parametrize("where", ["DCIM/100CANON", "DCIM/a", "uc_merced/Forest", "photos"])
def test_pictures_that_nothing_asks_for_are_no_benchmark(tmp_path, where):
    """However they are sorted into folders: they would count as usable, and nothing would run."""
    for name in ("1.jpg", "2.JPG"):
        write_photo(tmp_path / where / name)
    dataset = Dataset(tmp_path)
    assert dataset.benchmarks() == {}
    top = where.split("/")[0]
    assert "street/" in told(tmp_path)[f"{top}/ (2 pictures)"]
    assert f"{top}/ (2 pictures)" in inventory.nothing(dataset)


def test_files_of_other_kinds_say_what_to_do(tmp_path):
    write_photo(tmp_path / "IMG_1.JPG")
    for name in ("IMG_2.HEIC", "IMG_3.dng", "takeout-1.tar.gz", "photos.7z"):
        (tmp_path / name).write_bytes(b"1234")
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk/IMG_4.HEIC").write_bytes(b"1234")
    why = told(tmp_path)
    assert "street/" in why["IMG_1.JPG"]
    assert "JPEG" in why["IMG_2.HEIC"] and "JPEG" in why["IMG_3.dng"]
    assert "unpack" in why["takeout-1.tar.gz"] and "unpack" in why["photos.7z"]
    assert "walk/ (1 .heic files)" in why


def test_a_shapefile_is_one_thing_and_a_table_of_places_has_its_place(tmp_path):
    for suffix in ("shp", "shx", "dbf", "cpg", "prj"):
        (tmp_path / f"plots.{suffix}").write_bytes(b"1234")
    (tmp_path / "rents.csv").write_text("lon,lat,rent\n1,2,3\n")
    why = told(tmp_path)
    assert set(why) == {"plots.shp", "rents.csv"}
    assert "GeoParquet" in why["plots.shp"] and "tables/" in why["rents.csv"]
