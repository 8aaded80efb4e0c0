"""Pictures of a dataset folder's scenes and photos, and of the pairs made of them."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from gairlib.data.dataset import Dataset
from gairlib.data.scene import Scene
from gairlib.data.scene_reader import Reader
from gairlib.pairs.join import Footprints
from gairlib.pairs.store import Pairs
from research.figures import style
from research.figures.style import Figure

SPLIT_COLOURS = {
    "train": style.BLUE,
    "val": style.ORANGE,
    "test": style.VERMILION,
    "shifted": style.PURPLE,
}
THUMB = 320  # px: the longer side of a photo in a sheet
VIEW = 256  # px: of a larger scene, the middle is shown


def _sheet(
    cells: int, columns: int, height: float, width: float = style.WIDTH
) -> tuple[Figure, np.ndarray]:
    """A grid of image axes, those beyond `cells` left empty; height: inches a row."""
    rows = max(1, math.ceil(cells / columns))
    with style.context():
        fig = Figure(figsize=(width, height * rows), layout="constrained")
        foot = 0.2 / (height * rows)  # room for style.mark
        fig.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
        axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        style.image_axes(ax)
    for ax in axes[cells:]:
        ax.set_axis_off()
    return fig, axes


def scenes_to_show(scenes: Sequence[Scene], street: pd.DataFrame, count: int) -> list[Scene]:
    """Scenes that have photos first, then the others, evenly picked along the list."""
    lon, lat = street["lon"].to_numpy(), street["lat"].to_numpy()
    used = set(Footprints([s.footprint for s in scenes]).query(lon, lat)[1].tolist())
    chosen = []
    for has_photos in (True, False):
        group = [s for i, s in enumerate(scenes) if (i in used) == has_photos]
        room = count - len(chosen)
        picks = np.unique(np.linspace(0, len(group) - 1, min(room, len(group))).round().astype(int))
        chosen += [group[i] for i in picks] if group and room else []
    return chosen


def scene_sheet(dataset: Dataset, scenes: Sequence[Scene], street: pd.DataFrame) -> Figure:
    """Scenes in true colour (of large ones the middle), with the photos that lie in them."""
    if not scenes:
        return style.empty("no scene")
    fig, axes = _sheet(len(scenes), 3, style.WIDTH / 3 + 0.6)
    for ax, scene in zip(axes, scenes):
        width, height = min(VIEW, scene.width), min(VIEW, scene.height)
        c, r = (scene.width - width) // 2, (scene.height - height) // 2
        with Reader(scene) as reader:
            values = reader.window(c, r, width, height)[0]
        across, down = scene.pixel_metres(scene.width / 2, scene.height / 2)
        ax.imshow(
            style.true_colour(values), extent=(c, c + width, r + height, r), aspect=down / across
        )
        column, row = scene.to_pixels(street["lon"].to_numpy(), street["lat"].to_numpy())
        inside = (column >= 0) & (column <= scene.width) & (row >= 0) & (row <= scene.height)
        column, row = column[inside], row[inside]
        inside = (column >= c) & (column <= c + width) & (row >= r) & (row <= r + height)
        dots = ax.scatter(
            column[inside],
            row[inside],
            s=16,
            c=style.YELLOW,
            edgecolors="black",
            lw=0.6,
            clip_on=False,
        )
        dots.set_in_layout(False)
        ax.set(xlim=(c, c + width), ylim=(r + height, r))
        ax.set_title(style.shortened(scene.id, 28), fontsize=9.5)
        size = f"{width * across / 1000:.1f} x {height * down / 1000:.1f} km"
        ax.set_xlabel(f"{size}, {style.counted(int(inside.sum()), 'photo')}", fontsize=8.5)
    return style.mark(fig, dataset.synthetic)


def photo_sheet(dataset: Dataset, rows: pd.DataFrame) -> Figure:
    """Photos (rows of street() or of a manifest), each with its id, place and heading."""
    if not len(rows):
        return style.empty("no photo")
    fig, axes = _sheet(len(rows), 4, 2.1)
    for ax, row in zip(axes, rows.to_dict("records")):
        ax.imshow(style.thumbnail(dataset.photo(row), THUMB))
        ax.set_title(style.shortened(row["photo_id"]), fontsize=8)
        ax.set_xlabel(_caption(row), fontsize=8)
    return style.mark(fig, dataset.synthetic)


def _caption(row: dict) -> str:
    where = f"{row['lon']:.4f}, {row['lat']:.4f}"
    heading = row.get("heading", math.nan)
    return where + (f"\nheading {heading:.0f}°" if np.isfinite(heading) else "")


def counts(report: dict) -> Figure:
    """Where every photo went: paired by split, rejected by reason."""
    bars = [
        (f"paired, {name}", of["photos"], SPLIT_COLOURS[name])
        for name, of in report["by_split"].items()
    ]
    bars += [(f"rejected: {why}", n, style.GREY) for why, n in report["rejected"].items()]
    if not report["photos_in"]:
        return style.empty("no photo")
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 0.9 + 0.42 * len(bars)), layout="constrained")
        ax = fig.subplots()
        names = [_wrapped(name) for name, _, _ in bars]
        drawn = ax.barh(names, [n for _, n, _ in bars], color=[c for _, _, c in bars])
        ax.bar_label(drawn, padding=4, fmt="{:,.0f}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.invert_yaxis()
        ax.margins(x=0.12)
        ax.grid(axis="y", visible=False)
        title = f"{style.counted(report['photos_in'], 'photo')} in: {report['paired']:,} paired"
        ax.set(xlabel="photos", title=title)
    return fig


def _wrapped(text: str, width: int = 46) -> str:
    if len(text) <= width:
        return text
    cut = text.rfind(" ", 0, width)
    return text[:cut] + "\n" + style.shortened(text[cut + 1 :], width)


def pairs_map(pairs: Pairs, dataset: Dataset) -> Figure:
    """Chips on the globe by split; the positions of a location table show where the land is."""
    chips = pairs.chips
    if not chips.sizes["chip"]:
        return style.empty("no pair to show on a map")
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
        ax = fig.subplots()
        tables = dataset.tables()
        if tables:
            name = max(tables, key=lambda k: np.ptp(tables[k]["lon"]) * len(tables[k]))
            table = tables[name]
            ax.scatter(table["lon"], table["lat"], s=1.5, c="#C9C9C9", lw=0, label=f"tables/{name}")
        for split, colour in SPLIT_COLOURS.items():
            of = chips["split"].values == split
            if of.any():
                ax.scatter(
                    chips["lon"].values[of],
                    chips["lat"].values[of],
                    s=26,
                    color=colour,
                    edgecolors="white",
                    lw=0.6,
                    label=f"{split}: {style.counted(of.sum(), 'chip')}",
                )
        ax.set(
            xlim=(-180, 180),
            ylim=(-62, 82),
            aspect="equal",
            xticks=range(-180, 181, 60),
            xlabel="longitude (degrees)",
            ylabel="latitude (degrees)",
        )
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    return style.mark(fig, dataset.synthetic)


def pair_sheet(dataset: Dataset, pairs: Pairs, chips: Sequence[int], photos: int = 4) -> Figure:
    """Each row a chip with its photos' positions and headings drawn in, and those photos."""
    if not len(chips):
        return style.empty("no pair to show")
    photos = min(photos, int(pairs.chips["photos"].values[list(chips)].max()))
    width = min(style.WIDTH, 2.6 * (photos + 1))
    height = width / (photos + 1) + 0.5
    fig, axes = _sheet(len(chips) * (photos + 1), photos + 1, height, width)
    for number, row_axes in zip(chips, axes.reshape(len(chips), photos + 1)):
        chip = pairs.chips.isel(chip=int(number))
        rows = pairs.manifest[pairs.manifest["chip"] == number].sort_values("slot")
        _draw_chip(row_axes[0], chip, rows, shown=photos)
        for i, ax in enumerate(row_axes[1:]):
            if i >= len(rows):
                ax.set_axis_off()
                continue
            row = rows.iloc[i].to_dict()
            ax.imshow(style.thumbnail(dataset.photo(row), THUMB))
            ax.set_title(f"{i + 1}", fontsize=9.5, color=style.BLACK)
            ax.set_xlabel(f"{style.shortened(row['photo_id'], 20)}\n{_heading(row)}", fontsize=7.5)
    return style.mark(fig, dataset.synthetic)


def _heading(row: dict) -> str:
    return f"heading {row['heading']:.0f}°" if np.isfinite(row["heading"]) else "heading unknown"


def _draw_chip(ax, chip, rows: pd.DataFrame, shown: int) -> None:
    """A chip in true colour in its own xy; numbered photos, the rest as dots."""
    ax.imshow(style.true_colour(chip["chips"].values), extent=(-1, 1, 1, -1))
    for i, row in enumerate(rows.to_dict("records")):
        colour = style.YELLOW if i < shown else "white"
        if np.isfinite(row["heading"]):
            turn = math.radians(row["heading"])
            ax.plot(
                [row["x"], row["x"] + 0.22 * math.sin(turn)],
                [row["y"], row["y"] - 0.22 * math.cos(turn)],
                color=colour,
                lw=1.4,
            )
        dot = ax.scatter(
            row["x"], row["y"], s=20, c=colour, edgecolors="black", lw=0.6, zorder=3, clip_on=False
        )
        dot.set_in_layout(False)
        if i < shown:
            # The number stands on the side that has room.
            ax.annotate(
                f"{i + 1}",
                (row["x"], row["y"]),
                color="white",
                fontsize=9,
                weight="bold",
                xytext=(-9 if row["x"] > 0.8 else 4, -10 if row["y"] < -0.8 else 3),
                textcoords="offset points",
                zorder=4,
                path_effects=[withStroke(linewidth=2, foreground="black")],
            )
    ax.set(xlim=(-1, 1), ylim=(1, -1))
    scene_id = style.shortened(chip["scene_id"].item(), 16)
    ax.set_title(f"{scene_id} ({chip['split'].item()})", fontsize=8.5)
    ax.set_xlabel(f"{chip.attrs['chip_m']:g} m, {style.counted(len(rows), 'photo')}", fontsize=8)


def distributions(pairs: Pairs, synthetic: bool) -> Figure:
    """How far photos lie from the chip's centre, where in the chip, cloud share, photos a chip."""
    if not len(pairs.manifest):
        return style.empty("no pair, so no distribution")
    chips, manifest = pairs.chips, pairs.manifest
    half, margin = chips.attrs["chip_m"] / 2, chips.attrs["margin"]
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 6.2), layout="constrained")
        (far, where), (cloud, many) = fig.subplots(2, 2)
        distance = np.hypot(manifest["x"], manifest["y"]) * half
        far.hist(distance, bins=np.linspace(0, half * math.sqrt(2), 25), color=style.BLUE)
        far.set(title="Offset from the chip's centre", xlabel="metres", ylabel="photos in chips")
        bins = np.linspace(-half, half, 17)
        drawn = where.hist2d(manifest["x"] * half, manifest["y"] * half, bins=(bins, bins))[3]
        inner = half * (1 - 2 * margin)
        where.add_patch(
            Rectangle(
                (-inner, -inner), 2 * inner, 2 * inner, fill=False, ec="white", ls="--", lw=1.2
            )
        )
        where.set(
            title="Place in the chip",
            xlabel="metres east (dashed: margin)",
            ylabel="metres south",
            aspect="equal",
        )
        where.grid(False)
        where.invert_yaxis()
        fig.colorbar(drawn, ax=where, label="photos in chips")
        share = chips["cloud_share"].values
        known = share[np.isfinite(share)]
        cloud.set(title="Cloud in the chips", xlabel="share of the chip (%)", ylabel="chips")
        if known.size:
            cloud.hist(100 * known, bins=np.linspace(0, 100, 26), color=style.SKY)
            cloud.axvline(100 * chips.attrs["max_cloud"], color=style.VERMILION, ls="--")
            cloud.set(xlim=(0, 100))
            style.log_axis(cloud.yaxis)
        else:
            cloud.set(xticks=[], yticks=[])
        if known.size < share.size:
            unknown = style.counted(share.size - known.size, "chip")
            text = f"unknown for {unknown} (no classification band)"
            cloud.text(0.5, 0.9, text, transform=cloud.transAxes, ha="center", fontsize=9)
        number = np.bincount(chips["photos"].values, minlength=chips.attrs["max_photos"] + 1)
        many.bar(range(1, len(number)), number[1:], color=style.GREEN)
        many.set(
            title="Photos in a chip", xlabel="photos", ylabel="chips", xticks=range(1, len(number))
        )
    return style.mark(fig, synthetic)


def date_gaps(pairs: Pairs, synthetic: bool) -> Figure:
    """Days between a photo and its chip's scene, and the share of near-duplicates by split."""
    if not len(pairs.manifest):
        return style.empty("no pair, so no days between photo and scene")
    gap = pairs.manifest.get("date_gap_days", pd.Series(dtype=float)).to_numpy(float)
    known = gap[np.isfinite(gap)]
    with style.context():
        fig = Figure(figsize=(style.WIDTH, 2.8), layout="constrained")
        ax = fig.subplots()
        if known.size:
            top = max(10.0, float(np.percentile(known, 99)))
            ax.hist(np.clip(known, 0, top), bins=40, color=style.PURPLE)
            ax.set_xlim(0, top)
        else:
            style.blank(ax, "no photo with a date in a scene with a date")
        unknown = f"; unknown for {gap.size - known.size:,}" if known.size < gap.size else ""
        ax.set(
            title=f"Days between photo and scene ({style.counted(known.size, 'pair')}{unknown})",
            xlabel="days",
            ylabel="photos in chips",
        )
    return style.mark(fig, synthetic)


def examples(pairs: Pairs, count: int = 3, seed: int = 0) -> list[int]:
    """Chips worth showing: of different scenes where possible, those with most photos first."""
    chips = pairs.chips
    order = np.random.default_rng(seed).permutation(chips.sizes["chip"])
    order = order[np.argsort(-chips["photos"].values[order], kind="stable")]
    scenes, chosen = set(), []
    for chip in order:
        first = chips["repeat"].values[chip] == 0
        if first and chips["scene_id"].values[chip] not in scenes:
            scenes.add(chips["scene_id"].values[chip])
            chosen.append(int(chip))
    # Further chips of a scene only where they hold other photos, which those of a repeat do not.
    rest = [int(c) for c in order if int(c) not in chosen and chips["repeat"].values[c] == 0]
    return (chosen + rest)[:count]
