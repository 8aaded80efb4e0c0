"""`gair embed`: chips, photos and places of a dataset folder as GeoParquet."""

from __future__ import annotations

import argparse
from pathlib import Path

from gairlib.cli import common

HELP = "vectors of a dataset folder's chips, photos and places, as GeoParquet"
EXAMPLE = "gair embed outputs/sites --model outputs/pretrain/model --out vectors --kind photos"
KINDS = ("chips", "photos", "places")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a dataset folder: scenes/, street.csv, street/ ...")
    parser.add_argument("--out", required=True, help="folder for chips.parquet and so on")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS, help="default: all")
    parser.add_argument(
        "--features", action="store_true", help="each tower's own features beside the vectors"
    )
    common.model_arguments(parser)
    common.scale_arguments(parser)


def run(options: argparse.Namespace) -> None:
    import pyarrow.parquet as pq

    from gairlib import devices
    from gairlib.data.dataset import Dataset
    from gairlib.embed import many

    dataset, model = Dataset(options.data), common.model(options)
    how = {"features": options.features, "device": options.device}
    size = {"chip_px": options.chip_px, "chip_m": options.chip_m}
    write = {"chips": many.write_chips, "photos": many.write_photos, "places": many.write_places}
    for kind in options.kind:
        path = Path(options.out) / f"{kind}.parquet"
        write[kind](model, dataset, path, **how, **(size if kind == "chips" else {}))
        if devices.rank()[0] == 0:
            print(f"{path}: {pq.read_metadata(path).num_rows:,} rows")
