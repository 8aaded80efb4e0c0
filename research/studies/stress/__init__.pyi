from research.studies.stress import curves as curves
from research.studies.stress import findings as findings
from research.studies.stress import levels as levels
from research.studies.stress import plan as plan

__all__ = ["curves", "findings", "levels", "plan"]
