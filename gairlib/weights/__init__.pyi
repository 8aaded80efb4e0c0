from gairlib.weights.galileo import load_galileo
from gairlib.weights.location import load_geoclip, load_satclip
from gairlib.weights.official import load_official
from gairlib.weights.timm_models import load_timm
from gairlib.weights.towers import initialise
from gairlib.weights.vit import load_croma, load_timm_vit

__all__ = [
    "load_galileo",
    "load_geoclip",
    "load_satclip",
    "load_official",
    "load_timm",
    "initialise",
    "load_croma",
    "load_timm_vit",
]
