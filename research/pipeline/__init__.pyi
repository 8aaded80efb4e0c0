from research.pipeline import notebook as notebook
from research.pipeline import stages as stages

__all__ = ["notebook", "stages"]
