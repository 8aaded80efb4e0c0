"""Which scenes lie in a folder, told by names alone: nothing is opened but small JSON files.

A scene is a raster with all bands; a folder of one raster a band (a .SAFE, an item of a catalogue);
or the band files of one product beside those of others, which share the beginning of their names
(S2A_32TMT_20230501_0_L2A_B02.tif, openEO_2023-05-01Z_B02.tif). Folders of rasters with all bands
may lie at any depth (scenes/<city>/<year>.tif; <hash>/response.tiff of sentinelhub-py, whose id is
the folder's); where two scenes would have one id, their folders' names come before it. STAC items
either describe one of these (same stem, or alone with one product), or are scenes of their own.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from gairlib import bands
from gairlib.data import boundary, photos
from gairlib.data.scene_assets import SUFFIXES, band_of, without_doubles

RASTERS = (".tif", ".tiff")
VIRTUAL = (
    "a VRT points at other rasters: those that lie here are read by themselves; to read it in "
    "their place, write a GeoTIFF of it (gdal_translate in.vrt out.tif)"
)
SLOPES = "the same product's reflectance corrected for slopes (FRE) is read in its place"
LEAST = 3  # band files of one beginning make a product
_NAMES = "|".join(sorted(bands.ALIASES, key=len, reverse=True))
_OTHERS = (
    "TCI|AOT|WVP|PVI|CLD|SNW|visual|cloud|snow|preview|overview"  # that products bring as well
)
_TAIL = re.compile(rf"(?:(.*)[_.-])?(?:B\d\d?A?|{_NAMES}|{_OTHERS})(?:[_-][126]0m)?", re.I)
_PRODUCT = re.compile(r"S2[A-D]_|openEO", re.I)  # how names of products begin
_RESOLUTION = re.compile(r"R[126]0m|GRANULE|IMG_DATA", re.I)


@dataclass(frozen=True)
class Entry:
    """One scene: the raster or folder where it lies, and its band files where they lie among
    others in that folder."""

    id: str
    path: Path
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Found:
    """Scenes, files of STAC items that are scenes of their own, and (name, reason) of what is
    neither."""

    scenes: list[Entry] = field(default_factory=list)
    items: list[Path] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)


def find(folder: Path, name: str, skip: tuple[str, ...] | None = None) -> Found:
    """What lies in a folder. name: of a product whose files have no beginning in common. skip: None
    for a folder that is there for scenes, where everything else is odd; else folders to leave
    alone, and what is no scene is nobody's business here."""
    listed = boundary.listing(folder)
    if is_product(folder) or _by_resolution(listed.folders):
        return Found([Entry(name, folder)], odd=_doubles(listed.files))
    products = _products(listed.files)
    scenes, items, collections = [], [], []
    odd = list(listed.odd) if skip is None else []
    odd += _doubles(listed.files) if skip is None or products else []
    for below in listed.folders:
        if (
            skip is None
            or below.name.lower() not in skip
            and (_holds_bands(below) or _is_answer(below))
        ):
            found = _folders(below)
            scenes += found.scenes
            odd += [
                (f"{below.name}/{name}" if name else below.name, why) for name, why in found.odd
            ]
    scenes += [Entry(start or name, folder, tuple(files)) for start, files in products.items()]
    taken = {path for files in products.values() for path in files}
    for path in without_doubles(listed.files):
        suffix = path.suffix.lower()
        if path in taken:
            continue
        if suffix in RASTERS:
            scenes.append(Entry(path.stem, path))
        elif suffix in (".json", ".geojson") and (kind := _stac(path)):
            (items if kind == "Feature" else collections).append(path)
        elif (skip is None or _PRODUCT.match(path.name)) and (why := _no_raster(path)):
            odd.append((path.name, why))
    described = {p for s in scenes for p in (s.path.stem, s.path.name, s.id) if not s.files}
    items = [path for path in items if path.stem not in described]
    if len(products) == len(items) == 1:
        items = []  # it describes the one product, see scene_assets.open_folder
    return Found(_told_apart(scenes), items + collections, odd)


def _told_apart(scenes: list[Entry]) -> list[Entry]:
    """The scenes with suffixes behind ids that stand twice in one folder (a.tif, a.tiff), and the
    names of their folders before ids that would stand more than once."""
    beside = Counter((scene.path.parent, scene.id) for scene in scenes)
    scenes = [
        replace(scene, id=scene.id + scene.path.suffix)
        if beside[scene.path.parent, scene.id] > 1
        else scene
        for scene in scenes
    ]
    for depth in (0, 1):  # <city>/<year>/scene.tif
        count = Counter(scene.id for scene in scenes)
        scenes = [
            replace(scene, id=f"{scene.path.parents[depth].name}_{scene.id}")
            if count[scene.id] > 1
            else scene
            for scene in scenes
        ]
    return scenes


def is_product(folder: Path) -> bool:
    """Whether a folder is one unpacked product: a .SAFE, under whatever name."""
    return any(
        re.fullmatch(r".*MTD_(MSI|SAF)L.*\.xml", p.name) for p in boundary.listing(folder).files
    )


def _products(files: list[Path]) -> dict[str, list[Path]]:
    """Band files by the beginning that their names share, of those that are a product's."""
    found: dict[str, list[Path]] = {}
    for path in without_doubles(files):
        tail = _TAIL.fullmatch(path.stem) if path.suffix.lower() in SUFFIXES else None
        if tail:
            found.setdefault(tail[1] or "", []).append(path)
    return {
        start: paths
        for start, paths in found.items()
        if len({band_of(p.stem)[0] for p in paths} & set(bands.BANDS)) >= LEAST
    }


def _doubles(files: list[Path]) -> list[tuple[str, str]]:
    """(name, reason) of what holds the pixels of other files once more."""
    slopes = set(files) - set(without_doubles(files))
    starts = {p.name.partition("_SRE_")[0] + "_SRE" for p in slopes}
    virtual = [(p.name, VIRTUAL) for p in files if p.suffix.lower() == ".vrt"]
    return [*((name, SLOPES) for name in sorted(starts)), *virtual]


def _folders(folder: Path) -> Found:
    """The scenes of a folder: one, those of several products in it, or of rasters with all bands in
    it and below it; and what else lies in a folder without any."""
    listed = boundary.listing(folder)
    doubles = _doubles(listed.files)
    whole = Found([Entry(folder.name.removesuffix(".SAFE"), folder)], odd=doubles)
    if folder.suffix.lower() == ".zarr":
        return Found(
            odd=[("", "a Zarr store is not read; write GeoTIFFs, one a band or all in one")]
        )
    products = _products(listed.files)
    if len(products) > 1:
        scenes = [Entry(s or folder.name, folder, tuple(f)) for s, f in products.items()]
        return Found(scenes, odd=doubles)
    if products or is_product(folder) or _by_resolution(listed.folders):
        return whole
    rasters = [p for p in listed.files if p.suffix.lower() in RASTERS]
    stacks = [p for p in rasters if not _TAIL.fullmatch(p.stem)]
    found = Found([Entry(folder.name if p.stem == "response" else p.stem, p) for p in stacks])
    rest = [path for path in listed.files if path.suffix.lower() not in SUFFIXES]
    odd = [*doubles, *((path.name, why) for path in rest if (why := _no_raster(path)))]
    for below in listed.folders:
        inner = _folders(below)
        if any(p.suffix.lower() in SUFFIXES for p in boundary.listing(below, deep=True).files):
            found.scenes.extend(inner.scenes)
        odd += [(f"{below.name}/{name}" if name else below.name, why) for name, why in inner.odd]
    found.odd.extend(odd)
    if len(found.scenes) == 1 and found.scenes[0].path.is_dir():
        return whole  # a product in a folder of its own
    return found if found.scenes or found.odd and not rasters else whole


def _by_resolution(folders: list[Path]) -> bool:
    """Whether the bands of one product lie in folders by their pixel sizes, or of its granule."""
    return any(_RESOLUTION.fullmatch(f.name) and _holds_bands(f) for f in folders)


def _is_answer(folder: Path) -> bool:
    """Whether a folder is what sentinelhub-py keeps of one request."""
    return (folder / "request.json").is_file() and any(folder.glob("response.tif*"))


def _holds_bands(folder: Path) -> bool:
    files = boundary.listing(folder, deep=True).files
    named = {band_of(p.stem)[0] for p in files if p.suffix.lower() in SUFFIXES}
    return len(named & set(bands.BANDS)) >= LEAST


def _stac(path: Path) -> str | None:
    """Feature or FeatureCollection where a JSON file is a STAC item with assets, or several; None
    where it is another thing or cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if '"assets"' not in text:
            return None  # buildings, tiles ... of any size
        content = boundary.parsed(text)
        kind = content.get("type")
        first = content["features"][0] if kind == "FeatureCollection" else content
        return kind if first.get("type") == "Feature" and first.get("assets") else None
    except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return None


def _no_raster(path: Path) -> str | None:
    """Why a file in scenes/ is not taken; None for notes beside the rasters."""
    suffix = path.suffix.lower()
    if suffix in boundary.NOTES or suffix in photos.IMAGES or suffix in (".aux", ".qml", ".vrt"):
        return None
    if suffix in boundary.ARCHIVES:
        return boundary.PACKED
    if suffix in (".nc", ".nc4", ".h5", ".hdf", ".grib"):
        return f"{suffix} is not read; export GeoTIFFs (openEO: format GTiff), one a date"
    return f"files of the kind {suffix or 'without a suffix'} are not read; write a GeoTIFF"
