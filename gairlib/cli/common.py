"""Arguments that several commands have, and the model that they name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gairlib.model import GAIR


def model_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--model and how it is fetched and run."""
    parser.add_argument(
        "--model", required=required, help="a folder, a file or a hub's owner/name (gairlib.hub)"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub's repository")
    parser.add_argument("--offline", action="store_true", help="only what was fetched before")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    parser.add_argument("--bf16", action="store_true", help="encode images in bfloat16")


def scale_arguments(parser: argparse.ArgumentParser) -> None:
    """--chip-px and --chip-m."""
    said = "default: as the model was trained"
    parser.add_argument("--chip-px", type=int, help=f"a chip's side in pixels; {said}")
    parser.add_argument("--chip-m", type=float, help=f"... and in metres on the ground; {said}")


def window_argument(parser: argparse.ArgumentParser) -> None:
    """--window."""
    parts = ("COLUMN", "ROW", "WIDTH", "HEIGHT")
    said = "a part of the scene, in its pixels"
    parser.add_argument("--window", nargs=4, type=int, metavar=parts, help=said)


def box_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """--box; what: lies in it."""
    ends = ("WEST", "SOUTH", "EAST", "NORTH")
    parser.add_argument("--box", nargs=4, type=float, metavar=ends, help=f"{what}, degrees")


def view_arguments(parser: argparse.ArgumentParser, who: str) -> None:
    """--resolution, and --heading of `who`."""
    parser.add_argument("--resolution", type=float, default=10.0, help="metres a cell; default 10")
    parser.add_argument("--heading", type=float, help=f"where {who}, degrees from north")


def numbers(given: list | None) -> tuple | None:
    """What --window or --box was given, for Python's functions."""
    return given and tuple(given)


def model(options: argparse.Namespace) -> GAIR:
    """The model of the arguments, on its device."""
    from gairlib.model import GAIR

    return GAIR.from_pretrained(
        options.model,
        options.revision,
        device=options.device,
        bf16=options.bf16,
        local_files_only=options.offline,
    )
