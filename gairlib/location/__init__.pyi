from gairlib.location.base import LocationEncoder, create, names
from gairlib.location.base import create as encoder

__all__ = ["LocationEncoder", "create", "encoder", "names"]
