"""Location encoders, coordinates to vectors: Fourier features, Space2Vec, Sphere2Vec, harmonics."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
