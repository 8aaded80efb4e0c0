from research.sample.layout import World
from research.sample.objects import build
from research.sample.sites import Site, load_sites
from research.sample.write import write_dataset, write_site

__all__ = ["Site", "World", "build", "load_sites", "write_dataset", "write_site"]
