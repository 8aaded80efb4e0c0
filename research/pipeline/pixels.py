"""The pairs' pixels, cut again from the scenes where they are missing: `make pull`.

    python -m research.pipeline.pixels

The 80 MB of outputs/pair/pairs.zarr are too much for the repository's remote, and twenty seconds
make them from the dataset. So DVC keeps the rest of the folder, and the record of its stage holds
their digest: stages that read the pixels depend on that record. Where the pixels are missing, or
are others than the record says (after `dvc checkout`), they are cut by the record's own parameters,
and must come out with its digest.
"""

import fcntl
import hashlib
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from gairlib.errors import BadInput, Missing
from research.pipeline.records import read

RECORD, STORE = "reports/20-pair.json", "pairs.zarr"


def digest(folder: str | Path) -> str:
    """SHA-256 over names and content of all files below a folder, in order of their names."""
    folder, found = Path(folder), hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return found.hexdigest()


def ensure(record: str | Path = RECORD) -> bool:
    """Cuts the pixels where they are not as the record says; returns whether it had to.

    Raises Missing without a record, BadInput where data or code make other pixels than recorded.
    """
    known = read(record)
    if "pixels" not in known:
        raise Missing(f"{record}: no record of paired photos; run `dvc repro pair` or `make pull`")
    values, wanted = known["parameters"], known["pixels"]
    out = Path(values["out"])
    out.mkdir(parents=True, exist_ok=True)
    with open(out.with_name(out.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of stages that run side by side one cuts
        if digest(out / STORE) == wanted:
            return False
        with tempfile.TemporaryDirectory(dir=out.parent, prefix="pixels-") as scratch:
            made = _cut(values, Path(scratch) / "pair") / STORE
            if digest(made) != wanted:
                raise BadInput(f"{record}: data or code have changed since; run `dvc repro pair`")
            shutil.rmtree(out / STORE, ignore_errors=True)
            made.rename(out / STORE)
    return True


def _cut(values: dict, folder: Path) -> Path:
    """Pairs in a folder by the parameters of notebook 20."""
    from gairlib.data.dataset import Dataset  # seconds of imports
    from gairlib.pairs.pairing import pair

    apart = {"folder", "layouts", "out", "work", "metrics"}
    dataset = Dataset(
        values["folder"], layouts=values["layouts"], check_photos=False, tolerant=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the inspection has told of guesses
        scenes = dataset.scenes()
    pair(
        dataset.photo_table(),
        scenes,
        folder=folder,
        photos_root=dataset.folder,
        **{name: value for name, value in values.items() if name not in apart},
    )
    return folder


if __name__ == "__main__":
    try:
        print("Pixels of the pairs: " + ("cut" if ensure() else "there"))
    except (BadInput, Missing) as problem:
        sys.exit(str(problem))
