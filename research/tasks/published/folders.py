"""Which published benchmarks a dataset folder holds, without reading any of them."""

from pathlib import Path

from gairlib.data.boundary import listing
from gairlib.data.photos import IMAGES

PARTITION = "default_partition.json"  # of each set of GEO-Bench
PANGAEA = {  # set -> its label files
    "sen1floods11": "LabelHand/*.tif",
    "hlsburnscars": "*/*.mask.tif",
    "mados": "10/*_L2R_cl_*.tif",
    "ai4smallfarms": "sentinel-2-asia/*/masks/*.tif",
}
PLACE_PULSE = ("placepulse", "place-pulse-2.0")
LOCBENCH = ("locbench", "geo_prior_data/data")
PICTURES = ("images", "final_photo_dataset")
WHERE = {
    "pangaea": f"pangaea/<set>/ ({', '.join(PANGAEA)})",
    "geobench": "geobench/*/<set>/",
    "placepulse": "placepulse/",
    "locbench": "locbench/<set>/",
}


def pangaea(folder: Path) -> dict[str, Path]:
    """The sets of PANGAEA that have a folder which is not empty, by name."""
    return {n: folder / "pangaea" / n for n in PANGAEA if filled(folder / "pangaea" / n)}


def geobench(folder: Path) -> dict[str, Path]:
    """The sets of GEO-Bench by name: folders below geobench/, at most two levels down, with a
    partition or with samples (reading such a set without a partition then names that file)."""
    root = folder / "geobench"
    above = listing(root).folders
    below = sorted([*above, *(p for folder in above for p in listing(folder).folders)])
    return {
        p.name: p for p in below if (p / PARTITION).is_file() or matching(p, "*.hdf5", deep=False)
    }


def place_pulse(folder: Path) -> Path | None:
    """The folder of Place Pulse 2.0, None where there is none or it is empty."""
    return next((folder / n for n in PLACE_PULSE if filled(folder / n)), None)


def locbench(folder: Path) -> dict[str, Path]:
    """The folders of LocBench's classification sets that are not empty, by name."""
    found = {}
    for root in LOCBENCH:
        for path in listing(folder / root).folders:
            if filled(path):
                found.setdefault(path.name, path)
    return found


def filled(folder: Path) -> bool:
    """Whether this is a folder with anything in it but hidden files."""
    found = listing(folder)
    return bool(found.files or found.folders or found.odd)


def matching(folder: Path, pattern: str, deep: bool = True) -> list[Path]:
    """The files below a folder (deep=False: in it) whose path ends in a pattern, in order of their
    paths: what `Path.glob` finds, without what `boundary.listing` leaves out."""
    return [p for p in listing(folder, deep).files if p.relative_to(folder).match(pattern)]


def parts(folder: Path) -> list[tuple[str, int, str]]:
    """(part, images with labels, note) of every set that is there; absent benchmarks too."""
    found = [
        (f"pangaea/{name}", len(matching(path, PANGAEA[name])), "labelled images")
        for name, path in pangaea(folder).items()
    ]
    found += [
        (f"geobench/{name}", len(matching(path, "*.hdf5", deep=False)), "samples")
        for name, path in geobench(folder).items()
    ]
    pulse = place_pulse(folder)
    if pulse is not None:
        count = sum(p.suffix.lower() in IMAGES for n in PICTURES for p in listing(pulse / n).files)
        found.append(("placepulse", count, "photos"))
    found += [
        (f"locbench/{name}", len(listing(path, deep=True).files), "files")
        for name, path in locbench(folder).items()
    ]
    there = {part.split("/")[0] for part, _, _ in found}
    return found + [
        (name, 0, f"absent: {where}") for name, where in WHERE.items() if name not in there
    ]
