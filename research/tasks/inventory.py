"""What a dataset folder holds, part by part: usable, refused or absent."""

import pandas as pd

from gairlib.data.dataset import Dataset
from gairlib.data.photos import IMAGES
from gairlib.errors import BadInput
from research.tasks.published import folders


def count(dataset: Dataset) -> pd.DataFrame:
    """One row a part: part, count (usable), rejected, note; absent parts are listed too."""
    scenes, street, location = dataset.scenes(), dataset.street(), dataset.tables()
    sources = pd.Series([s.offset_source for s in scenes], dtype=object).value_counts()
    note = "baseline offset from: " + ", ".join(f"{k} ({n})" for k, n in sources.items())
    by_count = [s.id for s in scenes if s.layout in ("s2-10", "l2a-12")]
    if by_count:
        note += f"; bands by count, not by name: {len(by_count)}"
    rows = [("scenes", len(scenes), note if scenes else "absent: scenes/*.tif")]
    extra = [c for c in street if c not in ("photo_id", "path", "lon", "lat")]
    note = f"columns: {', '.join(extra)}"
    if not dataset.street_table():
        note = "positions from EXIF" if len(street) else "absent: street.csv"
    rows.append(("street", len(street), note))
    covered = sum((dataset.folder / "landcover" / f"{s.id}.tif").is_file() for s in scenes)
    rows.append(("landcover", covered, "" if covered else "absent: landcover/<scene_id>.tif"))
    for name, frame in location.items():
        targets = [c for c in frame if c not in ("lon", "lat")]
        rows.append((f"tables/{name}", len(frame), f"targets: {', '.join(targets)}"))
    if not location:
        rows.append(("tables", 0, "absent: tables/*.csv"))
    for name, folder in dataset.benchmarks().items():
        classes = [c for c in folder.iterdir() if c.is_dir()]
        images = sum(1 for c in classes for p in c.iterdir() if p.suffix.lower() in IMAGES)
        rows.append((name, images, f"{len(classes)} classes"))
    if "eurosat_rgb" not in dataset.benchmarks():
        rows.append(("eurosat_rgb", 0, "absent: eurosat_rgb/<class>/*.jpg"))
    rows += folders.parts(dataset.folder)
    lost = pd.Series(
        [
            r["item"].split(".csv row")[0] if r["kind"] == "table row" else r["kind"]
            for r in dataset.rejected
        ],
        dtype=object,
    ).value_counts()
    part_of = {"scenes": "scene", "street": "photo", "tables": "table"}
    counts = [lost.get(part_of.get(p, p.removeprefix("tables/")), 0) for p, _, _ in rows]
    return pd.DataFrame(
        [(p, n, int(r), note) for (p, n, note), r in zip(rows, counts)],
        columns=["part", "count", "rejected", "note"],
    )


def require_any(dataset: Dataset) -> None:
    """BadInput if nothing in the folder can be used."""
    if not count(dataset)["count"].sum():
        lost = dataset.rejected
        raise BadInput(
            f"{dataset.folder}: nothing that can be used: no scene in scenes/, no photo in "
            "street.csv, no location table in tables/, no benchmark folder"
            + (f" ({len(lost)} rejected, the first: {lost[0]['reason']})" if lost else "")
        )
