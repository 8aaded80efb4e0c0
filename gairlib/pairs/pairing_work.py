"""The folder of an unfinished pairing: it belongs to one input, and may be gone on with.

A fingerprint of the settings, the scenes and the photo table lies in it; with another one the
folder is emptied, so work of other data never gets into a result.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gairlib.data.scene import Scene
from gairlib.errors import BadInput


def fingerprint(
    choices: dict, street: pd.DataFrame | tuple | str | Path, scenes: Sequence[Scene]
) -> str:
    """A digest that changes with whatever the result depends on (of files: size and time)."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(choices, sort_keys=True, default=str).encode())
    for scene in scenes:
        digest.update(f"{scene!r}".encode())
        if (path := Path(scene.path)).is_file():
            digest.update(f"{path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    if isinstance(street, pd.DataFrame | tuple):
        for frame in street if isinstance(street, tuple) else [street]:
            digest.update(frame.to_csv(index=True).encode())
    else:
        state = Path(street).stat()
        digest.update(f"{street} {state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()


class Work:
    """The work folder; made or gone on with."""

    def __init__(self, folder: str | Path, fingerprint: str):
        self.folder = Path(folder)
        mark = self.folder / "fingerprint"
        if mark.is_file() and mark.read_text() != fingerprint:
            shutil.rmtree(self.folder)
        elif self.folder.is_dir() and not mark.is_file() and any(self.folder.iterdir()):
            raise BadInput(
                f"{self.folder}: holds files that are not a pairing's unfinished work; name "
                "another folder for it, or empty this one"
            )
        for name in ("in", "rejected", "parts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        mark.write_text(fingerprint)
        shutil.rmtree(self.scratch, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """A folder for what need not outlive the process."""
        return self.folder / "scratch"

    def remove(self) -> None:
        shutil.rmtree(self.folder)
