"""`make bench`, or `python -m gairlib.bench NAME ...`: measures and keeps metrics/bench.json.

Each figure replaces its own entry when it is done, so a run that is interrupted loses nothing.
"""

import argparse
import json
import sys

from gairlib import bench

parser = argparse.ArgumentParser(prog="python -m gairlib.bench", description=__doc__)
parser.add_argument("name", nargs="*", help=f"of {', '.join(bench.names())}; default: all")
parser.add_argument("--quick", action="store_true", help="small sizes, nothing is kept")
options = parser.parse_args()
if unknown := set(options.name) - set(bench.names()):
    sys.exit(f"no figure {sorted(unknown)}; there are {', '.join(bench.names())}")
for name in options.name or bench.names():
    result = bench.record(name, options.quick)
    print(name, json.dumps(result, indent=2), flush=True)
    if not options.quick:
        kept = json.loads(bench.RESULTS.read_text()) if bench.RESULTS.is_file() else {}
        kept[name] = result
        bench.RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n")
