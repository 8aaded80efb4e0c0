# ruff: isort: skip_file
# the model
from gairlib.config import GAIRConfig
from gairlib.model import GAIR
from gairlib.weights.official import load_official

# where a photo was taken, and which photos look like a place
from gairlib.embed.finding import find
from gairlib.embed.like import photos_like

# what a user's own labels teach
from gairlib.mapping.fitting import fit

# sub-packages
from gairlib import data, embed, location, mapping, pairs, train, weights

# modules
from gairlib import assets, geo, inr, losses, preprocess, regress, torchgeo_adapter

# modules of the sub-packages under a short name: gairlib.photos.load, gairlib.nearest.search, ...
from gairlib import weights as converters
from gairlib.data import mapillary, photos, scenes, stac
from gairlib.embed import dense, nearest
from gairlib.pairs import pairing

__version__: str

__all__ = [
    "GAIRConfig",
    "GAIR",
    "load_official",
    "find",
    "photos_like",
    "fit",
    "data",
    "embed",
    "location",
    "mapping",
    "pairs",
    "train",
    "weights",
    "assets",
    "geo",
    "inr",
    "losses",
    "preprocess",
    "regress",
    "torchgeo_adapter",
    "converters",
    "mapillary",
    "photos",
    "scenes",
    "stac",
    "dense",
    "nearest",
    "pairing",
    "__version__",
]
