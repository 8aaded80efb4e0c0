"""Maps for a browser: one scene as a page that opens without a network, and the explorer."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
