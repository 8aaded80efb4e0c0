"""`gair field`: a scene's continuous field as a Cloud-Optimised GeoTIFF."""

from __future__ import annotations

import argparse

from gairlib.cli import common
from gairlib.errors import BadInput

HELP = "a scene's continuous field as a Cloud-Optimised GeoTIFF, at any resolution"
EXAMPLE = "gair field scene.tif --model outputs/pretrain/model --out field.tif --components 3"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", help="a Sentinel-2 GeoTIFF, or a folder of one file a band")
    parser.add_argument("--out", required=True, help="the GeoTIFF to write")
    parser.add_argument("--components", type=int, help="principal components; default: all values")
    parser.add_argument("--dtype", choices=("float32", "int8"), default="float32")
    common.window_argument(parser)
    parser.add_argument("--mode", help="how tokens are read; default: as the model was trained")
    common.view_arguments(parser, "cameras look")
    parser.add_argument("--layout", help="names of a raster's bands (gairlib.bands.LAYOUTS)")
    common.model_arguments(parser)
    common.scale_arguments(parser)


def run(options: argparse.Namespace) -> None:
    from gairlib.data.scenes import open_scene
    from gairlib.embed import dense, pca

    if options.dtype == "int8" and options.components is None:
        raise BadInput("--dtype int8 is between the ends of components: give --components, too")
    model, scene = common.model(options), open_scene(options.scene, layout=options.layout)
    how = {k: getattr(options, k) for k in ("chip_px", "chip_m", "mode", "heading", "device")}
    projection = None
    if options.components is not None:
        projection = pca.fit(dense.sample(model, scene, **how), options.components)
    path = dense.write_cog(
        model,
        scene,
        options.out,
        resolution=options.resolution,
        projection=projection,
        dtype=options.dtype,
        window=common.numbers(options.window),
        **how,
    )
    print(path)
