"""RS encoders `f`, chips to token grids: a ViT with 2D-ALiBi, Galileo."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
