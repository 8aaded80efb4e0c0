"""What a run of the pipeline says as a whole: the report and the scoreboard, as HTML pages."""

from gairlib.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
