"""How often the intervals of `research.evaluation.stats` hold the truth, by simulation.

    python -m research.evaluation.coverage [--tables 2000]

Tables whose truth is known are drawn: places that differ, rows within each. An interval is made of
each table and asked whether the truth lies in it. The kinds are what the benchmarks judge: shares,
differences of two encoders on the same rows, errors, R2, and means over trainings that differ.
"""

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import expit
from tqdm.auto import tqdm

from research.evaluation import stats
from research.evaluation.stats import Estimate, Score

CLUSTERS = (6, 10, 40)
ROWS = 48  # of a place: as many photos as the sample has at a site
LARGE, REPEATS = 400, 200  # places of the tables whose mean value is the truth, and how many

# (generator, place of each row [n], number of places) -> one or two lists of scores, one a seed
Draw = Callable[[np.random.Generator, np.ndarray, int], tuple[list[Score], ...]]


def _share(first: float, second: float) -> Draw:
    def draw(rng, codes, places):
        often = rng.beta(first, second, places)[codes]
        return ([stats.mean(rng.random(len(codes)) < often, codes)],)

    return draw


def _difference(rng, codes, places):
    """The second encoder is better on the same rows, more so at some places."""
    hard = rng.normal(-1.5, 0.7, places)
    better = hard + rng.normal(0.4, 0.3, places)
    drawn = rng.random(len(codes))
    return tuple([stats.mean(drawn < expit(odds[codes]), codes)] for odds in (better, hard))


def _error(rng, codes, places):
    logarithm = rng.normal(0, 0.5, places)[codes] + rng.normal(0, 1, len(codes))
    return ([stats.median(np.exp(logarithm), codes)],)


def _explained(rng, codes, places):
    truth = rng.normal(0, 0.5, places)[codes] + rng.normal(0, 1, len(codes))
    wrong = rng.normal(0, 0.3, places)[codes] + rng.normal(0, 0.4, len(codes))
    return ([stats.r2(truth, 0.6 * truth + wrong, codes)],)


def _trainings(rng, codes, places):
    """Three trainings, as unlike each other as the mean over ten places is uncertain."""
    odds = rng.normal(-1, 0.5, places)[codes]
    shifts = rng.normal(0, 0.15, 3)
    return ([stats.mean(rng.random(len(codes)) < expit(odds + s), codes) for s in shifts],)


KINDS: dict[str, Draw] = {
    "share near 0.15": _share(2, 11),
    "share near 0.4": _share(2, 3),
    "difference of two shares": _difference,
    "median error": _error,
    "R2": _explained,
    "share, three trainings": _trainings,
}


def estimate(draw: Draw, rng: np.random.Generator, places: int, draws: int = 1000) -> Estimate:
    """The interval of one simulated table of so many places."""
    sides = draw(rng, np.repeat(np.arange(places), ROWS), places)
    how = stats.cluster_bootstrap if len(sides) == 1 else stats.paired_difference
    return how(*sides, places, draws=draws)


def truth(draw: Draw, seed: int = 0) -> float:
    """The value that tables of any size scatter about."""
    rng = np.random.default_rng([seed, LARGE])
    return float(np.mean([estimate(draw, rng, LARGE, draws=2).value for _ in range(REPEATS)]))


def simulate(
    tables: int, kinds=tuple(KINDS), clusters=CLUSTERS, *, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Share of the 95% intervals that hold the truth: a row a kind, a column a number of places.

    With 2,000 tables a share is known to 0.005 (one standard error).
    """
    table = pd.DataFrame(index=list(kinds), columns=list(clusters), dtype=float)
    for kind in tqdm(kinds, desc="coverage", mininterval=5):
        right = truth(KINDS[kind], seed)
        for places in clusters:
            rng = np.random.default_rng([seed, places])
            found = [estimate(KINDS[kind], rng, places, draws) for _ in range(tables)]
            table.loc[kind, places] = np.mean([e.low <= right <= e.high for e in found])
    return table


def main():
    parser = argparse.ArgumentParser(description="Simulated coverage of the 95% intervals.")
    parser.add_argument("--tables", type=int, default=2000, help="simulated tables of each kind")
    table = simulate(parser.parse_args().tables)
    print("| kind |" + "".join(f" {n} places |" for n in table.columns))
    print("|---|" + "---|" * len(table.columns))
    for kind, row in table.iterrows():
        print(f"| {kind} |" + "".join(f" {value:.3f} |" for value in row))


if __name__ == "__main__":
    main()
