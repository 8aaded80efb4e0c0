"""Published benchmarks read in the layout they are published in.

One module a benchmark: `pangaea_*` (four segmentation sets of PANGAEA), `geobench*` (GEO-Bench
1.0), `place_pulse*` (perception of streets). Each docstring names the public source that its facts
on folders, bands, scales and codes were taken from, and says what could not be checked: none of
these sets could be downloaded where this was written, so the tests read files generated in their
layout.
"""
