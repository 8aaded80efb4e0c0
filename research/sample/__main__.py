"""python -m research.sample --out data [--sites a,b] [--seed 0]: write the sample dataset."""

import argparse
import sys

from gairlib.errors import BadInput
from research.sample.write import write_dataset


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m research.sample", description=__doc__)
    parser.add_argument("--out", default="data", help="folder to write")
    parser.add_argument("--sites", default="", help="comma-separated site names; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [s for s in options.sites.split(",") if s] or None
    try:
        folder = write_dataset(options.out, names, options.seed)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
