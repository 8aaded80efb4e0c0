"""Datasets as they lie on disk or in a catalogue: scenes, photos, tables, STAC, Mapillary."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
