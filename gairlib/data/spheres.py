"""Whether a picture is a full sphere: its Photo Sphere metadata (GPano, in XMP) and its shape.

Only full spheres, 360 x 180 degrees in an equirectangular picture, can be cut into views. Cameras
and phones also write panoramas that cover a part of it, with the whole's size in the metadata.
"""

import math
import re

from PIL import Image

FIELD = re.compile(
    rb"\b(ProjectionType|(?:FullPano|CroppedAreaImage)(?:Width|Height)Pixels|PoseHeadingDegrees)"
    rb"\s*(?:>|=\s*[\"'])\s*([^<\"']{0,40})"
)
SQUEEZE = 0.02  # share by which a full sphere's width may differ from twice its height
WIDE = 1024  # px; a smaller picture without metadata is no camera's panorama


def metadata(image: Image.Image) -> dict[str, str]:
    """The fields of GPano that are asked for here, as text."""
    found: dict[str, str] = {}
    for key in ("xmp", "XML:com.adobe.xmp"):
        packet = image.info.get(key, b"")
        packet = packet.encode() if isinstance(packet, str) else packet
        for name, value in FIELD.findall(packet) if isinstance(packet, bytes) else ():
            found.setdefault(name.decode(), value.decode("ascii", "replace").strip())
    return found


def told(image: Image.Image) -> bool | None:
    """Whether the metadata call it equirectangular; None where they say nothing."""
    projection = metadata(image).get("ProjectionType")
    return projection.lower().startswith("equirectangular") if projection else None


def heading(image: Image.Image) -> float:
    """Direction of the middle column, degrees clockwise from north; NaN unknown."""
    return _number(metadata(image), "PoseHeadingDegrees")


def why_not_full(image: Image.Image) -> str | None:
    """Why an equirectangular picture is no full sphere; None: it is one."""
    about, (width, height) = metadata(image), image.size
    for side in ("Width", "Height"):
        whole = _number(about, f"FullPano{side}Pixels")
        part = _number(about, f"CroppedAreaImage{side}Pixels")
        if 0 < part < whole:
            return (
                f"its metadata say that it holds {part:.0f} of {whole:.0f} px of a sphere's "
                f"{side.lower()}; {WAY_OUT}"
            )
    if not _twice_as_wide(width, height):
        return f"{width} x {height} px; a full sphere is twice as wide as high; {WAY_OUT}"
    return None


WAY_OUT = (
    "only full spheres are cut into views: fill it up to one, or say is_spherical = false in the "
    "table to take it as it is"
)


def perhaps(image: Image.Image) -> str | None:
    """Why a picture without metadata may be a full sphere, so that it must be said; None: no."""
    width, height = image.size
    if width < WIDE or not _twice_as_wide(width, height) or metadata(image).get("ProjectionType"):
        return None
    return (
        f"{width} x {height} px, twice as wide as high as a full sphere is, and no metadata "
        "(GPano:ProjectionType) say whether it is one; a table street.csv with the column "
        "is_spherical does"
    )


def _twice_as_wide(width: int, height: int) -> bool:
    return abs(width / (2 * height) - 1) <= SQUEEZE


def _number(about: dict[str, str], name: str) -> float:
    try:
        return float(about[name])
    except (KeyError, ValueError):
        return math.nan
