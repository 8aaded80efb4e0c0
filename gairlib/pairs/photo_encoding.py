"""A photo's bytes as they are kept beside the chips: the file's own, or made smaller.

A file's own bytes are kept where nothing has to be cut or shrunk, so nothing is lost and nothing is
encoded twice. Views out of spherical photos, and photos that shall be stored at the size the model
reads, are written as JPEG of quality 92 without subsampling of colour; a smaller store reads
faster, since decoding takes time by the pixel.
"""

import io
import math
from pathlib import Path

from PIL import Image

from gairlib.data import photos

QUALITY = 92


def encoded(path: str | Path, view_yaw: float | None = None, size: int = 0) -> bytes:
    """JPEG or PNG bytes of a photo (`view_yaw`: of that view out of a spherical one).

    size: edge in pixels that it is squashed to, as the published preprocessing does; 0: as it is.
    Raises Missing or BadInput naming the file.
    """
    cut = view_yaw is not None and math.isfinite(view_yaw)
    path = Path(path)
    if not cut and not size and path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return path.read_bytes()
    image = Image.fromarray(photos.load(path, view_yaw=view_yaw, size=size or None))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
