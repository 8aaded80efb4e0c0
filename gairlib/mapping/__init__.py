"""Maps from a user's own labels; see the modules `fitting`, `labels` and `mapper`."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
