"""Errors by region, several encoders side by side: cells of a world map, or sites in a row."""

import numpy as np
import pandas as pd
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from research.evaluation.neighbours import NEAREST
from research.evaluation.table import OURS
from research.figures import style
from research.tasks.trained import CHOSEN

MOST = 4  # encoders side by side
FIRST = (OURS, CHOSEN, NEAREST, "random init")  # shown first, where they are there


def shown(regions: pd.DataFrame) -> list[str]:
    """At most MOST encoders: FIRST, then the others in their order."""
    names = list(dict.fromkeys(regions["encoder"]))
    return ([n for n in FIRST if n in names] + [n for n in names if n not in FIRST])[:MOST]


def draw(
    regions: pd.DataFrame, task: str, error: str, synthetic: bool, degrees: float | None
) -> Figure:
    """regions: rows of `geographic_bias.by_region` of one split. error: label with its unit.
    degrees: size of the blocks in `lon`, `lat` (None: regions are sites, drawn as dots in a row).
    All panels share one colour scale, from 0 to the 95th percentile."""
    with style.context():
        names = shown(regions)
        split = regions["split"].iloc[0]
        if degrees is None or regions["lon"].isna().all():
            fig = _sites(regions, names, error)
        else:
            fig = _maps(regions, names, error, degrees)
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
