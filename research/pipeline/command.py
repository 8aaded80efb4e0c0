"""What commands of this package have in common: a parser, and one sentence for bad input."""

import argparse
import sys
from collections.abc import Callable
from functools import wraps

from gairlib.errors import BadInput, Missing

Command = Callable[[list[str] | None], int]


def parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Of `python -m module`, whose docstring is the help as it stands."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def one_sentence(main: Command) -> Command:
    """A command that says on one line what is wrong with its input, and then returns 1."""

    @wraps(main)
    def told(argv: list[str] | None = None) -> int:
        try:
            return main(argv)
        except (BadInput, Missing) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1

    return told
