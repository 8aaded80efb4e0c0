"""`gair find`: where in an area a photo was taken."""

from __future__ import annotations

import argparse
from pathlib import Path

from gairlib.cli import common

HELP = "where in an area a photo was taken: a map of similarity and the likeliest places"
EXAMPLE = "gair find photo.jpg scene.tif --model outputs/pretrain/model --out found"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", help="a picture file")
    parser.add_argument("area", help="a raster, or a dataset folder with one scene there")
    parser.add_argument("--out", required=True, help="folder for the map, the places and how")
    common.view_arguments(parser, "the camera looked")
    common.box_argument(parser, "the part of the area to search")
    parser.add_argument("--radius", type=float, default=160.0, help="of a place, metres")
    parser.add_argument("--count", type=int, default=10, help="how many places; default 10")
    parser.add_argument("--remote", action="store_true", help="scenes of a catalogue's server, too")
    common.model_arguments(parser)
    common.scale_arguments(parser)


def run(options: argparse.Namespace) -> None:
    from gairlib.embed.finding import FILES, find

    names = ("heading", "resolution", "radius", "count", "remote", "device", "chip_px", "chip_m")
    path = Path(options.out) / FILES["map"]
    path.parent.mkdir(parents=True, exist_ok=True)
    found = find(
        options.photo,
        options.area,
        common.model(options),
        box=common.numbers(options.box),
        path=path,
        **{name: getattr(options, name) for name in names},
    )
    print(found.places.to_string(index=False))
    for written in found.save(options.out).values():
        print(written)
