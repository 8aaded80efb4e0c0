from research.reports.scoreboard import board as board
from research.reports.scoreboard import page as page

__all__ = ["board", "page"]
