"""The folders of pictures by class that benchmarks ask for: eurosat_rgb/<class>/*.jpg.

Other folders of pictures are none, however they are sorted (a camera's DCIM/100CANON/). Those of
NAMES are found in any case (Zenodo's archive unpacks to EuroSAT_RGB/); the dataset
folder may be one itself, and the class folders may lie in one folder more, as archives of them
unpack (eurosat_rgb/2750/<class>). Where they lie in several, as the sets of a split do
(train/<class>, test/<class>), a sentence says what would be right.
"""

from collections.abc import Collection
from pathlib import Path

from gairlib.data import boundary, photos
from gairlib.data.scene_assets import band_of
from gairlib.data.scene_folders import RASTERS

NAMES = ("eurosat_rgb", "eurosat_ms")  # that tasks ask for


def read(folder: Path, parts: Collection[str]) -> tuple[dict[str, Path], list[tuple]]:
    """(folders of class folders by name, in lower case; (kind, item, reason) of those whose
    pictures lie too deep). parts: names of what else a dataset folder
    holds."""
    found: dict[str, Path] = {}
    rejected = []
    for name, top in _tops(folder, parts):
        home = _home(top)
        if _by_class(home):
            found[name] = home
        elif deep := next(filter(_by_class, _folders(home)), None):
            path = next(filter(_has_images, _folders(deep)))
            shown, right = path.relative_to(top.parent).as_posix(), f"{top.name}/{path.name}"
            reason = f"class folders lie one level too deep, as {shown}/; move it to {right}/"
            rejected.append(("benchmark", top.name, reason))
    return found, rejected


def _tops(folder: Path, parts: Collection[str]) -> list[tuple[str, Path]]:
    """What may hold class folders, with the names that these go by."""
    inside = _folders(folder)
    own = folder.resolve().name.lower()
    if own in NAMES and not any(p.name.lower() in (*parts, *NAMES) for p in inside):
        return [(own, folder)]
    return [(p.name.lower(), p) for p in inside if p.name.lower() in NAMES]


def _home(folder: Path) -> Path:
    """The folder, or the one that is all it holds, and so on."""
    inside = _folders(folder)
    while len(inside) == 1 and not _has_images(inside[0]) and _folders(inside[0]):
        folder, inside = inside[0], _folders(inside[0])
    return folder


def _by_class(folder: Path) -> bool:
    return any(map(_has_images, _folders(folder)))


def _has_images(folder: Path) -> bool:
    """Pictures, or rasters that are no bands of a product."""
    files = boundary.listing(folder).files
    return any(p.suffix.lower() in photos.IMAGES for p in files) or any(
        p.suffix.lower() in RASTERS and band_of(p.stem)[0] is None for p in files
    )


def _folders(folder: Path) -> list[Path]:
    return boundary.listing(folder).folders
