"""Numbers of the report in words: names of metrics, three digits, intervals, units."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Amount:
    """A number as it is written: "0.52", the ends of its interval "0.48, 0.55" ("" without one),
    and its unit with the space before it."""

    value: str = ""
    ends: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return self.value + (f" [{self.ends}]" if self.ends else "") + self.unit


def amount(value, low=None, high=None, unit: str = "") -> Amount:
    """The number with its interval, where both ends are numbers, and its unit."""
    ends = [number(low), number(high)]
    return Amount(number(value), ", ".join(ends) if all(ends) else "", f" {unit}" if unit else "")


def with_interval(value, low=None, high=None) -> str:
    """ "0.52 [0.48, 0.55]"."""
    return str(amount(value, low, high))


def number(value) -> str:
    """Three significant digits, four decimals at most; "" where there is no number."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.4f}"
    return f"{value:.3g}"


def label(key: str) -> str:
    """A metric's key in words: "val_recall_at_1" -> "Validation recall@1"."""
    words = key.replace("_at_", "@").removesuffix("_m").replace("_", " ").replace(".", ", ")
    words = words.replace("val ", "validation ", 1) if words.startswith("val ") else words
    return words[:1].upper() + words[1:]


def quantity(key: str, numbers: dict) -> Amount:
    """numbers[key] with unit, and its interval where the metrics hold <key>_low and _high."""
    stem, unit = (key.removesuffix("_m"), "m") if key.endswith("_m") else (key, "")
    end = "_m" if unit else ""
    value, low, high = (numbers.get(k) for k in (key, f"{stem}_low{end}", f"{stem}_high{end}"))
    if isinstance(value, float) and "recall" in key:
        return Amount(f"{value:.1%}", f"{low:.1%}, {high:.1%}" if low is not None else "")
    return amount(value, low, high, unit)
