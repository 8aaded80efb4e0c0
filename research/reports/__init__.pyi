from research.reports import report as report
from research.reports import scoreboard as scoreboard

__all__ = ["report", "scoreboard"]
