"""What the stress tests show, read off their curves."""

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


def costs_of_noise(result: Result) -> list[dict]:
    """For each mode: the least noise that is shown to cost recall@10 (`from_m`, None where none
    is), and at the most noise (`level`) the loss as text, the recall left and that of chance."""
    found = []
    for mode, part in result.of("noise").groupby("trained", sort=False):
        worse, last = part[part["difference_high"] < 0], part.iloc[-1]
        found.append(
            {
                "mode": mode,
                "from_m": worse["level"].min() if len(worse) else None,
                "level": last["level"],
                "loss": _points(
                    last["difference"], last["difference_low"], last["difference_high"]
                ),
                "left": last["mean"],
                "chance": last["chance"],
            }
        )
    return found


def peaks_along_heading(result: Result) -> dict[str, float | None]:
    """Mode -> metres ahead of the camera (behind it: negative) at which recall@10 is highest, None
    where no level is shown to differ from the neutral one."""
    found = {}
    for mode, part in result.of("heading").groupby("trained", sort=False):
        shown = (part["difference_low"] > 0) | (part["difference_high"] < 0)
        found[mode] = part.loc[part["mean"].idxmax(), "level"] if shown.any() else None
    return found


def headline_gaps(result: Result) -> list[str]:
    """The unstressed difference between modes of training, as text with its verdict."""
    gaps = result.gaps
    if not len(gaps):
        return []
    found = []
    for row in gaps[
        (gaps["gallery"] == HEADLINE[0]) & (gaps["metric"] == HEADLINE[1])
    ].itertuples():
        shown = row.low > 0 or (row.high < 0 and not np.isnan(row.low))
        kind = ("better" if row.difference > 0 else "worse") if shown else "a tie"
        gap = _points(row.difference, row.low, row.high)
        found.append(f"{row.first} against {row.second} {gap} ({kind})")
    return found


def worth_of_a_compass(result: Result) -> list[dict]:
    """For each mode that reads directions: the right compass minus none as text (`gain`), the least
    error of it (`worse_from`, degrees) from which it is shown to be worse than none, None where no
    level is."""
    if not len(result.compass):
        return []
    table, found = result.compass, []
    table = table[(table["gallery"] == HEADLINE[0]) & (table["metric"] == HEADLINE[1])]
    for mode, part in table.groupby("trained", sort=False):
        right, worse = part.iloc[part["degrees"].argmin()], part[part["high"] < 0]
        found.append(
            {
                "mode": mode,
                "gain": _points(right["difference"], right["low"], right["high"]),
                "worse_from": worse["degrees"].min() if len(worse) else None,
            }
        )
    return found
