"""Location tables under random and blocked folds: every trained encoder beside plain baselines.

    python -m research.tasks.trained FOLDER/tables/elevation.csv elevation --degrees 10

Five outer folds a seed. Within the training rows of each, every encoder is trained by
`location_training`, which stops by inner folds that are split as the outer ones are. "chosen
encoder" takes per outer fold the encoder with the best inner score: that row, and not the best of
many test scores, is what "the best encoder of the registry" means. Test labels are met once, by the
score.

Results are in the long format of `benchmark_table`; differences from distance-weighted 5-NN are
paired block bootstraps (`stats`), over blocks of 10 degrees (or those of the split, where smaller)
for the random folds too, since neighbouring rows share their errors however the folds were drawn.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gairlib.errors import BadInput, Missing
from gairlib.location import registry
from research.evaluation import location_training, splits, stats
from research.evaluation.location_training import DEFAULTS, Settings
from research.evaluation.neighbours import NEAREST, baselines
from research.evaluation.table import Table

FOLDS = 5
CLUSTER_DEGREES = 10.0
CHOSEN = "chosen encoder"
PROBE = "trained end to end"
DIFFERENCE_COLUMNS = "task split encoder baseline metric difference low high verdict".split()

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
    if name == "rff":  # Equal Earth's x is lon / 180 and its phase 2 pi b x: b counts double
        return [
            {"sigmas": (s / 8, s / 2), "features": 64, "hidden": 64} for s in (sigma / 2, sigma)
        ]
    if name == "spherical-harmonics":
        return [{"degree": min(16, max(2, round(sigma))), "hidden": 64, "layers": 1}]
    if name in ("direct", "wrap", "xyz"):
        return [{"hidden": 64}]
    return [{"scales": 5 if "dfs" in name else 8, "min_radius": min(radius, 1.0), **_MLP}]


def guesses(
    lonlat: np.ndarray,
    y: np.ndarray,
    degrees: float | None,
    seed: int,
    encoders: Sequence[str],
    settings: Settings = DEFAULTS,
) -> tuple[dict[str, tuple[str, np.ndarray]], list[str]]:
    """Out-of-fold guesses of all that is compared: name -> (probe, [n]); encoder chosen a fold."""
    groups, plain = splits.groups(lonlat, degrees), baselines(y.dtype.kind not in "fiu")
    found = {name: (probe, np.empty(len(y), dtype=y.dtype)) for name, (probe, _) in plain.items()}
    found |= {name: (PROBE, np.empty(len(y), dtype=y.dtype)) for name in encoders}
    if len(encoders) > 1:
        found[CHOSEN] = (PROBE, np.empty(len(y), dtype=y.dtype))
    chosen = []
    for rows, test in splits.folds(groups, FOLDS, seed):
        for name, (_, guess) in plain.items():
            found[name][1][test] = guess(lonlat[rows], y[rows], lonlat[test])
        fits = [
            location_training.fit(
                name,
                lonlat[rows],
                y[rows],
                groups[rows],
                seed=seed,
                options=options(name, degrees),
                settings=settings,
            )
            for name in encoders
        ]
        for fitted in fits:
            found[fitted.name][1][test] = fitted.predict(lonlat[test])
        if fits:
            best = location_training.choose(fits)
            chosen.append(best.name)
            if len(encoders) > 1:
                found[CHOSEN][1][test] = found[best.name][1][test]
    return found, chosen


def run(
    task: str,
    lonlat: np.ndarray,
    y: np.ndarray,
    *,
    degrees: Sequence[float | None] = (None, 10.0),
    encoders: Sequence[str] | None = None,
    seeds: int = 1,
    draws: int = 1000,
    settings: Settings = DEFAULTS,
    dataset: str = "",
    synthetic: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score encoders (default: the whole registry) and baselines on (lon, lat) [n, 2] -> y [n].

    degrees: block sizes of the splits, None for random folds. Returns rows in the long format of
    `benchmark_table`, and each encoder's difference from 5-NN with its interval and verdict.
    BadInput for unequal lengths, fewer than one seed, or blocks too large for the table.
    """
    encoders = registry.names() if encoders is None else list(encoders)
    lonlat, y = np.asarray(lonlat, dtype=np.float64), np.asarray(y)
    if len(lonlat) != len(y) or seeds < 1:
        raise BadInput(
            f"{task}: {len(lonlat)} places, {len(y)} targets, {seeds} seeds: equal "
            "numbers and at least one seed are needed"
        )
    y = y.astype(np.float64) if y.dtype.kind in "fiu" else y.astype(str)
    metric = "accuracy" if y.dtype.kind == "U" else "R2"
    size = min([CLUSTER_DEGREES, *(d for d in degrees if d is not None)])
    codes, clusters = stats.encode_clusters(splits.blocks(lonlat, size))
    table = Table(task, "location", splits.name(size).removesuffix("s"), dataset, synthetic)
    for d in degrees:
        for seed in range(seeds):
            found, _ = guesses(lonlat, y, d, seed, encoders, settings)
            for name, (probe, guess) in found.items():
                got = stats.r2(y, guess, codes) if metric == "R2" else stats.mean(y == guess, codes)
                table.add(
                    splits.name(d),
                    name,
                    metric,
                    got,
                    probe=probe,
                    n=len(y),
                    clusters=clusters,
                    n_train=len(y) * (FOLDS - 1) // FOLDS,
                )
    return table.rows(draws), _differences(table, draws)


def _differences(table: Table, draws: int) -> pd.DataFrame:
    """Encoder minus 5-NN on the same blocks: "wins", "loses" or "tie" by the 95% interval."""
    found = [
        table.difference(split, metric, name, NEAREST, draws)
        for (split, metric, name), entry in table.entries.items()
        if entry.probe == PROBE
    ]
    return pd.DataFrame(found, columns=DIFFERENCE_COLUMNS)


def read(path: str | Path, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(lon, lat) [n, 2] and the column [n] of a table, rows without a value left out."""
    if not Path(path).is_file():
        raise Missing(f"{path}: there is no such table")
    rows = pd.read_csv(path)
    absent = {"lon", "lat", column} - set(rows.columns)
    if absent:
        raise BadInput(
            f"{path}: no column {', '.join(sorted(absent))}; there are {', '.join(rows.columns)}"
        )
    rows = rows.dropna(subset=[column])
    return rows[["lon", "lat"]].to_numpy(np.float64), rows[column].to_numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command of the module's header: prints R2 by encoder, and the differences from 5-NN."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", help="CSV with lon, lat and the column")
    parser.add_argument("column")
    parser.add_argument("--degrees", type=float, nargs="*", default=[0, 10], help="0: random folds")
    parser.add_argument("--encoders", nargs="*", help="names of the registry; default: all")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args(arguments)
    rows, gaps = run(
        f"location-{Path(given.table).stem}-{given.column}",
        *read(given.table, given.column),
        degrees=[d or None for d in given.degrees],
        encoders=given.encoders,
        seeds=given.seeds,
    )
    rows = rows[rows["seed"] == "mean"]
    columns = ["split", "encoder", "probe", "metric", "value", "low", "high", "n", "clusters"]
    print(rows[columns].round(3).to_string(index=False))
    print(gaps.drop(columns="task").round(3).to_string(index=False))


if __name__ == "__main__":
    main()
