"""Which published benchmarks a dataset folder holds, without reading any of them."""

from pathlib import Path

PARTITION = "default_partition.json"  # a folder with this file is a set of GEO-Bench
PANGAEA = {  # set -> its label files
    "sen1floods11": "**/LabelHand/*.tif", "hlsburnscars": "*/*.mask.tif",
    "mados": "**/10/*_L2R_cl_*.tif", "ai4smallfarms": "sentinel-2-asia/*/masks/*.tif",
}  # fmt: skip
PLACE_PULSE = ("placepulse", "place-pulse-2.0")
PICTURES = ("images", "final_photo_dataset")
WHERE = {"pangaea": f"pangaea/<set>/ ({', '.join(PANGAEA)})", "geobench": "geobench/*/<set>/",
         "placepulse": "placepulse/"}  # fmt: skip


def pangaea(folder: Path) -> dict[str, Path]:
    """The sets of PANGAEA that have a folder, by name."""
    return {n: folder / "pangaea" / n for n in PANGAEA if (folder / "pangaea" / n).is_dir()}


def geobench(folder: Path) -> dict[str, Path]:
    """The sets of GEO-Bench by name: folders below geobench/, at most two levels down."""
    root = folder / "geobench"
    found = [*root.glob(f"*/{PARTITION}"), *root.glob(f"*/*/{PARTITION}")] if root.is_dir() else []
    return {path.parent.name: path.parent for path in sorted(found)}


def place_pulse(folder: Path) -> Path | None:
    """The folder of Place Pulse 2.0, None where there is none."""
    return next((folder / n for n in PLACE_PULSE if (folder / n).is_dir()), None)


def parts(folder: Path) -> list[tuple[str, int, str]]:
    """(part, images with labels, note) of every set that is there; absent benchmarks too."""
    found = [(f"pangaea/{name}", sum(1 for _ in path.glob(PANGAEA[name])), "labelled images")
             for name, path in pangaea(folder).items()]
    found += [(f"geobench/{name}", sum(1 for _ in path.glob("*.hdf5")), "samples")
              for name, path in geobench(folder).items()]
    pulse = place_pulse(folder)
    if pulse is not None:
        count = sum(1 for n in PICTURES for _ in (pulse / n).glob("*.[jJpP]*"))
        found.append(("placepulse", count, "photos"))
    there = {part.split("/")[0] for part, _, _ in found}
    return found + [(name, 0, f"absent: {where}") for name, where in WHERE.items()
                    if name not in there]
