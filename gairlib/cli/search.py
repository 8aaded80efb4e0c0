"""`gair search`: the nearest rows of files that `gair embed` wrote."""

from __future__ import annotations

import argparse
import sys

from gairlib.cli import common
from gairlib.errors import BadInput

HELP = "the rows of embedding files that are most similar to a row, a photo or a place"
EXAMPLE = "gair search vectors/*.parquet --model outputs/pretrain/model --lonlat 7.45 46.95 -k 5"
KINDS = ("chips", "photos", "places")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", help=".parquet of `gair embed`, of the same weights")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--id", help="a photo_id or chip_id in the files")
    asked.add_argument("--lonlat", nargs=2, type=float, metavar=("LON", "LAT"), help="degrees")
    asked.add_argument("--photo", help="a picture file")
    parser.add_argument("-k", type=int, default=10, help="how many; default 10")
    parser.add_argument("--kind", choices=KINDS, help="search these alone")
    common.box_argument(parser, "rows in it alone")
    parser.add_argument("--date", nargs="+", help="rows of 2021, 2021-07, or of a first and a last")
    parser.add_argument("--of", choices=KINDS, help="the kind of --id, where two rows share it")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    common.model_arguments(parser, required=False)


def run(options: argparse.Namespace) -> None:
    from gairlib.embed.nearest import Index

    index = Index.load(*options.files)
    date = options.date and (options.date[0], options.date[-1])
    where = {"kind": options.kind, "box": common.numbers(options.box), "date": date}
    how = {"k": options.k, "where": where}
    if options.id is not None:
        found = index.query(id=options.id, of=options.of, **how)
    elif options.model is None:
        raise BadInput("--lonlat and --photo need --model, the one that made the files")
    elif options.lonlat is not None:
        found = index.query(lonlat=options.lonlat, model=common.model(options), **how)
    else:
        found = index.query(_photo(options, index.weights), **how)
    if options.format == "json":
        print(found.to_json(orient="records", date_format="iso"))
    elif options.format == "csv":
        found.to_csv(sys.stdout, index=False)
    else:
        print(found.iloc[:, :6].to_string(index=False, float_format="{:.4f}".format))


def _photo(options: argparse.Namespace, weights: str | None):
    import torch

    from gairlib.data import photos
    from gairlib.embed import encode
    from gairlib.model import model_hash

    model = common.model(options)
    if weights not in (None, model_hash(model)):
        raise BadInput(f"{options.model} is not the model that made these files")
    picture = torch.from_numpy(photos.load(options.photo, size=model.config.sv_size))
    return encode.encode_photos(model, picture.movedim(-1, 0)[None], device=options.device)[0]
