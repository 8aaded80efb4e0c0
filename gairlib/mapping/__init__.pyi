from gairlib.mapping.fitting import fit
from gairlib.mapping.labels import read_polygons
from gairlib.mapping.mapper import Mapper

__all__ = ["fit", "read_polygons", "Mapper"]
