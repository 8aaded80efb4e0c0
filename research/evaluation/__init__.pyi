from gairlib.geo import blocks
from research.evaluation.probes import logistic, ridge
from research.evaluation.splits import folds
from research.evaluation.stats import cluster_bootstrap as bootstrap
from research.evaluation.stats import paired_difference
from research.evaluation.table import Table

__all__ = ["logistic", "ridge", "blocks", "folds", "bootstrap", "paired_difference", "Table"]
