"""What the stress tests say, in sentences chosen by the numbers."""

import numpy as np
import pandas as pd

from research.studies.stress.curves import HEADLINE, Result
from research.studies.stress.levels import NONE


def readable(result: Result) -> pd.DataFrame:
    """Unstressed pairs, a row a (trained, read): every metric with its interval, as text."""
    table = result.curves[result.curves["stress"] == NONE]
    lines = {}
    for row in table.itertuples():
        head = (row.trained, row.read if row.own else f"{row.read} (not its training mode)")
        show = (lambda v: f"{v:.1f}") if "rank" in row.metric else (lambda v: f"{100 * v:.1f}%")
        place = "within site" if row.gallery == "site" else "all photos"
        lines.setdefault(head, {})[f"{row.metric}, {place}"] = (
            f"{show(row.mean)} [{show(row.low)}, {show(row.high)}]"
        )
    found = pd.DataFrame(lines).T
    found.index.names = ["trained", "read"]
    return found


def _points(value, low, high) -> str:
    return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def conclusions(result: Result) -> str:
    """Markdown: does each mode lose where the place is wrong, and is it best at the true place?"""
    facts = result.facts
    lines = [
        f"On {facts['data']} data ({facts['dataset']}, {facts['split']}): {facts['photos']} "
        f"photos at {facts['sites']} sites, seeds {', '.join(map(str, facts['seeds']))}. "
        "Recall@10 within the site; differences to the neutral level in percentage points, "
        "with 95% intervals over sites and seeds."
    ]
    noise = result.of("noise")
    for mode, part in noise.groupby("trained", sort=False):
        worse = part[part["difference_high"] < 0]
        last = part.iloc[-1]
        gap = _points(last["difference"], last["difference_low"], last["difference_high"])
        told = (
            f"clearly lower from {worse['level'].min():g} m of noise on"
            if len(worse)
            else "no level of noise is shown to cost anything"
        )
        lines.append(
            f"- **{mode}**: {told}; at {last['level']:g} m {gap}; left over "
            f"{last['mean']:.1%} (chance {last['chance']:.1%})."
        )
    heading = result.of("heading")
    if len(heading):
        peaks = []
        for mode, part in heading.groupby("trained", sort=False):
            shown = (part["difference_low"] > 0) | (part["difference_high"] < 0)
            best = part.loc[part["mean"].idxmax(), "level"]
            peaks.append(f"{mode} {best:+g} m" if shown.any() else f"{mode} nowhere shown (flat)")
        lines.append("**Along the heading** the curve is highest at: " + ", ".join(peaks) + ".")
    gaps = result.gaps
    if len(gaps):
        chosen = gaps[(gaps["gallery"] == HEADLINE[0]) & (gaps["metric"] == HEADLINE[1])]
        said = []
        for row in chosen.itertuples():
            kind = (
                "a tie"
                if not (row.low > 0 or row.high < 0) or np.isnan(row.low)
                else "better"
                if row.difference > 0
                else "worse"
            )
            said.append(
                f"{row.first} against {row.second} "
                f"{_points(row.difference, row.low, row.high)} ({kind})"
            )
        lines.append("**Unstressed, by mode of training:** " + "; ".join(said) + ".")
    if facts["failed"]:
        lines.append(f"{facts['failed']} of {facts['runs']} runs failed and are left out.")
    lines.append(
        "These models are small and were trained for a short time. The modes were not "
        "chosen on the test sites; the settings of the default training, which they "
        "share, were once compared there (docs/log), so the levels of recall may flatter."
    )
    return "\n\n".join(lines)
