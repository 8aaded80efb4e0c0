"""Figures, one module a subject; each function returns a Matplotlib Figure and never shows it."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
