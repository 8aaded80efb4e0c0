"""A COG on a full disk, out of damaged pieces, and written by two at once."""

import resource
import signal
import threading

import numpy as np
import pytest
import rasterio
from builders.field_scenes import UTM

from gairlib.embed import cog
from gairlib.errors import BadInput

GRID = cog.Grid(3, 600, 512, *UTM)
STRIPES = [(row, min(row + 150, 600)) for row in range(0, 600, 150)]


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 600, 512)).astype(np.float32)


def write(path, *, rows=None, again=None) -> bytes:
    """The whole file; `again` collects the first rows of the pieces that were made."""
    with cog.Parts(path, GRID, {"a": 1}) as parts:
        for first, end in STRIPES if rows is None else STRIPES[:rows]:
            if first >= parts.rows_done((0, 512)):
                parts.add(first, 0, values()[:, first:end])
                if again is not None:
                    again.append(first)
        if rows is None:
            parts.finish({"t": "1"}, ["x", "y", "z"])
            return path.read_bytes()


@pytest.fixture
def limited():
    """Files may grow to so many bytes and no further, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
def test_a_full_disk_at_the_end_keeps_the_old_file_and_the_pieces(tmp_path, limited, share):
    path = tmp_path / "f.tif"
    right = write(tmp_path / "right.tif")
    path.write_bytes(b"old")
    write(path, rows=4)
    limited(int(len(right) * share))
    with pytest.raises(OSError, match="f.tif"):
        write(path)
    limited(2**40)
    assert path.read_bytes() == b"old" and len(list((tmp_path / "f.tif.parts").glob("r*"))) == 4
    assert not list(tmp_path.glob(".f.tif*"))
    again = []
    assert write(path, again=again) == right and again == []


@pytest.mark.parametrize("share", [0.02, 0.6, 0.97])
def test_a_full_disk_at_a_piece_is_said_and_the_next_call_goes_on(tmp_path, limited, share):
    path = tmp_path / "f.tif"
    write(path, rows=2)
    size = max(p.stat().st_size for p in (tmp_path / "f.tif.parts").iterdir())
    limited(int(size * share))
    with pytest.raises(OSError, match="f.tif"):
        write(path)
    limited(2**40)
    again = []
    assert write(path, again=again) == write(tmp_path / "right.tif")
    assert again == [300, 450] and not (tmp_path / "f.tif.parts").exists()


@pytest.mark.parametrize("how", ["hole", "no end of a tile", "no start of a tile", "no directory"])
def test_a_write_that_failed_unseen_does_not_replace(tmp_path, monkeypatch, how):
    """As where another process makes room on a full disk, so that later writes succeed again."""
    path, copy = tmp_path / "f.tif", cog.raster_shutil.copy
    right = write(path)
    with rasterio.open(path) as file:
        start, size = (
            int(file.get_tag_item(f"BLOCK_{what}_0_1", "TIFF", 1)) for what in ("OFFSET", "SIZE")
        )
    first, length = {
        "hole": (1 << 16, 1 << 16),
        "no end of a tile": (start + size - 50, 54),
        "no start of a tile": (start - 4, 50),
        "no directory": (0, 1 << 12),
    }[how]

    def hurt(source, part, **options):
        copy(source, part, **options)
        data = part.read_bytes()
        part.unlink()
        with part.open("wb") as file:
            file.write(data[:first])
            if how == "hole":
                file.seek(first + length)
            else:
                file.write(bytes(length))
            file.write(data[first + length :])

    monkeypatch.setattr(cog.raster_shutil, "copy", hurt)
    with pytest.raises(OSError, match="f.tif: could not be written"):
        write(path)
    monkeypatch.undo()
    assert path.read_bytes() == right == write(path, again=(again := [])) and again == []


@pytest.mark.parametrize("how", ["byte", "half", "empty", "absent", "cut settings"])
def test_a_damaged_piece_is_made_anew(tmp_path, how):
    path = tmp_path / "f.tif"
    write(path, rows=3)
    piece = next((tmp_path / "f.tif.parts").glob("r150-*"))
    whole = piece.read_bytes()
    if how == "byte":
        piece.write_bytes(whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:])
    elif how == "half":  # what an unsynced rename leaves after a power cut
        piece.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
    elif how == "empty":
        piece.write_bytes(b"")
    elif how == "absent":
        piece.unlink()
    else:
        (tmp_path / "f.tif.parts/settings.sha256").write_bytes(b"\xff")
    again = []
    assert write(path, again=again) == write(tmp_path / "right.tif")
    assert again == ([0, 150, 300, 450] if how == "cut settings" else [150, 300, 450])


def test_two_at_once_one_is_told_and_the_file_is_right(tmp_path):
    path, said, inside = tmp_path / "f.tif", [], threading.Event()
    right = write(tmp_path / "right.tif")
    with cog.Parts(path, GRID, {"a": 1}):
        with pytest.raises(BadInput, match="f.tif: process .* is working on it"):
            write(path)
    outcomes = []

    def run():
        inside.wait()
        try:
            outcomes.append(write(path))
        except BadInput as problem:
            said.append(str(problem))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    inside.set()
    for thread in threads:
        thread.join()
    assert outcomes and set(outcomes) == {right} and path.read_bytes() == right
    assert all("is working on it" in s for s in said)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.tif", "right.tif"]


def test_a_kill_before_the_pieces_are_gone_is_no_wall(tmp_path, monkeypatch):
    path = tmp_path / "f.tif"
    monkeypatch.setattr(cog.files, "remove", lambda folder: folder.exists() and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(path)
    monkeypatch.undo()
    right = path.read_bytes()
    again = []
    assert write(path, again=again) == right and again == []
    with rasterio.open(path) as file:
        assert np.array_equal(file.read(), values())
