"""A photo table from a folder of photos that carry their position in EXIF (Exif 3.0, 4.6.7).

Only headers are read (of a PNG file without EXIF at its start, all): position, direction and date
from EXIF, and from the XMP packet whether the picture is a 360-degree panorama (Google's Photo
Sphere metadata, GPano:ProjectionType). Damage further down in a file shows when the picture is
decoded (`photos.check`).
"""

import math
import re
from contextlib import suppress
from pathlib import Path

import pandas as pd
from PIL import ExifTags
from pyproj import Transformer

from gairlib.data import boundary, photo_rows, photos, spheres, tables
from gairlib.errors import BadInput, Missing

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".mpo")
# EPSG code; None: WGS 84, or within two metres of it
DATUMS = {
    "TOKYO": 4301,
    **dict.fromkeys(("", "WGS84", "WGS1984", "ETRS89", "NAD83", "GDA94", "GDA2020"), None),
    **dict.fromkeys(("JGD2000", "JGD2011"), None),
}
GPS, EXIF = ExifTags.GPS, ExifTags.Base
_EMPTY = {
    "lon": math.nan,
    "lat": math.nan,
    "heading": math.nan,
    "captured_at": None,
    "heading_ref": None,
    "is_spherical": False,
}


def folder_table(folder: str | Path, subfolder: str = "street") -> tuple[pd.DataFrame, pd.Series]:
    """(photos, reasons) of all photos below folder/subfolder, sorted by path.

    photos has the columns of photo_rows.NORMAL, heading_ref ("T" true north, "M" magnetic north, a
    gap if not stated; a magnetic heading is kept as it is), and one row a file; path is relative to
    `folder`. photo_id is the path below the subfolder without its suffix ("walk/0001"), with it
    where two files differ in the suffix alone. reasons: None where the row can be used. Missing
    where there is no such folder.
    """
    root = boundary.inside(folder, subfolder)
    if not root.is_dir():
        raise Missing(f"{root}: there is no such folder of photos")
    found = boundary.listing(root, deep=True)
    refused: dict[str, str | None] = {name: f"{subfolder}/{name}: {why}" for name, why in found.odd}
    for path in found.files:
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() in SUFFIXES:
            refused[name] = None
        elif why := boundary.unknown_kind(path):
            refused[name] = f"{subfolder}/{name}: {why}"
    pictures = [p for p in found.files if p.suffix.lower() in SUFFIXES]
    for path, first in boundary.twins(pictures).items():
        name = first.relative_to(root).as_posix()
        refused[path.relative_to(root).as_posix()] = f"a link to {subfolder}/{name}"
    names = sorted(refused)
    rows, problems = [], []
    for name in names:
        row, problem = (_EMPTY.copy(), refused[name]) if refused[name] else _row(root / name)
        shown = str(problem).replace(f"{root / name}", f"{subfolder}/{name}") if problem else None
        rows.append(row)
        problems.append(shown)
    kinds = dict.fromkeys(("lon", "lat", "heading"), float)
    kinds |= {"captured_at": "str", "heading_ref": "str", "is_spherical": bool}
    frame = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    frame["photo_id"] = pd.Series(unique_ids(names), dtype="str")
    frame["path"] = pd.Series([f"{subfolder}/{name}" for name in names], dtype="str")
    frame, reasons = photo_rows.read(frame)
    own = pd.Series(problems, index=frame.index, dtype=object)
    return frame, tables.first_of(own, reasons)


def unique_ids(names: list[str]) -> list[str]:
    """The names without suffix; with it where another file would have the same id."""
    stems = pd.Series([str(Path(name).with_suffix("")) for name in names], dtype=object)
    stems = stems.str.replace("\\", "/") if len(stems) else stems
    double = stems.duplicated(keep=False) | stems.isin(names)
    return [name if twice else stem for name, stem, twice in zip(names, stems, double)]


def _row(path: Path) -> tuple[dict, Exception | None]:
    """What one file's header says, and why it cannot be used (None: it can)."""
    row = _EMPTY.copy()
    try:
        with photos.open_header(path) as image:
            row["is_spherical"] = bool(spheres.told(image))
            tags = image.getexif()
            gps = tags.get_ifd(ExifTags.IFD.GPSInfo)
            with suppress(Exception):  # what is damaged here is not needed
                row["heading"] = spheres.heading(image)
                row["heading"], row["heading_ref"] = _heading(gps, row["heading"])
            with suppress(Exception):
                row["captured_at"] = _time(tags.get_ifd(ExifTags.IFD.Exif))
            row["lon"], row["lat"] = _position(gps, path)
            why = spheres.why_not_full if row["is_spherical"] else spheres.perhaps
            if reason := why(image):
                raise BadInput(f"{path}: {reason}")
    except (BadInput, Missing) as problem:
        return row, problem
    except Exception as problem:  # Pillow raises many kinds for damaged EXIF
        return row, BadInput(f"{path}: its EXIF is damaged ({type(problem).__name__})")
    return row, None


def _position(gps: dict, path: Path) -> tuple[float, float]:
    """(lon, lat) in degrees on WGS 84; BadInput says what is missing."""
    if not gps or GPS.GPSLatitude not in gps or GPS.GPSLongitude not in gps:
        raise BadInput(f"{path}: no position in EXIF (GPSLatitude, GPSLongitude)")
    lon = _signed(gps, GPS.GPSLongitude, GPS.GPSLongitudeRef, "EW", path)
    lat = _signed(gps, GPS.GPSLatitude, GPS.GPSLatitudeRef, "NS", path)
    if not (math.isfinite(lon) and math.isfinite(lat)) or lon == lat == 0.0:
        raise BadInput(f"{path}: EXIF has fields for a position, but no fix (0/0 or 0, 0)")
    datum = re.sub(r"[^A-Z0-9]", "", _text(gps.get(GPS.GPSMapDatum)).upper())
    if datum not in DATUMS:
        raise BadInput(f"{path}: GPSMapDatum {datum!r} is not known; WGS-84 is expected")
    if DATUMS[datum] is not None:  # Japan's old datum lies some 400 m off
        way = Transformer.from_crs(DATUMS[datum], 4326, always_xy=True)
        lon, lat = way.transform(lon, lat)
    return lon, lat


def _degrees(parts) -> float:
    """Degrees, minutes, seconds (fewer are allowed) in degrees; NaN where one is 0/0."""
    parts = parts if isinstance(parts, (tuple, list)) else (parts,)
    try:
        return sum(float(part) / scale for part, scale in zip(parts, (1.0, 60.0, 3600.0)))
    except ZeroDivisionError:
        return math.nan


def _signed(gps: dict, tag: int, ref: int, letters: str, path: Path) -> float:
    """Degrees with the sign of their letter. Some phones write the sign into the numbers as well:
    then both must agree."""
    parts = gps[tag] if isinstance(gps[tag], (tuple, list)) else (gps[tag],)
    sign = _sign(gps, ref, letters, path)
    values = [_degrees(part) for part in parts]
    if any(value < 0 for value in values):
        if sign > 0:
            raise BadInput(
                f"{path}: {ExifTags.GPSTAGS[tag]} is negative, but {ExifTags.GPSTAGS[ref]} is "
                f"{letters[0]}; the hemisphere is unknown"
            )
        values = [abs(value) for value in values]
    if any(value > 60 for value in values[1:]):
        raise BadInput(
            f"{path}: {ExifTags.GPSTAGS[tag]} has {max(values[1:]):g} minutes or seconds; 60 are a "
            "degree or a minute"
        )
    return sign * _degrees(tuple(values))


def _sign(gps: dict, tag: int, letters: str, path: Path) -> float:
    ref = _text(gps.get(tag)).upper()[:1]
    if not ref or ref not in letters:
        raise BadInput(
            f"{path}: {ExifTags.GPSTAGS[tag]} is {ref!r}, not {letters[0]} or {letters[1]}; the "
            "hemisphere is unknown"
        )
    return 1.0 if ref == letters[0] else -1.0


def _heading(gps: dict, other: float) -> tuple[float, str | None]:
    """(degrees clockwise from north, "T", "M" or None); `other` where the photo has none."""
    if GPS.GPSImgDirection not in gps:
        return other, None
    ref = _text(gps.get(GPS.GPSImgDirectionRef)).upper()[:1]
    return _degrees(gps[GPS.GPSImgDirection]), ref if ref in ("T", "M") else None


def _time(exif: dict) -> str | None:
    """DateTimeOriginal in one of the spellings that `tables.times` knows, with its offset from UTC
    where there is one; None where it holds no date."""
    text = _text(exif.get(EXIF.DateTimeOriginal))
    if not re.match(r"[1-9]\d{3}\D", text):
        return None
    offset = _text(exif.get(EXIF.OffsetTimeOriginal))
    local = re.search(r"[ T]\d?\d:\d\d:\d\d(\.\d+)?$", text)
    return text + offset if local and re.fullmatch(r"[+-]\d\d:\d\d", offset) else text


def _text(value) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return "" if value is None else str(value).strip("\0 \t\r\n")
