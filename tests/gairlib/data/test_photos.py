import io
import math

import numpy as np
import pytest
from builders.small_files import write_photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gairlib.data import photos
from gairlib.errors import BadInput, Missing


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # white upper left quarter
    # How a camera stores the picture so that the EXIF flag turns it upright again.
    as_stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(as_stored[orientation])).save(path, exif=exif)
    np.testing.assert_array_equal(photos.load(path), upright)
    assert photos.check(path) == (32, 16, None)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_8_bit_mode_comes_as_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (8, 6), (200, 200, 200)).convert(mode).save(path)
    image = photos.load(path)
    assert image.shape == (6, 8, 3) and image.dtype == np.uint8


def test_size_squashes(tmp_path):
    path = write_photo(tmp_path / "a.jpg", (64, 32))
    assert photos.load(path, size=24).shape == (24, 24, 3)
    assert photos.load(path).shape == (32, 64, 3)
    assert photos.load(path, view_yaw=math.nan).shape == (32, 64, 3)


def test_broken_files_are_refused_with_one_sentence(tmp_path, monkeypatch):
    good = write_photo(tmp_path / "good.jpg", (200, 150)).read_bytes()
    cases = {
        "empty.jpg": (b"", "empty"),
        "cut.jpg": (good[: len(good) // 2], "damaged or cut short"),
        "head.jpg": (good[:20], "not readable as an image"),
        "text.jpg": (b"not an image at all", "not readable as an image"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        for function in (photos.check, photos.load):
            with pytest.raises(BadInput, match=f"{name}: .*{reason}"):
                function(tmp_path / name)
    with pytest.raises(Missing, match="nowhere.jpg"):
        photos.load(tmp_path / "nowhere.jpg")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(BadInput, match="8 bits"):
        photos.load(tmp_path / "deep.png")
    monkeypatch.setattr(photos, "MAX_PIXELS", 1000)
    with pytest.raises(BadInput, match="200 x 150 px"):
        photos.check(tmp_path / "good.jpg")


def test_a_real_decompression_bomb_is_not_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (30_000, 30_000)).save(path)  # 900 million pixels in some 100 kB
    assert path.stat().st_size < 1_000_000
    with pytest.raises(BadInput, match="decompression bomb"):
        photos.check(path)


def naive_view(panorama, yaw, fov, size):
    """Pixel by pixel, nearest neighbour, with explicit rotation of the viewing ray."""
    h, w = panorama.shape[:2]
    out = np.zeros((size, size, 3), np.uint8)
    for i in range(size):
        for j in range(size):
            ray = np.array(
                [
                    (2 * (j + 0.5) / size - 1) * math.tan(math.radians(fov / 2)),
                    (1 - 2 * (i + 0.5) / size) * math.tan(math.radians(fov / 2)),
                    1.0,
                ]
            )
            a = math.radians(yaw)
            x = ray[0] * math.cos(a) + ray[2] * math.sin(a)
            z = -ray[0] * math.sin(a) + ray[2] * math.cos(a)
            lon = math.atan2(x, z)
            lat = math.asin(ray[1] / np.linalg.norm(ray))
            column = int((lon / (2 * math.pi) + 0.5) * w) % w
            row = min(h - 1, int((0.5 - lat / math.pi) * h))
            out[i, j] = panorama[row, column]
    return out


@settings(max_examples=12, deadline=None)
@given(st.floats(-400, 400), st.floats(30, 120))
def test_perspective_agrees_with_the_naive_view(yaw, fov):
    y, x = np.mgrid[:64, :128]
    smooth = np.stack(
        [
            127 + 120 * np.sin(2 * np.pi * x / 128),
            2.0 * y + 50,
            127 + 120 * np.cos(2 * np.pi * x / 128),
        ],
        -1,
    ).astype(np.uint8)
    view = photos.perspective(smooth, yaw, fov, 24)
    naive = naive_view(smooth, yaw, fov, 24)
    assert np.abs(view.astype(int) - naive).max() <= 8  # nearest against bilinear


def test_four_views_look_four_ways(tmp_path):
    panorama = np.zeros((64, 128, 3), np.uint8)
    for k, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]):
        start = 64 + 32 * k - 16  # quarter k around yaw 90 k
        panorama[:, np.arange(start, start + 32) % 128] = colour
    path = tmp_path / "pano.png"
    Image.fromarray(panorama).save(path)
    centres = [photos.load(path, view_yaw=yaw)[16, 16].tolist() for yaw in photos.VIEW_YAWS]
    assert centres == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    assert photos.load(path, view_yaw=90.0).shape == (32, 32, 3)
    with pytest.raises(BadInput, match="fov"):
        photos.perspective(panorama, 0.0, 180.0)


def test_what_is_no_photo_starts_no_program(tmp_path, monkeypatch):
    """Pillow would hand a PostScript text to Ghostscript, and open pictures within an icon."""
    started = tmp_path / "bin"
    started.mkdir()
    (started / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (started / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(started), prepend=":")
    inner = io.BytesIO()
    Image.new("RGB", (16, 16)).save(inner, "ICNS")
    cases = {"eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"}
    cases |= {"icns": inner.getvalue(), "psd": b"8BPS\0\1" + b"\0" * 60, "dcx": b"\xb1\x68\xde\x3a"}
    for name, content in cases.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(content)
        for read in (photos.load, photos.check, lambda p: photos.load(p, view_yaw=0.0)):
            with pytest.raises(BadInput, match=f"{name}.jpg: not readable as an image"):
                read(path)
        with pytest.raises(BadInput, match="not readable as an image"):
            photos.decode_into(np.empty((3, 8, 8), np.uint8), content)
    assert not (tmp_path / "started").exists()


def test_a_jpeg_of_many_scans_is_refused(tmp_path):
    """Each scan of some hundred bytes goes over all pixels anew."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (800, 600), (9, 99, 199)).save(path, progressive=True)
    assert photos.check(path) == (800, 600, None)
    data = path.read_bytes()
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:-2] + data[last:-2] * photos.MAX_SCANS + data[-2:])
    with pytest.raises(BadInput, match="a.jpg: a progressive JPEG of 60 scans"):
        photos.check(path)
    plain = tmp_path / "b.jpg"  # with a thumbnail's scan in its comment, say
    Image.new("RGB", (8, 6)).save(plain, comment=b"\xff\xda" * 99)
    assert photos.check(plain)[:2] == (8, 6)
