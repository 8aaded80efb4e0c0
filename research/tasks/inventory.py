"""What a dataset folder holds, part by part: usable, refused or absent."""

from collections import Counter
from pathlib import Path

import pandas as pd

from gairlib.data import boundary, photo_folders, scene_assets, table_files
from gairlib.data.dataset import PARTS, Dataset
from gairlib.data.photo_rows import NORMAL
from research.tasks import labels
from research.tasks.class_folders import pictures
from research.tasks.published import folders

TABLES = ("street", "scenes", "areas")  # which may be Parquet


def count(dataset: Dataset) -> pd.DataFrame:
    """One row a part: part, count (usable), rejected, note; absent parts are listed too."""
    scenes, street, location = dataset.scenes(), dataset.street(), dataset.tables()
    sources = pd.Series([s.offset_source for s in scenes], dtype=object).value_counts()
    note = "baseline offset from: " + ", ".join(f"{k} ({n})" for k, n in sources.items())
    by_count = [s.id for s in scenes if s.layout in ("s2-10", "l2a-12")]
    if by_count:
        note += f"; bands by count, not by name: {len(by_count)}"
    rows = [("scenes", len(scenes), note if scenes else _none(dataset, "scene", "scenes/*.tif"))]
    extra = [c for c in street if c not in ("photo_id", "path", "lon", "lat")]
    note = f"columns: {', '.join(extra)}"
    if not dataset.street_table():
        found = ", ".join(p.name for p in photo_folders.find(dataset.folder))
        note = f"positions from {found or 'EXIF'}"
    if not len(street):
        refused = [r["reason"] for r in _lost(dataset, "photo table")]
        note = f"refused: {refused[0]}" if refused else _none(dataset, "photo", "street.csv")
    rows.append(("street", len(street), note))
    if len(areas := dataset.areas()) or _lost(dataset, "area"):
        rows.append(("areas", len(areas), f"columns: {', '.join(areas.columns)}"))
    covered = sum(dataset.landcover_path(s.id) is not None for s in scenes)
    maps = [
        p
        for p in boundary.listing(boundary.inside(dataset.folder, "landcover")).files
        if _kind(p) != "notes"
    ]
    others = [p.name for p in maps if p.stem not in {s.id for s in scenes}]
    note = "" if covered else "absent: landcover/<scene_id>.tif"
    if others:
        note = f"named as no usable scene, which a map must be: {', '.join(others[:8])}"
    rows.append(("landcover", covered, note))
    for name, frame in location.items():
        targets = [c for c in frame if c not in ("lon", "lat")]
        rows.append((f"tables/{name}", len(frame), f"targets: {', '.join(targets)}"))
    if not location:
        rows.append(("tables", 0, _none(dataset, "table", "tables/*.csv")))
    for name, folder in dataset.benchmarks().items():
        images = pictures(folder)
        classes = len({p.parent for p in images})
        rows.append((name, len(images), f"{classes} class{'es' if classes != 1 else ''}"))
    rows += [(r["item"], 0, r["reason"]) for r in _lost(dataset, "benchmark")]
    if "eurosat_rgb" not in {name.lower() for name, _, _ in rows}:
        rows.append(("eurosat_rgb", 0, "absent: eurosat_rgb/<class>/*.jpg"))
    rows += folders.parts(dataset.folder)
    if others := unread(dataset):
        names = ", ".join(others[:20])
        rows.append(("not read", 0, f"in no place that docs/data.md names: {names}"))
    lost = pd.Series(
        [
            r["item"].split(".csv row")[0] if r["kind"] in ("table row", "benchmark") else r["kind"]
            for r in dataset.rejected
        ],
        dtype=object,
    ).value_counts()
    part_of = {"scenes": "scene", "street": "photo", "tables": "table", "areas": "area"}
    counts = [lost.get(part_of.get(p, p.removeprefix("tables/")), 0) for p, _, _ in rows]
    return pd.DataFrame(
        [(p, n, int(r), note) for (p, n, note), r in zip(rows, counts)],
        columns=["part", "count", "rejected", "note"],
    )


def no_labels(dataset: Dataset) -> pd.DataFrame:
    """Columns that no benchmark asks for: table, column, reason. What every photo table has, and
    positions, are not listed."""
    found = []
    for name, table in {"street": dataset.street(), **dataset.tables()}.items():
        for column in table.columns.difference([*NORMAL, "lon", "lat"], sort=False):
            if why := labels.why_left_out(table, column):
                found.append((name, column, why))
    return pd.DataFrame(found, columns=["table", "column", "reason"])


def nothing(dataset: Dataset) -> str:
    """A sentence where nothing in the folder can be used, else ""."""
    if count(dataset)["count"].sum():
        return ""
    lost, inside = dataset.rejected, boundary.listing(dataset.folder)
    names = [f"{p.name}/" for p in inside.folders] + [p.name for p in inside.files]
    return (
        f"{dataset.folder}: nothing that can be used: no scene in scenes/, no photo in "
        "street.csv, no location table in tables/, no benchmark folder; it holds "
        + (", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "nothing")
        + (f" ({len(lost)} rejected, the first: {lost[0]['reason']})" if lost else "")
    )


def unread(dataset: Dataset) -> list[str]:
    """What lies in a dataset folder and belongs to none of its parts, notes apart, each with what
    it holds: "drive/ (60 pictures)"."""
    homes = [home.relative_to(dataset.folder).parts for home in dataset.benchmarks().values()]
    if () in homes:  # the folder is one itself
        return []
    paths = dataset.street()["path"].dropna().str.removeprefix("./")
    taken = {*PARTS, *paths.str.split(r"[/\\]", n=1, regex=True).str[0]}
    taken |= {parts[0] for parts in homes}
    lost = {r["item"] for r in dataset.rejected}  # names of files, or a scene's without its suffix
    for scene in dataset.scenes():
        for path in (scene.path, *(asset.href for asset in scene.assets)):
            if Path(path).is_relative_to(dataset.folder):
                taken |= set(Path(path).relative_to(dataset.folder).parts[:1])
    inside, found = boundary.listing(dataset.folder), []
    for path in inside.folders + inside.files:
        if taken & {path.name, path.name.lower()} or lost & {path.name, path.stem}:
            continue
        if path in inside.folders:
            kinds = Counter(map(_kind, boundary.listing(path, deep=True).files))
            del kinds["notes"]
            if kinds:
                holds = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
                found.append(f"{path.name}/ ({holds})")
        elif table_files.stem_of(path) not in TABLES and _kind(path) != "notes":
            found.append(path.name)
    return found


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in photo_folders.PICTURES:
        return "pictures"
    if suffix in scene_assets.SUFFIXES:
        return "rasters"
    return "notes" if suffix in boundary.NOTES else "other files"


def _none(dataset: Dataset, kind: str, where: str) -> str:
    """The note on a part of which nothing is used."""
    return f"every {kind} is rejected" if _lost(dataset, kind) else f"absent: {where}"


def _lost(dataset: Dataset, kind: str) -> list[dict]:
    return [r for r in dataset.rejected if r["kind"] == kind]
