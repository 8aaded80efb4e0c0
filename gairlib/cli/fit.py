"""`gair fit`: teach a model a map, from labels of your own."""

from __future__ import annotations

import argparse

from gairlib.cli import common

HELP = "a map learnt from labels (points, polygons or a raster), judged on blocks held out"
EXAMPLE = (
    "gair fit scene.tif --labels landuse.gpkg --column fclass "
    "--model outputs/pretrain/model --out landuse.safetensors"
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenes", nargs="+", help="rasters that the labels lie in")
    parser.add_argument("--labels", required=True, help="points, polygons, or a raster")
    parser.add_argument("--column", help="of the labels, where they are no raster")
    parser.add_argument("--kind", choices=("classes", "numbers"), help="default: by the values")
    parser.add_argument("--head", choices=("linear", "neighbours", "upernet"), default="linear")
    parser.add_argument(
        "--tower",
        choices=("frozen", "lora", "full"),
        default="frozen",
        help="whether the encoder of chips is trained, too; default: it is not",
    )
    parser.add_argument("--out", required=True, help="the map, for `gair predict`: .safetensors")
    common.model_arguments(parser)
    common.scale_arguments(parser)


def run(options: argparse.Namespace) -> None:
    from gairlib.mapping import fit

    names = ("column", "kind", "head", "tower", "chip_px", "chip_m", "device")
    how = {name: getattr(options, name) for name in names}
    fitted = fit(common.model(options), options.scenes, options.labels, **how)
    print(fitted.report)
    print(fitted.save(options.out))
