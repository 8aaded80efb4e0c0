"""What a dataset folder holds, part by part: usable, refused or absent."""

import pandas as pd

from gairlib.data import boundary, photo_folders, unclaimed
from gairlib.data.dataset import Dataset
from gairlib.data.photo_rows import NORMAL
from research.tasks import labels
from research.tasks.class_folders import pictures
from research.tasks.published import folders


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
    covered = len(dataset.landcover_scenes())
    maps = [
        p
        for p in boundary.listing(boundary.inside(dataset.folder, "landcover")).files
        if unclaimed.kind(p) != "notes"
    ]
    others = [p.name for p in maps if p.stem not in {s.id for s in scenes}]
    note = "" if covered else _none(dataset, "land cover", "landcover/<scene_id>.tif")
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
    part_of["landcover"] = "land cover"
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
    first = f"{lost[0]['item']}: {lost[0]['reason']}" if lost else ""
    names = [f"{p.name}/" for p in inside.folders] + [p.name for p in inside.files]
    return (
        f"{dataset.folder.resolve().name}: nothing that can be used: no scene in scenes/, "
        "no photo in street.csv, no location table in tables/, no benchmark folder; it holds "
        + (", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "nothing")
        + (f" ({len(lost)} rejected, the first: {first})" if lost else "")
    )


def unread(dataset: Dataset) -> list[str]:
    """What lies in a dataset folder and belongs to none of its parts, notes apart, each with what
    it holds: "drive/ (60 pictures)"."""
    dataset.scenes(), dataset.street()
    return [row["item"] for row in _lost(dataset, "not read")]


def _none(dataset: Dataset, kind: str, where: str) -> str:
    """The note on a part of which nothing is used."""
    return f"every {kind} is rejected" if _lost(dataset, kind) else f"absent: {where}"


def _lost(dataset: Dataset, kind: str) -> list[dict]:
    return [r for r in dataset.rejected if r["kind"] == kind]
