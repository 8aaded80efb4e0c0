"""Pictures of the sample world: sites from above, photos beside the ground that they look at."""

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Wedge

from gairlib.data import scenes
from gairlib.data.dataset import Dataset
from research.figures import style
from research.figures.style import Figure


def _false_colour(dn: np.ndarray) -> np.ndarray:
    """B08, B04, B03 as RGB: plants are red."""
    stretched = np.clip(dn[[6, 2, 1]] / np.array([5500, 3000, 3000])[:, None, None], 0, 1)
    return (stretched ** (1 / 1.4)).transpose(1, 2, 0)


def _marked(fig: Figure, synthetic: bool) -> Figure:
    """The mark of synthetic data in the corner, with room for it below the axes."""
    fig.get_layout_engine().set(rect=(0, 0.025, 1, 0.975))
    return style.mark(fig, synthetic)


def sites(dataset: Dataset, sites_table: pd.DataFrame, columns: int = 6) -> Figure:
    """Contact sheet of all scenes in true colour. sites_table: columns site, city, climate."""
    rows = -(-len(sites_table) // columns)
    with style.context():
        fig = Figure(figsize=(style.WIDTH * 1.25, 1.85 * rows))
        axes = np.atleast_1d(fig.subplots(rows, columns, squeeze=False)).ravel()
        for ax in axes:
            ax.axis("off")
        for ax, site in zip(axes, sites_table.itertuples()):
            ax.imshow(style.true_colour(scenes.read(dataset.scene(site.site))))
            ax.set_title(f"{site.city}\n{site.climate}", fontsize=8, fontweight="normal")
    return _marked(fig, dataset.synthetic)


def one_site(dataset: Dataset, site: str) -> Figure:
    """A site in true colour, false colour and land cover, with its photos and where they look."""
    scene = dataset.scene(site)
    dn = scenes.read(scene)
    cover, names = dataset.landcover(site)
    photos = dataset.street().query("site == @site")
    x, y = scene.to_pixels(photos["lon"].to_numpy(), photos["lat"].to_numpy())
    with style.context():
        fig = Figure(figsize=(style.WIDTH * 1.5, style.WIDTH * 0.62))
        axes = fig.subplots(1, 3)
        extent = (0, scene.width * 10, scene.height * 10, 0)
        axes[0].imshow(style.true_colour(dn), extent=extent)
        axes[0].set_title("True colour (B04 B03 B02)")
        axes[1].imshow(_false_colour(dn), extent=extent)
        axes[1].set_title("False colour (B08 B04 B03)")
        values = sorted(names)
        index = np.searchsorted(values, cover)
        colours = style.cover_colours(names[v] for v in values)
        axes[2].imshow(
            index, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(values) - 0.5, extent=extent
        )
        axes[2].set_title("Land cover, photos and headings")
        a = np.radians(photos["heading"].to_numpy())
        axes[2].quiver(x * 10, y * 10, np.sin(a), np.cos(a), color="black", scale=22, width=0.005)
        for ax in axes:
            ax.set_xlabel("metres east")
            ax.grid(False)
        axes[0].set_ylabel("metres south")
        fig.legend(
            handles=[Patch(color=c, label=names[v]) for c, v in zip(colours, values)],
            loc="outside lower center",
            ncol=5,
            fontsize=9,
        )
    return _marked(fig, dataset.synthetic)


def photos(dataset: Dataset, rows: pd.DataFrame, columns: int = 6) -> Figure:
    """Photos with their labels, each above the 400 m of ground around it and its view cone."""
    lines = -(-len(rows) // columns)
    with style.context():
        fig = Figure(figsize=(style.WIDTH * 1.5, 4.6 * lines))
        axes = fig.subplots(2 * lines, columns, squeeze=False)
        for ax in axes.ravel():
            style.image_axes(ax)
        for n, (_, row) in enumerate(rows.iterrows()):
            line, column = divmod(n, columns)
            top, below = axes[2 * line, column], axes[2 * line + 1, column]
            top.imshow(dataset.photo(row))
            top.set_title(f"{row.land_use}, {row.weather}, {row.lighting}", fontsize=9)
            scene = dataset.scene(row.site)
            x, y = scene.to_pixels([row.lon], [row.lat])
            below.imshow(style.true_colour(scenes.read(scene)))
            reach = 20  # pixels of 10 m
            below.set(
                xlim=(x[0] - reach - 0.5, x[0] + reach - 0.5),
                ylim=(y[0] + reach - 0.5, y[0] - reach - 0.5),
            )
            # Pixel centres lie at whole numbers in imshow; angles count from the x axis, y down.
            axis, half = row.heading - 90, row.fov / 2
            below.add_patch(
                Wedge(
                    (x[0] - 0.5, y[0] - 0.5),
                    0.9 * reach,
                    axis - half,
                    axis + half,
                    facecolor=(1, 1, 0, 0.12),
                    edgecolor=style.YELLOW,
                    lw=1.5,
                )
            )
            below.set_xlabel(
                f"green {row.green_view:.2f}  buildings {row.building_view:.2f}\n"
                f"sky {row.sky_view:.2f}  height {row.building_height:.0f} m",
                fontsize=8.5,
            )
    return _marked(fig, dataset.synthetic)


def learnability(
    spread: pd.DataFrame, table: pd.DataFrame, scores: pd.DataFrame, synthetic: bool = True
) -> Figure:
    """Three panels: land cover's spread within and between sites, building_view against the
    buildings in the view cone, and R2 on held-out sites by what a predictor is shown."""
    with style.context():
        fig = Figure(figsize=(style.WIDTH * 1.5, 4.4))
        left, middle, right = fig.subplots(1, 3)
        at = np.arange(len(spread))
        left.barh(at - 0.2, spread["within"], 0.38, label="within a site", color=style.BLUE)
        left.barh(at + 0.2, spread["between"], 0.38, label="between sites", color=style.GREY)
        left.set_yticks(at, spread.index)
        left.set(xlabel="standard deviation of the\nshare within 200 m", title="Where it varies")
        left.legend(loc="lower right")
        left.invert_yaxis()
        cone = table[[c for c in table if c.startswith("cone:") and c.endswith("buildings")]]
        middle.scatter(cone.sum(axis=1), table["building_view"], s=5, alpha=0.4, color=style.BLUE)
        middle.set(
            xlabel="buildings in the view cone\n(land cover share)",
            ylabel="buildings in the photo (share)",
            title="Photo and map agree",
        )
        at = np.arange(len(scores))
        for n, target in enumerate(scores.columns):
            right.barh(at - 0.2 + 0.4 * n, scores[target], 0.38, label=target, color=style.CYCLE[n])
        right.set_yticks(at, scores.index)
        right.invert_yaxis()
        right.set(xlabel="R² on held-out sites", title="What predicts a photo")
        right.legend()
    return _marked(fig, synthetic)
