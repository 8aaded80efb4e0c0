"""One Matplotlib style for every figure, and the two formats in which a figure is kept.

Colours are Okabe and Ito's eight (distinguishable under the common forms of colour blindness and
in grey print); maps are perceptually even. Sizes are chosen so that a figure of WIDTH inches is
legible in a report column and, scaled down, on a phone. SVG keeps its text as text and carries no
date, so that the same figure gives the same file.
"""

import re
import textwrap
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter
from PIL import Image

# Okabe & Ito (2008), reordered: the first three are far apart in lightness as well as in hue.
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILION, PURPLE, SKY, YELLOW, BLACK = "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#222222"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, YELLOW)
PREVIEW = 400  # pixels of the small picture beside a figure
GREY = "#8A8A8A"  # for chance, baselines and anything that is only there for scale

SEQUENTIAL = "viridis"  # amounts from low to high
SIMILARITY = "magma"  # cosine similarity: dark is unlike

# Any two of a palette are 15 apart or more (CIE 1976), as seen by most people, without red cones
# and without green ones (tests/research/figures/test_style.py): hue alone would not do that, so
# lightness varies. By a word of the class's name, so that water is blue in every figure.
LAND_COVER = {
    "water": "#2862B0",
    "tree": "#186437",
    "forest": "#186437",
    "grass": "#8ACE5E",
    "crop": "#FFF679",
    "bare": "#CFA37E",
    "paved": "#777C7C",
    "low building": "#E6672C",
    "high building": "#5E000C",
    "industrial": "#C0A3F1",
}
# Classes without colours of their own; GREY is for what is left. Near Okabe and Ito's.
CATEGORIES = (
    "#297BBB",
    "#DF9A0E",
    "#159961",
    "#D05900",
    "#CF85BD",
    "#53BDF6",
    "#212827",
    "#ECDF3B",
    "#711BA2",
    "#8B491D",
)
MANY = "tab20"  # beyond CATEGORIES, where no ten colours can be told apart by all

WIDTH = 8.0  # inches: a full-width figure
DPI = 150

RC = {
    "text.parse_math": False,  # see Figure
    "figure.dpi": 110,
    "figure.figsize": (WIDTH, 4.0),
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.dpi": DPI,
    "savefig.facecolor": "white",
    "font.family": ["DejaVu Sans"],  # shipped with Matplotlib: the same on every machine
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",  # pixels are data: never blur them on the way to the page
    "svg.fonttype": "none",
    "svg.hashsalt": "gairlib",
}


def use() -> None:
    """Set the style for every figure that this process draws from now on."""
    mpl.rcParams.update(RC)


@contextmanager
def context():
    """The style inside a `with` block only."""
    with mpl.rc_context(RC):
        yield


class Figure(figure.Figure):
    """In this style whenever it is drawn, as a notebook does after its cell, and to the letter: a $
    of the data is a $ in every text, the ticks' that are made while drawing included."""

    def draw(self, renderer) -> None:
        with context():
            for text in self.findobj(Text):
                text.set_parse_math(False)
            super().draw(renderer)


def save(fig: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write `path`.png and `path`.svg (a suffix in `path` is dropped), creating folders.

    Beside them stands `path`.webp, a small picture for the report, of a tall figure its upper part:
    DVC keeps that one alone (.dvcignore). Returns the first two paths. Only the known image
    suffixes are dropped: "r2-0.5" keeps its ".5".
    """
    path = Path(path)
    if path.suffix in (".png", ".svg", ".pdf"):
        path = path.with_suffix("")
    path.parent.mkdir(parents=True, exist_ok=True)
    png, svg = path.with_name(path.name + ".png"), path.with_name(path.name + ".svg")
    with context():
        fig.savefig(png, metadata={"Software": None})
        fig.savefig(svg, metadata={"Date": None})
    with Image.open(png) as image:
        wide, high = image.size
        image = image.convert("RGB").crop((0, 0, wide, min(wide, high)))
        image.thumbnail((PREVIEW, PREVIEW), Image.Resampling.LANCZOS)
        image.save(png.with_suffix(".webp"), quality=50, method=6)
    svg.write_text(numbered(svg.read_text("utf-8")), encoding="utf-8")
    return png, svg


def numbered(svg: str) -> str:
    """Matplotlib's ids (a letter and a hash) by order of appearance; without characters that no XML
    may hold, as a text of the data may.

    The hash of a clip path takes in every bit of its corners, and the solver of the layout does not
    give the same last bit twice; the corners themselves are written to six decimals.
    """
    svg = re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", svg)
    found = dict.fromkeys(re.findall(r'\bid="([a-zA-Z][0-9a-f]{10})"', svg))
    names = {old: f"{old[0]}{i}-gairlib" for i, old in enumerate(found)}
    return re.sub(
        r'(["#])([a-zA-Z][0-9a-f]{10})(?=["\)])', lambda m: m[1] + names.get(m[2], m[2]), svg
    )


def cover_colours(classes: Iterable[str]) -> list[str]:
    """One hex colour a class: LAND_COVER's by a word of its name, else an unused one."""
    classes = list(classes)
    spare = [c for c in CATEGORIES if c not in LAND_COVER.values()]
    spare += [mpl.colors.to_hex(c) for c in mpl.colormaps[MANY].colors]
    spare += [mpl.colors.to_hex(c) for c in mpl.colormaps[SEQUENTIAL](np.linspace(0, 1, 200))]
    found = []
    for name in classes:
        known = [c for word, c in LAND_COVER.items() if word in name.lower() and c not in found]
        found.append(known[0] if known else next(c for c in spare if c not in found))
    return found


def image_axes(ax, title: str = ""):
    """An axes for a picture: no ticks, no grid, an outline; returns it."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color="#BBBBBB", linewidth=0.8)
    if title:
        ax.set_title(title)
    return ax


def log_axis(axis) -> None:
    """Plain numbers on a logarithmic axis, where Matplotlib would write powers in TeX."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(LogFormatter())


def kind(synthetic: bool, count: int = 1) -> str:
    """What a text calls the data of a folder; count: how much of it there is."""
    return ("synthetic data" if synthetic else "real data") if count else "no data"


def counted(number: int, thing: str) -> str:
    """ "1 photo", "1,200 photos"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def shortened(text: str, length: int = 26) -> str:
    """A name that fits beside others: of a long one the beginning and the end."""
    return text if len(text) <= length else f"{text[: length - 9]}…{text[-8:]}"


def blank(ax, text: str) -> None:
    """Axes that say why there is nothing to see."""
    ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=9)


def empty(text: str) -> Figure:
    """A figure that says why there is nothing to see."""
    with context():
        fig = Figure(figsize=(WIDTH, 1.6))
        fig.set_layout_engine("none")  # there is no grid that could be laid out
        ax = fig.add_axes((0, 0, 1, 1))  # a notebook shows no figure without axes
    ax.set_axis_off()
    ax.text(0.5, 0.5, textwrap.fill(text, 100), ha="center", va="center", color=GREY)
    return fig


def thumbnail(picture: np.ndarray, side: int = 200) -> np.ndarray:
    """uint8 [H, W, 3], shrunk to at most side x side pixels in its own proportions."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    return np.asarray(image)


def mark(fig: Figure, synthetic: bool) -> Figure:
    """Say in the lower right corner whether the data are synthetic; returns the figure."""
    text = "synthetic data" if synthetic else "real data"
    fig.text(0.998, 0.002, text, ha="right", va="bottom", fontsize=8, color=GREY)
    return fig


def true_colour(chip: np.ndarray, limit: float = 3000.0, gamma: float = 1.4) -> np.ndarray:
    """chip [10, h, w] of harmonised DN (reflectance x 10000) -> uint8 RGB [h, w, 3].

    The stretch is fixed (0 to `limit`, then a power 1/gamma), not taken from the chip, so that two
    chips side by side can be compared. B04, B03, B02 are rows 2, 1, 0 in the order of the spec.
    """
    rgb = np.asarray(chip)[[2, 1, 0]].astype(np.float32)
    rgb = np.clip(rgb / limit, 0.0, 1.0) ** (1.0 / gamma)
    return np.round(255.0 * rgb).astype(np.uint8).transpose(1, 2, 0)
