"""Reads street-level photos: upright, as RGB, and out of 360-degree panoramas as perspective views.

Every reading goes through `load` (a file) or `decode_into` (its bytes, as a pairs store keeps
them), so that EXIF orientation, colour modes and refusal of what is broken or oversized are the
same everywhere. Spherical (equirectangular) photos are cut on the fly: a view is an ordinary
pinhole picture whose optical axis is `view_yaw` degrees clockwise of the panorama's centre column;
nothing is written to disk.
"""

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from gairlib.data import spheres
from gairlib.data.boundary import image_hint, reading
from gairlib.errors import BadInput, Missing

IMAGES = (".jpg", ".jpeg", ".png")  # suffixes of benchmark images
# What a photo may be, whatever its name: Pillow knows some forty formats more, of which one starts
# another program (EPS) and others hold pictures in pictures (ICNS, ICO).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM")
MAX_PIXELS = 120_000_000  # more is taken for a decompression bomb; a 15k panorama has 112M
MAX_SCANS = 50  # of a progressive JPEG, which usually has ten; each goes over all pixels anew
VIEW_YAWS = (0.0, 90.0, 180.0, 270.0)  # the views a spherical photo is cut into; 90 degrees wide

# EXIF orientation -> how to turn the picture upright (Exif 3.0, 4.6.5, tag 274)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load(
    path: str | Path, view_yaw: float | None = None, fov: float = 90.0, size: int | None = None
) -> np.ndarray:
    """One photo as uint8 RGB [H, W, 3], EXIF orientation applied.

    view_yaw: degrees clockwise from the centre of an equirectangular photo; None or NaN: the photo
    itself. fov: the square view's opening angle in degrees. size: squash to size x size px.
    Raises Missing or BadInput naming the file.
    """
    if view_yaw is None or not math.isfinite(view_yaw):
        with open_header(path) as image:
            return np.asarray(_sized(image, path, size)).copy()
    with open_header(path) as image:
        _full_sphere(image, path)
        view = perspective(np.asarray(_upright_rgb(image, path)), view_yaw, fov)
    if size is not None and len(view) != size:
        view = np.asarray(Image.fromarray(view).resize((size, size), Image.Resampling.BICUBIC))
    return view.copy()


def decode_into(out: np.ndarray, data: bytes, name: str = "photo") -> None:
    """Fill `out`, uint8 [3, S, S], with an encoded photo (JPEG, PNG, ...) by the rules of `load`.

    Colours come as planes, the way networks take them: to turn an array afterwards costs a third of
    the decoding itself. name: what errors call it. Raises BadInput.
    """
    if not data:
        raise BadInput(f"{name}: empty (0 bytes)")
    with _identified(io.BytesIO(data), name) as image:
        image = _sized(image, name, out.shape[-1])
    for plane, colour in zip(out, "RGB"):
        plane[...] = np.frombuffer(image.tobytes("raw", colour), np.uint8).reshape(plane.shape)


def check(path: str | Path, sphere: bool | None = False) -> tuple[int, int, bool | None]:
    """Decode a photo at its cheapest scale; returns its width and height, upright, and whether its
    metadata call it equirectangular (None: they do not say). Raises like `load`.
    sphere: whether views are to be cut out of it; None: where its metadata call it so.

    A JPEG is decoded at an eighth: all of its data are read, so a truncated file is found, at a
    fraction of the time.
    """
    with open_header(path) as image:
        width, height = image.size
        told = spheres.told(image)
        if told if sphere is None else sphere:
            _full_sphere(image, path)
        with reading(path, "its EXIF is damaged"):
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        image.draft("RGB", (width // 8 or 1, height // 8 or 1))
        _upright_rgb(image, path)
    return (height, width, told) if turned else (width, height, told)


def told(path: str | Path) -> bool | None:
    """Whether a photo's own metadata call it equirectangular, by its header alone; None where they
    say nothing, or it cannot be opened, which is judged elsewhere."""
    try:
        with open_header(path) as image:
            return spheres.told(image)
    except (BadInput, Missing):
        return None


def perspective(
    panorama: np.ndarray, yaw: float, fov: float = 90.0, size: int | None = None
) -> np.ndarray:
    """A pinhole view out of an equirectangular panorama.

    panorama: uint8 [H, W, 3] covering 360 x 180 degrees, horizon in the middle row. yaw: degrees
    clockwise from its centre column. Returns uint8 [size, size, 3]; size defaults to the number of
    panorama columns that the view spans, so nothing is lost. Bilinear; columns wrap around.
    """
    if not 0.0 < fov < 180.0:
        raise BadInput(f"fov must lie between 0 and 180 degrees, not {fov}")
    height, width = panorama.shape[:2]
    size = size or max(1, round(width * fov / 360.0))
    half = math.tan(math.radians(fov) / 2.0)
    steps = ((np.arange(size) + 0.5) / size * 2.0 - 1.0) * half  # pixel centres on the image plane
    x, y = np.meshgrid(steps, steps)  # [size, size]; right and down, the plane lies at z = 1
    longitude = np.arctan2(x, 1.0) + math.radians(yaw)
    latitude = np.arctan2(-y, np.hypot(x, 1.0))
    column = (longitude / (2.0 * math.pi) + 0.5) * width - 0.5
    row = np.clip((0.5 - latitude / math.pi) * height - 0.5, 0.0, height - 1.0)
    c0, r0 = np.floor(column).astype(int), np.floor(row).astype(int)
    fc, fr = (column - c0)[..., None], (row - r0)[..., None]
    c1, r1 = (c0 + 1) % width, np.minimum(r0 + 1, height - 1)
    c0 = c0 % width
    top = panorama[r0, c0] * (1.0 - fc) + panorama[r0, c1] * fc
    bottom = panorama[r1, c0] * (1.0 - fc) + panorama[r1, c1] * fc
    return np.rint(top * (1.0 - fr) + bottom * fr).astype(np.uint8)


def _full_sphere(image: Image.Image, path: str | Path) -> None:
    why = spheres.why_not_full(image)
    if why is not None:
        raise BadInput(f"{path}: {why}")


def open_header(path: str | Path) -> Image.Image:
    """Open without decoding; refuses what is not there, empty, unreadable or far too large."""
    path = Path(path)
    with reading(path, "cannot be opened"):
        if not path.is_file():
            raise Missing(f"{path}: there is no such photo")
        if path.stat().st_size == 0:
            raise BadInput(f"{path}: the file is empty (0 bytes)")
    return _identified(path, path)


def _identified(source: Path | io.BytesIO, path: str | Path) -> Image.Image:
    """The image in a file or in bytes, not decoded yet; `path` is what errors call it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is below
            image = Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError as problem:
        raise BadInput(f"{path}: far too many pixels (decompression bomb?)") from problem
    except Exception as problem:  # Pillow's plugins raise many kinds
        hint = image_hint(path, _start(source))
        raise BadInput(f"{path}: not readable as an image{hint}") from problem
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise BadInput(
            f"{path}: {width} x {height} px is more than the limit of {MAX_PIXELS / 1e6:.0f} "
            "million pixels (decompression bomb?)"
        )
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image.close()
        raise BadInput(f"{path}: 16- or 32-bit values; a photo must have 8 bits a channel")
    if image.info.get("progressive") and (scans := _scans(source)) > MAX_SCANS:
        image.close()
        raise BadInput(
            f"{path}: a progressive JPEG of {scans} scans, each of which goes over all of its "
            f"pixels; at most {MAX_SCANS} are read. Save it anew"
        )
    return image


def _scans(source: Path | io.BytesIO) -> int:
    """How often a JPEG starts a scan: in its data the two bytes stand for nothing else."""
    data = source.getvalue() if isinstance(source, io.BytesIO) else source.read_bytes()
    return data.count(b"\xff\xda")


def _start(source: Path | io.BytesIO) -> bytes:
    """The first bytes, as far as they can be read."""
    try:
        if isinstance(source, io.BytesIO):
            return source.getvalue()[:16]
        with open(source, "rb") as file:
            return file.read(16)
    except OSError:
        return b""


def _sized(image: Image.Image, path: str | Path, size: int | None) -> Image.Image:
    """Decoded, upright, RGB and, where a size is given, squashed to it."""
    if size is not None:
        image.draft("RGB", (2 * size, 2 * size))  # JPEG: decode at the scale that is needed
    image = _upright_rgb(image, path)
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return image


def _upright_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    with reading(path, "the image is damaged or cut short"), _whole_only():
        image.load()
        turn = _TURNS.get(image.getexif().get(0x0112))
        if turn is not None:
            image = image.transpose(turn)
        return image if image.mode == "RGB" else image.convert("RGB")


class _Strict:
    """Pillow's switch to accept half pictures, held off while any thread decodes."""

    lock, users, before = threading.Lock(), 0, False


@contextmanager
def _whole_only() -> Iterator[None]:
    """A half photo must fail, not come back half grey, whatever another package has set."""
    with _Strict.lock:
        if _Strict.users == 0:
            _Strict.before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _Strict.users += 1
    try:
        yield
    finally:
        with _Strict.lock:
            _Strict.users -= 1
            if _Strict.users == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _Strict.before
