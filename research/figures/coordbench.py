"""Figures of the CoordBench notebook: random rows beside blocks, and scenes read rightly or not."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from research.figures import style
from research.figures.style import Figure

LEAST = -0.5  # a worse R2 is drawn at the edge, with its number
PER_ROW = 2
LABELS = {"R2": "R² (0: as good as the mean)", "accuracy": "accuracy (share right)"}


def splits(rows: pd.DataFrame, ours: str) -> Figure:
    """One panel a task: hollow, folds over random rows; filled with its 95% interval, over blocks.

    rows: `research.studies.coordbench.evaluate`. ours: the encoder drawn in colour.
    """
    with style.context():
        names = list(dict.fromkeys(rows["task"]))
        lines = -(-len(names) // PER_ROW) or 1
        encoders = list(dict.fromkeys(rows["encoder"]))
        size = (style.WIDTH, 0.9 + lines * (1.0 + 0.34 * max(1, len(encoders))))
        figure = Figure(figsize=size)
        if not names:
            figure.text(0.02, 0.5, "No table with a target in this folder.", va="center")
            return figure
        axes = figure.subplots(lines, PER_ROW, squeeze=False)
        for ax, name in zip(axes.ravel(), names):
            _panel(ax, rows[rows["task"] == name], encoders, ours)
        for ax in axes.ravel()[len(names) :]:
            ax.axis("off")
        for row in axes:  # encoder names once a line
            row[1].set_yticklabels([])
        marks = [
            Line2D([], [], ls="", marker="o", mfc="white", mec=style.BLACK),
            Line2D([], [], color=style.BLACK, marker="o"),
        ]
        figure.legend(
            marks, ["random rows", "whole blocks, 95% interval"], ncols=2, loc="outside upper right"
        )
        return style.mark(figure, bool(rows["synthetic"].any()))


def _panel(ax, rows: pd.DataFrame, encoders: list[str], ours: str) -> None:
    first = rows.iloc[0]
    least = max(LEAST, min(0.0, float(rows[["value", "low"]].min().min())))
    for y, name in enumerate(reversed(encoders)):
        colour = style.BLUE if name == ours else style.GREY
        found = rows[rows["encoder"] == name].set_index("split")
        random, blocked = found.loc["random"], found.loc["blocked"]
        a, b = max(random.value, least), max(blocked.value, least)
        ax.plot([a, b], [y, y], color=colour, lw=1, ls=":")
        if np.isfinite(blocked.low) and blocked.high > least:
            ax.plot([max(blocked.low, least), blocked.high], [y, y], color=colour, lw=3, alpha=0.5)
        ax.plot(a, y, "o", mfc="white", mec=colour, ms=7)
        ax.plot(b, y, "o" if blocked.value >= least else "<", color=colour, ms=7)
        if blocked.value < least:
            ax.annotate(
                f"{blocked.value:.1f}",
                (b, y),
                xytext=(8, 4),
                fontsize=8,
                textcoords="offset points",
            )
    ax.set_yticks(range(len(encoders)), encoders[::-1])
    ax.set_ylim(-0.6, len(encoders) - 0.4)
    ax.set_xlim(least - 0.06, 1.04)
    ax.locator_params(axis="x", nbins=5)
    ax.axvline(0, color=style.BLACK, lw=0.8)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(LABELS[first.metric])
    ax.set_title(
        f"{first.task}\n{style.counted(first.n, 'place')}, "
        f"{style.counted(first.clusters, first.cluster)}",
        fontsize=9.5,
    )


def readings(ids: list[str], dn: np.ndarray, found: pd.DataFrame) -> Figure:
    """Chips in true colour, and how far features move when thirteen bands are read by count."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.4))
        if not len(ids):
            figure.text(0.02, 0.5, "No scene in this folder.", va="center")
            return figure
        grid = figure.add_gridspec(2, len(ids), height_ratios=(1, 1.1))
        for k, name in enumerate(ids):
            ax = style.image_axes(figure.add_subplot(grid[0, k]))
            ax.imshow(style.true_colour(dn[k]))
            ax.set_title(name if len(name) < 13 else name[:11] + "…", fontsize=8, weight="normal")
        ax = figure.add_subplot(grid[1, :])
        at = np.arange(len(ids))
        for shift, column, label, colour in (
            (-0.18, "by_name", "bands by name", style.BLUE),
            (0.18, "by_count", "by twelve-band positions", style.VERMILION),
        ):
            bars = ax.bar(at + shift, found[column], 0.34, label=label, color=colour)
            ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
        ax.axhline(1, color=style.BLACK, lw=1, ls="--", zorder=0)
        ax.set(xlim=(-0.5, len(ids) - 0.5), xticks=[], ylabel="change of features")
        ax.set_xlabel("distance from the features of the ten bands; 1: as far as another scene")
        ax.set_ylim(0, max(1.6, 1.45 * float(np.nanmax(found.to_numpy(), initial=0))))
        ax.legend(loc="upper left", ncols=2)
        return figure
