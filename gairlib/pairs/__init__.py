"""Photos and the chips they stand in: found, cut, placed in a split, stored."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
