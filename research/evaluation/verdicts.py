"""What became of a comparison: the words of the report, of the scoreboard and of their tables.

A verdict is of gair against another, from the paired 95% interval of their difference: WINS or
LOSES where it excludes zero, TIE where it does not, NONE without an interval.
"""

import math

WINS, TIE, LOSES, NONE = "wins", "tie", "loses", ""
WORDS = {WINS: "better", TIE: "undecided", LOSES: "worse", NONE: "no interval"}
OPPOSITE = {WINS: LOSES, LOSES: WINS, TIE: TIE, NONE: NONE}  # of the other against gair


def of(low: float | None, high: float | None, lower: bool = False) -> str:
    """The verdict of a difference with this interval; lower: smaller numbers are better."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NONE
    if low <= 0 <= high:
        return TIE
    return WINS if (high < 0) == lower else LOSES


def known(verdict) -> str:
    """A verdict as a table holds it; NONE for what is none (NaN, or no row)."""
    return verdict if verdict in (WINS, TIE, LOSES) else NONE
