"""Where an encoder errs: its error by region, and how unevenly that is spread over the world.

A mean over all test rows hides that a model may serve some regions far worse than others. Regions
are blocks of 10 degrees (or the task's own clusters: sites, smaller blocks); the error of a region
is the root mean squared error of its rows, or the share that is wrong.
"""

import numpy as np
import pandas as pd

from research.evaluation.table import OURS

MIN_ROWS = 5  # fewer rows say little about a region
COLUMNS = "split encoder region lon lat n error".split()
WORST = 0.1


def by_region(split: str, encoder: str, truth, guess, regions, lonlat=None) -> pd.DataFrame:
    """One row a region of at least MIN_ROWS rows: COLUMNS; lon, lat: the mean place, or NaN.

    truth, guess [n] numbers (error: RMSE, in the target's unit) or texts (share wrong); regions [n]
    names; lonlat [n, 2] degrees.
    """
    truth, guess = np.asarray(truth), np.asarray(guess)
    texts = truth.dtype.kind not in "fiu"
    wrong = (truth != guess).astype(float) if texts else (truth - guess) ** 2
    places = np.full((len(truth), 2), np.nan) if lonlat is None else np.asarray(lonlat)
    rows = pd.DataFrame(
        {
            "region": np.asarray(regions).astype(str),
            "wrong": wrong,
            "lon": places[:, 0],
            "lat": places[:, 1],
        }
    )
    found = rows.groupby("region", as_index=False).agg(
        lon=("lon", "mean"), lat=("lat", "mean"), n=("wrong", "size"), error=("wrong", "mean")
    )
    found = found[found["n"] >= MIN_ROWS].reset_index(drop=True)
    if not texts:
        found["error"] = np.sqrt(found["error"])
    return found.assign(split=split, encoder=encoder)[COLUMNS]


def summary(regions: pd.DataFrame) -> pd.DataFrame:
    """By split and encoder: regions, median error, spread (90th less 10th percentile), the mean
    error of the worst tenth of regions (one at least) and how many times the median that is."""
    found = []
    for (split, encoder), rows in regions.groupby(["split", "encoder"], sort=False):
        error = np.sort(rows["error"].to_numpy())
        worst = error[-max(1, round(WORST * len(error))) :].mean()
        low, middle, high = np.percentile(error, [10, 50, 90])
        found.append(
            {
                "split": split,
                "encoder": encoder,
                "regions": len(error),
                "median": middle,
                "spread": high - low,
                "worst_tenth": worst,
                "worst_over_median": worst / middle if middle > 0 else np.nan,
            }
        )
    columns = "split encoder regions median spread worst_tenth worst_over_median".split()
    return pd.DataFrame(found, columns=columns)


def sentences(regions: pd.DataFrame, split: str) -> list[str]:
    """One line on how unevenly our encoder errs, none for fewer than ten regions."""
    rows = summary(regions[(regions["split"] == split) & (regions["encoder"] == OURS)])
    if len(rows) == 0 or rows["regions"].iloc[0] < 10:
        return []
    r = rows.iloc[0]
    return [
        f"the worst tenth of {r['regions']} regions has an error of "
        f"{r['worst_tenth']:.3g}, the median region {r['median']:.3g} ({OURS}, {split})"
    ]
