"""What a trained model gives: vectors, nearest neighbours, dense fields, COGs."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
