"""How a pairing runs: a pool of independent tasks, and the folder of its unfinished work.

    Pool()                          threads of this process, one a core
    Pool("tcp://scheduler:8786")    a Dask cluster that sees the same files under the same paths
    Pool("synchronous")             one after the other, for a debugger

Tasks must be deterministic and write what they make under its final name only when it is whole:
then it makes no difference where or in what order they run, or that a run was interrupted.

A task may also run twice, as a scheduler lets it that takes a worker for lost: each writes under a
name of its own, and one of the two (equal) results stays.

A work folder belongs to one input: a fingerprint of the settings, the scenes and their files, the
photo table and the photos' files lies in it; with another one the folder is emptied, so work of
other data never gets into a result. What is gone on with has a seal (`files.seal`); where that does
not fit, the piece is made anew. So nothing in here need be synced to the disk.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from gairlib import files
from gairlib.data.scene import Scene
from gairlib.errors import BadInput, extra

AHEAD = 8  # tasks handed to Dask for each worker before results are taken: bounds what waits
LOCAL = ("threads", "synchronous")
TABLES = (".csv", ".parquet")
HASHED = 10_000  # rows of a table that are written as text at once
FORMAT = 2  # of what lies in a work folder: that of another one is made anew


class Pool:
    """A context manager; `scheduler`: "threads", "synchronous" or a cluster's address.

    workers: threads of a local pool (default: cores). BadInput where no cluster answers.
    """

    def __init__(self, scheduler: str = "threads", workers: int | None = None):
        if scheduler not in LOCAL and "://" not in scheduler:
            raise BadInput(
                f"scheduler {scheduler!r}: write 'threads', 'synchronous' or the address of a Dask "
                "scheduler such as tcp://10.0.0.1:8786"
            )
        self.scheduler = scheduler
        self.workers = workers or os.cpu_count() or 1
        self._client = None

    def __enter__(self) -> "Pool":
        if self.scheduler not in LOCAL:
            with extra("train"):
                from distributed import Client

            try:
                self._client = Client(self.scheduler, timeout=20, set_as_default=False)
            except (OSError, TimeoutError) as problem:
                raise BadInput(f"scheduler {self.scheduler}: no Dask cluster answers") from problem
            self.workers = max(1, sum(self._client.nthreads().values()))
        return self

    def __exit__(self, *_):
        if self._client is not None:
            self._client.close()
            self._client = None

    def map(self, function: Callable, tasks: Iterable[tuple], ahead: int = AHEAD) -> Iterator:
        """Results of function(*task), as they come; tasks are drawn as there is room for them.

        ahead: tasks that wait or run for each worker; what they carry is in memory.
        """
        run = self._local if self._client is None else self._cluster
        yield from run(function, iter(tasks), ahead * self.workers)

    def _local(self, function: Callable, tasks: Iterator[tuple], room: int) -> Iterator:
        with extra("train"):
            import dask

        while window := list(islice(tasks, room)):
            delayed = [dask.delayed(function, pure=False)(*task) for task in window]
            yield from dask.compute(
                *delayed, scheduler=self.scheduler, num_workers=self.workers, traverse=False
            )

    def _cluster(self, function: Callable, tasks: Iterator[tuple], room: int) -> Iterator:
        from distributed import as_completed

        def submit(task: tuple):
            return self._client.submit(function, *task, pure=False)

        running = as_completed(
            [submit(t) for t in islice(tasks, room)], loop=self._client.loop, with_results=True
        )
        for _, result in running:
            yield result
            for task in islice(tasks, 1):
                running.add(submit(task))


def fingerprint(
    choices: dict,
    street: pd.DataFrame | tuple | str | Path,
    scenes: Sequence[Scene],
    photos: Iterable[str | Path] = (),
) -> str:
    """A digest that changes with whatever the result depends on (of files: size and time).

    photos: the files that are read, in the table's order.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([FORMAT, choices], sort_keys=True, default=str).encode())
    for scene in scenes:
        digest.update(f"{scene!r} {scene.stamps()}".encode())
    if isinstance(street, pd.DataFrame | tuple):
        for frame in street if isinstance(street, tuple) else [street]:
            for start in range(0, max(len(frame), 1), HASHED):  # a whole table's text is large
                text = frame.iloc[start : start + HASHED].to_csv(index=True, header=not start)
                digest.update(text.encode())
    else:
        tables = sorted(p for p in Path(street).rglob("*") if p.suffix in TABLES)  # of a folder
        for table in (Path(street), *tables):
            digest.update(f"{table} {files.stamp(table)}".encode())
    for photo in photos:
        digest.update(f"{photo} {files.stamp(photo)}\n".encode())
    return digest.hexdigest()


class WorkFolder:
    """The work folder; made or gone on with. BadInput where it holds something else."""

    def __init__(self, folder: str | Path, fingerprint: str):
        self.folder = Path(folder)
        mark = self.folder / "fingerprint"
        if mark.is_file() and mark.read_bytes() != fingerprint.encode():
            files.remove(self.folder)
        elif self.folder.is_dir() and not mark.is_file() and any(self.folder.iterdir()):
            raise BadInput(
                f"{self.folder}: holds files that are not a pairing's unfinished work; name "
                "another folder for it, or empty this one"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(fingerprint)  # first: a folder with files and without it is somebody else's
        for name in ("in", "rejected", "parts"):
            (self.folder / name).mkdir(exist_ok=True)
        files.remove(self.scratch)

    @property
    def scratch(self) -> Path:
        """A folder for what need not outlive the process."""
        return self.folder / "scratch"

    def remove(self) -> None:
        files.remove(self.folder)
