"""The errors that a user's input can raise: each carries one sentence that says what to mend.

Both derive from the built-in error that fits, so `except ValueError` works without knowing them.
The notebook runner prints their sentence alone; anything else is a defect and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class BadInput(ValueError):
    """A value, row, key or file that cannot be used: the sentence names it and what is right."""


class Missing(FileNotFoundError):
    """A file or folder that is not there: the sentence names it and how to get it."""

    def __str__(self) -> str:  # FileNotFoundError would print "[Errno ...]" for two arguments
        return " ".join(str(a) for a in self.args)


class NotSaved(OSError):
    """A file that could not be written, as on a full disk; what stood there before is untouched."""


class Skipped(Exception):
    """A task that this data cannot run: no mistake, the result says the reason and goes on."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of optional packages: ImportError names the extra that brings them.

    with extra("stac"):
        import pystac
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith(("gairlib", "research")):
            raise
        raise ImportError(
            f"{problem.name} is not installed: pip install 'gairlib[{name}]' brings it"
        ) from problem
