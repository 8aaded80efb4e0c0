"""An end at every change of the file system, no space from every one on, a flipped byte in every
kept file: over pairing, training, embedding and a COG. `make test-faults` (half an hour).

After each, the next run gives the bytes of an undisturbed one, or a sentence names the file. How
many were tried is printed at the end of each test.
"""

import gc
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.faults import Killed, operations
from builders.field_scenes import UTM
from builders.small_training import CONFIG, OPTIONS, pair_up, train

from gairlib import GAIR, files
from gairlib.data.dataset import Dataset
from gairlib.embed import cog, export
from gairlib.errors import BadInput, Missing
from gairlib.pairs import store
from gairlib.pairs.pairing import pair

pytestmark = pytest.mark.slow
SHORT = replace(OPTIONS, steps=4, checkpoint_every=1, validate_every=4)
GRID = cog.Grid(2, 64, 48, *UTM)
FIELD = np.random.default_rng(0).normal(size=(2, 64, 48)).astype(np.float32)


class Pairing:
    """Photos of the tiny dataset, one after the other and stored with the pairs."""

    def __init__(self, tiny, scratch):
        self.dataset = Dataset(tiny)
        self.street, self.scenes = self.dataset.street(), self.dataset.scenes()

    def run(self, folder: Path) -> None:
        pair(
            self.street,
            self.scenes,
            folder=folder / "out",
            photos_root=self.dataset.folder,
            chip_px=32,
            chip_m=320.0,
            rows=20,
            scheduler="synchronous",
            progress=False,
        )

    def read(self, folder: Path) -> None:
        pairs = store.load(folder / "out")
        pairs.read_chips(np.arange(pairs.chips.sizes["chip"]))
        stored = pairs.photos()
        for number in range(len(stored)):
            stored.encoded(number)


class Training:
    """Four steps, a checkpoint after each."""

    def __init__(self, tiny, scratch):
        self.dataset, self.pairs = pair_up(tiny, folder=scratch / "pair")

    def run(self, folder: Path) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        train(GAIR(CONFIG), self.dataset, self.pairs, folder, SHORT)

    def read(self, folder: Path) -> None:
        GAIR.from_pretrained(folder / "model")


class Embedding:
    """Places of the tiny dataset as GeoParquet."""

    def __init__(self, tiny, scratch):
        torch.manual_seed(0)
        self.model, self.dataset = GAIR(CONFIG).eval(), Dataset(tiny)
        self.model.save_pretrained(scratch / "model")
        self.checkpoint = scratch / "model"
        self.frame = export.places(self.model, self.dataset.street())

    def run(self, folder: Path) -> None:
        export.write(
            self.frame,
            folder / "places.parquet",
            checkpoint=self.checkpoint,
            dataset=self.dataset,
            preprocessing="gairlib",
        )

    read = None  # no later run rests on it


class Cog:
    """A COG of four pieces."""

    def __init__(self, tiny, scratch):
        pass

    def run(self, folder: Path) -> None:
        with cog.Parts(folder / "f.tif", GRID, {}) as parts:
            for row in range(parts.rows_done((0, 48)), 64, 16):
                parts.add(row, 0, FIELD[:, row : row + 16])
            parts.finish({}, ["a", "b"])

    read = None


KINDS = (Pairing, Training, Embedding, Cog)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__, scope="module")
def case(request, tiny, tmp_path_factory):
    """(what runs, the files of an undisturbed run, how many changes it makes)."""
    made = request.param(tiny, tmp_path_factory.mktemp("before"))
    folder = tmp_path_factory.mktemp("calm")
    made.run(folder)
    counted = tmp_path_factory.mktemp("counted")
    with pytest.MonkeyPatch.context() as patch:
        seen = operations(patch)
        made.run(counted)
    return made, content(folder), len(seen)


def content(folder: Path) -> dict[str, bytes]:
    """Files by name; curves tell the time."""
    return {
        name: p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not (name := p.relative_to(folder).as_posix()).startswith("live/")
    }


def disturbed(made, folder: Path, **fault) -> BaseException | None:
    with pytest.MonkeyPatch.context() as patch:
        operations(patch, **fault)
        try:
            made.run(folder)
        except (Killed, OSError, BadInput) as problem:
            found = problem.with_traceback(None)
        else:
            found = None
    gc.collect()  # the lock goes with the frames that held it
    files._swept.clear()  # as in the next process
    return found


def test_an_end_at_every_change(case, tmp_path):
    made, right, changes = case
    for point in range(1, changes + 1):
        folder = tmp_path / str(point)
        folder.mkdir()
        assert isinstance(disturbed(made, folder, stop_at=point), Killed), point
        made.run(folder)
        left = content(folder)
        assert left == right, (point, sorted(left.keys() ^ right.keys()))
        shutil.rmtree(folder)
    print(f"{type(made).__name__}: {changes} ends")


def test_an_end_at_every_change_over_an_older_result(case, tmp_path):
    made, right, _ = case
    (tmp_path / "first").mkdir()
    made.run(tmp_path / "first")
    point, more = 0, True
    while more:
        point += 1
        folder = tmp_path / str(point)
        shutil.copytree(tmp_path / "first", folder)
        more = isinstance(disturbed(made, folder, stop_at=point), Killed)
        made.run(folder)
        assert content(folder) == right, point
        shutil.rmtree(folder)
    print(f"{type(made).__name__}: {point - 1} ends over an older result")


def test_no_space_from_every_change_on(case, tmp_path):
    made, right, changes = case
    refused = 0
    for point in range(1, changes + 1):
        folder = tmp_path / str(point)
        folder.mkdir()
        refused += disturbed(made, folder, full_at=point) is not None
        made.run(folder)
        assert content(folder) == right, point
        shutil.rmtree(folder)
    assert refused or isinstance(made, Embedding)  # which Arrow writes, out of Python's sight
    print(f"{type(made).__name__}: {changes} full disks, {refused} of them ended the run")


def test_a_flipped_byte_in_every_kept_file(case, tmp_path):
    made, right, _ = case
    if made.read is None:
        pytest.skip("nothing that a later run rests on is kept")
    made.run(tmp_path)
    made.read(tmp_path)
    named = silent = 0
    for name, whole in right.items():
        for at in range(0, len(whole), max(1, len(whole) // 5)):
            hurt = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            (tmp_path / name).write_bytes(hurt)
            try:
                made.read(tmp_path)
            except (BadInput, Missing) as problem:
                assert str(tmp_path) in str(problem)
                named += 1
            else:  # what lies between the chunks of a shard, and is never read
                assert "/c/" in name, (name, at)
                silent += 1
        (tmp_path / name).write_bytes(whole)
    print(f"{type(made).__name__}: {named} flipped bytes named, {silent} where nothing is read")
    assert named > 5 * silent


def test_a_flipped_byte_in_what_an_unfinished_run_left(case, tmp_path):
    made, right, changes = case
    tried = 0
    for share in (0.5, 0.8, 0.95):
        (tmp_path / "half").mkdir()
        disturbed(made, tmp_path / "half", stop_at=int(share * changes))
        names = [n for n in content(tmp_path / "half") if not n.endswith((".lock", ".part"))]
        for name in names:
            folder = tmp_path / "again"
            shutil.copytree(tmp_path / "half", folder)
            whole = bytearray((folder / name).read_bytes())
            if whole:
                whole[len(whole) // 2] ^= 1
                (folder / name).write_bytes(whole)
                tried += 1
            files._swept.clear()
            made.run(folder)
            assert content(folder) == right, name
            shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "half")
    print(f"{type(made).__name__}: {tried} flipped bytes of unfinished work")
