"""`make bench`, or `python -m research.speed NAME ...`: measures and keeps metrics/bench.json.

Each figure replaces its own entry when it is done, so a run that is interrupted loses nothing.
"""

import argparse
import json
import sys

from research.speed import measure

parser = argparse.ArgumentParser(prog="python -m research.speed", description=__doc__)
parser.add_argument("name", nargs="*", help=f"of {', '.join(measure.names())}; default: all")
parser.add_argument("--quick", action="store_true", help="small sizes, nothing is kept")
options = parser.parse_args()
if unknown := set(options.name) - set(measure.names()):
    sys.exit(f"no figure {sorted(unknown)}; there are {', '.join(measure.names())}")
for name in options.name or measure.names():
    result = measure.record(name, options.quick)
    print(name, json.dumps(result, indent=2), flush=True)
    if not options.quick:
        kept = json.loads(measure.RESULTS.read_text()) if measure.RESULTS.is_file() else {}
        kept[name] = result
        measure.RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n")
