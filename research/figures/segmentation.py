"""Tiles of a segmentation task: what the chip shows, what is true, and what each head answers."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from research.figures import style
from research.tasks.segmentation.data import IGNORE, SegmentationData

TILES = 3
SHOWN = ("gair", "gair, UPerNet", "random init", "U-Net, supervised")
colours = style.cover_colours  # one a class


def examples(
    data: SegmentationData, chips: np.ndarray, truth: np.ndarray, guesses: dict[str, np.ndarray]
) -> Figure:
    """The TILES most varied test tiles: chips [n, 10, H, W], truth and guesses [n, H, W]."""
    variety = [len(np.setdiff1d(mask, [IGNORE])) for mask in truth]
    rows = np.argsort(-np.array(variety), kind="stable")[:TILES]
    shown = [name for name in SHOWN if name in guesses]
    palette = colours(data.classes)
    cmap = ListedColormap(palette).with_extremes(over="white", bad="white")
    columns = 2 + len(shown)
    fig = Figure(figsize=(style.WIDTH + 1, 0.9 + 1.55 * len(rows)), layout="constrained")
    grid = fig.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows):
        style.image_axes(axes[0]).imshow(style.true_colour(chips[row]))
        for ax, mask in zip(axes[1:], [truth[row], *(guesses[name][row] for name in shown)]):
            known = np.ma.masked_equal(np.asarray(mask), IGNORE)
            style.image_axes(ax).imshow(
                known, cmap=cmap, vmin=-0.5, vmax=len(palette) - 0.5, interpolation="nearest"
            )
    for ax, name in zip(grid[0], ["chip", "truth", *(n.replace(", ", ",\n") for n in shown)]):
        ax.set_title(name, fontsize=9.5)
    there = sorted(set(np.unique(truth[rows])) - {IGNORE})
    fig.legend(
        handles=[Patch(color=palette[k], label=data.classes[k]) for k in there],
        loc="outside lower center",
        ncols=5,
        fontsize=9,
    )
    return fig
