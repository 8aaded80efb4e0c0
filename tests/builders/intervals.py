"""The interval of `research.evaluation.stats`, made by loops."""

import numpy as np
from scipy.stats import t as student


def naive_interval(gaps, draws):
    """By loops: gaps [S, G], each seed's value at each place -> lower and upper end."""
    (seeds, places), rng = gaps.shape, np.random.default_rng(7)
    psi = gaps.mean(0)
    means, ts = [], []
    for _ in range(draws):
        x = psi[rng.integers(0, places, places)]
        means.append(x.mean())
        if x.std() > psi.std() / 4:
            ts.append(abs(x.mean() - psi.mean()) / (x.std(ddof=1) / np.sqrt(places)))
    over_places = np.var(means) * places / (places - 1)
    over_seeds = gaps.mean(1).var(ddof=1) / seeds
    both = over_places + over_seeds
    freedom = both**2 / (over_places**2 / (places - 1) + over_seeds**2 / (seeds - 1))
    t = student.ppf(0.975, [freedom, places - 1])
    half = np.quantile(ts, 0.95) * t[0] / t[1] * np.sqrt(both)
    return [gaps.mean() - half, gaps.mean() + half]
