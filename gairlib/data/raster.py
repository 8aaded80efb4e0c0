"""Opens rasters: GeoTIFFs (COGs too) and JPEG 2000, and nothing that a file names elsewhere.

GDAL takes any of its formats under any name, and some of them are texts that name other files, or
servers, as the source of their pixels (VRT, WMS). A data set says where its own files lie; a file
of it does not send the reader elsewhere. So each is opened by the driver that its first bytes ask
for, and what GDAL would open beside it unasked (overviews, masks) is looked at first.
"""

import os
import re
from functools import lru_cache
from pathlib import Path

import rasterio

from gairlib.data.boundary import changed
from gairlib.data.scene import is_remote, name_of
from gairlib.errors import BadInput

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
JPEG_2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")  # a file, a bare code stream
# Of a raster, in bytes of decoded pixels: from this size on a file that says so must have at least
# one byte for each MOST of them. Deflate packs 1032 to one, and gaps take nothing: what lies beyond
# is made of nothing else.
LARGE, MOST = 1 << 28, 2000
_BESIDE = re.compile(r"(.*?)(?:\.ovr|\.msk|\.aux\.xml)+", re.I)


def open_raster(href: str | Path, what: str | None = None) -> rasterio.DatasetReader:
    """A raster, open for reading. what: what errors call it, default its name.

    BadInput where the file, or one that GDAL would open beside it, is no raster of its own, or
    where it would cost far more to read than its size is worth; rasterio's error where it cannot
    be opened.
    """
    href, what = str(href), what or str(href)
    if is_remote(href):
        jpeg = name_of(href).lower().endswith((".jp2", ".j2k"))
        return rasterio.open(href, driver="JP2OpenJPEG" if jpeg else "GTiff")
    start = _start(href)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise BadInput(
            f"{what}: is a text that describes other rasters (VRT, WMS), which are not followed; "
            "write a GeoTIFF of it (gdal_translate in.vrt out.tif)"
        )
    _check_beside(href, what)
    source = rasterio.open(href, driver="JP2OpenJPEG" if start.startswith(JPEG_2000) else "GTiff")
    try:
        _check_own(source, href, what)
    except BaseException:
        source.close()
        raise
    return source


def _start(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(12)


def _check_beside(path: str, what: str) -> None:
    folder, name = os.path.split(os.path.abspath(path))
    for beside in _sidecars(folder, changed(Path(folder))).get(name.lower(), ()):
        file = Path(folder) / beside
        if not file.is_file():
            continue
        if beside.lower().endswith(".xml"):
            wrong = b"OVERVIEW_FILE" in file.read_bytes()
        else:
            wrong = not _start(file).startswith(TIFF)
        if wrong:
            raise BadInput(
                f"{what}: {beside} beside it names other files, or is no TIFF; remove it"
            )


@lru_cache(maxsize=64)
def _sidecars(folder: str, changed: int) -> dict[str, list[str]]:
    """The files of a folder that GDAL opens with a raster, by the raster's name in lower case;
    changed: when, as part of the cache's key."""
    found: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        if match := _BESIDE.fullmatch(name):
            found.setdefault(match[1].lower(), []).append(name)
    return found


def _check_own(source: rasterio.DatasetReader, path: str, what: str) -> None:
    if source.tags(ns="OVERVIEWS").get("OVERVIEW_FILE"):
        raise BadInput(f"{what}: its tags name another file as its overviews; write it anew")
    declared = 0
    for (rows, columns), kind in zip(source.block_shapes, source.dtypes):
        high, wide = -(-source.height // rows) * rows, -(-source.width // columns) * columns
        declared += high * wide * int(re.search(r"\d+", kind)[0]) // 8
    size = os.path.getsize(path)
    if declared > max(LARGE, MOST * size):
        raise BadInput(
            f"{what}: {source.count} bands of {source.width} x {source.height} px "
            f"({declared / 1e9:.1f} GB with its tiles) in a file of {size:,} bytes are little but "
            "gaps; cut it to where it has data, in tiles of 512 px"
        )
