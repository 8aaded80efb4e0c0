"""Work for processes of their own: pairings and tasks of a pairing that run at the same time."""

import time
import warnings
from multiprocessing import get_context
from pathlib import Path

from gairlib.data.dataset import Dataset
from gairlib.errors import BadInput
from gairlib.pairs.cut import cut
from gairlib.pairs.pairing import pair


def pair_tiny(tiny: Path, folder: Path, scheduler: str = "synchronous") -> str:
    """Pair the tiny dataset, photos stored; "done", or the sentence of the refusal."""
    dataset = Dataset(tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of guessed offsets
        scenes = dataset.scenes()
    try:
        pair(
            dataset.street(),
            scenes,
            folder=folder,
            photos_root=dataset.folder,
            chip_px=32,
            chip_m=320.0,
            rows=20,
            scheduler=scheduler,
            progress=False,
        )
    except BadInput as problem:
        return str(problem)
    return "done"


def after(seconds: float, function, *given):
    time.sleep(seconds)
    return function(*given)


def cut_part(given: tuple) -> int:
    return cut(*given)


def processes(count: int):
    """A pool of so many processes, each begun without a thread of this one."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context.Pool(count)


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
