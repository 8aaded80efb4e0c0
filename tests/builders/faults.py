"""Faults on purpose: an end at the n-th change of the file system, a disk that takes no more.

A real kill loses nothing that the kernel has taken; so an exception that nobody catches, at the
n-th call that changes a folder or opens a file to write, leaves the same files as a kill there,
where after it no further change is let through (tidying up in `finally` blocks included).
"""

import builtins
import errno
import io
import os
import subprocess
import sys


def _ended() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


ENDED = _ended()  # the number of a process that is no more


class Killed(BaseException):
    """The process would have ended here."""


CHANGES = ("rename", "replace", "mkdir", "rmdir", "unlink", "remove", "truncate", "link", "symlink")


def operations(patch, stop_at: int | None = None, full_at: int | None = None) -> list[str]:
    """Count changes of the file system by Python; returns the list that they are noted in.

    patch: pytest's MonkeyPatch. stop_at: at that number, and from then on, `Killed`. full_at: from
    that number on what needs space says ENOSPC, and what frees some is let through.
    """
    seen: list[str] = []
    if stop_at is not None:  # what it leaves is that of a process that has ended
        patch.setattr(os, "getpid", lambda: ENDED)

    def note(name: str, what, grows: bool) -> None:
        seen.append(f"{name} {what}")
        if stop_at is not None and len(seen) >= stop_at:
            raise Killed(seen[-1])
        if full_at is not None and len(seen) >= full_at and grows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(what))

    for name in CHANGES:
        original = getattr(os, name)

        def changed(*given, name=name, original=original, **more):
            note(name, given[0], name in ("mkdir", "link", "symlink"))
            return original(*given, **more)

        patch.setattr(os, name, changed)
    for module in (builtins, io):
        original = module.open

        def opened(file, mode="r", *given, original=original, **more):
            if set(mode) & set("wax+"):
                note("open", file, True)
            return original(file, mode, *given, **more)

        patch.setattr(module, "open", opened)
    original_open = os.open

    def low(path, flags, *given, **more):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            note("os.open", path, True)
        return original_open(path, flags, *given, **more)

    patch.setattr(os, "open", low)
    return seen
