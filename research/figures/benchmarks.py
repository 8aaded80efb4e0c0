"""Benchmark figures: encoders with their intervals, and an example of what each task asks."""

import textwrap

import numpy as np
import torch
from matplotlib.figure import Figure

from gairlib import preprocess, ranks
from research.evaluation.table import LOWER, OURS, RANDOM
from research.figures import retrieval as retrieval_figures
from research.figures import segmentation, style

COLUMNS = 2  # panels side by side
BLIND = ("majority", "mean", "chance", "random point")
LABELS = {
    "R2": "R² (1 is perfect)",
    "accuracy": "accuracy (share right)",
    "recall@1": "recall@1 (share found first)",
    "recall@10": "recall@10 (share in first ten)",
    "median rank": "median rank (1 is best)",
    "localisation error": "median localisation error (m)",
    "localisation error, great circle": "median distance to the best candidate (km)",
    "hit within 200 km": "share within 200 km",
    "hit within 2,500 km": "share within 2,500 km",
    "cosine margin": "cosine: match minus other sites",
}
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
NAMES = {
    OURS: "GAIR (pretrained)",
    "gair, chip mean": "GAIR, chip mean",
    "gair, least expected error": "GAIR, least expected error",
    "gair, raw tokens bilinear (not its training mode)": "GAIR, raw tokens, bilinear\n(not its training mode)",
    "gair, by way of RS": "GAIR, by way of RS",
    "gair, by way of photos": "GAIR, by way of photos",
    "random init": "GAIR (random init)",
}


def _name(encoder: str) -> str:
    return NAMES.get(encoder, encoder[:1].upper() + encoder[1:])


def _empty(text: str) -> Figure:
    fig = Figure(figsize=(style.WIDTH, 1.6))
    ax = fig.add_subplot()
    ax.axis("off")
    ax.text(0.0, 0.5, "\n".join(textwrap.wrap(text, 100)), va="center")
    return fig


def scores(result) -> Figure:
    """Point and 95% interval of every encoder, one panel a judged metric; dashed: knowing nothing.

    result: `research.tasks.result.Result`. Panels share encoder names only where they have them.
    """
    with style.context():
        if result.status != "ran":
            return _empty(f"{result.task} on {result.dataset} was skipped: {result.reason}")
        panels = result.mainline
        per_row = min(COLUMNS, len(panels))
        lines = -(-len(panels) // per_row)
        entries = [_panel_rows(result, split, metric) for _, split, metric in panels]
        most = max(map(len, entries))
        fig = Figure(
            figsize=(max(style.WIDTH, 5.2 * per_row), lines * (1.15 + 0.36 * most) + 0.4),
            layout="constrained",
        )
        axes = fig.subplots(lines, per_row, squeeze=False).ravel()
        for ax, (_, split, metric), rows in zip(axes, panels, entries):
            _panel(ax, split, metric, rows)
        for ax in axes[len(panels) :]:
            ax.axis("off")
        fig.suptitle(
            f"{result.task} on {result.dataset} ({result.data} data): point and 95% "
            f"interval over {result.rows['cluster'].iloc[0]}s",
            fontsize=12,
            x=0.01,
            ha="left",
        )
        return style.mark(fig, result.synthetic)


def _panel_rows(result, split: str, metric: str):
    r = result.rows
    rows = r[(r.split == split) & (r.metric == metric) & (r.seed == "mean")]
    return rows.sort_values("value", ascending=not metric.startswith(LOWER), kind="stable")


def _panel(ax, split: str, metric: str, rows) -> None:
    """One metric: encoders from worst (bottom) to best (top)."""
    blind = rows[rows.encoder.isin(BLIND)]
    for y, (_, row) in enumerate(rows.iterrows()):
        ours = row.encoder == OURS
        colour = (
            style.BLUE
            if ours
            else style.SKY
            if row.encoder.startswith(OURS)
            else style.ORANGE
            if row.encoder == RANDOM
            else style.GREY
        )
        if np.isfinite(row.low):
            ax.plot([row.low, row.high], [y, y], color=colour, lw=3, solid_capstyle="round")
        ax.plot(row.value, y, "o", color=colour, ms=8 if ours else 6, zorder=3)
        text = f"{row.value:.0f}" if row.unit or metric == "median rank" else f"{row.value:.3f}"
        text = text.replace("-0.000", "0.000")
        ax.annotate(
            text,
            (row.value, y),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=style.BLACK,
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )
    if len(blind):
        ax.axvline(blind["value"].iloc[0], color=style.BLACK, ls="--", lw=1, zorder=0)
    ax.set_yticks(range(len(rows)), [_name(e) for e in rows.encoder], fontsize=9)
    ax.set_ylim(-0.6, len(rows) - 0.2)
    ax.grid(axis="y", visible=False)
    lower = metric.startswith(LOWER) and metric != "median rank"
    ax.set_xlabel(LABELS.get(metric, metric) + (", lower is better" if lower else ""))
    first = rows.iloc[0]
    counts = f"{first['n']:,} examples, {first.clusters} {first.cluster}s"
    ax.set_title(f"{textwrap.fill(split, 42)}\n{counts}", fontsize=10)


# --------------------------------------------------------------------------------------- examples


def sample(result) -> Figure:
    """What the task asks: labelled tiles or photos, a map of labels, or a photo and its chip."""
    with style.context():
        if not result.example:
            return _empty(f"{result.task} on {result.dataset}: {result.reason or 'no example'}")
        if result.task == "retrieval":
            fig = _retrieval(**result.example)
        elif result.task.startswith("retrieval-"):
            fig = retrieval_figures.places(**result.example)
        elif "segmentation" in result.example:
            e = result.example
            fig = segmentation.examples(e["segmentation"], e["chips"], e["truth"], e["guesses"])
        elif result.example["data"].modality == "location":
            fig = _places(result.example["data"])
        else:
            fig = _images(result.example["data"], result.example["images"])
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
            else images[row].permute(1, 2, 0).numpy()
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


@torch.inference_mode()
def _retrieval(query, reading, model) -> Figure:
    """A typical photo (median error), its chip, and its similarity to the chip's dense field."""
    guesses = np.zeros((len(query.rows), 2)) if reading.shown is None else reading.shown
    errors = ranks.errors_m(guesses, query.xy, query.size_m)
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
    model = model.cpu()
    dn = torch.from_numpy(chip[None].astype(np.float32))
    prep = preprocess.get(model.config.preprocessing)
    encoded = model.encode_rs(prep.rs(dn, model.config.rs_size))
    grid = torch.from_numpy(ranks.cell_centres(query.cells))[None]
    dense = model.query_rs(encoded, grid, normalize=True)[0].float().numpy()
    shown = field.imshow(
        (dense @ reading.photos[row]).reshape(query.cells, query.cells),
        extent=extent,
        cmap=style.SIMILARITY,
    )
    field.set_title("Similarity to the field")
    fig.colorbar(shown, ax=field, label="cosine", shrink=0.7)
    for ax in (rgb, field):
        ax.plot(*truth, "o", mfc="none", mec="white", mew=2.5, ms=11)
        ax.plot(*truth, "o", mfc="none", mec=style.BLACK, mew=1, ms=11)
        ax.set(xlabel="east (m)", ylabel="south (m)")
        ax.grid(False)
    field.plot(*guess, "x", color=style.SKY, mew=2.5, ms=9)
    fig.suptitle(
        f"Photo {query.rows['photo_id'].iloc[row]}: circle, where it stands; cross, the "
        f"guess, {errors[row]:.0f} m off (the median photo)",
        fontsize=10.5,
        x=0.01,
        ha="left",
    )
    return fig
