"""Damage to a file's bytes, and whether a reader takes it as it should."""

import signal
from pathlib import Path

import numpy as np

from gairlib.errors import BadInput, Missing, Skipped

SECONDS = 5  # of processor time for a single file
OURS = (BadInput, Missing, Skipped)
NASTY = (
    *(b"", b"nan", b"1e999", b"-1", b"-0", b"99999999999999999999", b"inf", b"\xff", b"\0", b'"'),
    *(b"[" * 3000, b"{}", b"null", b"true", b"1;2", b"\xe2\x80\xae", b"=1+1", b"../../etc/passwd"),
    *(b"EPSG:4978", b"-999", b"2021", b"0000-00-00", b"\r", b",,,,", b"\t", b"%s", b"0x1F", b"1_0"),
)


class Hang(BaseException):
    """A reader took longer than SECONDS of processor time."""


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three faults: cut, bytes flipped, lost, doubled or put in, a field made nasty."""
    for _ in range(rng.integers(1, 4)):
        size = len(data)
        # Half of the faults lie in the first kilobyte, where headers are.
        at = int(rng.integers(0, min(size, 1024 if rng.random() < 0.5 else size) + 1))
        length = int(rng.integers(1, 64))
        nasty = NASTY[rng.integers(len(NASTY))]
        kind = rng.integers(7)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            changed = np.frombuffer(data, np.uint8).copy()
            where = rng.integers(0, max(size, 1), int(rng.integers(1, 9)))
            changed[where[where < size]] = rng.integers(0, 256)
            data = changed.tobytes()
        elif kind == 2:
            data = data[:at] + data[at + length :]
        elif kind == 3:
            data = data[:at] + data[at : at + length] * int(rng.integers(2, 9)) + data[at:]
        elif kind == 4:
            data = data[:at] + rng.bytes(length) + data[at:]
        elif kind == 5:
            data = data[:at] + nasty + data[at:]
        else:  # what lies between two separators
            ends = [i for i in (data.find(s, at) for s in (b",", b"\t", b":", b">")) if i >= 0]
            start = min(ends, default=at) + 1
            ends = [i for i in (data.find(s, start) for s in (b",", b"\n", b"}", b"<")) if i >= 0]
            data = data[:start] + nasty + data[min(ends, default=size) :]
    return data


def attempt(function, path: Path) -> str | None:
    """What is wrong with how a file was taken; None: it was read, or refused by our own error."""

    def hang(*_):
        raise Hang

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        function(path)
    except OURS as problem:
        return None if str(problem) else "an error without a sentence"
    except (Hang, Exception) as problem:
        return f"{type(problem).__name__}: {str(problem)[:120]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return None
