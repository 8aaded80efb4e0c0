"""Registry encoders, trained end to end on a location table, beside the frozen one.

`location_training` fits each on the training rows of an outer fold, and stops by inner folds that
are split as the outer ones are. "chosen encoder" answers in each fold with the one whose inner
score, from training rows alone, is best: that row, and not the best of many test scores, is what
"the best encoder of the registry" means. They run on the first `Options.trained_seeds` assignments
of folds: their difference from distance-weighted 5-NN is taken on the same assignments
(`against_neighbours`), so that both have seen the same rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from gairlib.errors import BadInput
from gairlib.location import registry
from research.evaluation import location_training
from research.evaluation.location_training import Settings
from research.evaluation.neighbours import NEAREST
from research.evaluation.table import COMPARISON_COLUMNS, OURS, Table

CHOSEN = "chosen encoder"
PROBE = "trained end to end"
# Half as many networks and steps as `location_training.DEFAULTS`: seconds a task instead of minutes
QUICK = Settings(folds=2, steps=150, batch=256)
SETTINGS = {"quick": QUICK, "full": location_training.DEFAULTS}

_MLP = {"hidden": 64, "layers": 2}
_FINEST = 80.0  # sigma times degrees: 8 under 10-degree blocks, a kernel of 800 km, 0.7 of a block
_SPACING = 2.0  # degrees between the rows of a world-wide table of some thousand: random folds


def options(name: str, degrees: float | None) -> list[dict]:
    """What a registry encoder is built with under blocks of `degrees` (None: random folds).

    Widths are for some thousand rows (the registry's defaults are for pretraining on millions), and
    nothing is much finer than the gap that has to be bridged: what oscillates within a held-out
    block is noise there. Random Fourier features come at two scales, which form one ensemble.
    """
    gap = degrees or _SPACING
    sigma, radius = _FINEST / gap, gap / 100  # radius 0.1: a wavelength of 36 degrees
    if name == "rff-xyz":
        return [{"sigmas": (s / 4, s), **_MLP} for s in (sigma / 2, sigma)]
    if name in (
        "rff",
        "geoclip",
    ):  # Equal Earth's x is lon / 180 and its phase 2 pi b x: b counts double
        return [
            {"sigmas": (s / 8, s / 2), "features": 64, "hidden": 64} for s in (sigma / 2, sigma)
        ]
    if name == "spherical-harmonics":
        return [{"degree": min(16, max(2, round(sigma))), "hidden": 64, "layers": 1}]
    if name in ("direct", "wrap", "xyz"):
        return [{"hidden": 64}]
    return [{"scales": 5 if "dfs" in name else 8, "min_radius": min(radius, 1.0), **_MLP}]


def settings(name: str) -> Settings:
    """How the registry's encoders are trained, by the parameter `trained`."""
    if name not in SETTINGS:
        raise BadInput(f"benchmark.trained is {name!r}; there are {', '.join(SETTINGS)}")
    return SETTINGS[name]


def names(asked: Sequence[str] | str) -> list[str]:
    """Encoder names from the parameter `location_encoders`: a list, or "all" for the registry."""
    known = registry.names()
    if isinstance(asked, str):
        if asked != "all":
            raise BadInput(
                f"benchmark.location_encoders is {asked!r}: a list of encoder names or "
                "`all` is needed"
            )
        return known
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise BadInput(
            f"benchmark.location_encoders: {', '.join(map(repr, unknown))} unknown; "
            f"there are {', '.join(known)}"
        )
    return list(dict.fromkeys(asked))


def predictors(
    lonlat: np.ndarray, y: np.ndarray, encoders: Sequence[str], settings: Settings
) -> dict[str, Callable]:
    """Name -> predict(train, test, scheme, seed) -> guesses, and CHOSEN where there are several.

    lonlat [n, 2] degrees, y [n] numbers or texts. Fits are kept until scheme or seed changes, so
    CHOSEN trains nothing of its own when it is asked after the others.
    """
    current: tuple = ()
    fits: dict[tuple[str, bytes], location_training.Fitted] = {}

    def fitted(name, train, scheme, seed):
        nonlocal current
        if (scheme.name, seed) != current:
            current = (scheme.name, seed)
            fits.clear()
        key = (name, train.tobytes())
        if key not in fits:
            fits[key] = location_training.fit(
                name,
                lonlat[train],
                y[train],
                scheme.groups[train],
                seed=seed,
                options=options(name, scheme.degrees),
                settings=settings,
            )
        return fits[key]

    def trained(name):
        return lambda train, test, scheme, seed: fitted(name, train, scheme, seed).predict(
            lonlat[test]
        )

    def chosen(train, test, scheme, seed):
        found = [fitted(name, train, scheme, seed) for name in encoders]
        return location_training.choose(found).predict(lonlat[test])

    found: dict[str, Callable] = {name: trained(name) for name in encoders}
    return found | ({CHOSEN: chosen} if len(encoders) > 1 else {})


def against_neighbours(table: Table, draws: int) -> pd.DataFrame:
    """Each trained encoder, and gair, minus 5-NN on the same folds and draws of blocks."""
    found = []
    for (split, metric, name), entry in table.entries.items():
        if (entry.probe == PROBE or name == OURS) and (split, metric, NEAREST) in table.entries:
            found.append(
                table.difference(split, metric, name, NEAREST, draws, seeds=len(entry.scores))
            )
    return pd.DataFrame(found, columns=COMPARISON_COLUMNS)


def sentences(gaps: pd.DataFrame, judged: Sequence[tuple[str, str, str]]) -> list[str]:
    """One line a judged split: the chosen encoder (or the only one) against 5-NN."""
    lines = []
    for _, split, metric in judged:
        rows = gaps[(gaps.split == split) & (gaps.metric == metric) & (gaps.encoder != OURS)]
        if len(rows) == 0:
            continue
        g = rows[rows.encoder == CHOSEN].iloc[0] if CHOSEN in set(rows.encoder) else rows.iloc[0]
        word = {
            "wins": "ahead of",
            "loses": "behind",
            "tie": "not beyond the interval from",
            "": "without an interval, against",
        }[g.verdict]
        lines.append(
            f"trained end to end ({split}), *{g.encoder}* is {word} {NEAREST}: {metric} "
            f"{g.difference:+.3f}"
            + (f" [{g.low:+.3f}, {g.high:+.3f}]" if np.isfinite(g.low) else "")
        )
    return lines
