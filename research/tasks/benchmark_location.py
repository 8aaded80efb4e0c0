"""Registry encoders, trained end to end, as rows of a location task beside the frozen one.

`location_training` fits each on the training rows of an outer fold; "chosen encoder" answers in
each fold with the one whose inner score, from training rows alone, is best. They run on the first
`TRAINED_SEEDS` assignment(s) of folds: their difference from distance-weighted 5-NN is taken on the
same assignments (`against_neighbours`), so that both have seen the same rows.
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
from research.tasks.trained import CHOSEN, PROBE, options

ENCODERS = ("rff-xyz", "spherical-harmonics", "sphere2vec-c+")
TRAINED_SEEDS = 1
# Half as many networks and steps as `location_training.DEFAULTS`: seconds a task instead of minutes
QUICK = Settings(folds=2, steps=150, batch=256)
SETTINGS = {"quick": QUICK, "full": location_training.DEFAULTS}


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
