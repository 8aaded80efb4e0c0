"""Numbers of the report in words: names of metrics, three digits, intervals, units."""

import math


def label(key: str) -> str:
    """A metric's key in words: "val_recall_at_1" -> "Validation recall@1"."""
    words = key.replace("_at_", "@").removesuffix("_m").replace("_", " ").replace(".", ", ")
    words = words.replace("val ", "validation ", 1) if words.startswith("val ") else words
    return words[:1].upper() + words[1:]


def quantity(key: str, numbers: dict) -> str:
    """numbers[key] with unit, and its interval where the metrics hold <key>_low and _high."""
    stem, unit = (key.removesuffix("_m"), " m") if key.endswith("_m") else (key, "")
    end = "_m" if unit else ""
    low, high = numbers.get(f"{stem}_low{end}"), numbers.get(f"{stem}_high{end}")
    value = numbers[key]
    if isinstance(value, float) and "recall" in key:
        return f"{value:.1%}" + (f" [{low:.1%}, {high:.1%}]" if low is not None else "")
    return with_interval(value, low, high) + unit


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


def with_interval(value, low=None, high=None) -> str:
    """ "0.52 [0.48, 0.55]"."""
    ends = [number(low), number(high)]
    return number(value) + (f" [{ends[0]}, {ends[1]}]" if all(ends) else "")
