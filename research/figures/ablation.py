"""Ablation figure: what each variant changes against the base, with its interval."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from research.figures import style
from research.studies.ablation import BASE
from research.studies.ablation_table import BY_NAME, Result

COLOURS = {"better": style.BLUE, "worse": style.VERMILION}


def differences(result: Result, metrics: Sequence[str]) -> Figure:
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
            _panel(ax, result, name, variants)
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


def _panel(ax, result: Result, name: str, variants: Sequence[str]) -> None:
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
