"""`gair predict`: what `gair fit` has learnt, as the map of a scene."""

from __future__ import annotations

import argparse

from gairlib.cli import common

HELP = "the map of a scene by what `gair fit` has learnt, and its uncertainty, as GeoTIFFs"
EXAMPLE = (
    "gair predict landuse.safetensors scene.tif --model outputs/pretrain/model --out landuse.tif"
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("map", help=".safetensors of `gair fit`, with the same model")
    parser.add_argument("scene", help="the raster to map")
    parser.add_argument("--out", required=True, help="the GeoTIFF to write")
    common.window_argument(parser)
    common.model_arguments(parser)


def run(options: argparse.Namespace) -> None:
    from gairlib.mapping import Mapper

    fitted = Mapper.load(options.map, common.model(options))
    window = common.numbers(options.window)
    written = fitted.predict(options.scene, options.out, window=window, device=options.device)
    print("\n".join(str(path) for path in written))
