"""Photos with positions in EXIF: signs, datums, times, panoramas, and reasons for the rest."""

import math
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
from builders.small_files import write_photo
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from gairlib.data import exif, photos
from gairlib.errors import BadInput, Missing

GPS = ExifTags.GPS
REAL = Path(__file__).resolve().parents[4] / "shared/real"


def dms(value: float) -> tuple:
    """Degrees, minutes and seconds to a ten thousandth, as cameras write them."""
    seconds = Fraction(abs(value)).limit_denominator(10**7) * 3600
    whole = int(seconds // 1)
    rest = IFDRational(round((seconds - whole + whole % 60) * 10000), 10000)
    return (IFDRational(whole // 3600, 1), IFDRational(whole // 60 % 60, 1), rest)


def write(path, lon=None, lat=None, gps=None, time=None, offset=None, xmp=b""):
    """A JPEG with EXIF; gps: further entries of the GPS directory, None takes one out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "camera"
    place = tags.get_ifd(ExifTags.IFD.GPSInfo)
    if lon is not None:
        place.update(
            {
                GPS.GPSLongitudeRef: "E" if lon >= 0 else "W",
                GPS.GPSLongitude: dms(lon),
                GPS.GPSLatitudeRef: "N" if lat >= 0 else "S",
                GPS.GPSLatitude: dms(lat),
            }
        )
    for key, value in (gps or {}).items():
        place.pop(key, None)
        if value is not None:
            place[key] = value
    inner = tags.get_ifd(ExifTags.IFD.Exif)
    if time:
        inner[ExifTags.Base.DateTimeOriginal] = time
    if offset:
        inner[ExifTags.Base.OffsetTimeOriginal] = offset
    Image.new("RGB", (16, 8)).save(path, exif=tags, xmp=xmp)
    return path


def table(folder):
    frame, reasons = exif.folder_table(folder)
    return frame.set_index("photo_id"), reasons.set_axis(frame["photo_id"])


@pytest.mark.parametrize("lon, lat", [(139.745433, 35.658581), (-70.66, -33.45), (0, -0.5)])
def test_position_heading_and_time(tmp_path, lon, lat):
    write(
        tmp_path / "street/a.jpg",
        lon,
        lat,
        time="2024:06:09 11:19:52",
        offset="+02:00",
        gps={GPS.GPSImgDirection: IFDRational(150, 100), GPS.GPSImgDirectionRef: "M"},
    )
    frame, reasons = table(tmp_path)
    row = frame.loc["a"]
    assert reasons["a"] is None and row["path"] == "street/a.jpg"
    assert abs(row["lon"] - lon) < 1e-7 and abs(row["lat"] - lat) < 1e-7
    assert row["heading"] == pytest.approx(1.5) and row["heading_ref"] == "M"
    assert row["captured_at"] == "2024-06-09T11:19:52+02:00" and not row["is_spherical"]


def test_without_heading_and_time_there_are_gaps(tmp_path):
    write(
        tmp_path / "street/a.jpg",
        10,
        20,
        time="0000:00:00 00:00:00",
        gps={GPS.GPSImgDirection: IFDRational(0, 0)},
    )
    frame, reasons = table(tmp_path)
    assert reasons["a"] is None and math.isnan(frame.loc["a", "heading"])
    assert frame["captured_at"].isna().all() and frame["heading_ref"].isna().all()


@pytest.mark.parametrize(
    "text",
    [
        b'GPano:ProjectionType="equirectangular"',
        b"<GPano:ProjectionType>equirectangular</GPano:ProjectionType>",
    ],
)
def test_panoramas_are_known_by_their_xmp(tmp_path, text):
    write(tmp_path / "street/a.jpg", 10, 20, xmp=b"<x:xmpmeta>" + text + b"</x:xmpmeta>")
    write(tmp_path / "street/b.jpg", 10, 20, xmp=b'<a GPano:ProjectionType="cylindrical"/>')
    frame, _ = table(tmp_path)
    assert list(frame["is_spherical"]) == [True, False]


def test_panoramas_that_are_no_full_spheres_are_refused_by_name(tmp_path):
    sphere = {b"ProjectionType": b"equirectangular", b"PoseHeadingDegrees": b"123.5"}
    part = {b"FullPanoWidthPixels": b"8192", b"FullPanoHeightPixels": b"4096"}
    part |= {b"CroppedAreaImageWidthPixels": b"8192", b"CroppedAreaImageHeightPixels": b"2048"}
    xmp = {
        "whole": (16, 8, {**sphere, **part, b"CroppedAreaImageHeightPixels": b"4096"}),
        "part": (32, 8, {**sphere, **part}),
        "narrow": (24, 8, sphere),
        "silent": (2048, 1024, {}),
        "flat": (2048, 1024, {b"ProjectionType": b"cylindrical"}),
    }
    for name, (width, height, fields) in xmp.items():
        path = write(tmp_path / f"street/{name}.jpg", 10, 20)
        with Image.open(path) as image:
            tags = image.getexif()
        packet = b"<x " + b" ".join(b'GPano:%s="%s"' % pair for pair in fields.items()) + b"/>"
        Image.new("RGB", (width, height)).save(path, exif=tags, xmp=packet)
    frame, reasons = table(tmp_path)
    assert list(reasons.index[reasons.isna()]) == ["flat", "whole"]
    assert frame["is_spherical"]["whole"] and frame["heading"]["whole"] == 123.5
    assert "2048 of 4096 px" in reasons["part"] and "24 x 8 px" in reasons["narrow"]
    assert "street.csv" in reasons["silent"]
    for name in ("part", "narrow"):
        with pytest.raises(BadInput, match="full sphere"):
            photos.load(tmp_path / f"street/{name}.jpg", view_yaw=0.0)
        photos.check(tmp_path / f"street/{name}.jpg")
    photos.load(tmp_path / "street/whole.jpg", view_yaw=0.0)


def test_odd_tags_that_are_not_needed_cost_no_photo_and_odd_minutes_do(tmp_path):
    write(tmp_path / "street/a.jpg", 10, 20, gps={GPS.GPSImgDirection: IFDRational(1, 0)})
    write(tmp_path / "street/b.jpg", 10, 20, gps={GPS.GPSLatitude: (20.0, 75.0, 0.0)})
    frame, reasons = table(tmp_path)
    assert reasons["a"] is None and math.isnan(frame["heading"]["a"])
    assert "75 minutes" in reasons["b"]


@pytest.mark.parametrize(
    ("time", "offset", "wanted"),
    [
        ("2021-05-05 10:00:00", None, "2021-05-05T10:00:00"),
        ("2021:05:05 10:00:00.25", "+02:00", "2021-05-05T10:00:00.25+02:00"),
        ("2021:05:05 10:00:00Z", "+02:00", "2021-05-05T10:00:00Z"),
        ("2021-05-05T10:00:00+02:00", None, "2021-05-05T10:00:00+02:00"),
        ("2021/05/05 10:00:00", None, "2021-05-05T10:00:00"),
        ("2021:05:05", "+02:00", "2021-05-05"),
        ("    :  :     :  :  ", None, None),
        ("0000:00:00 00:00:00", None, None),
    ],
)
def test_spellings_of_the_time(tmp_path, time, offset, wanted):
    write(tmp_path / "street/a.jpg", 8.5, 47.3, time=time, offset=offset)
    found = table(tmp_path)[0].loc["a", "captured_at"]
    assert str(found).replace(" ", "T") == wanted if wanted else pd.isna(found)


@pytest.mark.parametrize("datum", ["NAD83", "ETRS89", "JGD2011", "WGS 84", "wgs-84\0"])
def test_datums_within_two_metres_of_wgs84_are_taken(tmp_path, datum):
    write(tmp_path / "street/a.jpg", 8.5, 47.25, gps={GPS.GPSMapDatum: datum})
    frame, reasons = table(tmp_path)
    assert reasons.isna().all() and frame.loc["a", "lat"] == 47.25


def test_the_old_datum_of_japan_is_turned_into_wgs84(tmp_path):
    write(tmp_path / "street/a.jpg", 139.748670, 35.655354, gps={GPS.GPSMapDatum: "TOKYO"})
    write(tmp_path / "street/b.jpg", 139.748670, 35.655354, gps={GPS.GPSMapDatum: "WGS-84"})
    write(tmp_path / "street/c.jpg", 139.748670, 35.655354, gps={GPS.GPSMapDatum: "MARS"})
    frame, reasons = table(tmp_path)
    north = (frame.loc["a", "lat"] - frame.loc["b", "lat"]) * 111_000
    west = (frame.loc["b", "lon"] - frame.loc["a", "lon"]) * 90_000
    assert 300 < north < 400 and 250 < west < 350
    assert "GPSMapDatum 'MARS'" in reasons["c"]


def test_what_cannot_be_used_is_named_and_the_rest_kept(tmp_path, monkeypatch):
    folder = tmp_path / "street"
    content = write(folder / "good.jpg", 10, 20).read_bytes()
    write_photo(folder / "none.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(content[:40])
    (folder / "text.jpg").write_text("no image")
    (folder / "notes.txt").write_text("not a photo at all, so not listed")
    (folder / ".hidden.jpg").write_bytes(content)
    write(folder / "noref.jpg", 10, 20, gps={GPS.GPSLatitudeRef: None})
    write(folder / "nofix.jpg", 10, 20, gps={GPS.GPSLatitude: (IFDRational(0, 0),) * 3})
    write(folder / "zero.jpg", 0, 0)
    write(folder / "far.jpg", 10, 20, gps={GPS.GPSLatitude: dms(95)})
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    frame, reasons = table(tmp_path)
    assert list(frame.index[reasons.isna()]) == ["good"] and len(frame) == 10
    expected = {
        "none": "no position in EXIF",
        "empty": "0 bytes",
        "cut": "",
        "text": "not readable",
        "noref": "hemisphere is unknown",
        "nofix": "no fix",
        "zero": "no fix",
        "far": "outside [-90, 90]",
        "bomb": "decompression bomb",
    }
    for name, part in expected.items():
        assert part in reasons[name] and str(tmp_path) not in reasons[name], name
    assert reasons["none"].startswith("street/none.jpg: ")
    with pytest.raises(Missing, match="photos"):
        exif.folder_table(tmp_path, "photos")


def test_ids_are_unique_sorted_and_say_where(tmp_path):
    names = ["b/1.jpg", "a/1.JPG", "a/1.png", "a/1.jpg.png", "a/2.x.jpg"]
    for name in names:
        write(tmp_path / "street" / name, 10, 20)
    frame, reasons = exif.folder_table(tmp_path)
    assert list(frame["path"]) == sorted(f"street/{name}" for name in names)
    assert list(frame["photo_id"]) == ["a/1.JPG", "a/1.jpg", "a/1.png", "a/2.x", "b/1"]
    assert frame["photo_id"].is_unique and reasons.isna().all()
    assert exif.unique_ids(["a.jpg", "a.png", "a.jpg.png"]) == ["a.jpg", "a.png", "a.jpg.png"]


def test_a_link_to_a_photo_is_no_second_photo(tmp_path):
    write(tmp_path / "street/b.jpg", 7.4, 46.9)
    (tmp_path / "street/a.jpg").symlink_to("b.jpg")
    photos, reasons = exif.folder_table(tmp_path)
    assert reasons.tolist() == ["a link to street/b.jpg", None] and len(photos) == 2


def test_an_empty_folder_gives_an_empty_table(tmp_path):
    (tmp_path / "street").mkdir()
    frame, reasons = exif.folder_table(tmp_path)
    assert len(frame) == len(reasons) == 0 and "lon" in frame


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/real is not there")
def test_real_photos_lie_where_the_published_table_says():
    frame, reasons = exif.folder_table(REAL)
    known = pd.read_csv(REAL / "street.csv")
    both = frame[reasons.isna()].merge(known, on="path", suffixes=("", "_known"))
    lund = both[both["path"].str.contains("opensfm_lund")]
    assert len(frame) == 57 and len(lund) >= 5
    assert (lund["lon"] - lund["lon_known"]).abs().max() < 2e-5  # the table has five decimals
    assert (lund["lat"] - lund["lat_known"]).abs().max() < 2e-5
    without = reasons[reasons.notna()]
    assert without.str.contains("no position in EXIF|no fix").all()
