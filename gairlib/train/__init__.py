"""Pretraining: objective, batches, exact large batches, checkpoints, the loop."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
