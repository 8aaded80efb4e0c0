"""What a benchmark asks, by example: labelled tiles or photos, a map of labels, a photo and its
chip, the directions at its place, a place among candidates, or the pixels of tiles with each
head's answer."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from gairlib import geo
from research.evaluation import localisation
from research.figures import style
from research.figures.style import Figure
from research.tasks.directions import DIRECTIONS
from research.tasks.segmentation.data import IGNORE, SegmentationData

TILES = 3
SHOWN = ("gair", "gair, UPerNet", "random init", "U-Net, supervised")
# Columns of location tables that we know: TorchSpatial's, SatCLIP's and the sample's.
UNITS = {
    "elevation": "m",
    "population": "people",
    "log_population": "log10 of people",
    "log_population_density": "ln(1 + people per km²)",
    "log_forest_cover": "ln(1 + %)",
    "log_nightlights": "ln(1 + nW/cm²/sr)",
    "mean_temperature": "°C",
    "mean_precipitation": "mm a year",
    "median_house_value": "US dollars",
}


def example(result) -> Figure:
    """What the task asks: labelled tiles or photos, a map of labels, or a photo and its chip."""
    with style.context():
        found = result.example
        if not found:
            return style.empty(
                f"{result.task} on {result.dataset}: {result.reason or 'no example'}"
            )
        if "reading" in found:
            fig = _pair(**found)
        elif "around" in found:
            fig = _directions(**found)
        elif "where" in found:
            fig = _candidates(**found)
        elif "segmentation" in found:
            fig = _tiles(found["segmentation"], found["chips"], found["truth"], found["guesses"])
        elif found["data"].modality == "location":
            fig = _places(found["data"])
        else:
            fig = _images(found["data"], found["images"])
        return style.mark(fig, result.synthetic)


def _images(data, images) -> Figure:
    """Eight examples, spread over classes or over the range of the labels."""
    if data.kind == "classification":
        names, counts = np.unique(data.labels, return_counts=True)
        names = names[np.argsort(-counts, kind="stable")][:8]
        rows = [np.flatnonzero(data.labels == n)[0] for n in names]
    else:
        rows = np.argsort(data.labels, kind="stable")[
            np.linspace(0, len(data.labels) - 1, 8).astype(int)
        ]
    fig = Figure(figsize=(style.WIDTH, 0.5 + 2.2 * -(-len(rows) // 4)), layout="constrained")
    for ax, row in zip(fig.subplots(-(-len(rows) // 4), 4, squeeze=False).ravel(), rows):
        image = (
            style.true_colour(data.inputs[row])
            if images is None
            else images[data.first_input(row)].permute(1, 2, 0).numpy()
        )
        label = data.labels[row]
        style.image_axes(ax, label if isinstance(label, str) else f"{label:.3g}")
        ax.imshow(image)
        if hasattr(data.inputs, "xy"):  # where in the chip the label was taken
            x, y = (data.inputs.xy[row] + 1) / 2 * len(image) - 0.5
            ax.plot(x, y, "o", ms=10, mfc="none", mec="white", mew=3)
            ax.plot(x, y, "o", ms=10, mfc="none", mec="black", mew=1.2)
        ax.title.set_fontsize(10)
    for ax in fig.axes[len(rows) :]:
        ax.axis("off")
    fig.suptitle(f"{data.name}: examples of `{data.target}`", x=0.01, ha="left")
    return fig


def with_unit(column: str) -> str:
    """A table's column as a label, with its unit where it is a known one: "elevation (m)"."""
    name = column.replace("_", " ")
    return f"{name} ({UNITS[column]})" if column in UNITS else name


def _shown_classes(labels) -> list[tuple[str, str, np.ndarray]]:
    """Legend entries of labels [n]: name, colour, which rows [n] bool. As many classes as there are
    colours that all readers tell apart; beyond them the most frequent, and the others in grey."""
    labels = np.asarray(labels).astype(str)
    names, counts = np.unique(labels, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    most = len(style.CATEGORIES)
    named = order if len(order) <= most else order[: most - 1]
    rest = ~np.isin(labels, named)
    found = [(f"{len(order) - len(named)} others", style.GREY, rest)] if rest.any() else []
    return [*((n, c, labels == n) for n, c in zip(named, style.CATEGORIES)), *found]


def _places(data) -> Figure:
    """The labels on a plain lon/lat map."""
    fig = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    ax = fig.add_subplot()
    lon, lat = data.inputs.T
    if data.kind == "regression":
        low, high = np.percentile(data.labels, [2, 98])
        dots = ax.scatter(lon, lat, c=data.labels, s=6, vmin=low, vmax=high, cmap=style.SEQUENTIAL)
        fig.colorbar(dots, ax=ax, label=with_unit(data.target), extend="both", shrink=0.75)
    else:
        for name, colour, chosen in _shown_classes(data.labels):
            ax.scatter(
                lon[chosen],
                lat[chosen],
                color=colour,
                s=6,
                label=name,
                zorder=1 if colour == style.GREY else 2,
            )
        fig.legend(loc="outside lower center", ncols=5, markerscale=2.5, fontsize=9)
    ax.set(xlabel="longitude (°)", ylabel="latitude (°)", title=f"{data.name}: {len(lon):,} places")
    ax.set_aspect("equal")
    return fig


def _pair(query, reading) -> Figure:
    """A typical photo (median error), its chip, and its similarity to the chip's dense field."""
    guesses = np.zeros((len(query.rows), 2)) if reading.shown is None else reading.shown
    errors = localisation.errors_m(guesses, query.xy, query.size_m)
    row = int(np.argsort(errors, kind="stable")[len(errors) // 2])
    chip = query.chips[query.chip_of[row]]
    width, height = query.size_m[row]
    extent = (0, width, height, 0)  # metres east and south of the chip's north-west corner
    truth = (query.xy[row] + 1) / 2 * (width, height)
    guess = (guesses[row] + 1) / 2 * (width, height)

    fig = Figure(figsize=(style.WIDTH + 1.5, 3.3), layout="constrained")
    photo, rgb, field = fig.subplots(1, 3)
    style.image_axes(photo, "Photo").imshow(query.images[row].permute(1, 2, 0).numpy())
    rgb.imshow(style.true_colour(chip), extent=extent)
    rgb.set_title("Its chip")
    if reading.maps is None:  # a chip's mean is the same everywhere
        seen = np.full(query.cells**2, reading.local[row] @ reading.photos[row])
    else:
        seen = reading.maps[row]
    shown = field.imshow(
        seen.reshape(query.cells, query.cells), extent=extent, cmap=style.SIMILARITY
    )
    field.set_title("Similarity to the field")
    fig.colorbar(shown, ax=field, label="cosine", shrink=0.7)
    for ax in (rgb, field):
        ax.plot(*truth, "o", mfc="none", mec="white", mew=2.5, ms=11)
        ax.plot(*truth, "o", mfc="none", mec=style.BLACK, mew=1, ms=11)
        ax.set(xlabel="east (m)", ylabel="south (m)")
        ax.grid(False)
    field.plot(*guess, "x", color=style.SKY, mew=2.5, ms=9)
    name = style.shortened(query.rows["photo_id"].iloc[row])
    fig.suptitle(
        f"Photo {name}: circle, where it stands; cross, the guess, "
        f"{errors[row]:.0f} m off (the median photo)",
        fontsize=10.5,
        x=0.01,
        ha="left",
    )
    return fig


def _directions(query, around) -> Figure:
    """A typical photo (median error), its chip, and its similarity with the field all round."""
    guess = DIRECTIONS[around.argmax(1)]
    off = np.abs((guess - query.heading + 180) % 360 - 180)
    row = int(np.argsort(off, kind="stable")[len(off) // 2])
    fig = Figure(figsize=(style.WIDTH + 1.5, 3.3), layout="constrained")
    photo, rgb = fig.add_subplot(131), fig.add_subplot(132)
    style.image_axes(photo, "Photo").imshow(query.images[row].permute(1, 2, 0).numpy())
    chip = query.chips[query.chip_of[row]]
    width, height = query.size_m[row]
    rgb.imshow(style.true_colour(chip), extent=(0, width, height, 0))
    rgb.set(title="Its chip", xlabel="east (m)", ylabel="south (m)")
    rgb.grid(False)
    x, y = (query.xy[row] + 1) / 2 * (width, height)
    rose = fig.add_subplot(133, projection="polar", theta_offset=np.pi / 2, theta_direction=-1)
    turns = np.deg2rad(np.append(DIRECTIONS, 360))
    rose.plot(turns, np.append(around[row], around[row][0]), color=style.GREY)
    for degrees, colour, name in (
        (query.heading[row], style.BLACK, "true"),
        (guess[row], style.SKY, "guess"),
    ):
        turn = np.deg2rad(degrees)
        rgb.plot(
            [x, x + 130 * np.sin(turn)],
            [y, y - 130 * np.cos(turn)],
            color=colour,
            label=name,
            lw=2.5,
        )
        rose.axvline(turn, color=colour, lw=2)
    rgb.legend(loc="lower right", fontsize=8)
    rose.set(title="Cosine, by direction")
    name = style.shortened(query.rows["photo_id"].iloc[row])
    fig.suptitle(
        f"Photo {name}: the guess is {off[row]:.0f}° off (the median photo)",
        fontsize=10.5,
        x=0.01,
        ha="left",
    )
    return fig


def _candidates(query, modality: str, where, asking, places) -> Figure:
    """The query with the median error, and its similarity to every place of the world gallery."""
    best = (asking @ places.T).argmax(1)
    apart = geo.haversine(where.lonlat[: where.n], where.lonlat[best]) / 1000
    row = int(np.argsort(apart, kind="stable")[len(apart) // 2])
    fig = Figure(figsize=(style.WIDTH + 2.0, 3.1), layout="constrained")
    image, world = fig.subplots(1, 2, width_ratios=(1, 2.6))
    if modality == "sv":
        style.image_axes(image, "Photo").imshow(query.images[row].permute(1, 2, 0).numpy())
    else:
        chip = style.true_colour(query.chips[query.chip_of[row]])
        style.image_axes(image, "Chip, position read").imshow(chip)
        x, y = (query.xy[row] + 1) / 2 * len(chip) - 0.5
        image.plot(x, y, "o", mfc="none", mec="white", mew=2.5, ms=11)
        image.plot(x, y, "o", mfc="none", mec=style.BLACK, mew=1, ms=11)
    similarity = places @ asking[row]
    order = np.argsort(similarity, kind="stable")  # the most similar on top
    dots = world.scatter(*where.lonlat[order].T, c=similarity[order], s=7, cmap=style.SIMILARITY)
    fig.colorbar(dots, ax=world, label="cosine", shrink=0.7)
    truth, guess = where.lonlat[row], where.lonlat[best[row]]
    world.plot(*truth, "o", mfc="none", mec="white", mew=3.5, ms=13)
    world.plot(*truth, "o", mfc="none", mec=style.BLACK, mew=1.5, ms=13)
    world.plot(*guess, "x", color="white", mew=4.5, ms=11)
    world.plot(*guess, "x", color=style.SKY, mew=2.5, ms=10)
    world.set(
        xlabel="longitude (°)",
        ylabel="latitude (°)",
        title=f"{len(where.lonlat):,} candidate places",
    )
    world.set_aspect("equal")
    world.grid(False)
    name = style.shortened(query.rows["photo_id"].iloc[row])
    fig.suptitle(
        f"{name}: circle, where it is; cross, best candidate, "
        f"{apart[row]:,.0f} km off (the median query)",
        fontsize=10.5,
        x=0.01,
        ha="left",
    )
    return fig


def _tiles(
    data: SegmentationData, chips: np.ndarray, truth: np.ndarray, guesses: dict[str, np.ndarray]
) -> Figure:
    """The TILES most varied test tiles: chips [n, 10, H, W], truth and guesses [n, H, W]."""
    variety = [len(np.setdiff1d(mask, [IGNORE])) for mask in truth]
    rows = np.argsort(-np.array(variety), kind="stable")[:TILES]
    shown = [name for name in SHOWN if name in guesses]
    palette = style.cover_colours(data.classes)
    cmap = ListedColormap(palette).with_extremes(over="white", bad="white")
    columns = 2 + len(shown)
    fig = Figure(figsize=(style.WIDTH + 1, 0.9 + 1.55 * len(rows)), layout="constrained")
    grid = fig.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows):
        style.image_axes(axes[0]).imshow(style.true_colour(chips[row]))
        for ax, mask in zip(axes[1:], [truth[row], *(guesses[name][row] for name in shown)]):
            known = np.ma.masked_equal(np.asarray(mask), IGNORE)
            style.image_axes(ax).imshow(
                known, cmap=cmap, vmin=-0.5, vmax=len(palette) - 0.5, interpolation="nearest"
            )
    for ax, name in zip(grid[0], ["chip", "truth", *(n.replace(", ", ",\n") for n in shown)]):
        ax.set_title(name, fontsize=9.5)
    there = sorted(set(np.unique(truth[rows])) - {IGNORE})
    fig.legend(
        handles=[Patch(color=palette[k], label=data.classes[k]) for k in there],
        loc="outside lower center",
        ncols=5,
        fontsize=9,
    )
    return fig
