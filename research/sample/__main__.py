"""python -m research.sample --out outputs/sites [--sites a,b] [--seed 0] [--stored dir]

Writes the sample.

--stored: sites that this folder holds are copied from there, the others rendered. --first: write
the sites that the repository stores, and no other: `make sample`.
"""

import argparse
import sys

from gairlib.errors import BadInput
from research.sample.sites import STORED
from research.sample.write import write_dataset


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m research.sample", description=__doc__)
    parser.add_argument("--out", default="outputs/sites", help="folder to write")
    parser.add_argument("--sites", default="", help="comma-separated site names; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stored", help="a folder whose sites are copied, not rendered")
    parser.add_argument("--first", action="store_true", help="the sites that are stored, alone")
    options = parser.parse_args()
    names = [s for s in options.sites.split(",") if s] or None
    if options.first:
        names = list(STORED)
    try:
        folder = write_dataset(options.out, names, options.seed, options.stored)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
