"""How a number becomes a verdict: splits, cheap probes, small trainings, and intervals.

`blocks` and `folds` say what is held out, `ridge` and `logistic` read frozen features, `bootstrap`
and `paired_difference` draw whole clusters (sites, blocks), and a `Table` gathers the scores of
several encoders on one task.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
