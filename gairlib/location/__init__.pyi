from gairlib.location.base import LocationEncoder
from gairlib.location.registry import create, names
from gairlib.location.registry import create as encoder

__all__ = ["LocationEncoder", "create", "encoder", "names"]
