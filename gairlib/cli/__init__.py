"""`gair`: what the package does, on the command line; each command calls the functions of Python.

Each command is a module here: `HELP` and `EXAMPLE` (its help's last lines), `add(parser)` for its
arguments, `run(options)`. What computes is imported by `run` alone, so that `gair --help` and
`gair info` start at once. A user's mistake is one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from gairlib import __version__
from gairlib.errors import BadInput, Missing, NotSaved

COMMANDS = ("info", "embed", "field", "search", "find", "fit", "predict")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` has an example\n")


def parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    top = _Parser(prog="gair", description="GAIR: chips, photos and places in one space.")
    top.add_argument("--version", action="version", version=f"gairlib {__version__}")
    each = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"gairlib.cli.{name}")
        sub = each.add_parser(
            name,
            help=module.HELP,
            description=f"{module.HELP[0].upper()}{module.HELP[1:]}.",
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add(sub)
        sub.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0; 2 for a mistake, said in one sentence; 130 after Ctrl-C."""
    options = parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _said
        try:
            options.run(options)
            sys.stdout.flush()
        except (BadInput, Missing, NotSaved, ImportError) as problem:
            print(f"gair {options.command}: {problem}", file=sys.stderr)
            return 2
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            return 130
    return 0


def _said(message, category, filename, lineno, file=None, line=None) -> None:
    if issubclass(category, UserWarning):
        print(f"gair: {message}", file=sys.stderr)
