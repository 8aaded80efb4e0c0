"""Figures and numbers of the embedding notebook: is what we wrote one space?"""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from research.evaluation import stats
from research.figures import style
from research.figures.style import Figure
from research.tasks.data import photo_sites

KINDS = {"chips": style.BLUE, "photos": style.ORANGE, "places": style.GREEN}


def vectors(frame: pd.DataFrame) -> np.ndarray:
    """The embedding column as [n, D] float32."""
    return np.stack(frame["embedding"].to_list()) if len(frame) else np.zeros((0, 1), np.float32)


def _pairs(photos: pd.DataFrame, places: pd.DataFrame, seed: int = 0) -> tuple:
    """Cosines of each photo with its own place, and with the place of another photo."""
    a, b = vectors(photos), vectors(places)
    other = np.random.default_rng(seed).permutation(len(b))
    return (a * b).sum(1), (a * b[other]).sum(1)


def summary(chips, photos, places, apart: bool = False) -> dict[str, float]:
    """Counts, and the mean cosine of true and of random photo-place pairs.

    The first has a 95% interval (`_low`, `_high`) over sites, where the photos are of enough.
    apart: the towers share no space, so that there are counts alone.
    """
    numbers = {"chips": len(chips), "photos": len(photos), "places": len(places)}
    if apart:
        return numbers
    if len(photos) > 1:
        true, random = _pairs(photos, places)
        numbers |= {
            "cosine_true_photo_place": round(float(true.mean()), 4),
            "cosine_random_photo_place": round(float(random.mean()), 4),
        }
        where = photos.assign(lon=photos.geometry.x, lat=photos.geometry.y)
        codes, sites = stats.encode_clusters(photo_sites(where)[0])
        if sites >= stats.MIN_CLUSTERS:
            spread = stats.cluster_bootstrap([stats.mean(true, codes)], sites)
            numbers |= {
                "cosine_true_photo_place_low": round(spread.low, 4),
                "cosine_true_photo_place_high": round(spread.high, 4),
            }
    if len(photos) and len(chips):
        gap = vectors(chips).mean(0) - vectors(photos).mean(0)
        numbers["modality_gap_chip_photo"] = round(float(np.linalg.norm(gap)), 4)
    return numbers


def one_space(chips, photos, places) -> Figure:
    """Two principal components of the three kinds, and cosines of true and random pairs."""
    if not len(chips) + len(photos):
        return style.empty("no chip and no photo")
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6))
        left, right = figure.subplots(1, 2)
        frames = {"chips": chips, "photos": photos, "places": places}
        frames = {k: vectors(v) for k, v in frames.items() if len(v)}
        if sum(map(len, frames.values())) > 2:
            pca = PCA(2).fit(np.concatenate(list(frames.values())))
            for kind, x in frames.items():
                left.scatter(
                    *pca.transform(x).T,
                    s=7,
                    alpha=0.4,
                    lw=0,
                    color=KINDS[kind],
                    label=style.counted(len(x), kind.removesuffix("s")),
                )
            share = 100 * pca.explained_variance_ratio_
            left.set(
                xlabel=f"component 1 ({share[0]:.0f}% of variance)",
                ylabel=f"component 2 ({share[1]:.0f}%)",
                title="One space, three kinds",
            )
            for handle in left.legend(markerscale=2).legend_handles:
                handle.set_alpha(1)
        else:
            style.blank(left, "fewer than three vectors")
        if len(photos) > 1:
            true, random = _pairs(photos, places)
            edges = np.linspace(min(true.min(), random.min()), max(true.max(), random.max()), 41)
            right.hist(random, edges, color=style.GREY, alpha=0.7, label="random pairs")
            right.hist(true, edges, color=style.ORANGE, alpha=0.7, label="true pairs")
            right.legend()
        else:
            style.blank(right, "fewer than two photos")
        right.set(xlabel="cosine similarity", ylabel="pairs", title="Photo and place")
        return figure


def nearest_chips(
    dataset: Dataset,
    chips,
    photos,
    *,
    chip_px: int,
    chip_m: float,
    queries: int = 3,
    neighbours: int = 4,
    seed: int = 0,
) -> Figure:
    """Photos (of the test split where there is one) and the scene chips nearest to each.

    A frame marks the chips of the photo's own scene, where the photo lies inside one.
    """
    pool = photos
    if "split" in photos and (photos["split"] == "test").any():
        pool = photos[photos["split"] == "test"]
    pick = np.random.default_rng(seed).permutation(len(pool))[: queries if len(chips) else 0]
    if not len(pick):
        return style.empty("no photo and no chip to compare")
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 1.75 * len(pick)))
        axes = figure.subplots(len(pick), neighbours + 1, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        by_id = {s.id: s for s in dataset.scenes()}
        table = vectors(chips)
        for r, k in enumerate(pick):
            photo = pool.iloc[k]
            style.image_axes(axes[r, 0], "photo" if r == 0 else "").set_axis_on()
            axes[r, 0].imshow(dataset.photo(photo))
            order = np.argsort(-(table @ photo["embedding"]))[:neighbours]
            for c, j in enumerate(order, 1):
                chip = chips.iloc[j]
                scene, number = by_id[chip["scene_id"]], int(chip["chip_id"].rsplit("/", 1)[1])
                tiles = list(scenes.tiles(scene, chip_px, chip_m, chip_px))
                axis = style.image_axes(axes[r, c])
                axis.set_axis_on()
                axis.imshow(style.true_colour(tiles[number][0]))
                axis.set_title(
                    f"{style.shortened(chip['scene_id'], 18)}\n{table[j] @ photo['embedding']:.2f}",
                    fontsize=8,
                    fontweight="normal",
                )
                if chip.geometry.covers(photo.geometry):
                    for spine in axis.spines.values():
                        spine.set(color=style.VERMILION, linewidth=2.5)
        return figure
