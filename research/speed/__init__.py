"""Measurements behind the figures in README, docs/log and the reports: `make bench`.

One module a figure, each with `run(quick=False) -> dict`: what is compared runs side by side in the
same process or in fresh processes one after the other, and ratios of medians are what is quoted,
since absolute times on a shared machine are noise. `quick` takes a size that a test can afford.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
