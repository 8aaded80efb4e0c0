"""Is the alignment real? Held-out photos look for places that are wrong by a known amount.

`perturb` moves coordinates and places chips, `levels` makes the stresses of them, `evaluate` reads
one model under all of them (a process each, listed by `plan`), `curves` makes curves with intervals
of many models, `findings` sentences.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
