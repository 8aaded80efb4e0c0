import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gairlib import files
from gairlib.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]


def in_process(code: str, *arguments) -> subprocess.Popen:
    """Python in a process of its own; `gone()` in it is a kill."""
    head = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom gairlib import files\n"
        "gone = lambda: os.kill(os.getpid(), signal.SIGKILL)\nat = Path(sys.argv[1])\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with files.atomic_write(path) as part:
        part.write_text("half")
        assert path.read_text() == "old" and part.parent == tmp_path
        part.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ZeroDivisionError), files.atomic_write(path) as part:
        part.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read_back_does_not_replace(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def refuse(part):
        raise OSError(f"{part.read_text()} is cut short")

    with pytest.raises(OSError, match="ne is cut short"), files.atomic_write(path, refuse) as part:
        part.write_text("ne")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_threads_and_tasks_write_under_names_of_their_own(tmp_path):
    path = tmp_path / "a"
    with files.atomic_write(path) as one, files.atomic_write(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"  # the outer block ends last
    for keep, stays in ((True, "two"), (False, "one")):
        folder = tmp_path / f"f{keep}"
        with files.atomic_folder(folder, keep=keep) as one:
            (one / "x").write_text("one")
            with files.atomic_folder(folder, keep=keep) as two:
                (two / "x").write_text("two")
        assert (folder / "x").read_text() == stays
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "code",
    [
        "with files.atomic_write(at / 'a') as p: p.write_text('half'); gone()",
        "with files.atomic_folder(at / 'a') as p: (p / 'x').write_text('half'); gone()",
        "files._discard = lambda path: gone()\nfiles.remove(at / 'old')",
    ],
)
def test_what_a_killed_process_left_goes_at_the_next_writing(tmp_path, code):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/x").write_text("x")
    assert in_process(code, tmp_path).wait() == -9
    left = [p for p in tmp_path.iterdir() if p.suffix == ".part"]
    mine = tmp_path / ".mine.part"
    mine.write_text("of the user")
    assert len(left) == 1
    with files.atomic_write(tmp_path / "b") as part:
        part.write_text("b")
    assert not left[0].exists() and mine.exists() and (tmp_path / "b").exists()


def test_every_flipped_byte_and_absent_file_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    assert files.damaged(tmp_path) is None  # nothing was sealed
    files.seal(tmp_path)
    assert files.damaged(tmp_path) is None
    for path in (tmp_path / "in/a", tmp_path / files.SUMS):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert str(tmp_path) in files.damaged(tmp_path), at
        path.write_bytes(b"")
        assert path.name in files.damaged(tmp_path)
        path.write_bytes(whole)
    (tmp_path / "in/a").write_bytes(b"abd")
    assert files.damaged(tmp_path, content=lambda name: name == "b") is None
    (tmp_path / "in/a").unlink()
    assert "in/a is not there" in files.damaged(tmp_path, content=lambda name: name == "b")


def test_one_owner_at_a_time_and_the_other_is_told_who(tmp_path):
    path = tmp_path / "out"
    other = in_process("with files.owner(at): print('in', flush=True); input()", path)
    assert other.stdout.readline() == "in\n"
    with pytest.raises(BadInput, match=f"out: process {other.pid} on .* is working"):
        with files.owner(path):
            pass
    other.communicate("\n")
    with files.owner(path), pytest.raises(BadInput, match=f"process {os.getpid()}"):
        with files.owner(path):  # a thread of the same process is another owner too
            pass
    assert list(tmp_path.iterdir()) == []
    killed = in_process("with files.owner(at): print('in', flush=True); gone()", path)
    assert killed.stdout.readline() == "in\n" and killed.wait() == -9
    with files.owner(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_owners_never_overlap(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(200):
            try:
                with files.owner(tmp_path / "out"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except BadInput:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
