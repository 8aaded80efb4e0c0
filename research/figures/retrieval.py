"""Retrieval between three modalities: recall in every direction, kilometres missed, an example."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from research.evaluation.table import OURS, RANDOM, UNKNOWN
from research.figures import style
from research.figures.style import Figure
from research.tasks.result import Split

# title of a panel -> query, target and gallery of its splits (`research.tasks.result.Split`)
DIRECTIONS = {
    "Photo → RS": ("photo", "chip", "held out"),
    "Photo → location": ("photo", "coordinates", "held out"),
    "RS → location": ("chip", "coordinates", "held out"),
    "RS → photo": ("chip", "photo", "held out"),
    "Location → photo": ("coordinates", "photo", "held out"),
    "Location → RS": ("coordinates", "chip", "held out"),
}
GALLERIES = {
    "Candidates: held-out photos": "held out",
    "Candidates: world gallery": "world",
}  # of searches for coordinates
# encoder -> (name, colour, marker)
LOOKS = {
    OURS: ("GAIR (pretrained)", style.BLUE, "o"),
    "gair, by way of RS": ("GAIR, photo → RS → location", style.SKY, "v"),
    "gair, by way of photos": ("GAIR, RS → photo → location", style.SKY, "v"),
    UNKNOWN: ("GAIR, compass unknown", style.SKY, "X"),
    "gair, chip mean": ("GAIR, chip mean", style.GREEN, "D"),
    RANDOM: ("GAIR (random init)", style.ORANGE, "s"),
    "colour statistics": ("Colour statistics", style.VERMILION, "^"),
    "medoid of the training sites": ("Medoid of the training sites", style.PURPLE, "P"),
}


def curves(result) -> dict[str, Figure]:
    """Figures by name beside the scores: `directions`, and `kilometres` where places were looked
    for. Empty where nothing was looked for. result: `research.tasks.result.Result`."""
    found = {
        "directions": directions(result.rows, result.splits),
        "kilometres": kilometres(result.rows, result.splits),
    }
    return {name: fig for name, fig in found.items() if fig is not None}


def directions(rows: pd.DataFrame, splits: Mapping[str, Split]) -> Figure | None:
    """recall@k of each direction that the rows hold, with 95% intervals; dashed: chance.

    rows, splits: those of one retrieval task or of several, joined (all give six directions).
    """
    rows = rows[(rows["seed"] == "mean") & rows["metric"].str.startswith("recall@")]
    panels = [
        (title, _of(rows, splits, lambda s, way=way: (s.query, s.target, s.gallery) == way))
        for title, way in DIRECTIONS.items()
    ]
    title = "Held-out photos as queries and candidates: point and 95% interval"
    return _figure(panels, "recall@", title, "found among the first k", 3)


def kilometres(rows: pd.DataFrame, splits: Mapping[str, Split]) -> Figure | None:
    """Share of queries whose best candidate lies within d km, over log d; dashed: chance."""
    rows = rows[(rows["seed"] == "mean") & rows["metric"].str.startswith("hit within")]
    towards = {name: s for name, s in splits.items() if s.target == "coordinates"}
    panels = [
        (title, _of(rows, towards, lambda s, gallery=gallery: s.gallery == gallery))
        for title, gallery in GALLERIES.items()
    ]
    queries = {s.query for s in towards.values()}
    source = "RS embedding" if "chip" in queries else "photo"
    title = f"How far from the truth is the best candidate of a {source}?"
    return _figure(panels, "hit within", title, "within that distance", 2)


def _of(rows: pd.DataFrame, splits: Mapping[str, Split], fits) -> pd.DataFrame:
    """The rows of the splits that fit."""
    return rows[rows["split"].isin([name for name, split in splits.items() if fits(split)])]


def _figure(panels, kind: str, title: str, what: str, columns: int) -> Figure | None:
    panels = [(name, rows) for name, rows in panels if len(rows)]
    if not panels:
        return None
    per_row = min(columns, len(panels)) if len(panels) != 4 else 2
    lines = -(-len(panels) // per_row)
    with style.context():
        fig = Figure(
            figsize=(max(style.WIDTH, 3.4 * per_row), 3.3 * lines + 1.3), layout="constrained"
        )
        axes = fig.subplots(lines, per_row, squeeze=False, sharey=True).ravel()
        handles: dict = {}
        for ax, (name, rows) in zip(axes, panels):
            _lines(ax, rows, kind, handles)
            ax.set_title(name)
        for ax in axes[::per_row]:
            ax.set_ylabel(f"share {what}")
        for ax in axes[len(panels) :]:
            ax.axis("off")
        fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
        fig.suptitle(title, x=0.01, ha="left", fontsize=11)
        return style.mark(fig, rows["data"].iloc[0] == "synthetic")


def _lines(ax, rows: pd.DataFrame, kind: str, handles: dict) -> None:
    """One line an encoder, slightly apart from each other where the axis counts in steps."""
    steps = kind == "recall@"
    at = rows["metric"].str.extract(r"([\d,]+)")[0].str.replace(",", "").astype(int)
    rows = rows.assign(at=at.to_numpy())
    ticks = np.unique(rows["at"])
    present = [e for e in LOOKS if (rows["encoder"] == e).any()]
    for i, encoder in enumerate(present):
        name, colour, marker = LOOKS[encoder]
        r = rows[rows["encoder"] == encoder].sort_values("at")
        shift = (i - (len(present) - 1) / 2) * 0.035
        x = np.searchsorted(ticks, r["at"]) + shift * 1.5 if steps else r["at"] * np.exp(shift * 2)
        low, high = (r["value"] - r["low"]).clip(lower=0), (r["high"] - r["value"]).clip(lower=0)
        handles[name] = ax.errorbar(
            x,
            r["value"],
            np.nan_to_num([low, high]),
            color=colour,
            marker=marker,
            ms=5,
            lw=1.6,
            elinewidth=1.2,
            capsize=2,
            zorder=3 if encoder == OURS else 2,
        )
    chance = rows[rows["encoder"] == "chance"].sort_values("at")
    x = np.searchsorted(ticks, chance["at"]) if steps else chance["at"]
    handles["Chance"] = ax.plot(x, chance["value"], ls="--", lw=1.2, color=style.BLACK)[0]
    if steps:
        ax.set_xticks(range(len(ticks)), [str(k) for k in ticks])
        ax.set_xlabel("k")
    else:
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{k:,}" for k in ticks])
        ax.minorticks_off()
        ax.set_xlabel("great-circle distance (km)")
    ax.set_ylim(bottom=0)
