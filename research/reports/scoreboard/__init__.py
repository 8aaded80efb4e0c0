"""Every result of every task in one place: what is claimed, what is not, and where it came from.

`claims` turns the comparisons of a line (`research.reports.lines`) into sentences,
`location_encoders` sets trained location encoders against neighbours, `further` reads the ablation
and the stress tests, `board` puts them together, `page` writes reports/scoreboard.html.
"""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
