"""Pages from the templates beside this file: one file each, nothing loaded from outside.

Templates escape every value; pictures are embedded, other pages are linked by relative addresses.
"""

import base64
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from gairlib.errors import BadInput
from research.evaluation.verdicts import WORDS
from research.figures.style import counted
from research.pipeline import templates
from research.pipeline.offline import external_loads
from research.reports.lines import Line
from research.reports.words import number, with_interval

LIST = 200  # rows of a long table that are written out


def render(name: str, **values) -> str:
    """A template of this package, filled in."""
    environment = templates.environment("research.reports")
    environment.filters |= {
        "counted": lambda count, thing: counted(count or 0, thing),
        "frame": frame,
        "number": number,
        "picture": picture,
        "plain": plain,
        "shape": shape,
        "sortable": sortable,
        "strip": strip,
    }
    environment.tests["nan"] = math.isnan
    return environment.get_template(name).render(words=WORDS, **values)


def write(page: str, path: str | Path) -> Path:
    """Write a page, creating folders; BadInput if it would need a network."""
    path = Path(path)
    if loads := external_loads(page):
        raise BadInput(f"{path}: the page would need a network for {loads[0]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


@dataclass(frozen=True)
class Strip:
    """A line's numbers on a common axis: pixels from the left by name, and the numbers in words."""

    WIDTH: ClassVar[int] = 190
    x: dict[str, float]
    label: str


def strip(line: Line) -> Strip:
    """Where a line's value, its interval, untrained, best baseline and chance stand; the axis takes
    in zero."""
    others = {"untrained": line.random, "best baseline": line.best, "chance": line.blind}
    others = {name: a.value for name, a in others.items() if a is not None}
    at = {"value": line.value, "low": line.low, "high": line.high} | others
    at = {k: v for k, v in at.items() if math.isfinite(v)}
    least, most = min([*at.values(), 0.0]), max([*at.values(), 0.0])
    span = (most - least) or 1.0
    said = [f"GAIR {with_interval(line.value, line.low, line.high)}"]
    said += [f"{name} {number(v)}" for name, v in others.items() if math.isfinite(v)]
    return Strip(
        {k: round(8 + 174 * (v - least) / span, 1) for k, v in at.items()}, ", ".join(said)
    )


@dataclass(frozen=True)
class Frame:
    """A data frame as text; left: how many rows are not written out."""

    heads: list[str]
    rows: list[list[str]]
    left: int


def frame(table: pd.DataFrame) -> Frame:
    """Floats to three digits, NaN as nothing, at most LIST rows."""
    rows = [[_cell(v) for v in row] for row in table.head(LIST).itertuples(index=False)]
    return Frame(list(map(str, table.columns)), rows, max(0, len(table) - LIST))


def _cell(value) -> str:
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return ""
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def plain(value) -> str:
    """A number or parameter of a card."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sortable(value) -> str:
    """The key by which a cell sorts: text or a plain number, "" where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float | int) else str(value)


def shape(figure: Path) -> str:
    """ "tall" for a figure of many panels, of which a card shows the first, legibly; or "wide"."""
    with Image.open(figure) as image:
        return "tall" if image.height > 0.8 * image.width else "wide"


def picture(path: Path) -> Markup:
    """A figure's small picture (WebP, as `figures.style.save` writes it) as a data URI."""
    content = base64.b64encode(path.read_bytes()).decode()
    return Markup(f"data:image/webp;base64,{content}")  # long: spared the escaping
