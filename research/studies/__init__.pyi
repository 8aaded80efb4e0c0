from research.studies import ablation as ablation
from research.studies import coordbench as coordbench
from research.studies import seeds as seeds
from research.studies import stress as stress

__all__ = ["ablation", "coordbench", "seeds", "stress"]
