"""A benchmark's numbers: every encoder with its interval, and errors by region."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from research.evaluation.neighbours import NEAREST
from research.evaluation.table import (
    LOWER,
    OURS,
    RANDOM,
    RANDOM_SHARED,
    SHARED,
    SHARED_UNKNOWN,
    UNKNOWN,
)
from research.figures import style
from research.figures.style import Figure
from research.tasks.result import BLIND
from research.tasks.trained import CHOSEN

COLUMNS = 2  # panels side by side
MOST = 4  # encoders in maps side by side
FIRST = (OURS, CHOSEN, NEAREST, RANDOM)  # shown first, where they are there
LABELS = {
    "R2": "R² (1 is perfect)",
    "accuracy": "accuracy (share right)",
    "recall@1": "recall@1 (share found first)",
    "recall@10": "recall@10 (share in first ten)",
    "median rank": "median rank (1 is best)",
    "localisation error": "median localisation error (m)",
    "localisation error, great circle": "median distance to the best candidate (km)",
    "heading error": "median error of the direction (°)",
    "-log p of the true cell": "-log p of the true cell (lower is better)",
    "-log p of the true direction": "-log p of the true direction (lower is better)",
    "hit within 200 km": "share within 200 km",
    "hit within 2,500 km": "share within 2,500 km",
    "cosine margin": "cosine: match minus other sites",
}
NAMES = {
    OURS: "GAIR (pretrained)",
    SHARED: "GAIR, shared space",
    RANDOM_SHARED: "GAIR (random init), shared space",
    UNKNOWN: "GAIR, compass unknown",
    SHARED_UNKNOWN: "GAIR, shared space, compass unknown",
    "gair, chip mean": "GAIR, chip mean",
    "gair, least expected error": "GAIR, least expected error",
    "gair, raw tokens bilinear (not its training mode)": (
        "GAIR, raw tokens, bilinear\n(not its training mode)"
    ),
    "gair, by way of RS": "GAIR, by way of RS",
    "gair, by way of photos": "GAIR, by way of photos",
    "random init": "GAIR (random init)",
}


def _name(encoder: str) -> str:
    return NAMES.get(encoder, encoder[:1].upper() + encoder[1:])


def rows(result) -> Figure:
    """Point and 95% interval of every encoder, one panel a judged metric; dashed: knowing nothing.

    result: `research.tasks.result.Result`. Panels share encoder names only where they have them.
    """
    with style.context():
        if result.status != "ran":
            return style.empty(f"{result.task} on {result.dataset} was skipped: {result.reason}")
        panels = result.mainline
        per_row = min(COLUMNS, len(panels))
        lines = -(-len(panels) // per_row)
        entries = [_panel_rows(result, split, metric) for _, split, metric in panels]
        most = max(map(len, entries))
        fig = Figure(
            figsize=(max(style.WIDTH, 5.2 * per_row), lines * (1.15 + 0.36 * most) + 0.4),
            layout="constrained",
        )
        axes = fig.subplots(lines, per_row, squeeze=False).ravel()
        for ax, (_, split, metric), entry in zip(axes, panels, entries):
            _panel(ax, split, metric, entry)
        for ax in axes[len(panels) :]:
            ax.axis("off")
        fig.suptitle(
            f"{result.task} on {result.dataset} ({result.data} data): point and 95% "
            f"interval over {result.rows['cluster'].iloc[0]}s",
            fontsize=12,
            x=0.01,
            ha="left",
        )
        return style.mark(fig, result.synthetic)


def _panel_rows(result, split: str, metric: str):
    r = result.rows
    rows = r[(r.split == split) & (r.metric == metric) & (r.seed == "mean")]
    return rows.sort_values("value", ascending=not metric.startswith(LOWER), kind="stable")


def _panel(ax, split: str, metric: str, rows) -> None:
    """One metric: encoders from worst (bottom) to best (top)."""
    blind = rows[rows.encoder.isin(BLIND)]
    for y, (_, row) in enumerate(rows.iterrows()):
        ours = row.encoder == OURS
        colour = (
            style.BLUE
            if ours
            else style.SKY
            if row.encoder.startswith(OURS)
            else style.ORANGE
            if row.encoder == RANDOM
            else style.GREY
        )
        if np.isfinite(row.low):
            ax.plot([row.low, row.high], [y, y], color=colour, lw=3, solid_capstyle="round")
        ax.plot(row.value, y, "o", color=colour, ms=8 if ours else 6, zorder=3)
        text = f"{row.value:.0f}" if row.unit or metric == "median rank" else f"{row.value:.3f}"
        text = text.replace("-0.000", "0.000")
        ax.annotate(
            text,
            (row.value, y),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=style.BLACK,
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )
    if len(blind):
        ax.axvline(blind["value"].iloc[0], color=style.BLACK, ls="--", lw=1, zorder=0)
    ax.set_yticks(range(len(rows)), [_name(e) for e in rows.encoder], fontsize=9)
    ax.set_ylim(-0.6, len(rows) - 0.2)
    ax.grid(axis="y", visible=False)
    lower = metric.startswith(LOWER) and metric != "median rank"
    ax.set_xlabel(LABELS.get(metric, metric) + (", lower is better" if lower else ""))
    first = rows.iloc[0]
    clusters = style.counted(first.clusters, first.cluster)
    counts = f"{style.counted(first['n'], 'example')}, {clusters}"
    ax.set_title(f"{textwrap.fill(split, 42)}\n{counts}", fontsize=10)


# --------------------------------------------------------------------------------- errors by region


def trainings(result) -> Figure | None:
    """Error on validation tiles of everything that was trained by steps, and where it was best;
    None where nothing was. A training that ended at its limit of steps is dashed."""
    fits = {name: fit for name, fit in result.fits.items() if fit.curve}
    if not fits:
        return None
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
        ax = fig.subplots()
        for name, fit in fits.items():
            steps, errors = zip(*fit.curve)
            label = _name(name) + (" (ended at its limit)" if fit.at_limit else "")
            (line,) = ax.plot(steps, errors, ls="--" if fit.at_limit else "-", label=label)
            ax.plot(fit.best_step, min(errors), "o", color=line.get_color())
        ax.set(xlabel="training steps", ylabel="error on validation tiles (1 - mIoU)")
        ax.legend(fontsize=9)
        fig.suptitle(f"{result.task}: when training stopped (dot: weights kept)", x=0.01, ha="left")
        return style.mark(fig, result.synthetic)


def bias(result) -> Figure | None:
    """Errors by region of the first judged split, None where there are fewer than two regions."""
    if not result.mainline:
        return None
    errors = result.regions[result.regions["split"] == result.mainline[0][1]]
    if errors["region"].nunique() < 2:
        return None
    data = result.example["data"]
    label = (
        f"RMSE of {data.target}"
        if data.kind == "regression"
        else f"share of {data.target} that is wrong"
    )
    return regions(errors, result.task, label, result.synthetic, data.degrees)


def shown(errors: pd.DataFrame) -> list[str]:
    """At most MOST encoders: FIRST, then the others in their order."""
    names = list(dict.fromkeys(errors["encoder"]))
    return ([n for n in FIRST if n in names] + [n for n in names if n not in FIRST])[:MOST]


def regions(
    errors: pd.DataFrame, task: str, error: str, synthetic: bool, degrees: float | None
) -> Figure:
    """errors: rows of `geographic_bias.by_region` of one split. error: label with its unit.
    degrees: size of the blocks in `lon`, `lat` (None: regions are sites, drawn as dots in a row).
    All panels share one colour scale, from 0 to the 95th percentile."""
    with style.context():
        names = shown(errors)
        split = errors["split"].iloc[0]
        if degrees is None or errors["lon"].isna().all():
            fig = _sites(errors, names, error)
        else:
            fig = _maps(errors, names, error, degrees)
        fig.suptitle(f"{task}, {split}: error by region", x=0.01, ha="left", fontsize=12)
        return style.mark(fig, synthetic)


def _label(name: str, rows: pd.DataFrame) -> str:
    name = {OURS: "GAIR (pretrained)"}.get(name, name[:1].upper() + name[1:])
    return f"{name}\nmedian region {rows['error'].median():.3g}"


def _maps(regions, names, error, degrees) -> Figure:
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    west, south = (np.floor(regions[c].min() / degrees) * degrees for c in ("lon", "lat"))
    east, north = (np.ceil(regions[c].max() / degrees) * degrees for c in ("lon", "lat"))
    height = 4.3 * (north - south) / max(east - west, 1) + 0.8
    fig = Figure(
        figsize=(5.2 * columns + 0.6, lines * min(max(height, 2.0), 5.0) + 0.5),
        layout="constrained",
    )
    top = np.percentile(regions[regions["encoder"].isin(names)]["error"], 95) or 1.0
    axes = fig.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, name in zip(axes, names):
        rows = regions[regions["encoder"] == name]
        cells = PatchCollection(
            [
                Rectangle(
                    (np.floor(r.lon / degrees) * degrees, np.floor(r.lat / degrees) * degrees),
                    degrees,
                    degrees,
                )
                for r in rows.itertuples()
            ],
            cmap=style.SEQUENTIAL,
            edgecolor="white",
            linewidth=0.4,
        )
        cells.set_array(rows["error"].to_numpy())
        cells.set_clim(0, top)
        ax.add_collection(cells)
        ax.set(xlim=(west, east), ylim=(south, north), aspect="equal")
        ax.set_title(_label(name, rows), fontsize=10)
    for k, ax in enumerate(axes):
        if k >= len(names):
            ax.axis("off")
            continue
        if k + columns >= len(names):
            ax.set_xlabel("longitude (°)")
            ax.tick_params(labelbottom=True)
        if k % columns == 0:
            ax.set_ylabel("latitude (°)")
    fig.colorbar(cells, ax=list(axes), label=error, extend="max", shrink=0.8)
    return fig


def _sites(regions, names, error) -> Figure:
    """Sites from the easiest to the hardest for the first encoder; a colour and mark an encoder."""
    order = regions[regions["encoder"] == names[0]].sort_values("error")["region"].tolist()
    fig = Figure(figsize=(max(style.WIDTH, 0.3 * len(order) + 3), 4.2), layout="constrained")
    ax = fig.add_subplot()
    colours = (style.BLUE, style.ORANGE, style.BLACK, style.GREY)
    for name, colour, mark in zip(names, colours, "os^D"):
        rows = regions[regions["encoder"] == name].set_index("region")["error"].reindex(order)
        label = _label(name, rows.to_frame())
        ax.plot(range(len(order)), rows, mark, color=colour, ms=6, label=label)
    ax.set_xticks(range(len(order)), order, rotation=90, fontsize=8)
    ax.set_ylabel(error)
    ax.set_ylim(bottom=0)
    fig.legend(loc="outside right upper", fontsize=9, frameon=False)
    return fig
