"""Pictures of how exact a photo's place is, and of how chips and photos differ in time."""

import numpy as np
from matplotlib.figure import Figure

from gairlib.pairs.store import Pairs
from research.figures import box_error, style

LATITUDES = np.linspace(-78.0, 83.0, 47)
MERIDIAN = {
    "at the zone's central meridian": 0.02,
    "half way to the zone's edge": 1.5,
    "at the zone's edge": 2.98,
}
SIZES = (640.0, 2000.0)  # metres: ours, and about what the published demo chips cover


def box_errors() -> tuple[Figure, dict[str, float]]:
    """Error of box interpolation by latitude, and the numbers that a text needs.

    Returns the figure and {"box_median_m", "box_worst_m", "exact_worst_px", ...} over all
    latitudes, distances from the meridian and positions in a chip of 640 m.
    """
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 4.4), layout="constrained")
        for ax, size in zip(axes := fig.subplots(1, 2, sharey=True), SIZES):
            for (name, degrees), colour in zip(MERIDIAN.items(), style.CYCLE):
                worst = [box_error.metres_off(a, degrees, size).max() for a in LATITUDES]
                ax.plot(LATITUDES, worst, color=colour, label=name)
            ax.axhline(10.0, color=style.GREY, ls="--", lw=1)
            ax.set(title=f"Chip of {size:,.0f} m", xlabel="latitude (degrees)", yscale="log")
        axes[0].set_ylabel("largest error in a chip (metres)")
        axes[0].annotate(
            "one pixel",
            (0, 10.0),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=style.BLACK,
        )
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=3)
    every = np.array(
        [[box_error.metres_off(a, d, SIZES[0]) for d in MERIDIAN.values()] for a in LATITUDES]
    )
    single = np.array(
        [
            [box_error.metres_off(a, d, SIZES[0], single=True) for d in MERIDIAN.values()]
            for a in LATITUDES
        ]
    )
    exact = [
        box_error.pixels_off_exact(a, d, SIZES[0]) for a in LATITUDES for d in MERIDIAN.values()
    ]
    numbers = {
        "box_median_m": float(np.median(every)),
        "box_worst_m": float(every.max()),
        "box_float32_median_m": float(np.median(single)),
        "exact_worst_px": float(max(exact)),
    }
    return fig, numbers


def date_gaps(pairs: Pairs, synthetic: bool) -> Figure:
    """Days between a photo and its chip's scene, and the share of near-duplicates by split."""
    gap = pairs.manifest["date_gap_days"].to_numpy(float)
    known = gap[np.isfinite(gap)]
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 2.8), layout="constrained")
        ax = fig.subplots()
        if known.size:
            top = max(10.0, float(np.percentile(known, 99)))
            ax.hist(np.clip(known, 0, top), bins=40, color=style.PURPLE)
            ax.set_xlim(0, top)
        else:
            ax.set(xticks=[], yticks=[])
            ax.text(
                0.5,
                0.5,
                "no photo with a date in a scene with a date",
                transform=ax.transAxes,
                ha="center",
            )
        unknown = f"; unknown for {gap.size - known.size:,}" if known.size < gap.size else ""
        ax.set(
            title=f"Days between photo and scene ({known.size:,} pairs{unknown})",
            xlabel="days",
            ylabel="photos in chips",
        )
    return style.mark(fig, synthetic)
