"""What there is to learn in the sample: does what a photo shows depend on where it stands?

Three plain measurements on a dataset folder with scenes, land cover and labelled photos: how much
the land cover around photos varies within a site and between sites, how well a photo's content
agrees with the land cover in its view cone, and how much better the surroundings of a photo
predict its content than the chip it lies in (held-out sites).
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import r2_score

from gairlib.data import scenes
from gairlib.data.dataset import Dataset

CHIP_PX = 64  # a chip of 640 m in scenes of 10 m


def weights(shape, column, row, radius, heading=None, fov=95.0) -> np.ndarray:
    """Weights [H, W] of pixels around a point (in pixels) that sum to 1.

    A disc of `radius` pixels; with a heading (degrees) the cone of `fov` degrees that a photo sees,
    nearer pixels weighing more (1 over distance), as they fill more of the picture.
    """
    r, c = np.ogrid[: shape[0], : shape[1]]
    dx, dy = c + 0.5 - column, r + 0.5 - row
    distance = np.hypot(dx, dy)
    weight = (distance <= radius).astype(float)
    if heading is not None:
        angle = (np.degrees(np.arctan2(dx, -dy)) - heading + 180.0) % 360.0 - 180.0
        weight *= (np.abs(angle) <= fov / 2) / np.maximum(distance, 0.7)
    total = weight.sum()
    return weight / total if total > 0 else weight


def surroundings(dataset: Dataset, radius_m: float = 200.0, seed: int = 0) -> pd.DataFrame:
    """The photo table with what lies around each photo, columns added by prefix:

    disc:<class>, cone:<class>  shares of land cover within radius_m, and in the view cone
    local:<n>  mean and standard deviation of each band within radius_m;  near:<n>  within 50 m;
    chip:<n>   the same over a 640 m chip that holds the photo at a random (seeded) position.
    """
    street = dataset.street()
    rng = np.random.default_rng(seed)
    rows = []
    for site, photos in street.groupby("site", sort=False):
        scene = dataset.scene(site)
        cover, names = dataset.landcover(site)
        masks = {name: cover == value for value, name in names.items()}
        bands = scenes.read(scene).astype(float) / 10000.0
        columns, lines = scene.to_pixels(photos["lon"].to_numpy(), photos["lat"].to_numpy())
        for index, column, line, heading, fov in zip(
            photos.index, columns, lines, photos["heading"], photos["fov"]
        ):
            disc = weights(cover.shape, column, line, radius_m / 10)
            near = weights(cover.shape, column, line, 5.0)
            cone = weights(cover.shape, column, line, radius_m / 10, heading, fov)
            left, up = (
                int(np.clip(v - rng.uniform(3, CHIP_PX - 3), 0, n - CHIP_PX))
                for v, n in ((column, cover.shape[1]), (line, cover.shape[0]))
            )
            chip = np.zeros(cover.shape)
            chip[up : up + CHIP_PX, left : left + CHIP_PX] = 1 / CHIP_PX**2
            row = {"index": index}
            for name, mask in masks.items():
                row[f"disc:{name}"] = float(disc[mask].sum())
                row[f"cone:{name}"] = float(cone[mask].sum())
            for name, weight in (("chip", chip), ("local", disc), ("near", near)):
                row |= {f"{name}:{n}": v for n, v in enumerate(statistics(bands, weight))}
            rows.append(row)
    return street.join(pd.DataFrame(rows).set_index("index"))


def statistics(bands: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean and standard deviation of bands [C, H, W]: [2 C]. weight [H, W] sums to 1."""
    inside = weight > 0
    x, w = bands[:, inside], weight[inside]
    mean = x @ w
    return np.concatenate([mean, np.sqrt(((x - mean[:, None]) ** 2) @ w)])


def spread(table: pd.DataFrame, prefix: str = "disc:") -> pd.DataFrame:
    """Standard deviation of each share within sites (pooled) and between the sites' means."""
    out = {}
    for name in [c for c in table.columns if c.startswith(prefix)]:
        by_site = table.groupby("site")[name]
        within = float(np.sqrt((by_site.transform("mean") - table[name]).pow(2).mean()))
        out[name.removeprefix(prefix)] = {"within": within, "between": float(by_site.mean().std())}
    return pd.DataFrame(out).T


def agreement(table: pd.DataFrame) -> dict[str, float]:
    """Pearson correlations of photo labels with what the land cover says is in view."""
    green = table[[c for c in table if c.startswith("cone:") and c[5:] in ("trees", "grass")]]
    built = table[[c for c in table if c.startswith("cone:") and c.endswith("buildings")]]
    disc = [c.replace("cone:", "disc:") for c in built]
    return {
        "green_view, view cone": float(table["green_view"].corr(green.sum(axis=1))),
        "building_view, view cone": float(table["building_view"].corr(built.sum(axis=1))),
        "building_view, all around": float(table["building_view"].corr(table[disc].sum(axis=1))),
    }


def predict(table: pd.DataFrame, targets=("green_view", "building_view"), seed: int = 0):
    """R2 on the test sites of boosted trees fitted on the other sites, by what they are shown.

    Returns a frame: rows by what is shown (band statistics of the chip, of the 200 m around, of
    200 m and 50 m around, land cover in the view cone); columns the targets.
    """
    groups = {
        "640 m chip": ("chip:",),
        "200 m around": ("local:",),
        "200 m and 50 m around": ("local:", "near:"),
        "land cover in the view cone": ("cone:",),
    }
    test, train = table["split"] == "test", table["split"].isin(["train", "val"])
    out = {}
    for name, prefixes in groups.items():
        x = table[[c for c in table if c.startswith(prefixes)]]
        out[name] = {}
        for target in targets:
            model = HistGradientBoostingRegressor(
                max_iter=120, learning_rate=0.06, min_samples_leaf=25, random_state=seed
            )
            model.fit(x[train], table.loc[train, target])
            out[name][target] = float(r2_score(table.loc[test, target], model.predict(x[test])))
    return pd.DataFrame(out).T
