"""A real scene beside the land use that is mapped in it, and beside what a probe makes of it."""

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup, escape
from matplotlib.patches import Patch, Rectangle

from research.figures import style
from research.figures.style import Figure

LIKE = {  # classes of OpenStreetMap that take the colour of a land cover
    "meadow": "grass",
    "farm": "crop",
    "scrub": "bare",
    "residential": "low building",
    "wetland": "industrial",
}
BAR = 2000.0  # metres
LIMIT = 1600.0  # DN above the darkest that are white: a winter day


def colours(classes: Iterable[str]) -> dict[str, str]:
    """Class -> hex colour."""
    names = sorted(set(classes))
    return dict(zip(names, style.cover_colours([LIKE.get(name, name) for name in names])))


def painted(
    pixels: Sequence[np.ndarray],
    labels: np.ndarray,
    palette: dict[str, str],
    window: tuple[int, int, int, int],
) -> np.ndarray:
    """uint8 RGBA [h, w, 4] of a window (column, row, width, height): polygons, given by their
    pixels (column, row) [p, 2], in the colours of their labels [n]; clear elsewhere."""
    c0, r0, wide, high = window
    picture = np.zeros((high, wide, 4), np.uint8)
    for inside, label in zip(pixels, labels):
        column, row = (inside - (c0, r0)).T
        there = (0 <= column) & (column < wide) & (0 <= row) & (row < high)
        hex_ = palette[label]
        picture[row[there], column[there]] = (*bytes.fromhex(hex_[1:]), 255)
    return picture


def key(palette: dict[str, str], what: str) -> Markup:
    """A line for a map's legend: what is drawn, and a coloured square before each class."""
    square = "display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.3em"
    classes = [
        Markup('<span style="white-space:nowrap"><i style="{};background:{}"></i>{}</span>').format(
            square, colour, name
        )
        for name, colour in palette.items()
    ]
    return escape(what) + Markup("<br>") + Markup(" ").join(classes)


def without_haze(values: np.ndarray) -> np.ndarray:
    """True colours uint8 [h, w, 3] of a whole scene in DN [10, h, w], for the eye alone: the
    darkest hundredth of each band is black, as it would be without the light that haze adds."""
    dark = np.percentile(values, 1, axis=(1, 2))[:, None, None]
    return style.true_colour(np.clip(values - dark, 0, None), limit=LIMIT)


def scene(
    pictures: dict[str, np.ndarray],
    ground: np.ndarray,
    palette: dict[str, str],
    box: tuple[int, int, int, int],
    credit: str,
) -> Figure:
    """Pictures of one scene, two in a row: title -> uint8 [h, w, 3], or RGBA of its polygons, which
    lie over the greyed ground.

    ground: uint8 [h, w, 3], true colours at 10 m; box: (column, row, width, height) of the part
    that the map shows, in its pixels.
    """
    high, wide = ground.shape[:2]
    lines = -(-len(pictures) // 2)
    with style.context():
        size = (style.WIDTH, lines * (style.WIDTH / 2 * high / wide + 0.35) + 0.6)
        fig = Figure(figsize=size, layout="constrained")
        axes = fig.subplots(lines, 2, squeeze=False).ravel()
        for ax, (title, picture) in zip(axes, pictures.items()):
            style.image_axes(ax, title)
            over = picture.shape[-1] == 4
            if over:
                grey = ground.mean(-1) * 0.5 + 110
                ax.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, wide, high, 0))
            ax.imshow(picture, extent=(0, wide, high, 0))
            ax.set(xlim=(0, wide), ylim=(high, 0))
            line = style.BLACK if over else "white"
            ax.add_patch(Rectangle(box[:2], *box[2:], fill=False, ec=line, lw=1.2))
        for ax in axes[len(pictures) :]:
            ax.set_axis_off()
        left = 0.03 * wide
        axes[0].plot([left, left + BAR / 10], [0.93 * high] * 2, color="white", lw=3)
        axes[0].text(left, 0.89 * high, f"{BAR / 1000:g} km", color="white", fontsize=8)
        handles = [Patch(fc=colour, label=name) for name, colour in palette.items()]
        fig.legend(handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8)
        axes[len(pictures) - 1].set_xlabel(credit, loc="right", fontsize=7, color=style.GREY)
    return fig
