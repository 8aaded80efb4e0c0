"""Runs one function in this fresh process and prints its time and peak memory; see `bench.peak`."""

import json
import sys

from research.speed import call

if __name__ == "__main__":
    print(json.dumps(call(sys.argv[1], json.loads(sys.argv[2]))))
