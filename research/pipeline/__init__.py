"""Notebooks as stages: run one with parameters, all of them in order, two side by side, offline."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
