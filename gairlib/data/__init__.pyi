from gairlib.data.arrays import open_array
from gairlib.data.dataset import Dataset
from gairlib.data.mapillary import fetch as fetch_mapillary
from gairlib.data.photo_tables import read_photos
from gairlib.data.scenes import open_scene, read_chip
from gairlib.data.stac import search as search_stac

__all__ = [
    "Dataset",
    "fetch_mapillary",
    "read_photos",
    "open_array",
    "open_scene",
    "read_chip",
    "search_stac",
]
