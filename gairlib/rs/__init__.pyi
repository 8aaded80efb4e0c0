from gairlib.rs.base import Features, RSTower
from gairlib.rs.galileo import Galileo
from gairlib.rs.registry import create, names
from gairlib.rs.vit import RSEncoder

__all__ = ["Features", "RSTower", "Galileo", "create", "names", "RSEncoder"]
