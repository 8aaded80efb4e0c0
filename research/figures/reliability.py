"""How far the probabilities of `gairlib.find` hold: what was stated beside what was found.

python -m research.figures.reliability metrics/find_calibration.json FILE.webp
"""

import json
import sys
from pathlib import Path

import numpy as np

from research.figures import style
from research.figures.style import Figure

DPI = 80
FLOOR = 1e-3  # of a logarithmic axis: none found is drawn there


def diagram(found: dict) -> Figure:
    """One line a temperature of `research.studies.find_calibration.measure`; on the diagonal, what
    is stated is what is found."""
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 0.62 * style.WIDTH), layout="constrained")
        ax = fig.subplots()
        ax.plot([FLOOR, 1], [FLOOR, 1], color=style.GREY, lw=1, ls="--")
        for (name, one), colour in zip(
            found["temperatures"].items(), (style.VERMILION, style.BLUE)
        ):
            stated = [b["stated"] for b in one["bins"]]
            values = np.array([b["found"] for b in one["bins"]], float)  # value, low, high
            values = np.where(np.isnan(values), values[:, :1], values).clip(FLOOR)
            off = np.abs(values[:, 1:] - values[:, :1]).T
            label = f"temperature {one['temperature']:.3f}, {name}"
            ax.errorbar(stated, values[:, 0], off, marker="o", color=colour, label=label)
        ax.set(xscale="log", yscale="log", xlim=(FLOOR, 1), ylim=(FLOOR, 1))
        style.log_axis(ax.xaxis)
        style.log_axis(ax.yaxis)
        ax.set_xlabel(f"stated probability of a place of {found['radius_m']:g} m")
        ax.set_ylabel("share of such places that hold the photo")
        ax.legend(loc="upper left")
        ax.set_title(f"{found['photos']:,} photos at {found['sites']} test sites")
        return style.mark(fig, found["data"] == "synthetic")


if __name__ == "__main__":
    source, target = sys.argv[1:]
    diagram(json.loads(Path(source).read_text(encoding="utf-8"))).savefig(target, dpi=DPI)
