"""Figures of the studies. Ablation: what each variant changes against the base, with its interval.
Stress tests: a panel a trained mode, its curve with the 95% interval."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, PercentFormatter

from research.figures import style
from research.figures.style import Figure
from research.studies import ablation_table
from research.studies.ablation import BASE
from research.studies.ablation_table import BY_NAME
from research.studies.stress import curves as stress_curves
from research.studies.stress.curves import HEADLINE, LOWER, NONE
from research.studies.stress.levels import NEUTRAL

COLOURS = {"better": style.BLUE, "worse": style.VERMILION}
AXES = {
    "noise": ("Coordinate noise", "distance from the true place (m)"),
    "shift_east": ("Chip's content shifted, east-west", "read so far east of the place (m)"),
    "shift_north": ("Chip's content shifted, north-south", "read so far north of the place (m)"),
    "scale": ("Scale mismatch", "ground size of the chip / trained size"),
    "position": ("Position in the chip", "way from the centre (0) to the edge (1)"),
    "heading": ("Along the camera's heading", "read so far ahead of the camera (m)"),
    "compass": ("Compass error", "direction of view wrong by (°)"),
}
READ = {"nili": "NILI", "nili, compass unknown": "NILI, compass unknown", "mean": "chip mean"}
GALLERY = {"site": "within its site", "all": "among all photos"}


def differences(result: ablation_table.Result, metrics: Sequence[str]) -> Figure:
    """A panel a metric (one or two read best), a row a variant: difference to the base, 95%.

    Blue where the interval shows better, vermilion where worse, grey where it holds zero. Variants
    stand in the same order in every panel, that of the list; those without a number are left out.
    """
    table = result.table[result.table["metric"].isin(metrics)]
    variants = [v for v in dict.fromkeys(table["variant"]) if v != BASE]
    with style.context():
        fig = Figure(
            figsize=(style.WIDTH, 1.5 + 0.36 * max(1, len(variants))), layout="constrained"
        )
        axes = fig.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, metrics):
            _differences(ax, result, name, variants)
        axes[0].set_yticks(range(len(variants)), variants)
        axes[0].set_ylim(len(variants) - 0.5, -0.5)
        facts = result.facts
        fig.suptitle(
            f"Difference to the base: {facts['steps']} steps, {len(facts['seeds'])} "
            f"seed{'s' * (len(facts['seeds']) > 1)}, {facts['photos']} photos at "
            f"{facts['sites']} validation sites",
            fontsize=11,
            x=0.01,
            ha="left",
        )
        return style.mark(fig, facts["data"] == "synthetic")


def _differences(ax, result: ablation_table.Result, name: str, variants: Sequence[str]) -> None:
    metric, part = BY_NAME[name], result.table[result.table["metric"] == name]
    rows = part.set_index("variant")
    ax.axvline(0, color=style.BLACK, lw=1, zorder=1)
    for y, variant in enumerate(variants):
        if variant not in rows.index or np.isnan(rows.loc[variant, "difference"]):
            continue
        row = rows.loc[variant]
        colour = COLOURS.get(row["verdict"], style.GREY)
        if np.isfinite(row["low"]):
            ax.plot(
                [row["low"], row["high"]],
                [y, y],
                color=colour,
                lw=3,
                solid_capstyle="round",
                zorder=2,
            )
        ax.plot(row["difference"], y, "o", color=colour, ms=7, zorder=3)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: metric.show(v, sign=True)))
    ax.locator_params(axis="x", nbins=5)
    ax.grid(axis="y", visible=False)
    base = metric.show(rows.loc[BASE, "mean"])
    ax.set_title(
        f"{metric.label}\nbase {base}, chance {metric.show(result.chance[name])}", fontsize=10
    )
    ax.set_xlabel(f"difference ({'lower' if metric.lower else 'higher'} is better)\n")


def curves(
    result: stress_curves.Result, stress: str, gallery: str = HEADLINE[0], metric: str = HEADLINE[1]
) -> Figure:
    """One stress: a panel a trained mode with shared limits, the other modes' curves in grey.

    Band: 95% interval of the metric. Dotted: the neutral level; dashed: chance.
    """
    table = result.of(stress, gallery, metric)
    modes, rows = list(dict.fromkeys(table["trained"])), -(-table["trained"].nunique() // 3)
    title, label = AXES[stress]
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 1.0 + 2.0 * rows), layout="constrained")
        axes = fig.subplots(rows, 3, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, mode in zip(axes, modes):
            _curve(ax, table, mode, stress)
        for ax in axes[len(modes) :]:
            ax.set_visible(False)
        if metric in LOWER:
            axes[0].invert_yaxis()
        else:
            axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        first = table.iloc[0]
        fig.suptitle(
            f"{title}: {metric} {GALLERY[gallery]}, {first['n']} photos at "
            f"{first['sites']} sites ({result.facts['split']})",
            fontsize=11,
            x=0.01,
            ha="left",
        )
        fig.supxlabel(label + "\n", fontsize=10.5)
        fig.supylabel(metric, fontsize=10.5)
        return style.mark(fig, result.facts["data"] == "synthetic")


def _curve(ax, table, mode: str, stress: str) -> None:
    for other, part in table.groupby("trained", sort=False):
        if other != mode:
            ax.plot(part["level"], part["mean"], color="#CCCCCC", lw=1, zorder=1)
    part = table[table["trained"] == mode]
    ax.axhline(part["chance"].iloc[0], color=style.GREY, lw=1, ls="--", zorder=1)
    ax.axvline(NEUTRAL[stress], color=style.BLACK, lw=0.9, ls=":", zorder=1)
    if np.isfinite(part["low"]).all():
        ax.fill_between(part["level"], part["low"], part["high"], color=style.BLUE, alpha=0.2, lw=0)
    ax.plot(part["level"], part["mean"], "o-", color=style.BLUE, ms=4, zorder=3)
    ax.set_title(mode, fontsize=10)
    ax.annotate(
        "chance",
        (1, part["chance"].iloc[0]),
        xycoords=("axes fraction", "data"),
        xytext=(-1, 2),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=style.GREY,
    )


def readings(
    result: stress_curves.Result, gallery: str = HEADLINE[0], metric: str = HEADLINE[1]
) -> Figure:
    """Unstressed: each trained mode (row) read in its own mode (filled) and in others (hollow)."""
    table = result.curves
    table = table[
        (table["stress"] == NONE) & (table["gallery"] == gallery) & (table["metric"] == metric)
    ]
    modes, reads = list(dict.fromkeys(table["trained"])), list(dict.fromkeys(table["read"]))
    colours = dict(zip(reads, style.CYCLE))
    markers = dict(zip(reads, "osD^vP"))
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 1.6 + 0.6 * len(modes)), layout="constrained")
        ax = fig.subplots()
        for y, mode in enumerate(modes):
            part = table[table["trained"] == mode]
            for k, row in enumerate(part.itertuples()):
                at = y + (k - (len(part) - 1) / 2) * 0.15
                ax.plot([row.low, row.high], [at, at], color=colours[row.read], lw=1.5)
                ax.plot(
                    row.mean,
                    at,
                    markers[row.read],
                    color=colours[row.read],
                    ms=6,
                    mfc=colours[row.read] if row.own else "white",
                )
        for read in reads:
            name = READ.get(read, read)
            ax.plot([], [], markers[read], color=colours[read], label=f"read {name}")
        ax.axvline(table["chance"].iloc[0], color=style.GREY, lw=1, ls="--")
        ax.set_yticks(range(len(modes)), [f"trained\n{m}" for m in modes])
        ax.set_ylim(len(modes) - 0.5, -0.5)
        if metric not in LOWER:
            ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(f"{metric} {GALLERY[gallery]} (dashed: chance)\n")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        fig.suptitle(
            "Filled: read in the mode of its training. Hollow: in another mode",
            fontsize=11,
            x=0.01,
            ha="left",
        )
        return style.mark(fig, result.facts["data"] == "synthetic")
